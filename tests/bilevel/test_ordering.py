"""The keys of params and hyper have no order: what goes by position is matched by key."""

import functools
from collections import OrderedDict, defaultdict

import pytest
import torch

from lds import bilevel
from lds.bilevel.ordering import ordered
from lds.bilevel.tensors import paths

X = torch.linspace(-1, 2, 12).cos()
Y = 2 * X + 1 + 0.1 * X.sin()
FIRST = {"slope": torch.tensor(0.0), "shift": torch.tensor(0.5)}
HYPER = {"decay": torch.tensor(0.2), "smooth": torch.tensor(0.9)}
SGD = functools.partial(torch.optim.Adam, lr=0.05)


def turned(tree):
    return dict(reversed(tree.items()))


def inner(w, hyper):
    fit = ((X * w["slope"] - Y + w["shift"]) ** 2).mean()
    return fit + hyper["decay"] * w["slope"] ** 2 + hyper["smooth"] * (w["shift"] - 2) ** 2


def outer(w, hyper):
    return ((X[:5] * w["slope"] - Y[:5] + w["shift"]) ** 2).mean()


PHI = bilevel.Momentum(inner, lr=0.05)
PLAIN = bilevel.GradientDescent(inner, lr=0.05)
BOX = bilevel.projections.box(0.0, 1.0)


def estimate(hyper, k):
    return 0.0, {key: hyper[key] - goal for key, goal in (("smooth", 0.1), ("decay", 0.5))}


RUNS = {
    "solve": lambda w, hyper, n, **options: bilevel.solve(
        PHI, outer, w, hyper, 4, n_outer=n, **options
    ),
    "soba": lambda w, hyper, n, **options: bilevel.solve(
        PLAIN,
        outer,
        w,
        hyper,
        1,
        n_outer=n,
        method=bilevel.SABA(0.05, n_batches=2),
        warm_start="state",
        **options,
    ),
    "episodes": lambda w, hyper, n, **options: bilevel.solve(
        lambda k: (PHI, outer), None, w, hyper, 4, n_outer=n, warm_start="state", **options
    ),
    "online": lambda w, hyper, n, **options: bilevel.solve_online(
        PHI, outer, w, hyper, 6, save_every=1, **options
    ),
    "black-box": lambda w, hyper, n, **options: bilevel.solve_black_box(
        estimate, hyper, n_outer=n, **options
    ),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_run_is_resumed_with_its_keys_in_another_order(run, tmp_path):
    go = functools.partial(run, optimizer=SGD, keep="last", projection=BOX)
    whole = go(FIRST, HYPER, 6)
    folder = tmp_path / "run"
    go(FIRST, HYPER, 6, checkpoint=folder, callback=lambda record: record.iteration >= 2)
    again = go(turned(FIRST), turned(HYPER), 6, checkpoint=folder, resume=True)
    assert len(again.history) == len(whole.history)
    for found, wanted in ((again.hyper, whole.hyper), (again.params, whole.params)):
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


METHODS = (
    bilevel.ConjugateGradient(1),
    bilevel.FixedPoint(1),
    bilevel.SOBA(0.05),
    bilevel.F2SA(10.0),
)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_an_earlier_result_with_its_keys_in_another_order(method):
    go = functools.partial(bilevel.hypergradient, PLAIN, outer)
    before = go(FIRST, HYPER, 50, method)
    same = go(FIRST, HYPER, 50, method, previous=before)
    other = go(turned(FIRST), turned(HYPER), 50, method, previous=before)
    for key in HYPER:
        torch.testing.assert_close(other.grad[key], same.grad[key])


def test_tables_that_go_by_position_are_refused():
    method = bilevel.SABA(0.05, n_batches=1)
    go = functools.partial(bilevel.hypergradient, PLAIN, outer, FIRST)
    before = go(HYPER, 1, method)
    with pytest.raises(ValueError, match=r"previous must be a result .* in the same order"):
        go(turned(HYPER), 1, method, previous=before)


def test_projections_and_their_results_in_another_order():
    for projection in (
        {"smooth": bilevel.projections.box(0, 0.5), "decay": None},
        lambda hyper: {"smooth": hyper["smooth"].clamp(0, 0.5), "decay": hyper["decay"]},
    ):
        found = bilevel.solve(PHI, outer, FIRST, HYPER, 2, n_outer=1, projection=projection)
        assert list(found.hyper) == list(HYPER)
        assert float(found.hyper["smooth"]) == 0.5
        assert float(found.hyper["decay"]) == pytest.approx(0.2)


def test_the_order_of_nested_trees():
    tree = {"b": [1, {"d": 2, "c": 3}], "a": OrderedDict(z=4, y=5), "none": {}}
    wanted = ["['a']['y']", "['a']['z']", "['b'][0]", "['b'][1]['c']", "['b'][1]['d']"]
    found = ordered(tree, wanted)
    assert paths(found) == wanted
    assert found["b"] == tree["b"]  # dicts are equal whatever their order
    assert found["a"] == OrderedDict(y=5, z=4)
    assert ordered(tree, [*wanted, "['e']"]) is tree


def test_containers_without_a_known_order_are_refused(tmp_path):
    hyper, other = defaultdict(list, HYPER), defaultdict(list, turned(HYPER))
    RUNS["solve"](FIRST, hyper, 1, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match="hyper must have its leaves in the order of the run"):
        RUNS["solve"](FIRST, other, 2, checkpoint=tmp_path / "run", resume=True)
