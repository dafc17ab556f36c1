"""Bilevel problems with known answers, and the methods that every one of them is tried on.

An answer is a closed form: of the finite run (`limit=False`, exact for methods that differentiate
the unrolled steps), or of its limit, to which the run is long enough to have converged
(`limit=True`, where truncated and implicit methods must agree as well).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lds import bilevel


@dataclass(frozen=True)
class Problem:
    """A bilevel program, what its hypergradient must be, and how nearly."""

    dynamics: bilevel.Dynamics
    outer: Callable[..., Tensor]
    params: Any
    hyper: Any
    n_steps: int
    value: Tensor
    grad: Any  # like hyper
    limit: bool
    rtol: float = 1e-10  # rounding of a few hundred float64 operations


@dataclass(frozen=True)
class Method:
    """A method with a setting, and whether it differentiates all steps of a finite run."""

    method: Any
    unrolled: bool


METHODS = {
    "reverse": Method(bilevel.Reverse(), unrolled=True),
    "reverse-sqrt": Method(bilevel.Reverse(checkpoint="sqrt"), unrolled=True),
    "reverse-2-states": Method(bilevel.Reverse(checkpoint=2), unrolled=True),
    "forward": Method(bilevel.Forward(), unrolled=True),
    "forward-one-by-one": Method(bilevel.Forward(chunk=1), unrolled=True),
    "forward-by-three": Method(bilevel.Forward(chunk=3), unrolled=True),
    "auto": Method("auto", unrolled=True),
    "fixed-point": Method(bilevel.FixedPoint(n_iter=80), unrolled=False),
    "conjugate-gradient": Method(bilevel.ConjugateGradient(n_iter=4), unrolled=False),
    # Long enough for the problems with a limit, which contract by 0.7 a step or faster.
    "reverse-truncated": Method(bilevel.Reverse(truncation=80), unrolled=False),
    "reverse-truncated-sqrt": Method(
        bilevel.Reverse(truncation=80, checkpoint="sqrt"), unrolled=False
    ),
}


def scalar(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def target() -> Problem:
    """Gradient descent on a(w-λ)²/2: w_T - λ = r (w_0 - λ) with r = (1-ηa)^T; E = (w-c)²/2."""
    a, eta, T, w0, lam, c = 1.5, 0.2, 4, 3.0, 0.7, -0.4
    r = (1 - eta * a) ** T
    w = lam + r * (w0 - lam)
    return Problem(
        bilevel.GradientDescent(lambda w, hyper: 0.5 * a * (w - hyper) ** 2, lr=eta),
        lambda w, hyper: 0.5 * (w - c) ** 2,
        scalar(w0),
        scalar(lam),
        T,
        value=scalar(0.5 * (w - c) ** 2),
        grad=scalar((w - c) * (1 - r)),
        limit=False,
    )


def learning_rate() -> Problem:
    """The same inner problem by η: dw_T/dη = -aT(1-ηa)^{T-1} (w_0 - b)."""
    a, eta, T, w0, b = 0.8, 0.3, 5, 2.0, -1.0
    w = b + (1 - eta * a) ** T * (w0 - b)
    slope = -a * T * (1 - eta * a) ** (T - 1) * (w0 - b)
    return Problem(
        bilevel.GradientDescent(
            lambda w, hyper: 0.5 * a * (w["w"] - b) ** 2, lr=lambda hyper: hyper["lr"]
        ),
        lambda w, hyper: w["w"] ** 2,
        {"w": scalar(w0)},
        {"lr": scalar(eta)},
        T,
        value=scalar(w**2),
        grad={"lr": scalar(2 * w * slope)},
        limit=False,
    )


def schedule() -> Problem:
    """One learning rate a step on aw²/2: w_T = Π_t (1-aη_t) w_0."""
    a, w0 = 1.3, 1.7
    eta = np.array([0.1, 0.4, 0.2])
    factors = 1 - a * eta
    slopes = [-a * w0 * np.prod(np.delete(factors, t)) for t in range(3)]
    return Problem(
        bilevel.GradientDescent(lambda w, hyper: 0.5 * a * w**2, lr=lambda hyper, t: hyper[t]),
        lambda w, hyper: w + hyper.sum(),
        scalar(w0),
        torch.tensor(eta),
        3,
        value=scalar(np.prod(factors) * w0 + eta.sum()),
        grad=torch.tensor(np.array(slopes) + 1.0),
        limit=False,
    )


def learned_start() -> Problem:
    """Φ_0(λ) = λ on aw²/2, the loss of MAML: w_T = (1-ηa)^T λ."""
    a, eta, T = np.array([0.5, 2.0]), 0.25, 6
    lam, r = np.array([1.0, -2.0]), (1 - eta * np.array([0.5, 2.0])) ** 6
    curvature = torch.tensor(a)
    return Problem(
        bilevel.GradientDescent(
            lambda w, hyper: 0.5 * (curvature * w[0] ** 2).sum(),
            lr=eta,
            start=lambda params, hyper: [hyper["start"]],
        ),
        lambda w, hyper: (w[0] ** 2).sum(),
        [torch.zeros(2, dtype=torch.float64)],
        {"start": torch.tensor(lam)},
        T,
        value=scalar(((r * lam) ** 2).sum()),
        grad={"start": torch.tensor(2 * r**2 * lam)},
        limit=False,
    )


def heavy_ball() -> Problem:
    """Momentum on a(w-λ)²/2: (w-λ, v) moves by a constant 2x2 matrix M, so ∂w_T/∂λ = 1-(M^T)_00."""
    a, eta, mu, T, w0, lam = 1.1, 0.3, 0.6, 7, 2.0, 0.5
    M = np.array([[1 - eta * a, -eta * mu], [a, mu]])
    r = np.linalg.matrix_power(M, T)[0, 0]
    w = lam + r * (w0 - lam)
    return Problem(
        bilevel.Momentum(
            lambda w, hyper: 0.5 * a * (w - hyper[0]) ** 2, lr=eta, momentum=lambda hyper: mu
        ),
        lambda w, hyper: torch.sin(w),
        scalar(w0),
        (scalar(lam),),
        T,
        value=scalar(np.sin(w)),
        grad=(scalar(np.cos(w) * (1 - r)),),
        limit=False,
    )


def first_adam_step() -> Problem:
    """Adam's first step on s·gᵀw is -η sg/(s|g|+ε), whose slope by s is -ηgε/(s|g|+ε)²."""
    eta, eps, s = 0.1, 0.5, 2.0
    g = np.array([1.0, -3.0, 0.0])
    step = s * g / (np.abs(s * g) + eps)
    slope = -eta * g * eps / (np.abs(s * g) + eps) ** 2
    direction = torch.tensor(g)
    return Problem(
        bilevel.Adam(
            lambda w, hyper: hyper["scale"] * (direction * w).sum(),
            lr=lambda hyper: hyper["lr"],
            eps=eps,
        ),
        lambda w, hyper: (w * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)).sum(),
        torch.zeros(3, dtype=torch.float64),
        {"lr": scalar(eta), "scale": scalar(s)},
        1,
        value=scalar(-eta * (step @ [1, 2, 3])),
        grad={"lr": scalar(-(step @ [1, 2, 3])), "scale": scalar(slope @ [1, 2, 3])},
        limit=False,
    )


def ridge_data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X, y, X_val, y_val; the eigenvalues of XᵀX/n lie between 0.6 and 1.4."""
    rng = np.random.default_rng(0)
    X, X_val = rng.standard_normal((40, 4)), rng.standard_normal((20, 4))
    w = np.array([1.0, -2.0, 0.5, 0.0])
    y = X @ w + 0.3 * rng.standard_normal(40)
    return X, y, X_val, X_val @ w + 0.3 * rng.standard_normal(20)


def ridge(per_coordinate: bool, momentum: bool) -> Problem:
    """Ridge regression run to convergence: w* = H⁻¹ Xᵀy/n, H = XᵀX/n + diag(λ)."""
    X, y, X_val, y_val = ridge_data()
    n, m = len(y), len(y_val)
    lam = np.array([0.1, 0.5, 0.2, 1.0]) if per_coordinate else np.array(0.3)
    H = X.T @ X / n + np.diag(np.broadcast_to(lam, 4))
    w = np.linalg.solve(H, X.T @ y / n)
    residual = X_val @ w - y_val
    # dw*/dλ_i = -H⁻¹ e_i w*_i
    grad = -np.linalg.solve(H, X_val.T @ residual / m) * w
    tensors = [torch.tensor(a) for a in (X, y, X_val, y_val)]

    def inner(w: Tensor, hyper: dict[str, Tensor]) -> Tensor:
        fit = 0.5 * (tensors[0] @ w - tensors[1]).square().mean()
        return fit + 0.5 * (hyper["decay"] * w**2).sum()

    def outer(w: Tensor, hyper: dict[str, Tensor]) -> Tensor:
        return 0.5 * (tensors[2] @ w - tensors[3]).square().mean()

    # A step of 0.4 on eigenvalues of H in [0.8, 2.3] contracts by 0.67, with momentum by 0.55.
    dynamics = (
        bilevel.Momentum(inner, 0.4, 0.3) if momentum else bilevel.GradientDescent(inner, 0.4)
    )
    return Problem(
        dynamics,
        outer,
        torch.zeros(4, dtype=torch.float64),
        {"decay": torch.tensor(lam)},
        100,
        value=scalar(0.5 * (residual**2).mean()),
        grad={"decay": torch.tensor(grad if per_coordinate else grad.sum())},
        limit=True,
    )


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "target": target,
    "learning-rate": learning_rate,
    "schedule": schedule,
    "learned-start": learned_start,
    "heavy-ball": heavy_ball,
    "first-adam-step": first_adam_step,
    "ridge": lambda: ridge(per_coordinate=False, momentum=False),
    "ridge-per-coordinate": lambda: ridge(per_coordinate=True, momentum=False),
    "ridge-momentum": lambda: ridge(per_coordinate=True, momentum=True),
}
