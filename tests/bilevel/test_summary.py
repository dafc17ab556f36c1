"""Every public object that holds tensors is shown in at most 20 lines, whatever its size."""

import pytest
import torch

from lds import bilevel
from lds.bilevel.step import evaluate
from lds.bilevel.tensors import leaves

LINES, CHARACTERS = 20, 4000

SIZES = {
    "a number": torch.tensor(1.0),
    "a vector": torch.zeros(100_000),
    "many": {f"layer.{k}.{'x' * 200}": torch.zeros(50, 20) for k in range(60)},
    "deep": [{"a": (torch.zeros(3), {"b": torch.zeros(())})}] * 40,
}


def inner(w, hyper):
    return sum(((leaf - hyper["lr"]) ** 2).sum() for leaf in leaves(w))


def outer(w, hyper):
    return sum(leaf.sum() for leaf in leaves([w, hyper]))


def objects(size):
    """One of each, by name."""
    params, hyper = SIZES[size], {"lr": torch.tensor(0.1), "rest": SIZES[size]}
    dynamics = bilevel.Adam(inner, lambda hyper: hyper["lr"])
    solution = bilevel.solve(
        dynamics, outer, params, hyper, 2, n_outer=3, method=bilevel.Reverse(1)
    )
    start = bilevel.Start(dynamics, params, hyper, 0)
    state = start.run()
    return {
        "solution": solution,
        "last": solution.last,
        "record": solution.history[0],
        "hypergradient": bilevel.hypergradient(dynamics, outer, params, hyper, 2),
        "trained": bilevel.run(dynamics, params, hyper, 50),
        "start": start,
        "step": bilevel.Step(dynamics, state, hyper, 0, 0),
        "outer": evaluate(dynamics, lambda w, h, t: outer(w, h), state, hyper, 0, 0),
        "parameters": bilevel.Parameters({"w": torch.zeros(9, 9)}, {"b": torch.zeros(99, 99)}),
    }


@pytest.mark.ci
@pytest.mark.parametrize("size", SIZES)
def test_at_most_20_lines(size):
    for name, shown in objects(size).items():
        text = repr(shown)
        assert len(text.splitlines()) <= LINES, (name, text)
        assert len(text) <= CHARACTERS, (name, text)
        assert text.lower().startswith(name), text
        assert str(shown) == text


def test_a_solution_says_what_was_found():
    hyper = {"lr": torch.tensor(0.5), "decay": torch.zeros(3, 2), "n": torch.tensor([3, 4])}
    solution = bilevel.solve(
        bilevel.GradientDescent(
            lambda w, h: ((w - h["decay"]) ** 2).sum(), lambda hyper: hyper["lr"]
        ),
        lambda w, h: (w**2).sum() + h["lr"] * 0,
        torch.ones(3, 2),
        hyper,
        1,
        n_outer=1,
    )
    assert repr(solution).splitlines() == [
        "Solution(value=0, kept='best', reason='n_outer', hypergradients=1, last_grad_norm=0)",
        "  hyper: 9 numbers",
        "    ['lr'] 0.5 (float32)",
        "    ['decay'] (3, 2) float32",
        "    ['n'] (2,) int64",
        "  params: 6 numbers",
        "    (3, 2) float32",
    ]


def test_a_hypergradient_has_the_norm_of_each_leaf():
    dynamics = bilevel.GradientDescent(lambda w, h: (w - h["a"]).square().sum(), 0.25)
    hyper = {"a": torch.ones(2), "b": torch.tensor(2.0)}
    result = bilevel.hypergradient(
        dynamics, lambda w, h: 3 * w[0] + 4 * w[1] + h["b"], torch.zeros(2), hyper, 1
    )
    assert repr(result).splitlines()[-3:] == [
        "  grad: 3 numbers",
        "    ['a'] (2,) float32, norm 2.5",  # dw/da = 1/2 along (3, 4)
        "    ['b'] 1 (float32)",
    ]


def test_a_record_is_one_line_so_that_print_shows_progress(capsys):
    dynamics = bilevel.GradientDescent(lambda w, h: (w - h).square().sum(), 0.25)
    bilevel.solve(
        dynamics, lambda w, h: w.sum(), torch.zeros(2), torch.ones(2), 1, n_outer=2, callback=print
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Record(iteration=0, value=1, grad_norm=0.707107, hyper: 2 numbers)"
    assert len(lines) == 2
    assert "hyper: not kept" in repr(bilevel.Record(0, 1.0, 1.0, None))


def test_a_training_names_its_dynamics_and_its_weights():
    training = bilevel.Training(
        torch.nn.Linear(30, 20), torch.nn.functional.mse_loss, [(torch.zeros(1), torch.zeros(1))]
    )
    assert repr(training).splitlines() == [
        "Training(dynamics='Momentum', autocast=None)",
        "  params: 620 numbers",
        "    ['weight'] (20, 30) float32",
        "    ['bias'] (20,) float32",
    ]


def test_owners_and_zeros_have_a_line():
    class Owner:
        def record(self):
            raise NotImplementedError

    last = bilevel.Start(None, torch.zeros(1), {"probs": Owner()}, 0)
    assert repr(last).splitlines()[-1] == "    ['probs'] Owner"
    dynamics = bilevel.GradientDescent(lambda w, h: (w - h).square().sum())
    found = evaluate(
        dynamics, lambda w, h, t: w.sum(), {"params": torch.zeros(1)}, torch.zeros(1), 0, 0
    )
    assert repr(found).splitlines()[-1] == "    [0] zero"
