"""Learned graphs as other libraries hold them."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
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
    if not isinstance(threshold, Real) or not 0 < threshold <= 1:
        raise ValueError(f"threshold (probability of an edge) must be in (0, 1], got {threshold!r}")
    kept = sp.csr_array(edge_probs, copy=True)
    kept.data[kept.data < threshold] = 0
    kept.eliminate_zeros()
    return kept


def select_edges(
    edge_probs: sp.csr_array,
    threshold: float | None = None,
    top_k: int | None = None,
    n_edges: int | None = None,
) -> sp.csr_array:
    """The part of a symmetric matrix that one of three rules keeps; all of it without a rule.

    Arguments:
        edge_probs: symmetric CSR of probabilities.
        threshold: in (0, 1]; keeps edges at least as probable.
        top_k: keeps an edge that is among the k most probable of either of its nodes.
        n_edges: keeps so many undirected edges, the most probable (all, where there are fewer).

    Returns:
        Symmetric CSR of the same shape, without stored zeros. Of equally probable edges the one
        with the lower row, then the lower column, goes first.

    Raises:
        TypeError: `top_k` or `n_edges` is not an integer.
        ValueError: more than one rule, or one out of range.
    """
    rules = {"threshold": threshold, "top_k": top_k, "n_edges": n_edges}
    given = [name for name, value in rules.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"one of threshold, top_k and n_edges may be given, got {given}")
    if threshold is not None:
        return edges_above(edge_probs, threshold)
    for name, number in (("top_k", top_k), ("n_edges", n_edges)):
        if number is not None and (not isinstance(number, Integral) or isinstance(number, bool)):
            raise TypeError(f"{name} must be an integer, got {number!r}")
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    matrix = sp.csr_array(edge_probs, copy=True)
    matrix.eliminate_zeros()
    if top_k is None and n_edges is None:
        return matrix
    entries = (sp.triu(matrix, k=1) if top_k is None else matrix).tocoo()
    order = np.lexsort((entries.col, entries.row, -entries.data))
    if top_k is None:
        kept = order[:n_edges]
    else:
        order = order[np.argsort(entries.row[order], kind="stable")]
        row = entries.row[order]
        kept = order[np.arange(row.size) - np.searchsorted(row, row) < top_k]
    parts = (entries.data[kept], (entries.row[kept], entries.col[kept]))
    one_way = sp.csr_array(sp.coo_array(parts, shape=matrix.shape))
    return sp.csr_array(one_way.maximum(one_way.T))


def to_networkx(
    edge_probs: sp.csr_array, nodes: Mapping[str, Sequence[Any] | NDArray[Any]] | None = None
) -> nx.Graph:
    """An undirected graph of the stored edges.

    Arguments:
        edge_probs: symmetric CSR of probabilities; `select_edges` chooses some.
        nodes: node attributes by name, one value a node; a node whose value is None has none.

    Returns:
        All nodes from 0, edges with the attribute "probability", all values plain Python.
    """
    kept = sp.triu(edge_probs, k=1).tocoo()
    graph = nx.Graph()
    graph.add_nodes_from(range(edge_probs.shape[0]))
    for name, values in (nodes or {}).items():
        plain = (value.item() if hasattr(value, "item") else value for value in values)
        known = {node: value for node, value in enumerate(plain) if value is not None}
        nx.set_node_attributes(graph, known, name)
    triples = zip(kept.row.tolist(), kept.col.tolist(), kept.data.tolist(), strict=True)
    graph.add_weighted_edges_from(triples, weight="probability")
    return graph


def to_edge_index(edge_probs: sp.csr_array) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """PyG's form: `(2, n_entries)` int64, both directions sorted by row, and the probabilities."""
    entries = edge_probs.tocoo()
    index = np.stack([entries.row, entries.col]).astype(np.int64)
    return index, entries.data.astype(np.float32)


def from_edge_index(
    edge_index: NDArray[Any], weight: NDArray[Any] | None, n_nodes: int
) -> sp.csr_array:
    """PyG's form as symmetric CSR; loops are dropped, an edge listed twice counts once.

    Arguments:
        edge_index: integers `(2, n_entries)`, both directions of every edge.
        weight: `(n_entries,)`, in [0, 1]; None is 1 everywhere.
        n_nodes: how many nodes there are.

    Raises:
        TypeError: `edge_index` does not hold integers.
        ValueError: another shape, a node outside [0, n_nodes), a weight outside [0, 1], or an edge
            whose other direction is missing or whose weights differ.
    """
    if edge_index.dtype.kind not in "iu":
        raise TypeError(f"edge_index must hold integers, got {edge_index.dtype}")
    if edge_index.ndim != 2 or edge_index.shape[0] != 2:
        raise ValueError(f"edge_index must have shape (2, n_entries), got {edge_index.shape}")
    values = np.ones(edge_index.shape[1]) if weight is None else weight
    if values.shape != (edge_index.shape[1],):
        raise ValueError(
            f"edge_weight must have one entry a column of edge_index, ({edge_index.shape[1]},), "
            f"got {values.shape}"
        )
    if edge_index.size and not 0 <= edge_index.min() <= edge_index.max() < n_nodes:
        raise ValueError(
            f"edge_index must number nodes from 0 to {n_nodes - 1}, "
            f"got {edge_index.min()} to {edge_index.max()}"
        )
    off_diagonal = edge_index[0] != edge_index[1]
    row, col = edge_index[:, off_diagonal].astype(np.int64)
    values = values[off_diagonal].astype(np.float32)
    if not ((values >= 0) & (values <= 1)).all():  # NaN included
        worst = values[~((values >= 0) & (values <= 1))][0]
        raise ValueError(
            f"edge_weight must be in [0, 1] (it is a starting probability), got {worst:g}"
        )
    key, first, back = np.unique(row * n_nodes + col, return_index=True, return_inverse=True)
    parts = (values[first], (key // n_nodes, key % n_nodes))
    matrix = sp.csr_array(sp.coo_array(parts, shape=(n_nodes, n_nodes)))
    if (values != values[first][back]).any() or abs(matrix - matrix.T).max() > 0:
        raise ValueError(
            "edge_index must hold both directions of every edge with one weight; "
            "torch_geometric.utils.to_undirected makes it so"
        )
    return matrix
