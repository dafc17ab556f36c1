"""`Reverse(tape=True)`: the numbers of `Reverse()` from one application of every step."""

import functools

import pytest
import torch

from lds import bilevel
from lds.bilevel.tape import saved_bytes
from tests.problems import PROBLEMS


@pytest.mark.parametrize("truncation", [None, 1, 3])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_same_bits(name, truncation):
    problem = PROBLEMS[name]()
    found = []
    for method in (bilevel.Reverse(truncation, tape=tape) for tape in (False, True, None)):
        result = bilevel.hypergradient(
            problem.dynamics,
            problem.outer,
            problem.params,
            problem.hyper,
            problem.n_steps,
            method=method,
        )
        found.append(torch.cat([leaf.reshape(-1) for leaf in bilevel.tensors.leaves(result.grad)]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def counted(method, n_steps=4, n_weights=3, rows=1, **options):
    """The steps at which the inner loss is applied, with intermediate values of `rows` rows."""
    seen = []
    data = torch.ones(rows, n_weights)

    def inner(w, decay, step):
        seen.append(step)
        return decay * ((data @ w).sin() ** 2).mean()

    args = (lambda w, decay: w.sum(), torch.ones(n_weights), torch.tensor(0.3), n_steps)
    if options:
        bilevel.solve(bilevel.GradientDescent(inner, 0.1), *args, method=method, **options)
    else:
        bilevel.hypergradient(bilevel.GradientDescent(inner, 0.1), *args, method=method)
    return seen


@pytest.mark.parametrize("method", [None, bilevel.Reverse()])
def test_the_default_keeps_a_small_tape_and_no_large_one(method):
    assert counted(method) == [0, 1, 2, 3, 3]
    # A step keeps the rows and two vectors of intermediate values: 4 (3 + 2) bytes a row.
    assert counted(method, rows=300_000) == [0, 1, 2, 3, 3, 2, 1, 0]
    assert counted(method, rows=1_000_000, n_steps=1) == [0, 0]  # one step: a tape in any case


@pytest.mark.parametrize(
    ("method", "steps"),
    [
        (bilevel.Reverse(tape=False), [0, 1, 2, 3, 3, 2, 1, 0]),
        (bilevel.Reverse(truncation=2), [0, 1, 2, 3, 3]),
        (bilevel.Reverse(truncation=2, tape=True), [0, 1, 2, 3, 3]),
        (bilevel.Reverse(truncation=2, tape=False), [0, 1, 2, 3, 3, 2]),
        (bilevel.Reverse(check=True), [0, 1, 2, 3, 3, 2, 1, 0]),
        (bilevel.Reverse(checkpoint=4), [0, 1, 2, 3, 3, 2, 1, 0]),
    ],
)
def test_the_steps_that_are_applied_again(method, steps):
    assert counted(method) == steps


def test_an_outer_loop_compares_once():
    options = {"n_outer": 3, "keep": "last"}
    assert counted(None, n_steps=2, **options) == [0, 1, 1, 0, 1, 0, 1]


def test_the_bytes_of_a_tape():
    """Of sums and products whose kept tensors are known: each once, whoever shares it."""
    a, b = torch.ones(1000, requires_grad=True), torch.ones(1000, requires_grad=True)
    product = a * b  # keeps a and b
    assert saved_bytes([product]) == 8000
    assert saved_bytes([(product * product).sum()]) == 12000  # and the product
    assert saved_bytes([product.exp()]) == 12000  # its result
    assert saved_bytes([a + b]) == 0
    assert saved_bytes([torch.ones(3)]) == 0


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


@pytest.mark.parametrize("tape", [False, True, None])
def test_a_run_of_open_length_is_truncated_with_a_tape_too(tape):
    """Of w <- w - lr λ (w - 2) from 0, the last step but one and the last depend on λ."""
    inner = bilevel.GradientDescent(lambda w, lam: 0.5 * lam * ((w - 2) ** 2).sum(), lr=0.1)
    given = (inner, lambda w, lam: w.sum(), torch.zeros(3), torch.tensor(1.0), 30)
    method = bilevel.Reverse(truncation=2, tape=tape)
    found = bilevel.hypergradient(*given, method=method, inner_tol=1e-9).grad
    # dw_30/dλ = Σ_t 0.9^(29 - t) · 0.1 · 2 · 0.9^t over t = 28 and 29.
    assert float(found) == pytest.approx(3 * 2 * 0.1 * 2 * 0.9**29, rel=1e-4)
