"""Complete drawn graphs to connected ones by the maximum spanning tree of θ.

What this does to the distribution is in `lds.graphs.connected`.
"""

import numpy as np
import torch
from torch import Tensor

from lds._tensors import positions
from lds.graphs.batch import GraphBatch, graph_batch
from lds.graphs.candidates import Candidates
from lds.graphs.connected import Pairs, complete, components, first_forest

LEVELS = (0.1, 1e-3, 0.0)
"""Thresholds on θ for the search for its maximum spanning tree: pairs above the first, then pairs
above the next where those leave the graph in components, and so on. They change the time only."""


class Completion:
    """Add edges to drawn graphs until they are connected.

    Arguments:
        pairs: candidate pairs.
        probs: θ, `(pairs.size,)`; not copied.
        tree: a spanning tree for nodes that pairs with θ > 0 do not join.
    """

    def __init__(self, pairs: Candidates, probs: Tensor, tree: Pairs) -> None:
        self._pairs, self._probs, self._fallback = pairs, probs, tree
        self._maximum: Pairs | None = None  # the first graph needs it

    def complete(self, graph: GraphBatch) -> GraphBatch:
        """Add the most probable pairs that join the components of each graph, on the CPU."""
        if self._maximum is None:
            self._maximum = maximum_tree(self._pairs, self._probs, self._fallback)
        drawn = graph.edges()
        draw, row, col = (part.cpu().numpy() for part in drawn)
        more = complete(draw, row, col, graph.n_draws, graph.n_nodes, self._maximum)
        if not more[0].size:
            return graph
        draws, rows, cols = (
            torch.cat([part, torch.from_numpy(added).to(part.device)])
            for part, added in zip(drawn, more, strict=True)
        )
        return graph_batch(draws, rows, cols, graph.n_draws, graph.n_nodes, self._probs.dtype)

    def forget(self) -> None:
        """Search the tree again when it is next needed, after θ was changed in place."""
        self._maximum = None


def maximum_tree(pairs: Candidates, probs: Tensor, tree: Pairs) -> Pairs:
    """Find the maximum spanning tree of θ.

    Most of it lies among the large θ, so smaller ones are sorted only where those leave components.

    Arguments:
        pairs: candidate pairs.
        probs: θ, `(pairs.size,)`.
        tree: a spanning tree, whose pairs join the components that pairs with θ > 0 leave.

    Returns:
        Rows and columns of N - 1 pairs, the largest θ first, pairs of `tree` last.
    """
    n_nodes = pairs.n_nodes
    n_parts, labels = n_nodes, np.arange(n_nodes)
    found: list[Pairs] = []
    for level in (*LEVELS, None):
        if level is None:
            row, col = tree
        else:
            index = positions(probs > level)
            row, col = (part.cpu().numpy() for part in pairs.pairs(index))
            apart = np.flatnonzero(labels[row] != labels[col])  # few, after the first level
            theta = probs[index].cpu().numpy()[apart]
            row, col = row[apart], col[apart]
            order = np.lexsort((col, row, -theta))
            row, col = row[order], col[order]
        kept = first_forest(labels[row], labels[col], n_parts)
        found.append((row[kept], col[kept]))
        rows, cols = (np.concatenate(part) for part in zip(*found, strict=True))
        n_parts, labels = components(rows, cols, n_nodes)
        if n_parts == 1:
            break
    return rows, cols
