"""What stands in for a distribution of edges while a step or an objective runs.

Two instances: `ProductRecorder` draws as its distribution does and keeps what the hypergradient
needs; `GivenGraph` is one graph that every draw returns.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from lds.graphs.batch import GraphBatch, Products
from lds.graphs.candidates import Candidates
from lds.graphs.edge_weights import PairGradient
from lds.graphs.product import FactoredGradient, factored_gradient

EdgeGradient = FactoredGradient | PairGradient
"""∂E/∂θ of undirected pairs: as thin factors, or as one number for each candidate pair."""


class EdgeRecorder(Protocol):
    """Draw graphs for one application of Φ_t or E, then return ∂E/∂θ."""

    def draw(self) -> GraphBatch:
        """One graph that keeps what is computed with it."""

    def inputs(self) -> Sequence[Tensor]:
        """Tensors made during the computation, to differentiate its result by."""

    def gradient(self, grads: Sequence[Tensor | None]) -> EdgeGradient | None:
        """∂E/∂θ from the derivatives by `inputs()`; None where E does not depend on θ."""


class GraphRecorder:
    """Keep the products made with each graph; they give the straight-through gradient.

    Arguments:
        pairs: candidate pairs; None where graphs are read by products alone.
    """

    def __init__(self, pairs: Candidates | None = None) -> None:
        self.pairs = pairs
        self._drawn: list[tuple[GraphBatch, Products]] = []

    def recorded(self, graph: GraphBatch) -> GraphBatch:
        """Give a graph an empty list of products."""
        products = Products(self.pairs)
        graph = replace(graph, products=products)
        self._drawn.append((graph, products))
        return graph

    def inputs(self) -> list[Tensor]:
        """Probes of all products and edge weights handed to a network, graph by graph."""
        return [x for _, products in self._drawn for x in (*products.probes, *products.weights)]

    def gradient(self, grads: Sequence[Tensor | None]) -> EdgeGradient | None:
        """Sum of the gradients by each drawn graph; None where E depends on none of them."""
        found: list[Any] = []  # of one kind, since a network takes either products or edges
        rest = list(grads)
        for place, (graph, products) in enumerate(self._drawn):
            n, m = len(products.probes), len(products.weights)
            mine, by_weight, rest = rest[:n], rest[n : n + m], rest[n + m :]
            found.append(self._by_graph(place, graph, products, mine))
            found += [None if grad is None else PairGradient(grad) for grad in by_weight]
        known = [part for part in found if part is not None]
        return functools.reduce(operator.add, known) if known else None

    def _by_graph(
        self, place: int, graph: GraphBatch, products: Products, grads: Sequence[Tensor | None]
    ) -> EdgeGradient | None:
        """Compute the gradient by the drawn graph number `place`."""
        return factored_gradient(graph, products, grads)


class ProductRecorder(GraphRecorder):
    """Draw from a distribution.

    Arguments:
        pairs: candidate pairs of the distribution.
        draw_graphs: draws a number of graphs from it.
    """

    def __init__(self, pairs: Candidates, draw_graphs: Callable[[int], GraphBatch]) -> None:
        super().__init__(pairs)
        self._draw_graphs = draw_graphs

    def draw(self, n_draws: int = 1) -> GraphBatch:
        """Graphs of the distribution, with an empty list of products."""
        return self.recorded(self._draw_graphs(n_draws))


@dataclass(frozen=True)
class GivenGraph:
    """One graph in the place of a distribution."""

    graph: GraphBatch

    def draw(self) -> GraphBatch:
        """Return the graph."""
        return self.graph
