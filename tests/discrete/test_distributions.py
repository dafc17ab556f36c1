"""What every distribution promises, by enumeration and by counting draws."""

import itertools
import math

import pytest
import torch

from lds.discrete import AbstractDiscrete, Bernoulli

# One instance of each distribution, with the outcomes that can be enumerated.
PROBS = torch.tensor([0.0, 1e-3, 0.3, 0.5, 0.8, 1.0], dtype=torch.float64)
DISTRIBUTIONS: dict[str, AbstractDiscrete] = {"bernoulli": Bernoulli(PROBS)}
N_DRAWS = 20_000


def outcomes(n: int) -> torch.Tensor:
    """All of {0, 1}^n, `(2^n, n)`."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


@pytest.fixture(params=DISTRIBUTIONS, name="distribution")
def _distribution(request) -> AbstractDiscrete:
    return DISTRIBUTIONS[request.param]


def test_probabilities_sum_to_one_and_give_the_mean(distribution):
    z = outcomes(len(PROBS))
    p = distribution.log_prob(z).sum(1).exp()
    torch.testing.assert_close(p.sum(), torch.tensor(1.0).double(), rtol=1e-14, atol=0)
    torch.testing.assert_close(p @ z, distribution.mean, rtol=1e-14, atol=1e-16)


def test_the_mode_is_a_most_likely_outcome(distribution):
    z = outcomes(len(PROBS))
    best = distribution.log_prob(z).sum(1).max()
    torch.testing.assert_close(distribution.log_prob(distribution.mode).sum(), best)


def test_draws_match_the_mean(distribution):
    z = distribution.draw(N_DRAWS, generator=torch.Generator().manual_seed(0))
    assert z.shape == (N_DRAWS, *distribution.probs.shape)
    assert z.dtype == distribution.probs.dtype
    mean = distribution.mean
    error = (z.mean(0) - mean).abs()
    assert bool((error <= 4 * (mean * (1 - mean) / N_DRAWS).sqrt()).all())


def test_draws_follow_the_generator_and_leave_the_global_state_alone(distribution):
    before = torch.get_rng_state()
    first = distribution.draw(5, generator=torch.Generator().manual_seed(1))
    again = distribution.draw(5, generator=torch.Generator().manual_seed(1))
    other = distribution.draw(5, generator=torch.Generator().manual_seed(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(distribution.draw(5), first), "None is torch's own state"


def test_one_draw_has_the_shape_of_the_probabilities(distribution):
    assert distribution.draw().shape == distribution.probs.shape


def test_projection_is_idempotent_and_the_nearest_point(distribution):
    generator = torch.Generator().manual_seed(3)
    x = 3 * torch.randn(200, dtype=torch.float64, generator=generator)
    projected = distribution.project(x)
    assert torch.equal(distribution.project(projected), projected)
    type(distribution)(projected)  # and it is a distribution
    others = torch.rand(500, 200, dtype=torch.float64, generator=generator)
    assert bool(((x - projected).norm() <= (x - others).norm(dim=1)).all())


# Bernoulli's own.


def test_zero_is_never_drawn_and_one_always():
    z = Bernoulli(PROBS).draw(1000, generator=torch.Generator().manual_seed(4))
    assert not z[:, 0].any()
    assert bool(z[:, -1].all())


def test_log_prob_and_its_derivative_are_finite_at_certain_outcomes():
    """At θ = 0 and z = 0, log(1-θ) has slope -1; at θ = 1 and z = 1, log θ has slope 1."""
    probs = torch.tensor([0.0, 1.0, 0.25, 0.25], dtype=torch.float64, requires_grad=True)
    z = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    value = Bernoulli(probs).log_prob(z)
    expected = torch.tensor([0.0, 0.0, math.log(0.75), math.log(0.25)], dtype=torch.float64)
    torch.testing.assert_close(value.detach(), expected, rtol=1e-15, atol=0)
    (grad,) = torch.autograd.grad(value.sum(), probs)
    slopes = torch.tensor([-1.0, 1.0, -4 / 3, 4.0], dtype=torch.float64)
    torch.testing.assert_close(grad, slopes, rtol=1e-15, atol=0)


def test_log_prob_of_the_impossible_is_minus_infinity():
    value = Bernoulli(torch.tensor([0.0, 1.0])).log_prob(torch.tensor([1.0, 0.0]))
    assert value.tolist() == [-math.inf, -math.inf]


def test_log_prob_keeps_tiny_probabilities_in_float32():
    value = Bernoulli(torch.tensor([1e-12, 1e-12])).log_prob(torch.tensor([1.0, 0.0]))
    expected = torch.tensor([math.log(1e-12), -1e-12])
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)


def test_mean_is_differentiable_and_the_draw_is_not():
    probs = PROBS.clone().requires_grad_()
    distribution = Bernoulli(probs)
    assert torch.autograd.grad(distribution.mean.sum(), probs)[0].tolist() == [1.0] * 6
    assert not distribution.draw().requires_grad


@pytest.mark.parametrize("bad", [[0.5, 1.1], [-0.1], [math.nan, 0.2]])
def test_probabilities_outside_the_unit_interval(bad):
    with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\], got values from"):
        Bernoulli(torch.tensor(bad))


@pytest.mark.parametrize(
    ("bad", "got"), [(torch.tensor([0, 1]), "torch.int64"), ([0.5], "list"), (0.5, "float")]
)
def test_probabilities_of_another_type(bad, got):
    with pytest.raises(TypeError, match=f"probs must be a floating point tensor, got {got}"):
        Bernoulli(bad)
