"""Graphs drawn from a list of pairs: a mask over the entries of one matrix, sorted once."""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch, normalized, positions
from lds.graphs.candidates import PairList


class ListedEntries:
    """Where each pair of a list stands in A + I, both ways, and the loops.

    Arguments:
        pairs: the list.
        device: of the tables, 12 bytes an entry, two entries a pair and one a node.
    """

    def __init__(self, pairs: PairList, device: torch.device) -> None:
        n, n_pairs = pairs.n_nodes, pairs.n_pairs
        place = np.arange(n_pairs, dtype=np.int32)
        loops = np.arange(n, dtype=np.int32)
        row = (pairs.keys // n).astype(np.int32)
        col = (pairs.keys - pairs.keys // n * n).astype(np.int32)
        # By rows, and in each row by columns: what stands below the diagonal comes first.
        entry = (np.concatenate([col, loops, row]), np.concatenate([row, loops, col]))
        pair = np.concatenate([place, np.full_like(loops, n_pairs), place])  # loops: the last
        matrix = sp.coo_array((pair, entry), shape=(n, n)).tocsr()
        rows = np.repeat(loops, np.diff(matrix.indptr))
        self._pair, self._row, self._col = (
            torch.as_tensor(table, device=device) for table in (matrix.data, rows, matrix.indices)
        )
        self._n_nodes, self._n_pairs = n, n_pairs

    def draw(self, probs: Tensor, n_draws: int, generator: torch.Generator) -> GraphBatch:
        """S independent graphs, every pair an edge with its probability.

        Time and memory O(S · pairs); uniforms in float64.

        Arguments:
            probs: θ, `(n_pairs, ...)`, what follows the pairs is left out.
            n_draws: S >= 1.
            generator: source of randomness.
        """
        theta = probs[: self._n_pairs].double()
        there = torch.empty((n_draws, self._n_pairs), dtype=torch.bool, device=probs.device)
        for row in there:  # one draw's uniforms at a time
            uniform = torch.rand(
                self._n_pairs, dtype=torch.float64, device=probs.device, generator=generator
            )
            torch.lt(uniform, theta, out=row)
        return self.graphs(there, probs.dtype)

    def graphs(
        self, there: Tensor, dtype: torch.dtype, more: tuple[Tensor, Tensor, Tensor] | None = None
    ) -> GraphBatch:
        """S graphs with the pairs of the list that are there, and a few others.

        Arguments:
            there: bool `(n_draws, n_pairs)`.
            dtype: of the entries of Â.
            more: (draw, row, col) of further edges, int64 `(n_edges,)`, none of them of the list.
        """
        n, n_draws = self._n_nodes, there.shape[0]
        loops = there.new_ones((n_draws, 1))
        kept = torch.cat([there, loops], 1).index_select(1, self._pair)
        place = positions(kept.flatten())
        first = torch.arange(n_draws, dtype=torch.int32, device=there.device).unsqueeze(1) * n
        source = (self._row + first).flatten().index_select(0, place)
        target = (self._col + first).flatten().index_select(0, place)
        if more is not None and more[0].numel():
            source, target = _with(source, target, more, n_draws * n, n)
        degree = torch.bincount(source, minlength=n_draws * n)
        return normalized(degree, source, target, n_draws, n, dtype)


def _with(
    source: Tensor, target: Tensor, more: tuple[Tensor, Tensor, Tensor], size: int, n_nodes: int
) -> tuple[Tensor, Tensor]:
    """Entries by row and column, with both directions of further edges in their places."""
    draw, row, col = more
    head, tail = draw * n_nodes + row, draw * n_nodes + col
    new = torch.cat([head * size + tail, tail * size + head]).sort().values
    count = torch.arange(len(new), device=new.device)
    place = torch.searchsorted(source.long().mul_(size).add_(target), new) + count
    old = torch.ones(len(source) + len(new), dtype=torch.int64, device=new.device)
    old[place] = 0
    order = old.cumsum(0).sub_(1)
    order[place] = len(source) + count
    new_source = new // size
    source = torch.cat([source, new_source.int()]).index_select(0, order)
    target = torch.cat([target, (new - new_source * size).int()]).index_select(0, order)
    return source, target
