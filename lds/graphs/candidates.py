"""The candidate pairs: pairs of nodes that may become edges, and their places in a flat buffer.

Two instances of the idea: all pairs (the thesis), in tiles of the upper triangle; a list of pairs,
for graphs with too many nodes for an N x N matrix. Both keep one number for each pair in a flat
buffer, and add a product of thin factors to it without forming an N x N matrix.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

TILE_ROWS = 256
"""Rows of a tile of the upper triangle."""

ALIGN = 32
"""The length of a buffer is a multiple of this, so that a sampler can read it in blocks."""


class Candidates(ABC):
    """The pairs row < col that may become edges.

    Attributes:
        n_nodes: N.
        size: length of a flat buffer; entries that belong to no pair are 0 and stay 0.
    """

    def __init__(self, n_nodes: int, size: int, tables: tuple[np.ndarray, ...]) -> None:
        self.n_nodes = n_nodes
        self.size = size
        self._host_tables = tables
        self._device_tables: dict[torch.device, tuple[Tensor, ...]] = {}

    def _tables(self, device: torch.device) -> tuple[Tensor, ...]:
        """Return the lookup tables on a device; they are copied there once."""
        if device not in self._device_tables:
            tables = tuple(torch.as_tensor(table, device=device) for table in self._host_tables)
            self._device_tables[device] = tables
        return self._device_tables[device]

    @abstractmethod
    def index(self, row: np.ndarray, col: np.ndarray) -> np.ndarray:
        """Return the flat positions (int64) of the pairs row < col."""

    @abstractmethod
    def pairs(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows and columns (row < col) at flat positions, int64."""

    @abstractmethod
    def positions(self) -> Tensor:
        """Return the flat positions of all pairs, ascending, int64."""

    @abstractmethod
    def add_product(self, flat: Tensor, left: Tensor, right: Tensor, alpha: float) -> None:
        """Add alpha · (left rightᵀ) to `flat` at every pair, in place.

        Arguments:
            flat: `(size,)`.
            left, right: `(n_nodes, rank)`.
            alpha: factor.
        """

    @abstractmethod
    def sums(self, flat: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Sum left_row right_colᵀ flat[row, col] over all pairs row < col.

        Arguments:
            flat: `(size,)`.
            left, right: `(n_nodes, n_left)` and `(n_nodes, n_right)`.

        Returns:
            float64 `(n_left, n_right)`.
        """

    def add_products(
        self, flat: Tensor, left: Sequence[Tensor], right: Sequence[Tensor], alpha: float
    ) -> None:
        """Add alpha · Σ_k left_k right_kᵀ, in place, as one product of the concatenated factors."""
        self.add_product(flat, torch.cat(list(left), 1), torch.cat(list(right), 1), alpha)

    def scatter(self, adjacency: sp.csr_array, dtype: torch.dtype) -> Tensor:
        """Return a flat buffer of the entries of a symmetric matrix; its diagonal is left out."""
        upper = sp.triu(adjacency, k=1).tocoo()
        flat = torch.zeros(self.size, dtype=dtype)
        where = self.index(upper.row.astype(np.int64), upper.col.astype(np.int64))
        flat[torch.from_numpy(where)] = torch.as_tensor(upper.data, dtype=dtype)
        return flat


class AllPairs(Candidates):
    """All N(N-1)/2 undirected pairs, in row tiles of the upper triangle.

    Tile k holds rows kB to (k+1)B, with B = `TILE_ROWS`, and the columns from kB on, so about half
    of the matrix is stored. Entries of a tile on or below the diagonal, and those that pad its
    width, belong to no pair.

    Arguments:
        n_nodes: N >= 2.
    """

    def __init__(self, n_nodes: int) -> None:
        if n_nodes < 2:
            raise ValueError(f"n_nodes must be at least 2, got {n_nodes}; one node has no pairs")
        self._first = np.arange(0, n_nodes, TILE_ROWS)
        self._rows = np.minimum(TILE_ROWS, n_nodes - self._first)
        self._widths = -(-(n_nodes - self._first) // ALIGN) * ALIGN
        self._offsets = np.concatenate([[0], np.cumsum(self._rows * self._widths)])
        tables = (self._offsets, self._first, self._widths)
        super().__init__(n_nodes, int(self._offsets[-1]), tables)

    @staticmethod
    def bytes_needed(n_nodes: int, itemsize: int) -> int:
        """Return the bytes of one buffer over all pairs, without allocating it."""
        return AllPairs(n_nodes).size * itemsize

    def index(self, row: np.ndarray, col: np.ndarray) -> np.ndarray:
        """Return the flat positions of the pairs row < col."""
        k = row // TILE_ROWS
        within = (row - self._first[k]) * self._widths[k] + (col - self._first[k])
        return np.asarray(self._offsets[k] + within, dtype=np.int64)

    def pairs(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows and columns at flat positions; ascending positions give ascending rows."""
        offsets, first, widths = self._tables(index.device)
        k = torch.searchsorted(offsets, index, right=True) - 1
        width, local = widths.index_select(0, k), index - offsets.index_select(0, k)
        row, start = local // width, first.index_select(0, k)
        return start + row, start + local - row * width

    def positions(self) -> Tensor:
        """Return the flat positions of all pairs: the entries above the diagonal of each tile."""
        parts = []
        for k, first in enumerate(self._first):
            row, col = np.triu_indices(int(self._rows[k]), 1, self.n_nodes - int(first))
            parts.append(torch.from_numpy(self._offsets[k] + row * self._widths[k] + col))
        return torch.cat(parts)

    def add_product(self, flat: Tensor, left: Tensor, right: Tensor, alpha: float) -> None:
        """Add one matrix product to each tile, without a temporary."""
        right = right.t()
        for first, tile in self.tiles(flat):
            rows = tile.shape[0]
            inside = min(tile.shape[1], self.n_nodes - first)  # without the padding
            tile[:, :inside].addmm_(left[first : first + rows], right[:, first:], alpha=alpha)
            tile[:, :rows].triu_(1)

    def add_each(self, flat: Tensor, left: Tensor, right: Tensor, alpha: float) -> None:
        """Do `add_product` for several buffers at once, each with its own factors.

        Arguments:
            flat: `(n, size)`.
            left, right: `(n, n_nodes, rank)`.
            alpha: factor.
        """
        right = right.transpose(1, 2)
        for first, tile in self.tiles(flat):
            rows = tile.shape[1]
            inside = min(tile.shape[2], self.n_nodes - first)
            tile[:, :, :inside].baddbmm_(
                left[:, first : first + rows], right[:, :, first:], alpha=alpha
            )
            tile[:, :, :rows].triu_(1)

    def sums(self, flat: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Sum over the tiles, by one thin product for each."""
        total = torch.zeros(left.shape[1], right.shape[1], dtype=torch.float64, device=flat.device)
        for first, tile in self.tiles(flat):
            inside = min(tile.shape[1], self.n_nodes - first)
            part = tile[:, :inside] @ right[first:]
            total += left[first : first + len(part)].double().t() @ part.double()
        return total

    def tiles(self, flat: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield (first row, view `(..., rows, width)`) of each tile of one or several buffers.

        Column c of a view is node first + c.
        """
        for k, first in enumerate(self._first):
            part = flat[..., self._offsets[k] : self._offsets[k + 1]]
            yield int(first), part.unflatten(-1, (int(self._rows[k]), int(self._widths[k])))


class PairList(Candidates):
    """A list of pairs, sorted by row and column.

    Memory is O(pairs); no pair outside the list ever becomes an edge.

    Arguments:
        n_nodes: N.
        key: int64, ascending and distinct: row · N + col of each pair, row < col.
    """

    def __init__(self, n_nodes: int, key: np.ndarray) -> None:
        self._key = key
        self.n_pairs = len(key)
        row = key // n_nodes
        crow = np.searchsorted(row, np.arange(n_nodes + 1))
        size = max(1, -(-self.n_pairs // ALIGN)) * ALIGN
        super().__init__(n_nodes, size, (row, key - row * n_nodes, crow, key))

    @classmethod
    def of(cls, pattern: sp.csr_array) -> "PairList":
        """List the stored pairs of a sparse matrix above its diagonal."""
        upper = sp.triu(pattern, k=1).tocoo()
        n_nodes = int(pattern.shape[0])
        return cls(n_nodes, np.unique(upper.row.astype(np.int64) * n_nodes + upper.col))

    @property
    def keys(self) -> np.ndarray:
        """The number row · N + col of each pair, ascending, int64."""
        return self._key

    def contains(self, key: Tensor) -> Tensor:
        """Return whether each int64 key is that of a pair of the list."""
        *_, mine = self._tables(key.device)
        if not self.n_pairs:
            return torch.zeros_like(key, dtype=torch.bool)
        place = torch.searchsorted(mine, key).clamp_(max=self.n_pairs - 1)
        return mine.index_select(0, place) == key

    def take(self, flat: Tensor, other: "PairList") -> Tensor:
        """Copy a buffer over `other` to one over these pairs; pairs not in `other` get 0."""
        *_, key = self._tables(flat.device)
        *_, theirs = other._tables(flat.device)
        mine = flat.new_zeros(self.size)
        if self.n_pairs and other.n_pairs:
            place = torch.searchsorted(theirs, key).clamp_(max=other.n_pairs - 1)
            shared = theirs.index_select(0, place) == key
            mine[: self.n_pairs] = flat.index_select(0, place).masked_fill_(~shared, 0)
        return mine

    def index(self, row: np.ndarray, col: np.ndarray) -> np.ndarray:
        """Return the flat positions of pairs of the list.

        Raises:
            ValueError: a pair is not in the list.
        """
        key = row * self.n_nodes + col
        found = np.searchsorted(self._key, key)
        if not np.isin(key, self._key).all():
            raise ValueError("adjacency has an edge that is not among the candidate pairs")
        return np.asarray(found, dtype=np.int64)

    def pairs(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows and columns at flat positions."""
        row, col, *_ = self._tables(index.device)
        return row.index_select(0, index), col.index_select(0, index)

    def positions(self) -> Tensor:
        """Return the flat positions of all pairs; the buffer ends with padding."""
        return torch.arange(self.n_pairs)

    def add_product(self, flat: Tensor, left: Tensor, right: Tensor, alpha: float) -> None:
        """Add the inner products of the rows of each pair (SDDMM)."""
        self.add_products(flat, [left], [right], alpha)

    def add_products(
        self, flat: Tensor, left: Sequence[Tensor], right: Sequence[Tensor], alpha: float
    ) -> None:
        """Add alpha · Σ_k left_k right_kᵀ, in place, one k at a time: its rows fit into cache."""
        add_sampled(self._matrix(flat), left, right, alpha)

    def pattern(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return row starts `(n_nodes + 1,)` and columns of the strictly upper triangular CSR."""
        _, col, crow, _ = self._tables(device)
        return crow, col

    def sums(self, flat: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Sum over the pairs, by one product with a sparse matrix."""
        return left.double().t() @ (self._matrix(flat) @ right).double()

    def _matrix(self, flat: Tensor) -> Tensor:
        """Return a buffer as a strictly upper triangular CSR matrix that shares its memory."""
        crow, col = self.pattern(flat.device)
        shape = (self.n_nodes, self.n_nodes)
        values = flat[: self.n_pairs]
        return torch.sparse_csr_tensor(crow, col, values, shape, check_invariants=False)


def add_sampled(
    matrix: Tensor, left: Sequence[Tensor], right: Sequence[Tensor], alpha: float
) -> None:
    """Add alpha · Σ_k left_k right_kᵀ to the stored entries of a CSR matrix, in place (SDDMM)."""
    sums = matrix
    for u, v in _columns_together(left, right):
        # Pass vᵀ as a view: the product needs v stored by rows and copies anything else.
        sums = torch.sparse.sampled_addmm(sums, u.contiguous(), v.t(), alpha=alpha)
    matrix.values().copy_(sums.values())


def _columns_together(
    left: Sequence[Tensor], right: Sequence[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the factors; those of one column are concatenated into one pair of factors."""
    single = [k for k, u in enumerate(left) if u.shape[1] == 1]
    yield from ((u, v) for u, v in zip(left, right, strict=True) if u.shape[1] > 1)
    if single:
        yield torch.cat([left[k] for k in single], 1), torch.cat([right[k] for k in single], 1)
