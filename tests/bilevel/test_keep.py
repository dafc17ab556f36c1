"""What an outer loop returns: the best, the last or an average, judged by E or by `evaluate`."""

import functools
import math
import warnings

import pytest
import torch
from torch import Tensor

from lds import bilevel
from tests.problems import scalar

DESCENT = functools.partial(torch.optim.SGD, lr=0.25)
NOISY = r"the outer objective is noisy: at one state it is .*evaluate=.*'last' or keep='averaged'"
INNER = bilevel.GradientDescent(lambda w, lam: 0.5 * (w - lam) ** 2, lr=0.5)
R = 1 - 0.5**4


def goal(w: Tensor, lam: Tensor) -> Tensor:
    return (w - 3) ** 2


def noisy(w: Tensor, lam: Tensor) -> Tensor:
    """Its gradient does not draw, so λ moves as without the noise."""
    return goal(w, lam) + torch.rand((), dtype=torch.float64)


def solve(outer=goal, n_outer=5, lr=0.25, **more):
    optimizer = functools.partial(torch.optim.SGD, lr=lr)
    return bilevel.solve(
        INNER, outer, scalar(0.0), scalar(0.0), 4, n_outer=n_outer, optimizer=optimizer, **more
    )


def path(n_outer: int, lr: float = 0.25) -> list[float]:
    """λ_0, λ_1, ...: w_T = Rλ."""
    values = [0.0]
    for _ in range(n_outer):
        values.append(values[-1] - lr * 2 * R * (R * values[-1] - 3))
    return values


def averaged(values: list[float]) -> float:
    """Σ c_k x_k / Σ c_k with c_k = k (k+1) (k+2), what a_k = 4 / (k+3) comes to."""
    c = [k * (k + 1) * (k + 2) for k in range(1, len(values) + 1)]
    return sum(a * b for a, b in zip(c, values, strict=True)) / sum(c)


def test_the_last_belongs_together():
    """λ, w and the value of one iteration, though it was not the best."""
    solution = solve(lr=1.2, keep="last")
    assert solution.kept == "last"
    assert float(solution.hyper) == pytest.approx(path(4, 1.2)[4])
    assert float(solution.params) == pytest.approx(R * path(4, 1.2)[4])
    assert solution.value == solution.history[-1].value > solution.history[0].value
    best = solve(lr=1.2)
    assert (best.kept, float(best.hyper), best.value) == ("best", 0.0, 9.0)


def test_the_average_is_trained_anew():
    solution = solve(n_outer=6, lr=0.9, keep="averaged")
    expected = averaged(path(5, 0.9))
    assert float(solution.hyper) == pytest.approx(expected, rel=1e-12)
    assert float(solution.params) == pytest.approx(R * expected, rel=1e-12)
    assert solution.value == pytest.approx((R * expected - 3) ** 2, rel=1e-12)
    assert solution.kept == "averaged"


@pytest.mark.parametrize("warm", ["params", "state"])
def test_weights_that_go_on_are_averaged_too(warm):
    solution = solve(n_outer=5, keep="averaged", warm_start=warm)
    w, lam, weights, lams = 0.0, 0.0, [], []
    for _ in range(5):
        w = lam + 0.5**4 * (w - lam)
        weights.append(w)
        lams.append(lam)
        lam -= 0.25 * 2 * R * (w - 3)
    assert float(solution.hyper) == pytest.approx(averaged(lams), rel=1e-12)
    assert float(solution.params) == pytest.approx(averaged(weights), rel=1e-12)
    assert solution.value == pytest.approx((averaged(weights) - 3) ** 2, rel=1e-12)


def test_an_average_stays_where_the_projection_puts_it():
    """On a circle, which is not convex."""
    inner = bilevel.GradientDescent(lambda w, lam: 0.5 * ((w - lam) ** 2).sum(), lr=0.5)
    solution = bilevel.solve(
        inner,
        lambda w, lam: ((w - torch.tensor([0.0, 3.0])) ** 2).sum(),
        torch.zeros(2),
        torch.tensor([1.0, 0.0]),
        3,
        n_outer=6,
        optimizer=DESCENT,
        projection=lambda lam: lam / lam.norm(),
        keep="averaged",
    )
    assert float(solution.hyper.norm()) == pytest.approx(1)


def test_evaluate_chooses_the_best_and_gives_its_value():
    """E falls from λ_0 to λ_4; by the other data λ_1 is best."""
    lams = path(5)
    held_out = lambda w, lam: float((lam - lams[1]) ** 2 + 7)  # noqa: E731
    solution = solve(evaluate=held_out)
    assert float(solution.hyper) == pytest.approx(lams[1])
    assert solution.value == pytest.approx(7)
    assert [r.info["evaluate"] for r in solution.history] == pytest.approx(
        [(lam - lams[1]) ** 2 + 7 for lam in lams[:5]]
    )
    last = solve(evaluate=held_out, keep="last")
    assert last.value == pytest.approx((lams[4] - lams[1]) ** 2 + 7)
    assert all("evaluate" not in record.info for record in last.history)


def test_evaluate_now_and_then():
    calls = []

    def held_out(w, lam):
        calls.append(float(lam))
        return (w - 3) ** 2

    solution = solve(evaluate=held_out, evaluate_every=2)
    assert calls == pytest.approx([path(5)[1], path(5)[3]])
    assert float(solution.hyper) == pytest.approx(path(5)[3])
    never = solve(evaluate=held_out, evaluate_every=50)
    assert never.value == pytest.approx((R * path(5)[4] - 3) ** 2)


def test_evaluate_draws_alike_every_time_and_disturbs_nothing():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    solution = solve(evaluate=lambda w, lam: torch.rand(()))
    assert torch.equal(torch.get_rng_state(), state)
    assert len({record.info["evaluate"] for record in solution.history}) == 1


def test_a_noisy_objective_is_noticed_and_the_ways_out_are_quiet():
    with pytest.warns(UserWarning, match=NOISY) as seen:
        solve(noisy, n_outer=20)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(n_outer=20)
        for keep in ("last", "averaged"):
            solve(noisy, n_outer=20, keep=keep)
        found = solve(noisy, n_outer=20, evaluate=goal)
    assert found.value == pytest.approx((R * path(19)[19] - 3) ** 2, abs=1e-12)


def batches_by_step(w, lam, step):
    return goal(w, lam) * (1 + step % 3)


def by_iteration(k):
    return INNER, lambda w, lam: goal(w, lam) + k


class FromALoader:
    def __init__(self) -> None:
        self.n = 0

    def __call__(self, w, lam):
        self.n += 1
        return goal(w, lam) * self.n


@pytest.mark.parametrize(
    "run",
    [
        lambda: solve(batches_by_step, warm_start="state"),
        lambda: solve(FromALoader()),
        lambda: bilevel.solve(by_iteration, None, scalar(0.0), scalar(0.0), 2, n_outer=3),
        lambda: bilevel.solve_online(INNER, noisy, scalar(0.0), scalar(0.0), 4),
        lambda: bilevel.solve_online(INNER, batches_by_step, scalar(0.0), scalar(0.0), 4),
        lambda: bilevel.solve_black_box(
            lambda lam, k: (lam**2 + k % 2, 2 * lam), scalar(1.0), n_outer=4
        ),
    ],
    ids=["by step", "a loader", "by iteration", "online", "online by step", "black box"],
)
def test_whatever_makes_it_noisy(run):
    with pytest.warns(UserWarning, match=NOISY):
        run()


def test_online_and_black_box_keep_too():
    online = functools.partial(
        bilevel.solve_online, INNER, goal, scalar(0.0), scalar(0.0), 6, optimizer=DESCENT
    )
    records = online().history
    last = online(keep="last")
    assert (float(last.hyper), last.value) == (float(records[-1].hyper), records[-1].value)
    mean = online(keep="averaged", evaluate=lambda w, lam: lam)
    assert float(mean.hyper) == pytest.approx(averaged([float(r.hyper) for r in records]))
    assert mean.value == pytest.approx(float(mean.hyper))
    box = functools.partial(
        bilevel.solve_black_box,
        lambda lam, k: ((lam - 2) ** 2, 2 * (lam - 2)),
        scalar(0.0),
        n_outer=5,
        optimizer=functools.partial(torch.optim.SGD, lr=0.9),
    )
    records = box().history
    assert float(box(keep="last").hyper) == float(records[-1].hyper)
    mean = box(keep="averaged")
    expected = averaged([float(r.hyper) for r in records])
    assert (float(mean.hyper), mean.value) == pytest.approx((expected, (expected - 2) ** 2))
    assert float(box(evaluate=lambda lam: lam).hyper) == 0.0


@pytest.mark.parametrize("keep", ["best", "last", "averaged"])
def test_a_resumed_run_keeps_what_the_whole_one_keeps(keep, tmp_path):
    options = {"keep": keep, "evaluate": lambda w, lam: (w - 1) ** 2, "lr": 0.3}
    whole = solve(n_outer=7, **options)
    solve(n_outer=3, checkpoint=tmp_path, **options)
    resumed = solve(n_outer=7, checkpoint=tmp_path, resume=True, **options)
    assert (resumed.hyper, resumed.params, resumed.value) == (
        whole.hyper,
        whole.params,
        whole.value,
    )
    other = "last" if keep == "best" else "best"
    with pytest.raises(ValueError, match=r"is of another run .*keep: "):
        solve(n_outer=7, checkpoint=tmp_path, resume=True, **(options | {"keep": other}))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"keep": "latest"}, ValueError, "keep must be 'best', 'last' or 'averaged', got 'latest'"),
        ({"evaluate": 3}, TypeError, "evaluate must be a function of .* got int"),
        ({"evaluate": lambda w, lam: None}, TypeError, "must return one number, got NoneType"),
        ({"evaluate": lambda w, lam: torch.ones(2)}, TypeError, r"one number, got \(2,\)"),
        ({"evaluate": lambda w, lam: math.nan}, bilevel.NonFiniteError, "evaluate holds nan"),
        ({"evaluate": goal, "evaluate_every": 0}, ValueError, "evaluate_every must be at least 1"),
        ({"evaluate_every": 2}, ValueError, "evaluate_every=2 needs evaluate= and keep='best'"),
    ],
)
def test_what_does_not_fit(options, error, message):
    with pytest.raises(error, match=message):
        solve(**options)


@pytest.mark.parametrize("what", ["params", "hyper"])
def test_an_evaluate_that_changes_its_arguments_is_refused(what):
    def evaluate(w, lam):
        (w if what == "params" else lam).zero_()
        return 1.0

    with pytest.raises(RuntimeError, match=f"evaluate changed {what} in place"):
        solve(evaluate=evaluate)
    for keep in ("last", "averaged"):  # after the loop, of which nothing is lost
        with pytest.warns(UserWarning, match=f"is NaN, .* evaluate changed {what} in place"):
            found = solve(keep=keep, evaluate=evaluate)
        plain = solve(keep=keep)
        assert (found.hyper, found.params) == (plain.hyper, plain.params)
        assert math.isnan(found.value)


@pytest.mark.parametrize("keep", ["last", "averaged"])
def test_an_evaluate_that_fails_after_the_loop_costs_the_value_alone(keep):
    def evaluate(w, lam):
        return {}["missing"]

    with pytest.raises(KeyError):
        solve(evaluate=evaluate)
    with pytest.warns(UserWarning, match=r"NaN, for its evaluation .* KeyError: 'missing'"):
        found = solve(keep=keep, evaluate=evaluate)
    assert (found.hyper, len(found.history)) == (solve(keep=keep).hyper, 5)


def sloped(w: Tensor, lam: Tensor) -> Tensor:
    """The goal, from a derivative by the weights: (w - 3)² is a quarter of its squared slope."""
    (slope,) = torch.autograd.grad(goal(w, lam), w, create_graph=True)
    return slope**2 / 4


def fine_tuned(w: Tensor, lam: Tensor) -> Tensor:
    """The goal after a step of plain training on it."""
    v = w.clone().requires_grad_()
    goal(v, lam).backward()
    return goal(v - 0.1 * v.grad, lam)


@pytest.mark.parametrize("keep", ["best", "last", "averaged"])
def test_an_objective_may_take_derivatives_itself(keep):
    def online(outer):
        return bilevel.solve_online(INNER, outer, scalar(0.0), scalar(0.0), 4, keep=keep)

    for run in (functools.partial(solve, keep=keep), online):
        found, plain = run(sloped), run(goal)
        torch.testing.assert_close(found.hyper, plain.hyper)
        assert found.value == pytest.approx(plain.value)
    tuned = solve(keep=keep, evaluate=fine_tuned)
    assert tuned.value == pytest.approx(0.64 * solve(keep=keep, evaluate=goal).value)


def test_a_start_may_take_derivatives_itself():
    """One step of descent on the goal, at a rate to be learned: w_0 = 3 - 3 (1 - 2λ)."""

    def start(w, lam):
        w = w + 0 * lam
        (slope,) = torch.autograd.grad(goal(w, lam), w, create_graph=True)
        return w - lam * slope

    inner = bilevel.GradientDescent(goal, 0.25, start=start)
    result = bilevel.hypergradient(inner, goal, scalar(0.0), scalar(0.1), 1)
    assert float(result.value) == pytest.approx((0.5 * 3 * 0.8) ** 2)
    assert float(result.grad) == pytest.approx(-2 * 0.25 * 9 * 0.8 * 2)
    assert not bilevel.run(inner, scalar(0.0), scalar(0.1), 0).params.requires_grad


@pytest.mark.parametrize("keep", ["best", "last", "averaged"])
def test_draws_from_a_generator_of_the_dynamics_are_seeded_and_undone(keep):
    own = torch.Generator().manual_seed(3)
    inner = bilevel.GradientDescent(lambda w, lam: 0.5 * (w - lam) ** 2, lr=0.5, generators=[own])

    def outer(w, lam):
        return goal(w, lam) + 1e-3 * torch.rand((), generator=own, dtype=torch.float64)

    before = own.get_state()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=NOISY)
        values = []
        for _ in range(2):
            given = (inner, outer, scalar(0.0), scalar(0.0), 4)
            values.append(bilevel.solve(*given, n_outer=5, optimizer=DESCENT, keep=keep).value)
            assert torch.equal(own.get_state(), before)
    assert values[0] == values[1]
