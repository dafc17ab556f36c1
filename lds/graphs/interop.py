"""Conversion of graphs between the forms of other libraries and this one."""

import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from torch import Tensor

from lds._arrays import of_tensor, refuse_masked
from lds.graphs.undirected import Weights, entries_of, refuse_outside, undirected

WITHOUT_EDGES = "has no edge of a weight above 0 between two nodes, so there is no graph"
"""End of the message about a graph that says nothing."""

STARTING = "starting_probability"
"""Name of the probability of an edge before learning."""


def unless_empty(graph: sp.csr_array | None, name: str, stacklevel: int = 4) -> sp.csr_array | None:
    """Return a graph that has an edge; warn of one that has none, and return None.

    Arguments:
        graph: without stored zeros.
        name: of the graph, in the warning.
        stacklevel: of the warning.
    """
    if graph is None or graph.nnz:
        return graph
    warnings.warn(f"{name} {WITHOUT_EDGES}", UserWarning, stacklevel=stacklevel)
    return None


def edges_above(edge_probs: sp.csr_array, threshold: float) -> sp.csr_array:
    """Keep the entries of a symmetric matrix that are at least `threshold`.

    Raises:
        ValueError: `threshold` is not in (0, 1].
    """
    if not isinstance(threshold, Real) or not 0 < threshold <= 1:
        raise ValueError(f"threshold (probability of an edge) must be in (0, 1], got {threshold!r}")
    kept = sp.csr_array(edge_probs, copy=True)
    # Python's number is rounded to the dtype of the data first; NumPy's would be compared exactly,
    # and 0.9 in float32 is below 0.9.
    kept.data[kept.data < float(threshold)] = 0
    kept.eliminate_zeros()
    return kept


def select_edges(
    edge_probs: sp.csr_array,
    threshold: float | None = None,
    top_k: int | None = None,
    n_edges: int | None = None,
) -> sp.csr_array:
    """Keep the edges that one of three rules selects; without a rule, all of them.

    Arguments:
        edge_probs: symmetric CSR of probabilities.
        threshold: in (0, 1]; keep edges of at least this probability.
        top_k: keep an edge that is among the k most probable of either of its nodes.
        n_edges: keep this many undirected edges, the most probable (all, if there are fewer).

    Returns:
        Symmetric CSR of the same shape, without stored zeros. Of equally probable edges the one
        with the lower row, then the lower column, is preferred.

    Raises:
        TypeError: `top_k` or `n_edges` is not an integer.
        ValueError: more than one rule is given, or one is out of range.
    """
    rules = {"threshold": threshold, "top_k": top_k, "n_edges": n_edges}
    given = [name for name, value in rules.items() if value is not None]
    if len(given) > 1:
        raise ValueError(
            f"one of threshold, top_k and n_edges may be given, got {' and '.join(given)}"
        )
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
    edge_probs: sp.csr_array,
    nodes: Mapping[str, Sequence[Any] | NDArray[Any]] | None = None,
    start: sp.csr_array | None = None,
) -> nx.Graph:
    """Convert to an undirected networkx graph of the stored edges.

    Arguments:
        edge_probs: symmetric CSR of probabilities; see `select_edges` to keep fewer.
        nodes: node attributes by name, one value for each node; None where a node has none.
        start: symmetric CSR of the probabilities before learning.

    Returns:
        A graph with nodes 0 to n_nodes - 1 and edges with the attribute "probability", and
        "starting_probability" if `start` is given. All values are plain Python.
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
    if start is not None:
        ends = zip(kept.row.tolist(), kept.col.tolist(), strict=True)
        before = before_learning(start, kept).tolist()
        nx.set_edge_attributes(graph, dict(zip(ends, before, strict=True)), STARTING)
    return graph


def before_learning(start: sp.csr_array, edges: sp.coo_array) -> NDArray[Any]:
    """Return the entries of `start` at the stored entries of `edges`."""
    return np.asarray(start[edges.row, edges.col]).reshape(-1)


def to_edge_index(edge_probs: sp.csr_array) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Convert to PyG's form.

    Returns:
        edge_index `(2, n_entries)` int64, both directions of every edge, sorted by row; and the
        probabilities `(n_entries,)`.
    """
    entries = edge_probs.tocoo()
    index = np.stack([entries.row, entries.col]).astype(np.int64)
    return index, entries.data.astype(np.float32)


def from_edge_index(
    edge_index: NDArray[Any],
    weight: NDArray[Any] | None,
    n_nodes: int,
    *,
    weights: Weights | None = None,
    name: str = "edge_index",
    weight_name: str = "edge_weight",
) -> sp.csr_array:
    """Convert PyG's form to a symmetric CSR of starting probabilities; see `undirected`.

    Arguments:
        edge_index: integers `(2, n_entries)`; one direction of an edge is enough.
        weight: `(n_entries,)` or `(n_entries, 1)`; None is 1 everywhere.
        n_nodes: how many nodes there are.
        weights: meaning of the weights, see `undirected`.
        name, weight_name: of the two arguments, in messages.

    Raises:
        TypeError: `edge_index` does not hold integers, or `weight` does not hold real numbers.
        ValueError: a wrong shape, a node outside [0, n_nodes), or a weight that `undirected`
            refuses.
    """
    if edge_index.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got {edge_index.dtype}; .long() casts it")
    if edge_index.ndim != 2 or edge_index.shape[0] != 2:
        turned = edge_index.ndim == 2 and edge_index.shape[1] == 2
        raise ValueError(
            f"{name} must have shape (2, n_edges), got {edge_index.shape}"
            + ("; its transpose has it" if turned else "")
        )
    n_edges = edge_index.shape[1]
    if weight is not None and weight.shape not in {(n_edges,), (n_edges, 1)}:
        raise ValueError(
            f"{weight_name} must have one entry a column of {name}, ({n_edges},), "
            f"got {weight.shape}"
        )
    refuse_outside(edge_index, n_nodes, name, "column")
    row, col = edge_index.astype(np.int64)
    values = None if weight is None else weight.reshape(-1)
    return undirected(
        row, col, values, n_nodes, weights=weights, name=name, weight_name=weight_name
    )


def as_adjacency(
    graph: Any, n_nodes: int, *, weights: Weights | None = None, name: str = "adjacency"
) -> sp.csr_array:
    """Convert a graph to a symmetric CSR of starting probabilities; see `undirected`.

    Arguments:
        graph: `(n_nodes, n_nodes)`, an array, a data frame, or a sparse matrix of scipy, torch or
            torch_sparse; a networkx graph whose nodes are the row numbers, with the weights of its
            edges under "weight"; or integers `(2, n_edges)`, PyG's edge_index. Repeated entries of
            a sparse matrix are summed. It is not changed.
        n_nodes: the number of rows.
        weights: meaning of the weights, see `undirected`.
        name: of the argument, in messages.

    Raises:
        TypeError: `graph` is none of these, or its entries are not real numbers.
        ValueError: a wrong shape, a node that is not a row number, a data frame with its columns in
            another order than its rows, or a weight that `undirected` refuses.
    """
    options: dict[str, Any] = {"weights": weights, "name": name, "weight_name": f"{name} weight"}
    if isinstance(graph, nx.Graph):
        row, col, values = edges_of(graph, _row_numbers(graph, n_nodes, name))
        return undirected(row, col, values, n_nodes, **options)
    matrix: Any
    if hasattr(graph, "sparse_sizes") and hasattr(graph, "coo"):
        matrix = _of_sparse_tensor(graph)
    elif isinstance(graph, Tensor):
        matrix = of_tensor(graph)
    elif sp.issparse(graph):
        matrix = graph
    else:
        _check_labels(graph, name)
        matrix = _array(graph, name)
    if matrix.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got entries of type {matrix.dtype}")
    if (
        isinstance(matrix, np.ndarray)
        and matrix.ndim == 2
        and matrix.shape[0] == 2 != n_nodes
        and matrix.dtype.kind in "iu"
    ):
        return from_edge_index(matrix, None, n_nodes, weights=weights, name=name)
    if matrix.shape != (n_nodes, n_nodes):
        raise ValueError(
            f"{name} must have shape ({n_nodes}, {n_nodes}), one row a node, or be integers "
            f"(2, n_edges), got {matrix.dtype} of shape {matrix.shape}"
        )
    return undirected(*entries_of(matrix), n_nodes, **options)


def edges_of(
    graph: nx.Graph, number: Mapping[Any, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any] | None]:
    """Return the ends and the weights of a networkx graph's edges; a missing weight is 1.

    Arguments:
        graph: directed or not, with or without repeated edges.
        number: the row number of each node.

    Returns:
        Rows, columns and weights, `(n_edges,)` each, with both directions of an undirected edge;
        the weights are None where no edge has one. A warning says how many have none where others
        have one.

    Raises:
        TypeError: a weight is not a number.
    """
    edges = list(graph.edges(data="weight"))
    if not graph.is_directed():
        graph = graph.to_directed(as_view=True)
    triples = list(graph.edges(data="weight"))
    for one, other, weight in triples:
        if weight is not None and (not isinstance(weight, Real) or isinstance(weight, str)):
            raise TypeError(
                f"weight of the edge ({one!r}, {other!r}) must be a number, got {weight!r}"
            )
    without = [weight is None for *_, weight in edges]
    if any(without) and not all(without):
        warnings.warn(
            f"{sum(without):,} of {len(without):,} edges of the graph have no weight and count as "
            "edges of weight 1; give each edge a weight, or none",
            UserWarning,
            stacklevel=2,
        )
    row, col = (np.array([number[t[end]] for t in triples], dtype=np.int64) for end in (0, 1))
    if all(without):
        return row, col, None
    return row, col, np.array([1.0 if w is None else float(w) for *_, w in triples])


def _row_numbers(graph: nx.Graph, n_nodes: int, name: str) -> dict[Any, int]:
    if graph.number_of_nodes() != n_nodes:
        raise ValueError(
            f"{name} must have one node a row, {n_nodes}, got {graph.number_of_nodes()} nodes"
        )
    for node in graph:
        if not isinstance(node, Integral) or not 0 <= int(node) < n_nodes:
            raise ValueError(
                f"{name} must have the row numbers 0 to {n_nodes - 1} as nodes, got {node!r}; "
                "networkx.relabel_nodes makes them so"
            )
    return {node: int(node) for node in graph}


def _of_sparse_tensor(graph: Any) -> Any:
    """Convert a `torch_sparse.SparseTensor`, without importing torch_sparse."""
    row, col, value = graph.coo()
    values = np.ones(row.numel()) if value is None else of_tensor(value)
    place = (row.cpu().numpy(), col.cpu().numpy())
    return sp.coo_array((values, place), tuple(graph.sparse_sizes()))


def _check_labels(graph: Any, name: str) -> None:
    """Refuse a square frame of pandas whose columns are not its rows, in their order.

    Columns or rows that are numbered from 0 have no labels, and ones without a label in common say
    nothing of each other.
    """
    shape: Any = getattr(graph, "shape", ())
    if not hasattr(graph, "iloc") or len(shape) != 2 or shape[0] != shape[1]:
        return
    rows, columns = graph.index, graph.columns
    row_texts, column_texts = list(map(str, rows)), list(map(str, columns))
    if rows.equals(columns) or row_texts == column_texts:
        return
    same = set(rows) == set(columns)
    numbered = any(list(labels) == list(range(shape[0])) for labels in (rows, columns))
    if not same and set(row_texts) != set(column_texts):
        common = set(row_texts) & set(column_texts) or set(rows) & set(columns)
        if numbered or not common:
            return
    way = f"{name}[{name}.index] brings its columns in line, " if same else ""
    raise ValueError(
        f"{name} must have the same labels in rows and columns in one order, got rows "
        f"{', '.join(row_texts[:5])} and columns {', '.join(column_texts[:5])}; {way}"
        f"pass {name}.to_numpy() to match rows and columns by position"
    )


def _array(graph: Any, name: str) -> NDArray[Any]:
    refuse_masked(graph, name)
    try:
        found = np.asarray(graph)
        if found.dtype == object:  # a frame of nullable columns, whose entries are numbers
            found = np.array(found.tolist())
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a matrix, got {type(graph).__name__} ({error})") from error
    if found.ndim == 0:
        raise TypeError(
            f"{name} must be an array, a sparse matrix, a networkx graph or an edge_index, "
            f"got {type(graph).__name__}"
        )
    return found
