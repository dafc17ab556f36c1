"""The contract of every distribution, by enumeration and by counting draws."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from lds.discrete import AbstractDiscrete, Bernoulli, Categorical, KSubset

F64 = torch.float64
N_DRAWS = 20_000
PROBS = torch.tensor([0.0, 1e-3, 0.3, 0.5, 0.8, 1.0], dtype=F64)
SQUARE = torch.tensor([[0.2, 0.4, 1.0], [0.4, 0.9, 0.0], [1.0, 0.0, 0.5]], dtype=F64)
CHOICES = torch.tensor([[0.0, 0.3, 0.2, 0.5], [0.25, 0.25, 0.1, 0.4]], dtype=F64)
LOGITS = torch.tensor([0.3, -1.2, 2.0, 0.0, -0.4], dtype=F64)
MARGINALS = torch.tensor([0.9, 0.0, 0.3, 0.8, 1.0], dtype=F64)
K = 3


def binary(n: int) -> Tensor:
    """All of {0, 1}^n, `(2^n, n)`."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=F64)


def mirrored(n: int) -> Tensor:
    """All symmetric matrices of 0 and 1."""
    rows, cols = torch.triu_indices(n, n)
    z = torch.zeros(2 ** len(rows), n, n, dtype=F64)
    z[:, rows, cols] = z[:, cols, rows] = binary(len(rows))
    return z


def one_hots(k: int, size: int) -> Tensor:
    """All ways of `size` choices of one of k."""
    index = torch.tensor(list(itertools.product(range(k), repeat=size)))
    return torch.eye(k, dtype=F64)[index]


def subsets(n: int, k: int) -> Tensor:
    z = binary(n)
    return z[z.sum(1) == k]


# One instance of each distribution, with all of its outcomes.
INSTANCES: dict[str, tuple[AbstractDiscrete, Tensor]] = {
    "bernoulli": (Bernoulli(PROBS), binary(6)),
    "bernoulli on logits": (Bernoulli.from_logits(LOGITS), binary(5)),
    "symmetric bernoulli": (Bernoulli(SQUARE, symmetric=True), mirrored(3)),
    "symmetric bernoulli on logits": (
        Bernoulli.from_logits(2 * SQUARE, symmetric=True),
        mirrored(3),
    ),
    "categorical": (Categorical(CHOICES), one_hots(4, 2)),
    "categorical on logits": (Categorical.from_logits(LOGITS[:3]), one_hots(3, 1).squeeze(1)),
    "k-subset": (KSubset(LOGITS, K), subsets(5, K)),
    "k-subset on marginals": (KSubset.from_probs(MARGINALS, K), subsets(5, K)),
    "k-subset, all of them": (KSubset(LOGITS, 5), subsets(5, 5)),
}


@pytest.fixture(params=INSTANCES, name="instance")
def _instance(request) -> tuple[AbstractDiscrete, Tensor]:
    return INSTANCES[request.param]


@pytest.fixture(params=INSTANCES, name="distribution")
def _distribution(request) -> AbstractDiscrete:
    return INSTANCES[request.param][0]


def log_probs(distribution: AbstractDiscrete, z: Tensor) -> Tensor:
    return distribution.log_prob(z).reshape(len(z), -1).sum(1)


def test_probabilities_sum_to_one_and_give_the_mean(instance):
    distribution, z = instance
    p = log_probs(distribution, z).exp()
    torch.testing.assert_close(p.sum(), torch.tensor(1.0).double(), rtol=1e-12, atol=0)
    mean = torch.tensordot(p, z, 1)
    torch.testing.assert_close(mean, distribution.mean, rtol=1e-11, atol=1e-12)


def test_entropy_is_that_of_the_outcomes(instance):
    distribution, z = instance
    logs = log_probs(distribution, z)
    possible = logs > -math.inf
    expected = -(logs[possible].exp() * logs[possible]).sum()
    torch.testing.assert_close(distribution.entropy().sum(), expected, rtol=1e-11, atol=1e-11)


def test_the_mode_is_a_most_likely_outcome(instance):
    distribution, z = instance
    mode = log_probs(distribution, distribution.mode.unsqueeze(0))
    torch.testing.assert_close(mode[0], log_probs(distribution, z).max())


def test_draws_follow_the_probabilities_of_the_outcomes(instance):
    """The frequency of each outcome is its probability, within four standard errors."""
    distribution, outcomes = instance
    z = distribution.draw(N_DRAWS, generator=torch.Generator().manual_seed(0))
    assert z.shape == (N_DRAWS, *distribution.parameter.shape)
    assert z.dtype == distribution.parameter.dtype
    number = 2.0 ** torch.arange(z[0].numel(), dtype=F64)
    seen = (z.reshape(N_DRAWS, -1) @ number).unsqueeze(1)
    counts = (seen == outcomes.reshape(len(outcomes), -1) @ number).sum(0)
    assert int(counts.sum()) == N_DRAWS, "a draw that is no outcome"
    p = log_probs(distribution, outcomes).exp()
    error = (counts - N_DRAWS * p).abs()
    assert bool((error <= 4 * (N_DRAWS * p * (1 - p)).sqrt() + 1).all())


def test_derivatives_of_the_mean_and_entropy_are_finite_differences(instance):
    """Along feasible directions, at parameters in the interior."""
    distribution, _ = instance
    inside = distribution.parameter
    if not distribution.on_logits:
        even = torch.full_like(inside, float(distribution.mean.mean()))
        inside = 0.9 * inside + 0.1 * even
    direction = torch.randn(inside.shape, generator=torch.Generator().manual_seed(7), dtype=F64)
    if not distribution.on_logits and not isinstance(distribution, Bernoulli):
        direction = direction - direction.mean(-1, keepdim=True)
    theta = inside.clone().requires_grad_()
    weights = torch.arange(1.0, theta.numel() + 1, dtype=F64).view(theta.shape)

    def value(parameter: Tensor) -> Tensor:
        at = distribution.at(parameter)
        return (weights * at.mean).sum() + at.entropy().sum()

    (grad,) = torch.autograd.grad(value(theta), theta)
    step = 1e-5
    numeric = (value(inside + step * direction) - value(inside - step * direction)) / (2 * step)
    torch.testing.assert_close((grad * direction).sum(), numeric, rtol=1e-6, atol=1e-7)


def test_draws_follow_the_generator_and_leave_the_global_state_alone(distribution):
    before = torch.get_rng_state()
    first = distribution.draw(9, generator=torch.Generator().manual_seed(1))
    again = distribution.draw(9, generator=torch.Generator().manual_seed(1))
    other = distribution.draw(9, generator=torch.Generator().manual_seed(2))
    assert torch.equal(first, again)
    certain = bool((distribution.mean == distribution.mode).all())
    assert torch.equal(first, other) == certain
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(distribution.draw(9), first), "None is torch's own state"


def test_one_draw_has_the_shape_of_the_parameter_and_no_history(distribution):
    made = distribution.at(distribution.parameter.clone().requires_grad_())
    assert made.draw().shape == distribution.parameter.shape
    assert not made.draw().requires_grad
    assert not made.mode.requires_grad
    assert made.mean.requires_grad


def test_float32_gives_float32(distribution):
    made = distribution.at(distribution.parameter.float())
    z = made.draw(3)
    for found in (z, made.mean, made.mode, made.log_prob(z), made.entropy()):
        assert found.dtype == torch.float32
    torch.testing.assert_close(made.mean.double(), distribution.mean, rtol=1e-6, atol=1e-6)


def test_no_draws(distribution):
    with pytest.raises(ValueError, match=r"n_draws must be at least 1, or None .*, got 0"):
        distribution.draw(0)


def test_projection_is_idempotent_and_the_nearest_point(distribution):
    generator = torch.Generator().manual_seed(3)
    shape = distribution.parameter.shape
    x = 3 * torch.randn(50, *shape, dtype=F64, generator=generator)
    projected = distribution.project(x)
    torch.testing.assert_close(distribution.project(projected), projected, rtol=0, atol=1e-14)
    distribution.at(projected)  # and it is a distribution
    others = distribution.project(3 * torch.randn(50, *shape, dtype=F64, generator=generator))
    inner = ((x - projected) * (others - projected)).flatten(1).sum(1)
    assert bool((inner <= 1e-9).all())


# Bernoulli's own.


def test_zero_is_never_drawn_and_one_always():
    z = Bernoulli(PROBS).draw(1000, generator=torch.Generator().manual_seed(4))
    assert not z[:, 0].any()
    assert bool(z[:, -1].all())


def test_log_prob_and_its_derivative_are_finite_at_certain_outcomes():
    """At θ = 0 and z = 0, log(1-θ) has slope -1; at θ = 1 and z = 1, log θ has slope 1."""
    probs = torch.tensor([0.0, 1.0, 0.25, 0.25], dtype=F64, requires_grad=True)
    z = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=F64)
    value = Bernoulli(probs).log_prob(z)
    expected = torch.tensor([0.0, 0.0, math.log(0.75), math.log(0.25)], dtype=F64)
    torch.testing.assert_close(value.detach(), expected, rtol=1e-15, atol=0)
    (grad,) = torch.autograd.grad(value.sum(), probs)
    slopes = torch.tensor([-1.0, 1.0, -4 / 3, 4.0], dtype=F64)
    torch.testing.assert_close(grad, slopes, rtol=1e-15, atol=0)


def test_log_prob_of_an_impossible_outcome_is_minus_infinity():
    value = Bernoulli(torch.tensor([0.0, 1.0])).log_prob(torch.tensor([1.0, 0.0]))
    assert value.tolist() == [-math.inf, -math.inf]
    value = Categorical(torch.tensor([0.0, 1.0])).log_prob(torch.tensor([1.0, 0.0]))
    assert value.item() == -math.inf
    assert KSubset(torch.zeros(3), 2).log_prob(torch.tensor([1.0, 0.0, 0.0])).item() == -math.inf


def test_log_prob_keeps_tiny_probabilities_in_float32():
    z = torch.tensor([1.0, 0.0])
    expected = torch.tensor([math.log(1e-12), -1e-12])
    value = Bernoulli(torch.tensor([1e-12, 1e-12])).log_prob(z)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
    logits = torch.full((2,), math.log(1e-12))
    value = Bernoulli.from_logits(logits).log_prob(z)
    # The logit, -27.6, is itself rounded, by up to half of 27.6 ε: so far is its exponential off,
    # beside a few roundings.
    rounding = (27.6 / 2 + 4) * torch.finfo(torch.float32).eps
    torch.testing.assert_close(value, expected, rtol=rounding, atol=0)


def test_mean_is_differentiable_and_the_draw_is_not():
    probs = PROBS.clone().requires_grad_()
    distribution = Bernoulli(probs)
    assert torch.autograd.grad(distribution.mean.sum(), probs)[0].tolist() == [1.0] * 6
    assert not distribution.draw().requires_grad


def test_entropy_has_derivative_0_where_it_would_be_infinite():
    probs = torch.tensor([0.0, 1.0, 0.5], dtype=F64, requires_grad=True)
    (grad,) = torch.autograd.grad(Bernoulli(probs).entropy().sum(), probs)
    assert grad.isfinite().all()
    choice = torch.tensor([0.0, 0.5, 0.5], dtype=F64, requires_grad=True)
    (grad,) = torch.autograd.grad(Categorical(choice).entropy(), choice)
    assert grad.isfinite().all()


def test_a_symmetric_draw_is_symmetric_and_gradients_are_shared_by_both_sides():
    probs = SQUARE.clone().requires_grad_()
    distribution = Bernoulli(probs, symmetric=True)
    z = distribution.draw(50)
    assert torch.equal(z, z.mT)
    weights = torch.arange(9.0, dtype=F64).view(3, 3)
    (grad,) = torch.autograd.grad((weights * distribution.mean).sum(), probs)
    assert torch.equal(grad, (weights + weights.mT) / 2)
    lower = distribution.log_prob(z).tril(-1)
    assert not lower.any(), "each pair counts once"


# Categorical's and KSubset's own.


def test_a_choice_of_probability_zero_is_never_drawn():
    probs = torch.tensor([0.0, 1e-9, 0.0, 1 - 1e-9, 0.0], dtype=F64)
    z = Categorical(probs).draw(2000, generator=torch.Generator().manual_seed(5))
    assert not z[:, [0, 2, 4]].any()
    assert bool((z.sum(1) == 1).all())


def test_marginals_of_a_k_subset_are_found_again_from_probabilities_near_their_bounds():
    generator = torch.Generator().manual_seed(6)
    for n, k, spread in [(2, 1, 3.0), (6, 1, 9.0), (4, 2, 9.0), (10, 9, 3.0), (40, 12, 3.0)]:
        logits = spread * torch.randn(5, n, dtype=F64, generator=generator)
        marginals = KSubset(logits, k).mean
        z = KSubset(logits, k).draw(4, generator=generator)
        found = KSubset.from_probs(marginals, k).log_prob(z)
        # Logits of the most certain entries are known less well than their marginals.
        torch.testing.assert_close(found, KSubset(logits, k).log_prob(z), rtol=0, atol=2e-2)
        found = KSubset.from_probs(marginals, k).draw(3, generator=generator)
        assert bool((found.sum(-1) == k).all())


def test_certain_entries_of_a_k_subset():
    z = KSubset.from_probs(MARGINALS, K).draw(2000, generator=torch.Generator().manual_seed(8))
    assert not z[:, 1].any()
    assert bool(z[:, 4].all())


def test_independent_rows_of_a_k_subset_are_as_if_alone():
    logits = torch.stack([LOGITS, LOGITS.flip(0)])
    both = KSubset(logits, 2)
    for row, single in enumerate([KSubset(LOGITS, 2), KSubset(LOGITS.flip(0), 2)]):
        torch.testing.assert_close(both.mean[row], single.mean)
        torch.testing.assert_close(both.entropy()[row], single.entropy())


# Errors.


@pytest.mark.parametrize("bad", [[0.5, 1.1], [-0.1], [math.nan, 0.2]])
def test_probabilities_outside_the_unit_interval(bad):
    with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\], got"):
        Bernoulli(torch.tensor(bad))


@pytest.mark.parametrize(
    ("bad", "got"), [(torch.tensor([0, 1]), "torch.int64"), ([0.5], "list"), (0.5, "float")]
)
@pytest.mark.parametrize("make", [Bernoulli, Categorical, lambda p: KSubset.from_probs(p, 1)])
def test_probabilities_of_another_type(make, bad, got):
    with pytest.raises(TypeError, match=f"probs must be a floating point tensor, got {got}"):
        make(bad)


@pytest.mark.parametrize("bad", [[0.5, 0.6], [1.5, -0.5], [math.nan, 1.0], [0.2, 0.2]])
def test_probabilities_off_the_simplex(bad):
    with pytest.raises(ValueError, match=r"probs must be 0 or more and sum to 1 .*, got"):
        Categorical(torch.tensor(bad))


@pytest.mark.parametrize("bad", [[0.5, 0.6, 0.5], [1.5, -0.5, 1.0], [math.nan, 1.0, 1.0]])
def test_probabilities_off_the_capped_simplex(bad):
    with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\] and sum to k = 2 .* got"):
        KSubset.from_probs(torch.tensor(bad), 2)


@pytest.mark.parametrize("k", [0, 4, -1, 1.0, True])
def test_k_out_of_range(k):
    message = f"k must be an integer from 1 to the 3 entries of the last dimension, got {k!r}"
    with pytest.raises(ValueError, match=message):
        KSubset(torch.zeros(3), k)


@pytest.mark.parametrize(
    "make", [Bernoulli.from_logits, Categorical.from_logits, lambda x: KSubset(x, 1)]
)
def test_logits_must_be_finite_and_floating_point(make):
    with pytest.raises(ValueError, match="logits must be finite"):
        make(torch.tensor([0.0, math.inf]))
    with pytest.raises(TypeError, match=r"logits must be a floating point tensor, got torch.int64"):
        make(torch.tensor([0, 1]))


def test_shapes_without_choices_or_without_a_square():
    with pytest.raises(ValueError, match=r"last dimension with the choices, got \(\)"):
        Categorical(torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"square last dimensions, got \(2, 3\)"):
        Bernoulli(torch.zeros(2, 3), symmetric=True)
