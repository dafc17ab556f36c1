"""Estimate the contraction factor ρ, and bound the error of a hypergradient (§6.3)."""

from dataclasses import dataclass

import torch

from lds._numbers import integer, real
from lds._random import POWER_ITERATION, START, mix
from lds.bilevel.checks import check_count, check_hyper, check_leaves
from lds.bilevel.dynamics import Dynamics
from lds.bilevel.linear import spectral_radius
from lds.bilevel.linearized import Linearized
from lds.bilevel.step import Start, Step
from lds.bilevel.tensors import Tree, detach, leaves
from lds.bilevel.unroll import check_dynamics


def contraction(
    dynamics: Dynamics,
    params: Tree,
    hyper: Tree,
    n_steps: int = 0,
    *,
    n_iter: int = 30,
    seed: int = 0,
) -> float:
    """Estimate ρ, the factor by which Φ contracts near a state, by power iteration.

    The iteration v ← vA / ‖vA‖ with A = ∂Φ/∂s takes products from the left alone. The estimate is
    the geometric mean of ‖vA‖ over the second half of the iterations: the largest modulus of an
    eigenvalue, also if complex eigenvalues rotate v. For a symmetric A (gradient descent) that is
    the constant of Assumption C.3; else that constant, which depends on the norm, may be larger.
    Implicit methods and truncation are accurate for ρ below 1 only.

    Arguments:
        dynamics: Φ.
        params: first weights, the argument of Φ_0.
        hyper: λ.
        n_steps: steps to take first; A is that of step n_steps.
        n_iter: number of products, at least 2.
        seed: seed of v and of the randomness inside Φ.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: `n_iter` or `n_steps` is too small.
    """
    n_iter = check_count("n_iter", n_iter, 2)
    n_steps = check_count("n_steps", n_steps, 0)
    seed = integer("seed", seed)
    check_dynamics(dynamics)
    check_leaves("params", params)
    check_hyper(hyper)
    params, hyper = detach(params), detach(hyper)
    state = Start(dynamics, params, hyper, mix(seed, 0, START)).run()
    for t in range(n_steps):
        state, _ = Step(dynamics, state, hyper, t, mix(seed, 0, t)).run()
    phi = Linearized(Step(dynamics, state, hyper, n_steps, mix(seed, 0, n_steps)))
    generator = torch.Generator().manual_seed(mix(seed, POWER_ITERATION))
    return spectral_radius(phi.left, leaves(state), generator, n_iter)


@dataclass(frozen=True)
class Constants:
    """The constants of Assumption C and Lemma 6.3.2, at one λ.

    Attributes:
        rho: ρ in (0, 1), the contraction factor of Φ.
        distance: D, a bound on ‖w(λ)‖.
        nu1, nu2: Lipschitz constants in w of ∂Φ/∂w and ∂Φ/∂λ.
        xi1, xi2: Lipschitz constants in w of ∂E/∂w and ∂E/∂λ.
        nu_outer: ν_E, a bound on ‖∂E/∂w‖ for ‖w‖ <= 2D.
        nu_phi: ν_Φ, a bound on ‖∂Φ/∂λ‖ for ‖w‖ <= 2D.
    """

    rho: float
    distance: float
    nu1: float
    nu2: float
    xi1: float
    xi2: float
    nu_outer: float
    nu_phi: float

    def __post_init__(self) -> None:
        if not 0 < real("rho", self.rho) < 1:
            raise ValueError(
                f"rho must be in (0, 1), got {self.rho}; the bounds hold for contractions alone"
            )
        for name in ("distance", "nu1", "nu2", "xi1", "xi2", "nu_outer", "nu_phi"):
            if not 0 <= real(name, getattr(self, name)) < float("inf"):
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")

    @property
    def c(self) -> tuple[float, float, float]:
        """c_1, c_2, c_3 of Theorem 6.3.4."""
        gap = 1 - self.rho
        return (
            (self.xi2 + self.xi1 * self.nu_phi / gap) * self.distance,
            (self.nu2 + self.nu1 * self.nu_phi / gap) * self.nu_outer * self.distance,
            self.nu_outer * self.nu_phi / gap,
        )


def iterative_bound(constants: Constants, n_steps: int) -> float:
    """Bound ‖∇f_T - ∇f‖ of Reverse and Forward (Theorem 6.3.4).

    The bound is (c_1 + c_2 T/ρ + c_3) ρ^T, for Φ_0 = 0, a fixed Φ and no buffers.
    """
    c1, c2, c3 = constants.c
    return (c1 + c2 * n_steps / constants.rho + c3) * constants.rho**n_steps


def fixed_point_bound(constants: Constants, n_iter: int, convergence: float) -> float:
    """Bound ‖∇f_{T,K} - ∇f‖ of FixedPoint (Theorem 6.3.5).

    The bound is (c_1 + c_2 (1-ρ^K)/(1-ρ)) ρ(T) + c_3 ρ^K.

    Arguments:
        constants: constants of the problem.
        n_iter: K.
        convergence: ρ(T), the rate of w_T: ‖w_T - w‖ <= ρ(T) ‖w‖; ρ^T after T steps from 0.
    """
    c1, c2, c3 = constants.c
    rho_k = constants.rho**n_iter
    return (c1 + c2 * (1 - rho_k) / (1 - constants.rho)) * convergence + c3 * rho_k
