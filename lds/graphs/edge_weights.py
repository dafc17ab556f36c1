"""A drawn graph as a list of edges with weights, for networks that do not take a matrix.

While a gradient by A is wanted, every candidate pair is listed: with weight 1 where it was drawn,
with weight 0 where it was not. The derivative by these weights is the straight-through gradient by
θ. The network must treat an edge of weight 0 as no edge.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.graphs.candidates import Candidates


def weighted_edges(graph: GraphBatch) -> list[tuple[Tensor, Tensor]]:
    """Return the edge index and the weights of each of the S graphs of a batch.

    Returns:
        For each graph: int64 `(2, n_entries)`, both directions of every edge, and 0/1 weights
        `(n_entries,)` in the dtype of the graph. Where the graph records `products`, the weights
        are made from a leaf of the autograd graph that is recorded there: `(n_pairs,)`, one number
        for each candidate pair.
    """
    draw, row, col = graph.edges()
    counts = torch.bincount(draw, minlength=graph.n_draws).tolist()
    parts = zip(row.split(counts), col.split(counts), strict=True)
    products = graph.products
    if products is None or products.candidates is None or not torch.is_grad_enabled():
        one = graph.scale.new_ones(row.numel()).split(counts)
        return [_both_ways(*part, weight) for part, weight in zip(parts, one, strict=True)]
    candidates = products.candidates
    listed = candidates.pairs(candidates.positions().to(row.device))  # by row and column
    keys = listed[0] * graph.n_nodes + listed[1]
    found = []
    for some_row, some_col in parts:
        key = some_row * graph.n_nodes + some_col
        place = torch.searchsorted(keys, key).clamp(max=max(0, keys.numel() - 1))
        known = keys.index_select(0, place) == key if keys.numel() else key < 0
        weight = graph.scale.new_zeros(keys.numel())
        weight[place[known]] = 1
        weight.requires_grad_()
        products.weights.append(weight)
        other = ~known  # edges that were added to connect the graph and are not candidates
        found.append(
            _both_ways(
                torch.cat([listed[0], some_row[other]]),
                torch.cat([listed[1], some_col[other]]),
                torch.cat([weight, weight.new_ones(int(other.sum()))]),
            )
        )
    return found


@dataclass(frozen=True)
class PairGradient:
    """∂E/∂θ of undirected pairs, one number for each.

    Attributes:
        values: `(n_pairs,)`, in the order of `weighted_edges`.
    """

    values: Tensor

    def __add__(self, other: "PairGradient") -> "PairGradient":
        return PairGradient(self.values + other.values)

    def add_to(self, flat: Tensor, pairs: Candidates, alpha: float) -> None:
        """Add alpha times the gradient to a flat buffer over `pairs`, in place."""
        flat.index_add_(0, pairs.positions().to(flat.device), self.values, alpha=alpha)


def _both_ways(row: Tensor, col: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    index = torch.stack([torch.cat([row, col]), torch.cat([col, row])])
    return index, torch.cat([weight, weight])
