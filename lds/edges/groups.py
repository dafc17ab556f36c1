"""Mean edge probability of pairs of one class, of two classes and of others (Figure 9.3)."""

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from lds._types import Split
from lds.edges.base import EdgeDistribution
from lds.graphs.candidates import PairList


class PairGroups:
    """Group the pairs of nodes: one class, two classes, a class unknown, held-out edges.

    The class of a node is known where its label is used in learning: in the rows for training,
    validation or early stopping. Test labels are not read. The thesis shows three example nodes;
    these are means over all pairs.

    References:
        Franceschi, 2021, Figure 9.3.

    Arguments:
        labels: `(n_nodes,)`, classes from 0; test rows are not read.
        split: rows by their use.
        held_out: symmetric CSR of edges that were removed from the graph before learning; None
            where none were.
    """

    def __init__(
        self, labels: NDArray[np.int64], split: Split, held_out: sp.csr_array | None = None
    ) -> None:
        rows = split.learning
        codes = np.unique(labels[rows], return_inverse=True)[1]
        self._member = torch.zeros(len(labels), int(codes.max()) + 1, dtype=torch.float32)
        self._member[torch.from_numpy(rows), torch.from_numpy(codes)] = 1
        sizes = np.bincount(codes).tolist()
        known, every = _pairs(rows.size), _pairs(len(labels))
        self._n_same = sum(map(_pairs, sizes))
        self._n_different = known - self._n_same
        self._n_unknown = every - known
        self._held_out = PairList.of(held_out) if held_out is not None else None

    def means(self, edges: EdgeDistribution) -> dict[str, float]:
        """Compute the mean θ of each group of `lds._words.GROUPS` that has pairs.

        A pair that is no candidate counts as 0. Takes one pass over θ and no memory of its size.
        """
        member = self._member.to(edges.probs)
        by_class = edges.pairs.sums(edges.probs, member, member)
        same, known = float(by_class.trace()), float(by_class.sum())
        sums = {
            "same": (same, self._n_same),
            "different": (known - same, self._n_different),
            "unknown": (edges.expected_edges - known, self._n_unknown),
        }
        if self._held_out is not None:
            sums["held_out"] = (_sum_on(self._held_out, edges), self._held_out.n_pairs)
        return {name: max(0.0, total) / n for name, (total, n) in sums.items() if n}


def _sum_on(listed: PairList, edges: EdgeDistribution) -> float:
    """Σ θ over the pairs of a list; pairs that are no candidates count as 0."""
    if isinstance(edges.pairs, PairList):
        values = listed.take(edges.probs, edges.pairs)
    else:
        index = edges.pairs.index(listed.keys // edges.n_nodes, listed.keys % edges.n_nodes)
        values = edges.probs[torch.as_tensor(index, device=edges.probs.device)]
    return float(values.sum(dtype=torch.float64))


def _pairs(n: int) -> int:
    """How many pairs n nodes have."""
    return n * (n - 1) // 2
