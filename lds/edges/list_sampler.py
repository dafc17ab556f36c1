"""Graphs drawn from a list of pairs: a mask over the entries of one matrix, sorted once."""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch, normalized, positions, repeat
from lds.graphs.candidates import PairList


class ListedEntries:
    """Where each pair of a list stands in A + I, both ways, and the loops.

    Arguments:
        pairs: the list.
        device: of the tables, 8 bytes an entry, two entries a pair and one a node.
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
        self._pair, self._col, self._last = (  # of a row, the last: a loop at least
            torch.as_tensor(table, device=device)
            for table in (matrix.data, matrix.indices, matrix.indptr[1:] - 1)
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
        masks = torch.cat([there, there.new_ones((n_draws, 1))], 1)
        pair, entry_col, last = self._tables(masks)
        first = torch.arange(0, n_draws * n, n, dtype=torch.int32, device=there.device)
        at_once = _at_once(n_draws, there.device)
        lasts, targets = [], []
        for mask, shift in zip(masks.split(at_once), first.split(at_once), strict=True):
            kept = _columns(mask, pair)
            lasts.append(_columns(kept.cumsum(1, dtype=torch.int32), last))
            target = (entry_col + shift.unsqueeze(1)).flatten()
            targets.append(target.index_select(0, positions(kept.flatten())))
        up_to, target = torch.cat(lasts), torch.cat(targets)
        degree = up_to.diff(dim=1, prepend=up_to.new_zeros((n_draws, 1))).flatten()
        if more is not None and more[0].numel():
            target = _with(degree, target, more, n)
            ends = torch.cat([more[0] * n + more[1], more[0] * n + more[2]])
            degree = degree + torch.bincount(ends, minlength=n_draws * n)
        return normalized(degree, target, n_draws, n, dtype)

    def _tables(self, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pair and column of each entry, and the last entry of each row, for several draws at once.

        Entries of no draw are left out: once θ has come far, most of a list.
        """
        if masks.shape[0] == 1:
            return self._pair, self._col, self._last
        ever = masks.view(torch.uint8).amax(0).bool().index_select(0, self._pair)  # any(0) is slow
        found = positions(ever)
        last = ever.cumsum(0, dtype=torch.int32).index_select(0, self._last) - 1
        return self._pair.index_select(0, found), self._col.index_select(0, found), last


def _at_once(n_draws: int, device: torch.device) -> int:
    """Draws put together at once: what one needs stays in a CPU's cache."""
    return 1 if device.type == "cpu" else n_draws


def _columns(x: Tensor, index: Tensor) -> Tensor:
    """Columns of a matrix; of a single row three times faster on a CPU than as a matrix."""
    if x.shape[0] == 1:
        return x[0].index_select(0, index).unsqueeze(0)
    return x.index_select(1, index)


def _with(degree: Tensor, target: Tensor, more: tuple[Tensor, Tensor, Tensor], n: int) -> Tensor:
    """Columns of the entries by row and column, further edges in their places, both ways."""
    draw, row, col = more
    size = len(degree)
    head, tail = draw * n + row, draw * n + col
    new = torch.cat([head * size + tail, tail * size + head]).sort().values
    count = torch.arange(len(new), device=new.device)
    source = repeat(torch.arange(size, device=new.device), degree)
    place = torch.searchsorted(source.mul_(size).add_(target), new) + count
    whole = target.new_empty(len(target) + len(new))
    old = torch.ones(len(whole), dtype=torch.bool, device=new.device)
    old[place] = False
    whole[place] = (new % size).to(target.dtype)
    whole[old] = target
    return whole
