"""Find the pairs with the most negative entries of a low-rank gradient, in blocks."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._tensors import positions
from lds.graphs.candidates import PairList

BLOCK_ENTRIES, BLOCK_ROWS = 1 << 20, 64
"""Number of products in a block, and the least number of its rows: matrix products with fewer rows
are slow."""

SAMPLED_NODES = 256
"""Number of nodes whose products give a first estimate of the threshold."""

SLACK = 1.3
"""Factor on the number of pairs that the estimated threshold is for, as it is not exact."""


def most_negative(
    left: Sequence[Tensor],
    right: Sequence[Tensor],
    count: int,
    known: PairList,
    rows: Tensor | None = None,
) -> tuple[NDArray[np.int64], Tensor]:
    """Find the unknown pairs with the most negative Σ_k (left_k right_kᵀ)_ij.

    The search is exact. Time O(rows · n_nodes · rank), memory O(count + a block).

    Arguments:
        left, right: equally many `(n_nodes, rank)`; the sum of products is symmetric.
        count: largest number of pairs.
        known: pairs to leave out.
        rows: int64, ascending: search only pairs with a node among these; None is all nodes.

    Returns:
        int64 keys, row · n_nodes + col with row < col, ascending, and the sums there; fewer than
        `count` where fewer sums are negative. Of equal sums those with the smaller key are
        preferred.
    """
    search = _Search(left, right, rows)
    enough = count + search.count_searched(known)  # `count` are left without the known ones
    limit = -torch.finfo(left[0].dtype).tiny
    first = min(limit, search.estimate(enough))
    keys, values = search.below(first, enough)
    if len(keys) < enough and first < limit:
        keys, values = search.below(limit, enough)
    keys, order = keys.sort()
    new = positions(~known.contains(keys))
    keys, values = keys.index_select(0, new), values.index_select(0, order.index_select(0, new))
    if len(values) > count:
        last = _nth(values, count)
        chosen = values < last
        chosen[positions(values == last)[: count - int(chosen.sum())]] = True
        keys, values = keys[chosen], values[chosen]
    return keys.cpu().numpy(), values


class _Search:
    """The products of all nodes with those in `rows`, computed block by block."""

    def __init__(
        self, left: Sequence[Tensor], right: Sequence[Tensor], rows: Tensor | None
    ) -> None:
        self.left, self.n_nodes, device = left, left[0].shape[0], left[0].device
        self.all_rows = rows is None
        self.rows = torch.arange(self.n_nodes, device=device) if rows is None else rows
        parts = [v if self.all_rows else v.index_select(0, self.rows) for v in right]
        self.right = torch.cat(parts, 1).t()
        self.searched = torch.zeros(self.n_nodes, dtype=torch.bool, device=device)
        self.searched[self.rows] = True

    def count_searched(self, known: PairList) -> int:
        """Count the known pairs with a node in `rows`."""
        if self.all_rows:
            return known.n_pairs
        row, col = known.pairs(known.positions().to(self.rows.device))
        return int((self.searched.index_select(0, row) | self.searched.index_select(0, col)).sum())

    def estimate(self, count: int) -> float:
        """Estimate the `count`-th smallest product, or one above it, from some of the nodes."""
        n_rows = len(self.rows)
        of_all = n_rows * self.n_nodes - n_rows * (n_rows + 1) // 2  # each pair once
        some = slice(None, None, max(1, self.n_nodes // SAMPLED_NODES))
        products = (self._factors(some) @ self.right).flatten()
        nth = int(SLACK * count / max(1, of_all) * products.numel()) + 1
        return _nth(products, nth) if nth < products.numel() else float("inf")

    def below(self, threshold: float, count: int) -> tuple[Tensor, Tensor]:
        """Return keys and products up to a threshold, or at least the `count` smallest of them."""
        values: list[Tensor] = []
        keys: list[Tensor] = []
        n_found = first = 0
        while first < self.n_nodes:
            start = first if self.all_rows else 0  # the products are symmetric: skip the lower half
            cols = self.rows[start:]
            height = max(BLOCK_ROWS, BLOCK_ENTRIES // max(1, len(cols)))
            tile = self._factors(slice(first, first + height)) @ self.right[:, start:]
            self._zero_repeated(tile, first, cols)
            place = positions((tile <= threshold).flatten())
            row = place // max(1, len(cols))
            col = cols.index_select(0, place - row * len(cols))
            row += first
            values.append(tile.flatten().index_select(0, place))
            keys.append(torch.minimum(row, col) * self.n_nodes + torch.maximum(row, col))
            n_found += len(place)
            first += height
            if n_found > 2 * count:
                value, key = torch.cat(values), torch.cat(keys)
                threshold = _nth(value, count)
                kept = positions(value <= threshold)
                values, keys = [value.index_select(0, kept)], [key.index_select(0, kept)]
                n_found = len(kept)
        return torch.cat(keys), torch.cat(values)

    def _factors(self, nodes: slice) -> Tensor:
        return torch.cat([u[nodes] for u in self.left], 1)

    def _zero_repeated(self, tile: Tensor, first: int, cols: Tensor) -> None:
        """Zero loops, and entries with node > col that repeat one with node < col."""
        node = first + positions(self.searched[first : first + tile.shape[0]])
        low = cols[: int((cols < first + tile.shape[0]).sum())]
        corner = tile[:, : len(low)]
        kept = corner[node - first].masked_fill_(low <= node.unsqueeze(1), 0)
        corner[node - first] = kept


def _nth(values: Tensor, n: int) -> float:
    """Return the n-th smallest value."""
    if values.device.type == "cpu":
        return float(np.partition(values.numpy(), n - 1)[n - 1])  # faster than torch's
    return float(values.kthvalue(n).values)
