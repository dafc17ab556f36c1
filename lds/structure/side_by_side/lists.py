"""The disjoint union of several lists of pairs, each on nodes of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lds.graphs.batch import csr
from lds.graphs.candidates import PairList, add_sampled


def first_of(sizes: Sequence[int]) -> list[int]:
    """Compute the offset of each of several parts that lie one after the other."""
    starts, total = [], 0
    for size in sizes:
        starts.append(total)
        total += size
    return starts


class DisjointPairs:
    """The upper triangle of several lists on n nodes each; list r has the nodes from r · n on.

    Arguments:
        lists: the lists.
        device: of the tables.
    """

    def __init__(self, lists: Sequence[PairList], device: torch.device) -> None:
        n, sizes = lists[0].n_nodes, [pairs.n_pairs for pairs in lists]
        patterns = [pairs.pattern(device) for pairs in lists]
        starts = zip(patterns, first_of(sizes), strict=True)
        crow = [crow[:-1] + first for (crow, _), first in starts]
        self._crow = torch.cat([*crow, torch.full_like(crow[0][:1], sum(sizes))])
        self._col = torch.cat([col + r * n for r, (_, col) in enumerate(patterns)])
        self._n_nodes = n * len(lists)

    def add_products(
        self, values: Tensor, left: Sequence[Tensor], right: Sequence[Tensor], alpha: float
    ) -> None:
        """Add alpha · Σ_k left_k right_kᵀ at every pair, in place.

        Arguments:
            values: `(n_pairs,)`, those of the lists one after the other.
            left, right: `(n_lists · n_nodes, rank)`.
            alpha: factor.
        """
        add_sampled(csr(self._crow, self._col, values, (self._n_nodes,) * 2), left, right, alpha)
