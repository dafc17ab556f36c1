"""Mean edge probability by what is known of a pair: the curves of Figure 9.3."""

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from lds._types import Split
from lds.edges.free import EdgeDistribution
from lds.graphs.candidates import PairList

GROUPS = {
    "same": "one class",
    "different": "two classes",
    "unknown": "a class unknown",
    "held_out": "held-out edges",
}


class PairGroups:
    """Pairs of nodes of one class, of two, with a class unknown, and edges that were held out.

    A class is known where its label has a role in the learning: train, validation or stopping. Test
    labels are not read. The thesis draws three example nodes; these are the means over all pairs.

    References:
        Franceschi, 2021, Figure 9.3.

    Arguments:
        labels: `(n_nodes,)`, classes from 0; read at the split's labelled roles, not at test.
        split: the roles.
        held_out: symmetric CSR of edges that were taken from the graph before learning; None where
            there are none. They are read for this record alone.
    """

    def __init__(
        self, labels: NDArray[np.int64], split: Split, held_out: sp.csr_array | None = None
    ) -> None:
        rows = np.concatenate([split.train, split.validation, split.stopping])
        codes = np.unique(labels[rows], return_inverse=True)[1]
        self._member = torch.zeros(len(labels), int(codes.max()) + 1)
        self._member[torch.from_numpy(rows), torch.from_numpy(codes)] = 1
        sizes = np.bincount(codes).tolist()
        known, every = _pairs(rows.size), _pairs(len(labels))
        self._n_same = sum(map(_pairs, sizes))
        self._n_different = known - self._n_same
        self._n_unknown = every - known
        self._held_out = PairList.of(held_out) if held_out is not None else None

    def means(self, edges: EdgeDistribution) -> dict[str, float]:
        """Mean θ of each group of `GROUPS` that has pairs; a pair that is no candidate counts as 0.

        Takes one pass over θ, and no memory of its size.
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
            sums["held_out"] = (self._on_held_out(edges), self._held_out.n_pairs)
        return {name: max(0.0, total) / n for name, (total, n) in sums.items() if n}

    def _on_held_out(self, edges: EdgeDistribution) -> float:
        """Σ θ over the held-out edges."""
        assert self._held_out is not None
        if isinstance(edges.pairs, PairList):
            values = self._held_out.take(edges.probs, edges.pairs)
        else:
            key = self._held_out.keys
            index = edges.pairs.index(key // edges.n_nodes, key % edges.n_nodes)
            values = edges.probs[torch.as_tensor(index, device=edges.probs.device)]
        return float(values.sum(dtype=torch.float64))


def _pairs(n: int) -> int:
    return n * (n - 1) // 2
