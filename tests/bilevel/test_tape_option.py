"""`Reverse(tape=True)`: the numbers of `Reverse()` from one application of every step."""

import functools

import pytest
import torch

from lds import bilevel
from tests.problems import PROBLEMS


@pytest.mark.parametrize("truncation", [None, 1, 3])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_same_bits(name, truncation):
    problem = PROBLEMS[name]()
    found = []
    for method in (bilevel.Reverse(truncation), bilevel.Reverse(truncation, tape=True)):
        result = bilevel.hypergradient(
            problem.dynamics,
            problem.outer,
            problem.params,
            problem.hyper,
            problem.n_steps,
            method=method,
        )
        found.append(torch.cat([leaf.reshape(-1) for leaf in bilevel.tensors.leaves(result.grad)]))
    assert torch.equal(*found)


def test_every_step_is_applied_once_and_the_last_again():
    seen = []

    def inner(w, decay, step):
        seen.append(step)
        return decay * (w**2).sum()

    run = functools.partial(
        bilevel.hypergradient,
        bilevel.GradientDescent(inner, 0.1),
        lambda w, decay: w.sum(),
        torch.ones(3),
        torch.tensor(0.3),
        4,
    )
    run(method=bilevel.Reverse(tape=True))
    assert seen == [0, 1, 2, 3, 3]


def test_a_last_step_that_does_not_repeat():
    calls = []

    def inner(w, decay):
        calls.append(1)
        return decay * (w**2).sum() * len(calls)

    with pytest.raises(bilevel.ReplayError, match=r"step 3 of the dynamics does not repeat"):
        bilevel.hypergradient(
            bilevel.GradientDescent(inner, 0.1),
            lambda w, decay: w.sum(),
            torch.ones(3),
            torch.tensor(0.3),
            4,
            method=bilevel.Reverse(tape=True),
        )


@pytest.mark.parametrize("other", [{"check": True}, {"checkpoint": "sqrt"}, {"checkpoint": 3}])
def test_options_that_need_another_application(other):
    with pytest.raises(ValueError, match=r"Reverse\(tape=True\) applies no step again"):
        bilevel.Reverse(tape=True, **other)


def test_the_random_state_is_left_as_it_was():
    """A run restores torch's generator and its own, after an error as well."""
    own = torch.Generator().manual_seed(3)

    def inner(w, decay, step):
        noise = torch.rand(3) + torch.rand(3, generator=own)
        if step == fails_at:
            raise RuntimeError("planned")
        return decay * (noise * w**2).sum()

    def run():
        bilevel.hypergradient(
            bilevel.GradientDescent(inner, 0.1, generators=[own]),
            lambda w, decay: (torch.rand(3) * w).sum(),
            torch.ones(3),
            torch.tensor(0.3),
            4,
        )

    before, own_before = torch.get_rng_state(), own.get_state()
    fails_at = None
    run()
    fails_at = 2
    with pytest.raises(RuntimeError, match="planned"):
        run()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(own.get_state(), own_before)
