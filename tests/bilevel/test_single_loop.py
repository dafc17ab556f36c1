"""SOBA in the loop of `solve`, against the algorithm written out, and its limit in closed form."""

import functools

import pytest
import torch

from lds import bilevel
from tests.bilevel.test_stochastic import DECAY, EXACT, SOLUTION, B, H, N, X, Y, loss, outer
from tests.problems import scalar


def whole(w, decay):
    return loss(w, decay, torch.arange(N))


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_every_step_is_the_one_written_out(momentum):
    solution = bilevel.solve(
        bilevel.Momentum(whole, 0.2, momentum),
        outer,
        torch.zeros(4).double(),
        DECAY,
        1,
        method=bilevel.SOBA(0.3),
        n_outer=12,
        warm_start="state",
        keep="last",
        optimizer=functools.partial(torch.optim.SGD, lr=0.5),
    )
    w = q = v = torch.zeros(4).double()
    decay = DECAY.clone()
    for record in solution.history:
        torch.testing.assert_close(record.hyper, decay, rtol=1e-11, atol=1e-14)
        hessian, slope = X.T @ X / N + decay.diag(), X.T @ (X @ w - Y) / N + decay * w
        old, v = w, momentum * v + slope
        w = w - 0.2 * v
        leaf = w.clone().requires_grad_()
        value = outer(leaf, decay)
        (b,) = torch.autograd.grad(value, leaf)
        assert record.value == pytest.approx(float(value.detach()), rel=1e-11)
        decay = decay + 0.5 * q * old
        q = q - 0.3 * (q @ hessian - b)
    torch.testing.assert_close(solution.params, w, rtol=1e-11, atol=1e-14)


def test_it_settles_at_the_hypergradient_of_the_solution():
    result = None
    for _ in range(150):
        result = bilevel.hypergradient(
            bilevel.GradientDescent(whole, 0.4),
            outer,
            SOLUTION,
            DECAY,
            1,
            method=bilevel.SOBA(0.4),
            previous=result,
        )
    torch.testing.assert_close(result.grad, EXACT, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(result.solution[0], torch.linalg.solve(H, B), rtol=1e-9, atol=1e-12)


def test_on_batches_it_comes_near_the_optimum_of_the_full_batch():
    """f(λ) = E(w*(λ)) by Newton's closed form; one decay, tuned from 1 to where f is flat."""

    def drawn(w, decay):
        return loss(w, decay.exp(), torch.randint(N, (8,)))

    def value(decay):
        w = torch.linalg.solve(X.T @ X / N + decay.exp() * torch.eye(4), X.T @ Y / N)
        return float(outer(w, decay))

    solution = bilevel.solve(
        bilevel.GradientDescent(drawn, 0.1),
        outer,
        torch.zeros(4).double(),
        scalar(0.0),
        1,
        method=bilevel.SOBA(0.1),
        n_outer=600,
        warm_start="state",
        keep="averaged",
        optimizer=functools.partial(torch.optim.Adam, lr=0.02),
    )
    grid = [value(x) for x in torch.linspace(-8, 0, 200).double()]
    assert value(solution.hyper) - min(grid) < 0.05 * (value(scalar(0.0)) - min(grid))


def test_a_resumed_run_goes_on_with_q(tmp_path):
    def run(n_outer, **options):
        return bilevel.solve(
            bilevel.Adam(whole, 0.05),
            outer,
            torch.zeros(4).double(),
            DECAY,
            1,
            n_outer=n_outer,
            method=bilevel.SOBA(0.3),
            warm_start="state",
            **options,
        )

    run(3, checkpoint=tmp_path)
    assert torch.equal(run(8, checkpoint=tmp_path, resume=True).last.hyper, run(8).last.hyper)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("inf")])
def test_a_step_size_out_of_range(bad):
    with pytest.raises(ValueError, match=r"SOBA\(lr\) must be positive and finite"):
        bilevel.SOBA(bad)


def test_what_it_cannot_do():
    own = bilevel.Dynamics(lambda p, h: p, lambda s, h, t: 0.5 * (s + h), lambda s: s)
    with pytest.raises(TypeError, match="SOBA needs a dynamics made of an inner objective"):
        bilevel.hypergradient(
            own, lambda w, h: w, scalar(1.0), scalar(1.0), 1, method=bilevel.SOBA()
        )
    with pytest.raises(ValueError, match="SOBA needs n_steps of at least 1"):
        bilevel.hypergradient(
            bilevel.GradientDescent(whole), outer, SOLUTION, DECAY, 0, method=bilevel.SOBA()
        )
    with pytest.raises(ValueError, match=r"lr.* is a setting of the optimiser"):
        bilevel.hypergradient(
            bilevel.GradientDescent(lambda w, h: whole(w, h["d"]), lambda h: h["lr"]),
            lambda w, h: outer(w, h["d"]),
            SOLUTION,
            {"d": DECAY, "lr": scalar(0.1)},
            1,
            method=bilevel.SOBA(),
        )
