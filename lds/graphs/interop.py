"""Learned graphs as other libraries hold them."""

from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


def edges_above(edge_probs: sp.csr_array, threshold: float) -> sp.csr_array:
    """The part of a symmetric matrix whose entries are at least `threshold`.

    Raises:
        ValueError: `threshold` is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold (probability of an edge) must be in (0, 1], got {threshold}")
    kept = sp.csr_array(edge_probs, copy=True)
    kept.data[kept.data < threshold] = 0
    kept.eliminate_zeros()
    return kept


def to_networkx(
    edge_probs: sp.csr_array, threshold: float, nodes: Mapping[str, NDArray[Any]] | None = None
) -> nx.Graph:
    """An undirected graph of the edges with probability >= `threshold`.

    Arguments:
        edge_probs: symmetric CSR of probabilities.
        threshold: in (0, 1].
        nodes: node attributes by name, one value a node.

    Returns:
        All nodes from 0, edges with the attribute "probability".
    """
    kept = sp.triu(edges_above(edge_probs, threshold), k=1).tocoo()
    graph = nx.Graph()
    graph.add_nodes_from(range(edge_probs.shape[0]))
    for name, values in (nodes or {}).items():
        plain = (value.item() if hasattr(value, "item") else value for value in values)
        nx.set_node_attributes(graph, dict(enumerate(plain)), name)
    triples = zip(kept.row.tolist(), kept.col.tolist(), kept.data.tolist(), strict=True)
    graph.add_weighted_edges_from(triples, weight="probability")
    return graph


def to_edge_index(edge_probs: sp.csr_array) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """PyG's form: `(2, n_entries)` int64, both directions sorted by row, and the probabilities."""
    entries = edge_probs.tocoo()
    index = np.stack([entries.row, entries.col]).astype(np.int64)
    return index, entries.data.astype(np.float32)


def from_edge_index(
    edge_index: NDArray[np.int64], weight: NDArray[np.float32] | None, n_nodes: int
) -> sp.csr_array:
    """PyG's form as CSR; an edge listed twice counts once.

    Raises:
        ValueError: a node outside [0, n_nodes), or an edge whose other direction is missing.
    """
    if edge_index.size and not 0 <= edge_index.min() <= edge_index.max() < n_nodes:
        raise ValueError(
            f"edge_index must number nodes from 0 to {n_nodes - 1}, "
            f"got {edge_index.min()} to {edge_index.max()}"
        )
    row, col = edge_index
    values = np.ones(row.size, np.float32) if weight is None else weight.astype(np.float32)
    key, first = np.unique(row * n_nodes + col, return_index=True)
    parts = (values[first], (key // n_nodes, key % n_nodes))
    matrix = sp.csr_array(sp.coo_array(parts, shape=(n_nodes, n_nodes)))
    if abs(matrix - matrix.T).max() > 0:
        raise ValueError(
            "edge_index must hold both directions of every edge with one weight; "
            "torch_geometric.utils.to_undirected makes it so"
        )
    return matrix
