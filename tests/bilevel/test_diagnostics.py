"""The bounds of Theorems 6.3.4 and 6.3.5 against measured errors, where all constants are known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lds import bilevel
from tests.problems import scalar


class Known:
    """Φ(w, λ) = w - η (Hw + λw - b), a contraction by ρ; E = |w - c|²/2 + λ dᵀw.

    ∂Φ/∂w is constant in w (ν1 = 0) and ∂Φ/∂λ = -ηw (ν2 = η); ∂E/∂w has ξ1 = 1, ∂E/∂λ ξ2 = |d|.
    Everything is diagonal, so ∇f = dᵀw + (w - c + λd)ᵀ dw/dλ is written down.
    """

    def __init__(self, rho: float) -> None:
        self.lam, eta = 0.5, 0.4
        # 1 - η(h + λ) runs from ρ down to 0.1
        self.h = (1 - np.array([rho, 0.7 * rho, 0.1])) / eta - self.lam
        self.b, self.c, self.d = np.array([[1.0, -2.0, 0.5], [0.5, 1.0, -1.0], [0.3, -0.1, 0.2]])
        self.eta, self.rho = eta, rho

    def solution(self) -> np.ndarray:
        return self.b / (self.h + self.lam)

    def grad(self) -> float:
        w = self.solution()
        slope = -w / (self.h + self.lam)
        return float(self.d @ w + (w - self.c + self.lam * self.d) @ slope)

    def constants(self) -> bilevel.Constants:
        D = float(np.linalg.norm(self.solution()))
        return bilevel.Constants(
            rho=self.rho,
            distance=D,
            nu1=0.0,
            nu2=self.eta,
            xi1=1.0,
            xi2=float(np.linalg.norm(self.d)),
            nu_outer=2 * D + float(np.linalg.norm(self.c - self.lam * self.d)),
            nu_phi=self.eta * 2 * D,
        )

    def error(self, n_steps: int, method) -> float:
        h, b, c, d = (torch.tensor(x) for x in (self.h, self.b, self.c, self.d))

        def inner(w: Tensor, lam: Tensor) -> Tensor:
            return 0.5 * ((h + lam) * w**2).sum() - b @ w

        def outer(w: Tensor, lam: Tensor) -> Tensor:
            return 0.5 * (w - c).square().sum() + lam * (d @ w)

        result = bilevel.hypergradient(
            bilevel.GradientDescent(inner, self.eta),
            outer,
            torch.zeros_like(b),
            scalar(self.lam),
            n_steps,
            method=method,
        )
        return abs(float(result.grad) - self.grad())


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("method", [bilevel.Reverse(), bilevel.Forward()], ids=["rev", "fwd"])
def test_iterative_differentiation_stays_below_its_bound_and_decays_at_its_rate(rho, method):
    problem = Known(rho)
    constants = problem.constants()
    horizons = [T for T in (1, 2, 5, 10, 20, 40) if T * rho**T > 1e-9]
    errors = [problem.error(T, method) for T in horizons]
    bounds = [bilevel.iterative_bound(constants, T) for T in horizons]
    looseness = [b / e for b, e in zip(bounds, errors, strict=True)]
    assert min(looseness) >= 1, looseness
    # Late, both fall as T ρ^T; the factor between them is that of the constants, 1/(1-ρ) or so.
    assert looseness[-1] < 20 / (1 - rho), looseness
    T, later = horizons[-2], horizons[-1]
    rate = (errors[-1] / errors[-2]) ** (1 / (later - T))
    assert rho * 0.95 < rate < rho * (later / T) ** (1 / (later - T)) * 1.02, rate


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.95])
def test_the_fixed_point_method_stays_below_its_bound(rho):
    problem = Known(rho)
    constants = problem.constants()
    for T in (1, 5, 20):
        for K in (1, 3, 10, 20):
            error = problem.error(T, bilevel.FixedPoint(K))
            bound = bilevel.fixed_point_bound(constants, K, rho**T)
            assert error <= bound * (1 + 1e-9), (T, K)
            if T == K == 20:
                assert bound < error * 20 / (1 - rho)


@pytest.mark.parametrize("rho", [0.8, 0.95])
def test_either_of_t_and_k_alone_leaves_an_error(rho):
    """With K products at the solution the error falls as ρ^K; with all of them at w_T, as ρ^T."""
    problem = Known(rho)
    far = 600
    by_k = [problem.error(far, bilevel.FixedPoint(K)) for K in (10, 30)]
    by_t = [problem.error(T, bilevel.FixedPoint(far)) for T in (10, 30)]
    for early, late in (by_k, by_t):
        assert (late / early) ** (1 / 20) == pytest.approx(rho, rel=0.02)


def test_the_fixed_point_method_at_k_equal_to_t_has_the_smaller_bound_and_error():
    """Remark under Theorem 6.3.5."""
    problem = Known(0.9)
    for T in (5, 15, 40):
        fixed = bilevel.fixed_point_bound(problem.constants(), T, 0.9**T)
        assert fixed < bilevel.iterative_bound(problem.constants(), T)
        assert problem.error(T, bilevel.FixedPoint(T)) < problem.error(T, bilevel.Reverse())


def test_the_constants_of_the_theorem_by_hand():
    """ρ = ½, D = 3: c_1 = (7 + 5·13·2)·3, c_2 = (3 + 2·13·2)·11·3, c_3 = 11·13·2."""
    constants = bilevel.Constants(
        rho=0.5, distance=3, nu1=2, nu2=3, xi1=5, xi2=7, nu_outer=11, nu_phi=13
    )
    c1, c2, c3 = (7 + 130) * 3, (3 + 52) * 33, 286
    assert constants.c == (c1, c2, c3)
    assert bilevel.iterative_bound(constants, 3) == (c1 + c2 * 3 / 0.5 + c3) / 8
    bound = (c1 + c2 * (1 - 1 / 4) / 0.5) * 0.125 + c3 / 4
    assert bilevel.fixed_point_bound(constants, 2, 0.125) == bound


def test_the_contraction_constant_of_the_problem_is_found():
    problem = Known(0.8)
    h, b = torch.tensor(problem.h), torch.tensor(problem.b)
    dynamics = bilevel.GradientDescent(
        lambda w, lam: 0.5 * ((h + lam) * w**2).sum() - b @ w, problem.eta
    )
    found = bilevel.contraction(dynamics, torch.zeros_like(b), scalar(problem.lam))
    assert found == pytest.approx(0.8, rel=1e-3)
