"""Logits of any size: draws follow the probabilities, which plain arithmetic enumerates.

The oracle uses Python's exact fractions of the logits, and `math.exp` of their differences.
"""

import itertools
import math
from collections import Counter
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from lds.discrete import (
    Bernoulli,
    Categorical,
    KSubset,
    gumbel_sinkhorn,
    gumbel_softmax,
    imle,
    score_function,
    straight_through,
)

N_DRAWS = 4000
DTYPES = [torch.float32, torch.float64]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact(logits: list[float], outcomes: list[tuple[int, ...]]) -> dict[tuple[int, ...], float]:
    """P(z) ∝ exp(Σ_i logits_i z_i) over the given outcomes."""
    scores = {
        z: sum(Fraction(x) for x, one in zip(logits, z, strict=True) if one) for z in outcomes
    }
    top = max(scores.values())
    weights = {z: math.exp(max(float(score - top), -1e3)) for z, score in scores.items()}
    total = math.fsum(weights.values())
    return {z: weight / total for z, weight in weights.items()}


def subsets(n: int, k: int) -> list[tuple[int, ...]]:
    return [z for z in itertools.product((0, 1), repeat=n) if sum(z) == k]


def assert_frequencies(z: Tensor, expected: dict[tuple[int, ...], float]) -> None:
    """Frequencies lie within four standard errors; what has no probability is never drawn."""
    seen = Counter(tuple(map(int, row)) for row in z.tolist())
    assert set(seen) <= set(expected), "a draw that is no outcome"
    for outcome, p in expected.items():
        slack = 4 * (len(z) * p * (1 - p)) ** 0.5
        assert abs(seen[outcome] - len(z) * p) <= slack + 1e-6, (outcome, p, seen[outcome])


ROWS = [
    [-60.0, -60.0, -60.0],
    [60.0, 60.0, 60.0],
    [200.0, 0.0, 199.0],
    [0.0, 199.0, 200.0, 198.0],
    [-300.0, -301.0, -299.5, 5.0],
    [1e18, 1e18, 1e18],
    [-1e30, -1e30, 0.0, 1.0],
    [0.0, 0.5, 1.0, 1e30, 1e30],
    [0.0, 1e4, 0.0, -1e4, 1e4],
    [750.0, 0.0, 1.0, -750.0],
    [3e38, -3e38, 3e38, 0.0],
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("logits", ROWS)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_k_subsets(logits, k, dtype):
    outcomes = subsets(len(logits), k)
    expected = exact(logits, outcomes)
    made = KSubset(torch.tensor(logits, dtype=dtype), k)
    assert_frequencies(made.draw(N_DRAWS, generator=generator()), expected)
    z = torch.tensor(outcomes, dtype=dtype)
    p = torch.tensor(list(expected.values()), dtype=torch.float64)
    tol = 1e-6 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(made.log_prob(z).exp().double(), p, rtol=tol, atol=tol)
    torch.testing.assert_close(made.mean.double(), p @ z.double(), rtol=tol, atol=tol)
    entropy = -sum(q * math.log(q) for q in expected.values() if q)
    assert float(made.entropy()) == pytest.approx(entropy, rel=tol, abs=10 * tol)


def test_log_probabilities_of_unlikely_k_subsets_keep_their_digits():
    """By hand: Σ of the logits chosen, less that of the two largest, and the log of their ties."""
    made = KSubset(torch.tensor([2000.0, 1000.0, 0.0, -3000.0], dtype=torch.float64), 2)
    z = torch.tensor([[1.0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]], dtype=torch.float64)
    assert made.log_prob(z).tolist() == pytest.approx([0, -1000, -6000], abs=1e-9)
    tied = KSubset(torch.tensor([0.0, 0.0, 1e17], dtype=torch.float64), 2)
    assert tied.log_prob(z[1, :3].flip(0)).item() == pytest.approx(-math.log(2), abs=1e-12)


def test_derivatives_of_far_logits_are_those_of_near_ones():
    """Adding a number to all logits changes no derivative; far entries have that of the limit."""
    near = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)
    far = torch.cat([near + 2.0**20, torch.tensor([2.0**21, -5.0])]).requires_grad_()
    z = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    both = torch.cat([z, torch.tensor([1.0, 0.0])])
    (grad,) = torch.autograd.grad(KSubset(far, 2).log_prob(both), far)
    expected = torch.cat([z - near.softmax(-1), torch.zeros(2)])
    torch.testing.assert_close(grad, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("logits", ROWS)
def test_choices(logits, dtype):
    expected = exact(logits, subsets(len(logits), 1))
    made = Categorical.from_logits(torch.tensor(logits, dtype=dtype))
    assert_frequencies(made.draw(N_DRAWS, generator=generator()), expected)
    many = Categorical.from_logits(made.parameter.expand(N_DRAWS, -1))
    for z in (
        straight_through(many, generator=generator()),
        gumbel_softmax(many, temperature=0.5, hard=True, generator=generator()),
        imle(many, generator=generator()),
    ):
        assert_frequencies(z, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("symmetric", [False, True])
def test_coins(symmetric, dtype):
    top = torch.finfo(dtype).max
    logits = torch.tensor([[top, 0.5], [0.5, -60.0]], dtype=dtype)
    made = Bernoulli.from_logits(logits, symmetric=symmetric)
    z = made.draw(N_DRAWS, generator=generator())
    p = 1 / (1 + math.exp(-0.5))
    assert bool((z[:, 0, 0] == 1).all())
    assert not z[:, 1, 1].any()
    assert float(z[:, 0, 1].mean()) == pytest.approx(p, abs=4 * (p * (1 - p) / N_DRAWS) ** 0.5)
    assert bool(made.log_prob(z).isfinite().all())


def test_the_score_function_of_a_k_subset_with_large_logits():
    """By hand: of two tied entries the derivative of E[z_0] by logit 0 is ¼."""
    logits = torch.tensor([200.0, 0.0, 200.0], dtype=torch.float64)
    found = score_function(KSubset(logits, 1), lambda z: z[:, 0], 40_000, generator=generator())
    expected = torch.tensor([0.25, 0.0, -0.25], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    "offset", [[[1e18] * 3] * 3, [[1e18, 0, -1e18]] * 3, [[0] * 3, [1e18] * 3, [5] * 3]]
)
def test_permutations_with_an_offset_of_rows_or_columns_stay_uniform(offset):
    """Each row or column is used once, so that its offset changes nothing."""
    logits = torch.tensor(offset, dtype=torch.float64).expand(3000, 3, 3)
    z = gumbel_sinkhorn(logits, temperature=1.0, hard=True, generator=generator())
    torch.testing.assert_close(
        z.mean(0), torch.full((3, 3), 1 / 3, dtype=torch.float64), rtol=0, atol=4 * 0.0087
    )
