"""M Z for a constant sparse M that need not be symmetric, differentiable by Z to any order."""

from typing import Any

import torch
from torch import Tensor

from lds.graphs.batch import times


class _ConstantProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.pair = (transposed, matrix)
        return times(matrix, z)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return constant_product(grads[0], *ctx.pair), None, None


def constant_product(z: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
    """Compute M Z; the derivative is the same product with Mᵀ.

    Arguments:
        z: `(n_columns, n_features)`.
        matrix, transposed: M and Mᵀ, CSR.

    Returns:
        `(n_rows, n_features)`.
    """
    return _ConstantProduct.apply(z, matrix, transposed)  # type: ignore[no-any-return, no-untyped-call]
