"""Draw graphs from a list of pairs, as masks over the entries of one matrix that is sorted once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from lds._tensors import positions, repeat
from lds.graphs.batch import GraphBatch, normalized
from lds.graphs.candidates import PairList


@dataclass(frozen=True, eq=False)
class ListedEntries:
    """The entries of A + I if every pair of a list were an edge, by row and column.

    A graph drawn from the list is a mask over these entries, so nothing is sorted again.

    Attributes:
        pair: int32 `(n_entries,)`, the pair of each entry; n_pairs for an entry of the diagonal.
        col: int32 `(n_entries,)`, the column of each entry.
        last: int32 `(n_nodes,)`, the last entry of each row; a row has its diagonal at least.
        n_nodes: N.
        n_pairs: pairs of the list.
    """

    pair: Tensor
    col: Tensor
    last: Tensor
    n_nodes: int
    n_pairs: int

    @classmethod
    def of(cls, pairs: PairList, device: torch.device) -> "ListedEntries":
        """Sort the entries of a list; 8 bytes an entry, two entries a pair and one a node."""
        n, n_pairs = pairs.n_nodes, pairs.n_pairs
        place = np.arange(n_pairs, dtype=np.int32)
        loops = np.arange(n, dtype=np.int32)
        row = (pairs.keys // n).astype(np.int32)
        col = (pairs.keys - pairs.keys // n * n).astype(np.int32)
        # By rows, and in each row by columns: entries below the diagonal come first.
        entry = (np.concatenate([col, loops, row]), np.concatenate([row, loops, col]))
        pair = np.concatenate([place, np.full_like(loops, n_pairs), place])
        matrix = sp.coo_array((pair, entry), shape=(n, n)).tocsr()
        pair_of, col_of, last = (
            torch.as_tensor(table, device=device)
            for table in (matrix.data, matrix.indices, matrix.indptr[1:] - 1)
        )
        return cls(pair_of, col_of, last, n, n_pairs)

    @classmethod
    def disjoint_union(cls, parts: Sequence["ListedEntries"]) -> "ListedEntries":
        """Put lists on n nodes each side by side; the nodes of list r are numbered from r · n on.

        Arguments:
            parts: at least one.
        """
        n, n_pairs = parts[0].n_nodes, sum(part.n_pairs for part in parts)
        pair, col, last = [], [], []
        pairs_before = entries_before = 0
        for r, part in enumerate(parts):
            diagonal = part.pair == part.n_pairs
            pair.append(torch.where(diagonal, n_pairs, part.pair + pairs_before))
            col.append(part.col + r * n)
            last.append(part.last + entries_before)
            pairs_before += part.n_pairs
            entries_before += len(part.pair)
        return cls(torch.cat(pair), torch.cat(col), torch.cat(last), n * len(parts), n_pairs)

    def draw(self, probs: Tensor, n_draws: int, generator: torch.Generator) -> GraphBatch:
        """Draw S independent graphs, every pair an edge with its probability.

        Time and memory O(S · pairs); uniforms in float64.

        Arguments:
            probs: θ, at least `(n_pairs,)`; entries behind those of the pairs are not read.
            n_draws: S >= 1.
            generator: source of randomness.
        """
        theta = probs[: self.n_pairs].double()
        there = torch.empty((n_draws, self.n_pairs), dtype=torch.bool, device=probs.device)
        for row in there:  # one draw's uniforms at a time
            uniform = torch.rand(
                self.n_pairs, dtype=torch.float64, device=probs.device, generator=generator
            )
            torch.lt(uniform, theta, out=row)
        return self.graphs(there, probs.dtype)

    def graphs(
        self, there: Tensor, dtype: torch.dtype, more: tuple[Tensor, Tensor, Tensor] | None = None
    ) -> GraphBatch:
        """Build S graphs from masks over the list and a few edges besides.

        Arguments:
            there: bool `(n_draws, n_pairs)`, which pairs are edges.
            dtype: of the entries of Â.
            more: (draw, row, col) of further edges, int64 `(n_edges,)`, none of them in the list.
        """
        n, n_draws = self.n_nodes, there.shape[0]
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
        """Return `pair`, `col` and `last` of the entries of some draw; late in a run they are few.

        Arguments:
            masks: bool `(n_draws, n_pairs + 1)`.
        """
        if masks.shape[0] == 1:
            return self.pair, self.col, self.last
        ever = masks.view(torch.uint8).amax(0).bool().index_select(0, self.pair)  # any(0) is slow
        found = positions(ever)
        last = ever.cumsum(0, dtype=torch.int32).index_select(0, self.last) - 1
        return self.pair.index_select(0, found), self.col.index_select(0, found), last


def _at_once(n_draws: int, device: torch.device) -> int:
    """How many draws to build together: on a CPU one, whose arrays stay in its cache."""
    return 1 if device.type == "cpu" else n_draws


def _columns(x: Tensor, index: Tensor) -> Tensor:
    """Select columns of a matrix; a single row as a vector, three times faster on a CPU."""
    if x.shape[0] == 1:
        return x[0].index_select(0, index).unsqueeze(0)
    return x.index_select(1, index)


def _with(degree: Tensor, target: Tensor, more: tuple[Tensor, Tensor, Tensor], n: int) -> Tensor:
    """Insert further edges, both ways, into the columns of entries sorted by row and column."""
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
