"""Pairs that a low-rank gradient asks for: maximum inner product search in blocks."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds.graphs.batch import positions
from lds.graphs.candidates import PairList

BLOCK_ENTRIES = 1 << 20
BLOCK_ROWS = 64
"""Products held at once while searching, and rows at least: fewer make a slow matrix product."""


def most_negative(
    left: Tensor, right: Tensor, count: int, known: PairList, rows: Tensor | None = None
) -> NDArray[np.int64]:
    """The pairs with the most negative (left rightᵀ)_ij among those that are not known.

    Exact over the rows searched. Time O(rows · n_nodes · rank), memory O(count + a block).

    Arguments:
        left, right: `(n_nodes, rank)`; left rightᵀ is symmetric.
        count: how many pairs at most.
        known: pairs that are left out.
        rows: int64, ascending: only pairs with a node among them; None is every node.

    Returns:
        int64 keys, row · n_nodes + col with row < col, ascending; at most `count`, fewer where
        fewer entries are negative. Of equal entries those with the smaller key come first.
    """
    n_nodes = left.shape[0]
    right = right.t()
    everywhere = rows is None
    rows = torch.arange(n_nodes, device=left.device) if rows is None else rows
    searched = torch.zeros(n_nodes, dtype=torch.bool, device=left.device)
    searched[rows] = True
    values, keys = left.new_empty(0), rows.new_empty(0)
    height = max(BLOCK_ROWS, BLOCK_ENTRIES // n_nodes)
    threshold = -torch.finfo(left.dtype).tiny
    for some in rows.split(height):
        first = int(some[0]) if everywhere else 0  # the half below the diagonal says the same
        tile = left.index_select(0, some) @ right[:, first:]
        found = positions((tile <= threshold).flatten())
        row = some.index_select(0, found // tile.shape[1])
        col = first + found % tile.shape[1]
        once = (row < col) | ((row > col) & ~searched.index_select(0, col))
        key = torch.minimum(row, col) * n_nodes + torch.maximum(row, col)
        once &= ~known.contains(key)
        values = torch.cat([values, tile.flatten().index_select(0, found)[once]])
        keys = torch.cat([keys, key[once]])
        if len(values) > 4 * count:
            threshold = _nth(values, count)
            values, keys = values[values <= threshold], keys[values <= threshold]
    if len(values) > count:
        threshold = _nth(values, count)
        below, ties = keys[values < threshold], keys[values == threshold]
        keys = torch.cat([below, ties.sort().values[: count - len(below)]])
    return np.sort(keys.cpu().numpy())


def _nth(values: Tensor, n: int) -> float:
    """The n-th smallest value."""
    return float(values.topk(n, largest=False, sorted=False).values.max())
