"""Inner products of chosen pairs of rows, differentiable as often as asked.

Gathering the rows of every pair writes them out once more; a sampled product (SDDMM) reads them
where they lie. Its derivative is a sparse product, whose derivative is a sampled one again.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lds.graphs.batch import csr, times


@dataclass(frozen=True)
class Pattern:
    """Who is paired with whom: a CSR pattern in which a pair may occur more than once.

    Of all pairs together there are at most as many as rows times columns, as torch demands.

    Attributes:
        crow, col: int32, by rows.
        order: place of a pair by rows, at its place by columns.
        crow_t, col_t, order_t: the same of the transposed pattern.
        shape: rows of the left and of the right factor.
    """

    crow: Tensor
    col: Tensor
    order: Tensor
    crow_t: Tensor
    col_t: Tensor
    order_t: Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, row: Tensor, col: Tensor, shape: tuple[int, int]) -> "Pattern":
        """The pattern of pairs in the order of their rows, int64."""
        order = col.argsort(stable=True)
        order_t = torch.empty_like(order)
        order_t[order] = torch.arange(len(order), device=order.device)
        crow, crow_t = (_starts(*one) for one in ((row, shape[0]), (col, shape[1])))
        return cls(crow, col.int(), order, crow_t, row[order].int(), order_t, shape)

    def transposed(self) -> "Pattern":
        """Right with left."""
        return Pattern(
            self.crow_t, self.col_t, self.order_t, self.crow, self.col, self.order, self.shape[::-1]
        )  # fmt: skip


def pair_products(left: Tensor, right: Tensor, pattern: Pattern) -> Tensor:
    """⟨left_i, right_j⟩ of every pair (i, j), `(n_pairs,)`.

    Arguments:
        left: `(pattern.shape[0], width)`.
        right: `(pattern.shape[1], width)`.
        pattern: the pairs.
    """
    return _PairProducts.apply(left, right, pattern)  # type: ignore[no-any-return, no-untyped-call]


class _PairProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(left, right)
        zeros = left.new_zeros(len(pattern.col))
        empty = csr(pattern.crow, pattern.col, zeros, pattern.shape)
        # Transposed as a view: the product wants it by rows and would copy it otherwise.
        found = torch.sparse.sampled_addmm(empty, left.contiguous(), right.contiguous().t())
        values: Tensor = found.values()
        return values

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (left, right), pattern, grad = ctx.saved_tensors, ctx.pattern, grads[0]
        to_left = _WeightedSums.apply(grad, right, pattern)  # type: ignore[no-untyped-call]
        by_column = grad.index_select(0, pattern.order)
        to_right = _WeightedSums.apply(by_column, left, pattern.transposed())  # type: ignore[no-untyped-call]
        return to_left, to_right, None


class _WeightedSums(torch.autograd.Function):
    """Σ of the right rows a left row is paired with, weighted by pair."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, right: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(weight, right)
        return times(csr(pattern.crow, pattern.col, weight, pattern.shape), right)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (weight, right), pattern, grad = ctx.saved_tensors, ctx.pattern, grads[0]
        to_weight = pair_products(grad, right, pattern)
        by_column = weight.index_select(0, pattern.order)
        to_right = _WeightedSums.apply(by_column, grad, pattern.transposed())  # type: ignore[no-untyped-call]
        return to_weight, to_right, None


def _starts(index: Tensor, n: int) -> Tensor:
    """CSR row starts of sorted or counted indices, int32 `(n + 1,)`."""
    ends = torch.bincount(index, minlength=n).cumsum(0)
    return torch.cat([ends.new_zeros(1), ends]).int()
