"""Node features, dense or sparse, with dropout and a differentiable product X W."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from lds._arrays import canonical
from lds._types import Features
from lds.graphs.batch import csr
from lds.graphs.constant_product import constant_product

Entries = tuple[Tensor, Tensor, Tensor]
"""Row, column and value of some entries of X."""


class DenseFeatures:
    """X as a dense tensor `(n_nodes, n_features)`."""

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self.shape = (int(x.shape[0]), int(x.shape[1]))
        self.dtype, self.device = x.dtype, x.device

    def dense(self) -> Tensor:
        """Return X, `(n_nodes, n_features)`."""
        return self.x

    def take(self, nodes: Tensor) -> "DenseFeatures":
        """Return the rows of some nodes."""
        return DenseFeatures(self.x.index_select(0, nodes))

    def column_squares(self, counts: Tensor | None = None) -> Tensor:
        """Return Σ_i c_i x_ij² of each column, float64 `(n_features,)`.

        Arguments:
            counts: c, `(n_nodes,)`; None: ones.
        """
        if counts is not None:
            return counts.double() @ self.x.double().square()
        norm: Tensor = torch.linalg.vector_norm(self.x, dim=0, dtype=torch.float64)
        return norm.square()

    def matmul(self, weight: Tensor, dropout: float = 0.0) -> Tensor:
        """Return dropout(X) W, `(n_nodes, weight.shape[1])`.

        Arguments:
            weight: W, `(n_features, n_out)`.
            dropout: probability in [0, 1) of zeroing an entry of X.
        """
        return drop(self.x, dropout) @ weight

    def hide(self, share: float) -> "tuple[DenseFeatures, Entries]":
        """Set each entry to 0 with probability `share`; return the new X and those entries of X."""
        hidden = torch.rand(self.x.shape, dtype=self.dtype, device=self.device) < share
        row, col = hidden.nonzero(as_tuple=True)
        return DenseFeatures(self.x.masked_fill(hidden, 0)), (row, col, self.x[row, col])


class SparseFeatures:
    """X as a sparse matrix. Dropout draws a mask for the stored entries only; the others are 0."""

    def __init__(self, x: sp.csr_array, dtype: torch.dtype, device: torch.device) -> None:
        x = sp.csr_array(
            canonical(x)
        ).sorted_indices()  # a copy: the caller's arrays stay as they are
        self._host = x
        # Transpose the numbers of the entries to find the order of the values in the transpose.
        numbered = sp.csr_array((np.arange(x.nnz), x.indices, x.indptr), shape=x.shape)
        flipped = sp.csr_array(numbered.T.tocsr())
        self.shape = (int(x.shape[0]), int(x.shape[1]))
        self.dtype, self.device = dtype, device
        self._values = torch.tensor(x.data, dtype=dtype, device=device)
        self._order = torch.tensor(flipped.data, dtype=torch.int64, device=device)
        self._rows = _pattern(x, device)
        self._columns = _pattern(flipped, device)
        self._dense: Tensor | None = None

    @property
    def share(self) -> float:
        """The share of the entries of X that are stored, in [0, 1]."""
        return self._values.numel() / max(1, self.shape[0] * self.shape[1])

    def dense(self) -> Tensor:
        """Return X as a dense tensor `(n_nodes, n_features)`; it is made once and kept."""
        if self._dense is None:
            self._dense = csr(*self._rows, self._values, self.shape).to_dense()
        return self._dense

    def take(self, nodes: Tensor) -> "SparseFeatures":
        """Return the rows of some nodes."""
        return SparseFeatures(self._host[nodes.cpu().numpy()], self.dtype, self.device)

    def column_squares(self, counts: Tensor | None = None) -> Tensor:
        """Return Σ_i c_i x_ij² of each column; see `DenseFeatures.column_squares`."""
        total = torch.zeros(self.shape[1], dtype=torch.float64, device=self.device)
        crow, col = self._rows
        squares = self._values.double().square()
        if counts is not None:
            squares *= counts.double().repeat_interleave(crow.long().diff())
        return total.index_add_(0, col.long(), squares)

    def matmul(self, weight: Tensor, dropout: float = 0.0) -> Tensor:
        """Return dropout(X) W, `(n_nodes, weight.shape[1])`.

        Arguments:
            weight: W, `(n_features, n_out)`.
            dropout: probability in [0, 1) of zeroing an entry of X.
        """
        values = drop(self._values, dropout)
        return _product(weight, values, self._rows, self._columns, self._order, self.shape)

    def hide(self, share: float) -> "tuple[SparseFeatures, Entries]":
        """Set each stored entry to 0 with probability `share`; return the new X and them."""
        hidden = torch.rand(self._values.shape, dtype=self.dtype, device=self.device) < share
        kept = copy.copy(self)
        kept._values, kept._dense = self._values.masked_fill(hidden, 0), None
        place = hidden.nonzero().squeeze(1)
        crow, col = self._rows
        row = torch.searchsorted(crow[1:].long(), place, right=True)
        return kept, (row, col.index_select(0, place).long(), self._values.index_select(0, place))

    def copies(self, n: int) -> "SparseCopies":
        """Return `n` copies of X as a block diagonal."""
        rows, columns = (
            _block_diagonal(*pattern, n, width)
            for pattern, width in ((self._rows, self.shape[1]), (self._columns, self.shape[0]))
        )
        first = torch.arange(n, device=self.device).unsqueeze(1) * len(self._order)
        order = (first + self._order).flatten()
        shape = (n * self.shape[0], n * self.shape[1])
        return SparseCopies(self._values, rows, columns, order, shape)


@dataclass(frozen=True)
class SparseCopies:
    """Copies of one sparse X as a block diagonal; each product may give them entries of their own.

    Attributes:
        entries: the stored entries of X, `(n_entries,)`.
    """

    entries: Tensor
    _rows: tuple[Tensor, Tensor]
    _columns: tuple[Tensor, Tensor]
    _order: Tensor
    _shape: tuple[int, int]

    def matmul(self, weight: Tensor, entries: Tensor) -> Tensor:
        """Multiply each copy by a weight of its own.

        Arguments:
            weight: `(n, n_features, width)`.
            entries: of each copy, `(n, n_entries)`.

        Returns:
            `(n · n_nodes, width)`, copy by copy.
        """
        flat = weight.reshape(-1, weight.shape[2])
        return _product(
            flat, entries.flatten(), self._rows, self._columns, self._order, self._shape
        )


def _product(
    weight: Tensor,
    values: Tensor,
    rows: tuple[Tensor, Tensor],
    columns: tuple[Tensor, Tensor],
    order: Tensor,
    shape: tuple[int, int],
) -> Tensor:
    """Return M W, from the pattern of M by rows and by columns; `order` sorts values by column."""
    matrix = csr(*rows, values, shape)
    transposed = csr(*columns, values.index_select(0, order), (shape[1], shape[0]))
    return constant_product(weight, matrix, transposed)


def _block_diagonal(crow: Tensor, col: Tensor, n: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the block diagonal of `n` copies of a CSR pattern with `width` columns."""
    copy = torch.arange(n, dtype=crow.dtype, device=crow.device).unsqueeze(1)
    starts = (copy * col.numel() + crow[:-1]).flatten()
    end = torch.full_like(starts[:1], n * col.numel())
    return torch.cat([starts, end]), (copy * width + col).flatten()


def _pattern(x: sp.csr_array, device: torch.device) -> tuple[Tensor, Tensor]:
    def index(array: Any) -> Tensor:
        return torch.tensor(array, dtype=torch.int32, device=device)

    return index(x.indptr), index(x.indices)


def drop(x: Tensor, p: float) -> Tensor:
    """Set entries to 0 with probability p and multiply the others by 1 / (1 - p).

    The mask comes from torch's random state.
    """
    if p == 0:
        return x
    keep = keep_factors(x.shape, p, x.dtype, x.device)
    return x * keep if x.requires_grad else keep.mul_(x)


def keep_factors(
    shape: Sequence[int],
    p: float,
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw 0 with probability p and otherwise 1 / (1 - p), for each entry of a dropout.

    An entry takes eight random bits, or sixteen where p is no multiple of 2⁻⁸ (p is then rounded to
    a multiple of 2⁻¹⁶). `torch.rand` takes 32: on a CPU that is most of the time of a mask.

    Arguments:
        shape, dtype, device: of the factors.
        p: in (0, 1).
        generator: source of randomness; None is torch's own.
    """
    bits = torch.int8 if (p * 256).is_integer() else torch.int16
    n_values, n = 1 << 8 * bits.itemsize, math.prod(shape)
    n_dropped = min(max(1, round(p * n_values)), n_values - 1)
    words = torch.empty(-(-n * bits.itemsize // 8), dtype=torch.int64, device=device)
    values = words.random_(-(1 << 63), None, generator=generator).view(bits)[:n].view(shape)
    # Compared as floats, which is several times faster on a CPU than as integers.
    keep = values.to(torch.promote_types(dtype, torch.float32)).ge_(n_dropped - n_values // 2)
    return keep.mul_(1 / (1 - p)).to(dtype)


SPARSE_BELOW = 0.25
"""Share of non-zero entries, in [0, 1], below which features are kept sparse."""


def node_features(
    features: Features, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> DenseFeatures | SparseFeatures:
    """Store features as sparse below `SPARSE_BELOW` and as dense above it.

    Arguments:
        features: `(n_nodes, n_features)`, an array or a scipy sparse matrix.
        dtype, device: of the result.
    """
    device, features = torch.device(device), canonical(features)
    share = (features.nnz if sp.issparse(features) else np.count_nonzero(features)) / max(
        1, features.shape[0] * features.shape[1]
    )
    if share < SPARSE_BELOW:
        return SparseFeatures(sp.csr_array(features), dtype, device)
    dense = features.toarray() if sp.issparse(features) else features
    return DenseFeatures(torch.tensor(np.asarray(dense), dtype=dtype, device=device))
