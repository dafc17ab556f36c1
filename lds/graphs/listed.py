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
        n, theta = self._n_nodes, probs[: self._n_pairs].double()
        there = torch.ones(self._n_pairs + 1, dtype=torch.bool, device=probs.device)
        rows, cols = [], []
        for s in range(n_draws):
            uniform = torch.rand(
                self._n_pairs, dtype=torch.float64, device=probs.device, generator=generator
            )
            torch.lt(uniform, theta, out=there[:-1])
            kept = positions(there.index_select(0, self._pair))
            rows.append(self._row.index_select(0, kept) + s * n)
            cols.append(self._col.index_select(0, kept) + s * n)
        source = rows[0] if n_draws == 1 else torch.cat(rows)
        target = cols[0] if n_draws == 1 else torch.cat(cols)
        degree = torch.bincount(source, minlength=n_draws * n)
        return normalized(degree, source, target, n_draws, n, probs.dtype)
