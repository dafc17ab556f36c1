"""Permutations against enumeration, closed forms, row and column sums, finite differences."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from lds import bilevel
from lds._random import mix, replayed
from lds.discrete import gumbel_sinkhorn, matching, sinkhorn

F64 = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, scale: float = 1.0, dtype=F64) -> Tensor:
    return (scale * torch.randn(shape, dtype=F64, generator=generator())).to(dtype)


def permutations(n: int) -> Tensor:
    return torch.stack(
        [torch.eye(n, dtype=F64)[list(order)] for order in itertools.permutations(range(n))]
    )


def assert_doubly_stochastic(p: Tensor, tolerance: float) -> None:
    assert bool((p >= 0).all())
    for dim in (-1, -2):
        sums = p.double().sum(dim)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=tolerance)


# Matching.


def test_the_matching_is_the_best_of_all_permutations():
    scores = random(6, 5, 5)
    values = torch.einsum("pij,bij->bp", permutations(5), scores)
    expected = permutations(5)[values.argmax(1)]
    assert torch.equal(matching(scores), expected)
    assert torch.equal(matching(scores.view(2, 3, 5, 5)), expected.view(2, 3, 5, 5))
    assert matching(scores.half()).dtype == torch.float16


# Sinkhorn.


def test_sinkhorn_is_the_limit_of_its_sweeps():
    logits = random(3, 5, 5, scale=2.0)
    x = logits.clone()
    for _ in range(5000):
        x = x - x.logsumexp(-1, keepdim=True)
        x = x - x.logsumexp(-2, keepdim=True)
    torch.testing.assert_close(sinkhorn(logits), x.exp(), rtol=1e-9, atol=1e-12)


def test_two_by_two_in_closed_form():
    """P_00 = σ((l_00 + l_11 - l_01 - l_10) / 2)."""
    logits = random(50, 2, 2, scale=5.0)
    gap = logits[:, 0, 0] + logits[:, 1, 1] - logits[:, 0, 1] - logits[:, 1, 0]
    torch.testing.assert_close(sinkhorn(logits)[:, 0, 0], (gap / 2).sigmoid(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e3, 1e4, 1e6, 1e10, 1e100])
@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_sums_are_one_and_gradients_finite_however_large_the_logits(n, scale):
    logits = random(2, n, n, scale=scale).requires_grad_()
    p = sinkhorn(logits)
    assert_doubly_stochastic(p.detach(), 1e-9)
    weights = random(2, n, n)
    (grad,) = torch.autograd.grad((weights * p).sum(), logits)
    assert bool(grad.isfinite().all())
    # Moving a row or a column of logits moves nothing.
    for dim in (-1, -2):
        assert float(grad.sum(dim).abs().max()) < 1e-6


def test_at_a_low_temperature_it_is_the_matching():
    scores = random(4, 20, 20)
    torch.testing.assert_close(sinkhorn(scores * 1e6), matching(scores), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 10.0, 1e3, 1e5])
def test_equally_good_permutations_share_their_weight(scale):
    """Two rows share the best place, two places share a row: halves and quarters."""
    scores = torch.tensor([[0.0, -5, -5], [0, -5, -5], [-5, 0, 0]], dtype=F64)
    p = sinkhorn(scores * scale)
    assert_doubly_stochastic(p, 1e-9)
    expected = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0, 0.5, 0.5]], dtype=F64)
    torch.testing.assert_close(p, expected, rtol=0, atol=1e-4)
    ties = torch.randint(0, 3, (4, 20, 20), generator=generator()).double()
    assert_doubly_stochastic(sinkhorn(scale * ties), 1e-9)


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_derivatives_are_finite_differences(scale):
    logits = random(2, 4, 4, scale=scale).requires_grad_()
    assert torch.autograd.gradcheck(sinkhorn, logits)
    assert torch.autograd.gradgradcheck(sinkhorn, logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_other_precisions_are_float64_rounded(dtype, scale):
    logits = random(6, 6, scale=scale, dtype=dtype).requires_grad_()
    p = sinkhorn(logits)
    assert p.dtype == dtype
    expected = sinkhorn(logits.detach().double())
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(p.detach().double(), expected, rtol=eps, atol=1e-7)
    assert bool(torch.autograd.grad(p.square().sum(), logits)[0].isfinite().all())


def test_empty_matrices():
    assert sinkhorn(torch.zeros(0, 0)).shape == (0, 0)
    assert sinkhorn(torch.zeros(0, 3, 3)).shape == (0, 3, 3)
    assert matching(torch.zeros(0, 0)).shape == (0, 0)


# Gumbel-Sinkhorn.


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("temperature", [5.0, 1.0, 0.1, 1e-3, 1e-8])
def test_draws_are_permutations_or_doubly_stochastic_with_the_soft_ones_slope(temperature, hard):
    logits = random(3, 5, 5).requires_grad_()
    options = {"temperature": temperature, "generator": generator(1)}
    z = gumbel_sinkhorn(logits, hard=hard, **options)
    uniform = torch.rand(3, 5, 5, dtype=F64, generator=generator(1))
    scores = logits - (-uniform.log()).log()
    soft = sinkhorn(scores / temperature)
    expected = matching(scores) if hard else soft
    torch.testing.assert_close(z, expected, rtol=1e-6, atol=1e-9)
    assert_doubly_stochastic(z.detach(), 1e-9)
    weights = random(3, 5, 5)
    grads = [torch.autograd.grad((weights * out).sum(), logits)[0] for out in (z, soft)]
    assert bool(grads[0].isfinite().all())
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-9)


def test_hard_draws_of_two_follow_their_closed_form():
    """The identity of two wins where two Gumbel noises less two others are below the gap."""
    logits = torch.tensor([[1.0, 0.0], [0.0, 0.5]], dtype=F64)
    n = 20_000
    z = gumbel_sinkhorn(logits.expand(n, 2, 2), temperature=1.0, hard=True, generator=generator())
    # The difference of two pairs is the sum of two logistic variables; its tail by quadrature.
    t = torch.linspace(-40, 40, 200_001, dtype=F64)
    density = t.sigmoid() * (-t).sigmoid()
    p = float(torch.trapezoid(density * (1.5 - t).sigmoid(), t))
    assert float(z[:, 0, 0].mean()) == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))


def test_the_temperature_is_a_hyperparameter_and_no_noise_gives_the_mode():
    logits = random(4, 4)
    level = torch.tensor(0.7, dtype=F64, requires_grad=True)

    def value(temperature) -> Tensor:
        z = gumbel_sinkhorn(logits, temperature=temperature, generator=generator())
        return (z * random(4, 4)).sum()

    (grad,) = torch.autograd.grad(value(level), level)
    numeric = (value(0.7 + 1e-6) - value(0.7 - 1e-6)) / 2e-6
    torch.testing.assert_close(grad, numeric, rtol=1e-6, atol=1e-8)
    calm = gumbel_sinkhorn(logits, temperature=1.0, noise=0.0, hard=True)
    assert torch.equal(calm, matching(logits))


@pytest.mark.parametrize("method", [bilevel.Reverse(), bilevel.Forward()], ids=repr)
@pytest.mark.parametrize("hard", [False, True])
def test_inside_a_dynamics(method, hard):
    def inner(w, hyper):
        return (w @ gumbel_sinkhorn(hyper, temperature=0.8, hard=hard) - x).square().sum()

    def outer(w, hyper):
        return (w[1] - 2).square().sum()

    x, w, hyper = random(2, 3), torch.zeros(2, 3, dtype=F64), random(3, 3)
    dynamics = bilevel.GradientDescent(inner, lr=0.2)
    found = bilevel.hypergradient(dynamics, outer, w, hyper, n_steps=3, method=method, seed=5)
    traced = hyper.clone().requires_grad_()
    state = dynamics.start(w, traced)
    for t in range(3):
        with replayed(mix(5, 0, t)):
            state = dynamics.step(state, traced, t)
    (expected,) = torch.autograd.grad(outer(dynamics.params(state), traced), traced)
    torch.testing.assert_close(found.grad, expected, rtol=1e-9, atol=1e-11)
    assert bool(expected.any())


@pytest.mark.parametrize("call", [matching, sinkhorn, lambda x: gumbel_sinkhorn(x, temperature=1)])
def test_invalid_logits_are_refused(call):
    name = "scores" if call is matching else "logits"
    for bad in (torch.zeros(3), torch.zeros(2, 3), torch.tensor(0.0)):
        with pytest.raises(
            ValueError, match=rf"^{name} must be square matrices \(\.\.\., n, n\), got"
        ):
            call(bad)
    with pytest.raises(ValueError, match=rf"^{name} must be finite, got nan at index \(0, 1\)"):
        call(torch.tensor([[0.0, math.nan], [0.0, 0.0]]))
    with pytest.raises(
        TypeError, match=rf"^{name} must be a floating point tensor, got torch\.int64"
    ):
        call(torch.eye(2).long())


def test_invalid_options_are_refused():
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature must be a positive number"):
            gumbel_sinkhorn(torch.zeros(2, 2), temperature=bad)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="noise must be a finite number of 0 or more"):
            gumbel_sinkhorn(torch.zeros(2, 2), temperature=1.0, noise=bad)
    with pytest.raises(ValueError, match=r"may reach 2\.5e\+07, and torch\.float16 ends"):
        gumbel_sinkhorn(torch.zeros(2, 2, dtype=torch.float16), temperature=1e-8)
    with pytest.raises(ValueError, match=r"logits / temperature must be finite in float64"):
        gumbel_sinkhorn(1e300 * torch.eye(2, dtype=F64), temperature=1e-50)
