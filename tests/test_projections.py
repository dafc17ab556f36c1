"""Projections, against bisection on τ, a quadratic program, and what defines them."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, minimize
from torch import Tensor

from lds._projections import box, capped_simplex, simplex

TIGHT = {"rtol": 0, "atol": 1e-12}


def points(*shape: int, seed: int = 0, spread: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(shape, dtype=torch.float64, generator=generator)


def by_bisection(x: Tensor, total: float, upper: float) -> Tensor:
    """clip(x - τ, 0, upper) with τ halved in until the entries add up."""
    low, high = x.amin(-1, keepdim=True) - total - 1, x.amax(-1, keepdim=True)
    for _ in range(200):
        tau = (low + high) / 2
        above = (x - tau).clamp(0, upper).sum(-1, keepdim=True) > total
        low, high = torch.where(above, tau, low), torch.where(above, high, tau)
    return (x - (low + high) / 2).clamp(0, upper)


def by_quadratic_program(x: Tensor, total: float, upper: float) -> Tensor:
    n = len(x)
    target = x.numpy()
    solved = minimize(
        lambda p: 0.5 * ((p - target) ** 2).sum(),
        np.full(n, total / n),
        jac=lambda p: p - target,
        bounds=[(0, upper)] * n,
        constraints=LinearConstraint(np.ones((1, n)), total, total),
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return torch.from_numpy(solved.x)


@pytest.mark.parametrize("total", [0.3, 1.0, 7.0])
@pytest.mark.parametrize("n", [1, 2, 9, 200])
def test_simplex_agrees_with_bisection(n, total):
    x = points(5, 3, n, seed=n)
    expected = by_bisection(x, total, math.inf)
    torch.testing.assert_close(simplex(x, total), expected, **TIGHT)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("n", [1, 2, 9, 200])
def test_capped_simplex_agrees_with_bisection(n, share):
    x = points(5, 3, n, seed=n)
    total = share * n
    expected = by_bisection(x, total, 1.0)
    # The sum at the last of 2n kinks has been added up from n: 2n roundings of numbers up to n,
    # and of entries of x. Its slope there is at least 1.
    rounding = 2 * n * (n + float(x.abs().max())) * torch.finfo(torch.float64).eps
    torch.testing.assert_close(capped_simplex(x, total), expected, rtol=0, atol=rounding)


def test_both_agree_with_a_quadratic_program():
    for seed in range(5):
        x = points(8, seed=seed)
        program = by_quadratic_program(x, 1.0, math.inf)
        torch.testing.assert_close(simplex(x), program, rtol=0, atol=1e-6)
        program = by_quadratic_program(x, 3.0, 1.0)
        torch.testing.assert_close(capped_simplex(x, 3), program, rtol=0, atol=1e-6)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize("project", [simplex, lambda x: capped_simplex(x, 4)])
def test_projected_is_feasible_stays_and_is_the_nearest(project, spread):
    """p is the projection iff <x - p, q - p> <= 0 for every feasible q; vertices suffice."""
    x = points(50, 12, spread=spread)
    p = project(x)
    assert bool((p >= 0).all())
    total = p.sum(-1)
    torch.testing.assert_close(total, total.round().clamp(1, 4), rtol=0, atol=1e-9)
    torch.testing.assert_close(project(p), p, rtol=0, atol=1e-14)
    k = round(float(total[0]))
    best = (x - p).topk(k, dim=-1).values.sum(-1)  # <x - p, q> at the best vertex q
    assert bool((best - ((x - p) * p).sum(-1) <= 1e-9 * spread).all())


def test_ties_and_points_already_inside():
    same = torch.full((4,), 3.0, dtype=torch.float64)
    torch.testing.assert_close(simplex(same), torch.full_like(same, 0.25), **TIGHT)
    torch.testing.assert_close(capped_simplex(same, 3), torch.full_like(same, 0.75), **TIGHT)
    inside = torch.tensor([0.2, 0.5, 0.3, 0.0], dtype=torch.float64)
    torch.testing.assert_close(simplex(inside), inside, **TIGHT)
    torch.testing.assert_close(capped_simplex(inside, 1), inside, **TIGHT)
    mask = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(capped_simplex(mask, 2), mask, **TIGHT)


def test_box_clips_and_takes_bounds_by_entry():
    x = torch.tensor([-1.0, 0.25, 2.0])
    assert box(x).tolist() == [0.0, 0.25, 1.0]
    assert box(x, 0.5, torch.tensor([0.75, 1.0, 3.0])).tolist() == [0.5, 0.5, 2.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_dtype_and_shape_are_kept_and_a_row_of_nan_stays_one(dtype):
    x = points(2, 3, 6).to(dtype)
    x[0, 0, 2] = math.nan
    for p in (box(x), simplex(x), capped_simplex(x, 2)):
        assert p.dtype == dtype
        assert p.shape == x.shape
        assert bool(p[0, 0, 2].isnan())
        assert not bool(p[0, 1:].isnan().any() | p[1].isnan().any())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: box(torch.zeros(2), 1.0, 0.0), "lower must nowhere be above upper"),
        (lambda: simplex(torch.zeros(2), 0.0), "total must be positive and finite, got 0"),
        (lambda: simplex(torch.zeros(2), math.nan), "total must be positive and finite, got nan"),
        (lambda: simplex(torch.tensor(0.0)), r"last dimension of 1 or more, got \(\)"),
        (lambda: capped_simplex(torch.zeros(3, 0), 0), r"of 1 or more, got \(3, 0\)"),
        (lambda: capped_simplex(torch.zeros(3), 4), r"in \[0, 3\], the number of entries, got 4"),
        (lambda: capped_simplex(torch.zeros(3), -1), r"in \[0, 3\], .* got -1"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
