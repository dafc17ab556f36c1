"""Inner products of chosen pairs of rows, with derivatives of every order.

Gathering the rows of every pair copies them; a sampled product (SDDMM) does not. Its derivative is
a sparse product, whose derivative is a sampled product again.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lds.graphs.batch import csr, times


@dataclass(frozen=True)
class Pattern:
    """The pairs of rows: a CSR pattern in which a pair may occur more than once.

    There are at most rows times columns pairs, repetitions included: torch requires it.

    Attributes:
        crow, col: int32, the pairs sorted by row.
        order: the positions of the pairs in that order, sorted by column.
        crow_t, col_t, order_t: the same for the transposed pattern.
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
        """Make the pattern of pairs; `row` and `col` are int64, sorted by row."""
        order = col.argsort(stable=True)
        order_t = torch.empty_like(order)
        order_t[order] = torch.arange(len(order), device=order.device)
        crow, crow_t = (_starts(*one) for one in ((row, shape[0]), (col, shape[1])))
        return cls(crow, col.int(), order, crow_t, row[order].int(), order_t, shape)

    @classmethod
    def symmetric(cls, crow: Tensor, col: Tensor, order: Tensor) -> "Pattern":
        """Make the pattern of pairs of which each occurs in both directions, once.

        Arguments:
            crow, col: int32, the pairs sorted by row and column.
            order: the position of the other direction of each pair, which is its own inverse.
        """
        n = len(crow) - 1
        return cls(crow, col, order, crow, col, order, (n, n))

    def transposed(self) -> "Pattern":
        """Return the pattern of the pairs (col, row)."""
        return Pattern(
            crow=self.crow_t,
            col=self.col_t,
            order=self.order_t,
            crow_t=self.crow,
            col_t=self.col,
            order_t=self.order,
            shape=self.shape[::-1],
        )


def pair_products(left: Tensor, right: Tensor, pattern: Pattern) -> Tensor:
    """Compute ⟨left_i, right_j⟩ of every pair (i, j), `(n_pairs,)`.

    Arguments:
        left: `(pattern.shape[0], width)`.
        right: `(pattern.shape[1], width)`.
        pattern: the pairs.
    """
    return _PairProducts.apply(left, right, pattern)  # type: ignore[no-any-return, no-untyped-call]


def weighted_sums(
    weight: Tensor, right: Tensor, pattern: Pattern, by_column: Tensor | None = None
) -> Tensor:
    """Compute Σ_j weight_ij right_j of every left row i, `(pattern.shape[0], width)`.

    Arguments:
        weight: one number a pair, `(n_pairs,)`.
        right: `(pattern.shape[1], width)`.
        pattern: the pairs (i, j).
        by_column: `weight` in the order `pattern.order`, without derivatives, for the derivative by
            `right`; None: it is put into this order at every derivative.
    """
    return _WeightedSums.apply(weight, right, pattern, by_column)  # type: ignore[no-any-return, no-untyped-call]


class _PairProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(left, right)
        zeros = left.new_zeros(len(pattern.col))
        empty = csr(pattern.crow, pattern.col, zeros, pattern.shape)
        # Pass the transpose as a view: the product needs `right` stored by rows.
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
    """For each left row, the weighted sum of the right rows that it is paired with."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, right: Tensor, pattern: Pattern, by_column: Tensor | None = None
    ) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(weight, right, by_column)
        return times(csr(pattern.crow, pattern.col, weight, pattern.shape), right)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (weight, right, by_column), pattern, grad = ctx.saved_tensors, ctx.pattern, grads[0]
        to_weight = to_right = None
        if ctx.needs_input_grad[0]:
            to_weight = pair_products(grad, right, pattern)
        if ctx.needs_input_grad[1]:
            if by_column is None:
                by_column = weight.index_select(0, pattern.order)
            to_right = _WeightedSums.apply(by_column, grad, pattern.transposed())  # type: ignore[no-untyped-call]
        return to_weight, to_right, None, None


def _starts(index: Tensor, n: int) -> Tensor:
    """Return the CSR row starts of row indices, int32 `(n + 1,)`."""
    ends = torch.bincount(index, minlength=n).cumsum(0)
    return torch.cat([ends.new_zeros(1), ends]).int()
