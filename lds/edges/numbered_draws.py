"""Graphs of a distribution by number, drawn once for all networks that train on them."""

from typing import Any

from lds._random import mix
from lds.edges.base import EdgeDistribution
from lds.edges.recorder import GivenGraph
from lds.graphs.batch import GraphBatch

KEPT_BYTES = 1 << 28
"""Bytes of graphs that are kept, at most; further ones are drawn again, the same."""


class NumberedDraws:
    """Graph t of a distribution, the same each time it is asked for.

    Networks that train side by side on one distribution share the graph of each of their steps, and
    only the first has to draw it. Another process, which gets none of the graphs that are kept,
    draws the same ones.

    Arguments:
        edges: drawn from; must not change.
        seed: of all graphs.
    """

    def __init__(self, edges: EdgeDistribution, seed: int) -> None:
        self._edges, self._seed = edges, seed
        self._kept: dict[int, GivenGraph] = {}
        self._n_bytes = 0

    def __call__(self, t: int) -> GivenGraph:
        """Return the graph of step t."""
        if t in self._kept:
            return self._kept[t]
        found = GivenGraph(self._edges.drawn(1, mix(self._seed, t)))
        if self._n_bytes < KEPT_BYTES:
            self._kept[t] = found
            self._n_bytes += _n_bytes(found.graph)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": {}, "_n_bytes": 0}


def _n_bytes(graph: GraphBatch) -> int:
    """Bytes of a graph, with those of its `means`, which a network may ask for."""
    matrix = graph.matrix
    parts = matrix.crow_indices(), matrix.col_indices(), *3 * [matrix.values()], graph.scale
    return sum(part.nbytes for part in parts)
