"""Errors of hypergradients beside their bounds (§6.3): ridge regression, where all is known.

Φ(w, λ) = w - η (Hw - b + λw) contracts with ρ = max |1 - η (eig H + λ)|, and every constant of
Assumption C follows from H, b and the outer loss ½‖w - w*‖², so both theorems can be computed.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lds.bilevel as bilevel
from lds.experiments.reproduce.entry import Row

LAMBDA = 0.1


def quadratic(seed: int, d: int, spread: float) -> tuple[Tensor, Tensor, Tensor]:
    """H with eigenvalues in [0, 1], b, and the goal w* of the outer loss."""
    g = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64))[0]
    values = torch.linspace(1 / spread, 1, d, dtype=torch.float64)
    goal, b = torch.randn(2, d, generator=g, dtype=torch.float64)
    return (basis * values) @ basis.T, b, goal


def constants(h: Tensor, b: Tensor, goal: Tensor, lr: float) -> tuple[bilevel.Constants, Tensor]:
    """The constants at λ, and w(λ)."""
    d = len(b)
    system = h + LAMBDA * torch.eye(d, dtype=torch.float64)
    w = torch.linalg.solve(system, b)
    rho = float((1 - lr * torch.linalg.eigvalsh(system)).abs().max())
    distance = float(w.norm())
    found = bilevel.Constants(
        rho=rho,
        distance=distance,
        nu1=0.0,  # ∂Φ/∂w does not depend on w
        nu2=lr,  # ∂Φ/∂λ = -ηw
        xi1=1.0,  # ∂E/∂w = w - w*
        xi2=0.0,
        nu_outer=2 * distance + float(goal.norm()),
        nu_phi=2 * lr * distance,
    )
    return found, w


def exact(h: Tensor, b: Tensor, goal: Tensor) -> float:
    """∇f(λ) = -(w - w*)ᵀ (H + λ)⁻¹ w."""
    system = h + LAMBDA * torch.eye(len(b), dtype=torch.float64)
    w = torch.linalg.solve(system, b)
    return -float((w - goal) @ torch.linalg.solve(system, w))


def run(row: Row, budget: str, root: Path) -> dict[str, Any]:
    """Errors and bounds for a method at each number of steps."""
    h, b, goal = quadratic(row["seed"], 20, row["spread"])
    lr = 2 / (1 + 1 / row["spread"] + 2 * LAMBDA)  # the optimal one, 2 / (µ + ν)

    def inner(w: Tensor, lam: Tensor) -> Tensor:
        return 0.5 * w @ h @ w - b @ w + 0.5 * lam * w @ w

    dynamics = bilevel.GradientDescent(inner, lr=lr)
    found, _ = constants(h, b, goal, lr)
    truth = exact(h, b, goal)
    errors, limits = [], []
    for n in row["T"]:
        method: bilevel.AbstractHypergradient = bilevel.Reverse()
        if row["method"] == "fixed point":
            method = bilevel.FixedPoint(n_iter=n)
        elif row["method"] == "CG":
            method = bilevel.ConjugateGradient(n_iter=n)
        elif row["method"] == "truncated":
            method = bilevel.Reverse(truncation=max(1, n // 2))
        result = bilevel.hypergradient(
            dynamics,
            lambda w, lam: 0.5 * (w - goal).square().sum(),
            torch.zeros(20, dtype=torch.float64),
            torch.tensor(LAMBDA, dtype=torch.float64),
            n,
            method,
        )
        errors.append(abs(float(result.grad) - truth))
        if row["method"] == "fixed point":
            limits.append(bilevel.fixed_point_bound(found, n, found.rho**n))
        else:
            limits.append(bilevel.iterative_bound(found, n))
    slack = max(error / limit for error, limit in zip(errors, limits, strict=True))
    return {"value": slack, "errors": errors, "bounds": limits, "rho": found.rho}
