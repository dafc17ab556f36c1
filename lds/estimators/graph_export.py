"""The learned graph of a fit as a networkx graph and as a file."""

from pathlib import Path
from typing import Any

import networkx as nx
import scipy.sparse as sp
from numpy.typing import NDArray

from lds.graphs.export import node_attributes, save_graph
from lds.graphs.interop import select_edges, to_networkx
from lds.structure.metrics import entropy
from lds.structure.result import Learned


def attributes_of(learned: Learned, classes: NDArray[Any]) -> dict[str, Any]:
    """Collect the attributes of nodes: labels, predictions, roles and uncertainty.

    Arguments:
        learned: the result of a fit.
        classes: names of the classes.
    """
    return node_attributes(
        learned.problem.labels,
        learned.probabilities,
        learned.problem.split,
        classes,
        entropy=entropy(learned.probabilities),
        mutual_information=learned.mutual_information,
    )


class GraphExport:
    """Base of what has learned a graph: ways to take it elsewhere."""

    def _graph(self) -> tuple[sp.csr_array, dict[str, Any], sp.csr_array]:
        """Return edge probabilities, node attributes by name, and probabilities before learning.

        Both matrices are symmetric CSR.
        """
        raise NotImplementedError

    def to_networkx(
        self,
        threshold: float | None = None,
        *,
        top_k: int | None = None,
        n_edges: int | None = None,
    ) -> nx.Graph:
        """Convert the learned graph to a networkx graph.

        At most one rule selects edges; without one it is `threshold=0.5`.

        Arguments:
            threshold: in (0, 1]: keep edges of at least this probability.
            top_k: keep an edge if it is among the k most probable of one of its two rows.
            n_edges: keep this many edges, the most probable.

        Returns:
            A node for every row, with the attributes "label" (where known), "prediction",
            "confidence", "split", "entropy" and "mutual_information"; edges with "probability" and
            with "starting_probability", the one before learning.
        """
        edges, nodes, start = self._graph()
        if top_k is None and n_edges is None and threshold is None:
            threshold = 0.5
        return to_networkx(select_edges(edges, threshold, top_k, n_edges), nodes, start)

    def save_graph(
        self,
        path: str | Path,
        *,
        threshold: float | None = None,
        top_k: int | None = None,
        n_edges: int | None = None,
    ) -> None:
        """Write the learned graph to a .graphml, .gexf (Gephi), .csv or .npz file.

        Arguments:
            path: of the file; its suffix chooses the format.
            threshold, top_k, n_edges: as for `to_networkx`; without a rule all edges of
                probability > 1e-4 are written.
        """
        edges, nodes, start = self._graph()
        save_graph(path, select_edges(edges, threshold, top_k, n_edges), nodes, start)
