"""SABA against its recursion written out by hand, and its variance at the solution."""

import functools

import pytest
import torch

from lds import bilevel
from lds.bilevel.unroll import Midway, differentiate_run
from tests.bilevel.test_stochastic import (
    DECAY,
    EXACT,
    SOLUTION,
    X_VAL,
    Y_VAL,
    B,
    H,
    N,
    X,
    Y,
    loss,
    outer,
)

BATCHES = torch.arange(N).split(8)  # 5 batches
JUDGES = torch.arange(len(Y_VAL)).split(5)  # 4 batches


def inner(w, decay, step):
    return loss(w, decay, BATCHES[step % 5])


def judged(w, decay, step):
    """E with a part that depends on the decay directly."""
    rows = JUDGES[step % 4]
    fit = 0.5 * (X_VAL[rows] @ w - Y_VAL[rows]).square().mean()
    return fit + 0.01 * (1 + step % 4) * (decay**2).sum()


def saba(lr=0.3):
    return bilevel.SABA(lr, n_batches=5, n_outer_batches=4)


def solved(method, n_outer, objective=judged, lr=0.2, outer_lr=0.5, momentum=0.0, **options):
    return bilevel.solve(
        bilevel.Momentum(inner, lr, momentum),
        objective,
        torch.zeros(4).double(),
        DECAY,
        1,
        method=method,
        n_outer=n_outer,
        warm_start="state",
        keep="last",
        optimizer=functools.partial(torch.optim.SGD, lr=outer_lr),
        **options,
    )


class Saga:
    """φ_i - stored φ_i + mean of what is stored, as in the paper; a dict by batch."""

    def __init__(self):
        self.stored = {}

    def __call__(self, i, new):
        found = new
        if i in self.stored:
            found = new - self.stored[i] + sum(self.stored.values()) / len(self.stored)
        self.stored[i] = new
        return found


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_every_step_is_the_one_written_out(momentum):
    solution = solved(saba(), 23, momentum=momentum)
    w = q = v = torch.zeros(4).double()
    decay = DECAY.clone()
    by_slope, by_hessian, by_mixed, by_b, by_direct = (Saga() for _ in range(5))
    for t, record in enumerate(solution.history):
        torch.testing.assert_close(record.hyper, decay, rtol=1e-11, atol=1e-14)
        rows, judges = BATCHES[t % 5], JUDGES[(t + 1) % 4]
        x, x_val = X[rows], X_VAL[judges]
        old = w
        slope = x.T @ (x @ w - Y[rows]) / len(rows) + decay * w
        v = momentum * v + by_slope(t % 5, slope)
        w = w - 0.2 * v
        b = x_val.T @ (x_val @ w - Y_VAL[judges]) / len(judges)
        d_q = by_hessian(t % 5, (x @ q) @ x / len(rows) + decay * q) - by_b((t + 1) % 4, b)
        d_decay = by_direct((t + 1) % 4, 0.02 * (1 + (t + 1) % 4) * decay)
        d_decay = d_decay - by_mixed(t % 5, q * old)
        q = q - 0.3 * d_q
        decay = decay - 0.5 * d_decay
    torch.testing.assert_close(solution.params, w, rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(solution.last.hyper, decay, rtol=1e-11, atol=1e-14)


def test_one_batch_is_soba():
    def whole(w, decay):
        return loss(w, decay, torch.arange(N))

    found = []
    for method in (bilevel.SOBA(0.3), bilevel.SABA(0.3, n_batches=1)):
        solution = bilevel.solve(
            bilevel.GradientDescent(whole, 0.2),
            outer,
            torch.zeros(4).double(),
            DECAY,
            1,
            method=method,
            n_outer=12,
            warm_start="state",
            keep="last",
        )
        found.append(solution.last.hyper)
    torch.testing.assert_close(*found, rtol=1e-12, atol=0)


def continued(method, n):
    """Weights, q and hypergradients of `n` iterations at one λ."""
    dynamics, solution, midway = bilevel.GradientDescent(inner, 0.1), None, None
    weights, solutions, grads = [], [], []
    for k in range(n):
        w0 = torch.zeros(4).double()
        result = differentiate_run(
            dynamics, judged, w0, DECAY, 1, method, 0, k, solution, check_usage=False, midway=midway
        )
        solution, midway = result.solution, Midway(result.state, result.step)
        weights.append(dynamics.params(result.state))
        solutions.append(solution[0])
        grads.append(result.grad)
    return [torch.stack(found) for found in (weights, solutions, grads)]


@pytest.mark.ci
def test_the_directions_lose_their_variance_where_those_of_soba_keep_it():
    """At one λ all three settle at the solution of the whole data; with SOBA none does."""
    direct = 0.02 * 2.5 * DECAY
    exact = (SOLUTION, torch.linalg.solve(H, B), EXACT + direct)
    for found, value in zip(continued(saba(0.1), 1000), exact, strict=True):
        torch.testing.assert_close(found[-1], value, rtol=1e-9, atol=1e-12)
        assert float(found[-20:].var(0).max()) < 1e-20
    for found, value in zip(continued(bilevel.SOBA(0.1), 1000), exact, strict=True):
        assert float(found[-20:].var(0).max()) > 1e-6
        assert float((found[-1] - value).norm() / value.norm()) > 1e-3


def test_it_resumes_to_the_same_bits(tmp_path):
    solved(saba(), 7, checkpoint=tmp_path)
    resumed = solved(saba(), 16, checkpoint=tmp_path, resume=True)
    assert torch.equal(resumed.last.hyper, solved(saba(), 16).last.hyper)


def test_results_whose_tables_were_written_over_or_do_not_fit():
    def run(method, previous=None, n_steps=1, hyper=DECAY):
        return bilevel.hypergradient(
            bilevel.GradientDescent(inner, 0.2),
            judged,
            SOLUTION,
            hyper,
            n_steps,
            method=method,
            previous=previous,
        )

    first = run(saba())
    run(saba(), first)
    with pytest.raises(ValueError, match=r"previous must be the latest .* iteration 1 hold"):
        run(saba(), first)
    for other in (run(bilevel.SOBA(0.3)), run(bilevel.SABA(0.3, n_batches=4))):
        with pytest.raises(ValueError, match="previous must be a result of SABA with the same"):
            run(saba(), other)
    with pytest.raises(ValueError, match="previous must be a result for weights of the same"):
        run(bilevel.SOBA(0.3), first)
    with pytest.raises(ValueError, match="SABA must have n_steps=1"):
        run(saba(), n_steps=2)
    with pytest.raises(ValueError, match="SABA needs n_steps of at least 1"):
        run(saba(), n_steps=0)


@pytest.mark.parametrize("bad", [{"n_batches": 0}, {"n_batches": 3, "n_outer_batches": 0}])
def test_numbers_of_batches_out_of_range(bad):
    with pytest.raises(ValueError, match=r"SABA\(n_(outer_)?batches\) must be at least 1, got 0"):
        bilevel.SABA(0.1, **bad)
