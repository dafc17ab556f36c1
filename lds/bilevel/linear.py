"""Solve linear systems q M = b from products with M alone.

Vectors are lists of tensors, one a leaf; None stands for zero.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lds.bilevel.tensors import Columns, add, axpy, dot, norm

Product = Callable[[Columns], Columns]


class ContractionWarning(UserWarning):
    """The dynamics is not a contraction, so the result of an implicit method may be far off."""


@dataclass(frozen=True)
class Solved:
    """The result of a solver.

    Attributes:
        q: the solution found.
        n_iter: iterations taken.
        residual: ‖b - qM‖ / ‖b‖, of the last q whose residual took no further product; None if
            every product uses another draw.
        contraction: an estimate of ρ of A = I - M, or None.
    """

    q: Columns
    n_iter: int
    residual: float | None
    contraction: float | None = None


def fixed_point(
    product: Product,
    b: Columns,
    start: Columns | None,
    n_iter: int,
    tol: float,
    ridge: float = 0.0,
) -> Solved:
    """Iterate q ← qA + b (eq. 5.30); from q = 0 that is the Neumann series of b (I - A)⁻¹.

    With a ridge the iteration is q ← (qA + b) / (1 + ρ), for q (I - A + ρI) = b.

    Arguments:
        product: q -> qA.
        b: the right-hand side of q (I - A) = b.
        start: q_0; None is 0.
        n_iter: largest number of products.
        tol: stop once ‖b - q_{k-1} M‖ = (1 + ρ) ‖q_k - q_{k-1}‖ <= tol ‖b‖; 0 takes all `n_iter`.
        ridge: ρ >= 0.
    """
    size = norm(b)
    q: Columns = [None] * len(b) if start is None else start
    half = n_iter - n_iter // 2
    moves: dict[int, float] = {}
    k = 0
    for k in range(1, n_iter + 1):
        new = add(b, product(q)) if any(part is not None for part in q) else list(b)
        if ridge:
            new = [None if part is None else part / (1 + ridge) for part in new]
        if tol > 0 or k in (half, n_iter):
            moves[k] = (1 + ridge) * norm(axpy(-1.0, q, new))
        q = new
        if tol > 0 and moves[k] <= tol * size:
            half = k - k // 2
            break
    # q_k - q_{k-1} = (q_1 - q_0) A^{k-1}, so two moves give ρ, as in power iteration.
    tiny = torch.finfo(torch.float32).eps * size
    rho = (moves[k] / moves[half]) ** (1 / (k - half)) if moves[half] > tiny and k > half else None
    return Solved(q, k, moves[k] / size if size else 0.0, rho)


def conjugate_gradient(
    product: Product,
    b: Columns,
    start: Columns | None,
    n_iter: int,
    tol: float,
    precondition: Product | None = None,
) -> Solved:
    """Solve q M = b for a symmetric positive definite M (Hestenes and Stiefel, 1952).

    Stops before `n_iter` at ‖b - qM‖ <= tol ‖b‖, or at a residual of the size of rounding.

    Arguments:
        product: q -> qM.
        b, start, n_iter, tol: as for `fixed_point`; a start other than 0 costs one product more.
        precondition: r -> r P⁻¹ for a symmetric P near M; None is the identity.
    """
    size = norm(b)
    q: Columns = [None] * len(b) if start is None else start
    r = list(b) if start is None else axpy(-1.0, product(q), b)
    z = r if precondition is None else precondition(r)
    d, rr, rz = z, dot(r, r), dot(r, z)
    enough = max(tol, 0.01 * torch.finfo(rr.dtype).eps) * size
    k = 0
    while k < n_iter and float(rr) ** 0.5 > enough:
        k += 1
        product_d = product(d)
        curvature = dot(d, product_d)
        if float(curvature) <= 0:
            warnings.warn(
                "conjugate gradient met a direction of curvature "
                f"{float(curvature / dot(d, d)):.3g}: the system is not positive definite (the "
                "inner problem is not at a strict minimum, or Φ is no contraction); its solution "
                "so far is returned, with the residual in info; train longer, add an L2 term, or "
                "use Reverse",
                ContractionWarning,
                stacklevel=2,
            )
            break
        alpha = float(rz / curvature)  # a tensor would widen a leaf of shape ()
        q = axpy(alpha, d, q)
        r = axpy(-alpha, product_d, r)
        rr = dot(r, r)
        z = r if precondition is None else precondition(r)
        rz, old = rr if precondition is None else dot(r, z), rz
        d = axpy(float(rz / old), d, z)
    return Solved(q, k, float(rr) ** 0.5 / size if size else 0.0)


def spectral_radius(
    product: Product, like: list[Tensor], generator: torch.Generator, n_iter: int
) -> float:
    """Estimate the largest modulus of an eigenvalue of A by power iteration v ← vA / ‖vA‖.

    The estimate is the geometric mean of ‖vA‖ over the second half of the iterations, which also
    converges if complex eigenvalues rotate v.
    """
    v = random_like(like, generator)
    growth = []
    for _ in range(n_iter):
        size = norm(v)
        if size == 0:
            return 0.0
        v = product([None if part is None else part / size for part in v])
        growth.append(norm(v))
    late = torch.tensor(growth[n_iter // 2 :], dtype=torch.float64)
    return float(late.log().mean().exp())


def asymmetry(
    left: Product, right: Product, like: list[Tensor], generator: torch.Generator
) -> float:
    """Compute ‖uM - Mu‖ / (‖uM‖ + ‖Mu‖) at a random u: 0 for a symmetric M.

    Arguments:
        left, right: u -> uM and u -> Mu.
        like: one tensor a leaf.
        generator: draws u.
    """
    u = random_like(like, generator)
    u_m, m_u = left(u), right(u)
    scale = norm(u_m) + norm(m_u)
    return norm(axpy(-1.0, m_u, u_m)) / scale if scale else 0.0


def random_like(like: list[Tensor], generator: torch.Generator) -> Columns:
    """Draw normal entries, on the CPU so that every device gets the same."""
    return [
        torch.randn(leaf.shape, dtype=torch.float64, generator=generator).to(leaf)
        if leaf.is_floating_point()
        else None
        for leaf in like
    ]
