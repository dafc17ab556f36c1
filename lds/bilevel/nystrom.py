"""Approximate a symmetric matrix of low rank from products with a few random vectors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lds.bilevel.linear import Product, random_like
from lds.bilevel.tensors import Columns


@dataclass(frozen=True)
class Nystrom:
    """M ≈ U diag(values) Uᵀ, and the shapes of the vectors that M acts on.

    Attributes:
        U: orthonormal columns, `(n, rank)`.
        values: eigenvalues, `(rank,)`, largest first, 0 or more.
        like: one tensor a leaf.
    """

    U: Tensor
    values: Tensor
    like: list[Tensor]

    def preconditioner(self, ridge: float) -> Product:
        """Return r ↦ r P⁻¹, P⁻¹ = (ν + ρ) U (Λ + ρ)⁻¹ Uᵀ + I - UUᵀ, ν being the smallest of Λ.

        References:
            Frangella, Tropp and Udell, 2023, eq. 1.3, https://arxiv.org/abs/2110.02820
        """
        if not len(self.values):  # no direction of a positive eigenvalue: the identity
            return lambda r: r
        least = self.values[-1] + ridge
        if not float(least) > 0:  # fewer eigenvalues than the rank: those found are the whole
            least = self.values[self.values > 0][-1:].sum() + ridge
        scale = torch.where(self.values > 0, least / (self.values + ridge), 1.0)
        return lambda r: self._apply(r, scale - 1)

    def _apply(self, r: Columns, weights: Tensor) -> Columns:
        """Compute r + r U diag(weights) Uᵀ."""
        flat = flatten(r, self.like)
        return unflatten(flat + self.U @ (weights * (self.U.T @ flat)), self.like)


def nystrom(product: Product, like: list[Tensor], rank: int, generator: torch.Generator) -> Nystrom:
    """Compute the randomised Nyström approximation of a symmetric positive semidefinite M.

    With an orthonormal random Ω it is (MΩ) (ΩᵀMΩ)⁺ (MΩ)ᵀ, computed with a small shift.

    References:
        Tropp et al., 2017, Algorithm 3, https://arxiv.org/abs/1706.05736

    Arguments:
        product: q -> qM.
        like: one tensor a leaf.
        rank: columns of Ω, at most the dimension of M.
        generator: draws Ω.
    """
    n = sum(leaf.numel() for leaf in like if leaf.is_floating_point())
    columns = [flatten(random_like(like, generator), like) for _ in range(min(rank, n))]
    omega = torch.linalg.qr(torch.stack(columns, 1))[0]
    Y = torch.stack([flatten(product(unflatten(v, like)), like) for v in omega.T], 1)
    shift = torch.finfo(Y.dtype).eps * torch.linalg.matrix_norm(Y)
    Y = Y + shift * omega
    small = omega.T @ Y
    eigenvalues, vectors = torch.linalg.eigh((small + small.T) / 2)
    kept = eigenvalues > shift  # a Cholesky factor would fail where M is not positive
    B = Y @ (vectors[:, kept] / eigenvalues[kept].sqrt())
    U, root, _ = torch.linalg.svd(B, full_matrices=False)
    return Nystrom(U, (root**2 - shift).clamp(min=0), like)


def flatten(columns: Columns, like: list[Tensor]) -> Tensor:
    """Concatenate all floating point leaves to one vector."""
    parts = [
        torch.zeros_like(leaf) if part is None else part
        for part, leaf in zip(columns, like, strict=True)
        if leaf.is_floating_point()
    ]
    return torch.cat([part.reshape(-1) for part in parts])


def unflatten(flat: Tensor, like: list[Tensor]) -> Columns:
    """Split a vector into leaves of their shapes and dtypes; None for those of integers."""
    floats = [leaf for leaf in like if leaf.is_floating_point()]
    parts = iter(flat.split([leaf.numel() for leaf in floats]))
    return [
        next(parts).view(leaf.shape).to(leaf) if leaf.is_floating_point() else None for leaf in like
    ]
