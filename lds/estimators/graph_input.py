"""Convert a graph with features, labels and masks to a `Problem`."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch, Data

from lds._labels import encode_labels
from lds._types import Features, Split
from lds.datasets.cells import LARGEST
from lds.datasets.splits import halved, three_way
from lds.estimators.data_object import as_data, is_matrix, tensor_of
from lds.estimators.masks import SplitChoice, masked_nodes, say
from lds.estimators.weights import ClassWeight, weigh_rows
from lds.graphs.interop import WITHOUT_EDGES, as_adjacency, from_edge_index
from lds.graphs.knn import metrics
from lds.graphs.similarity import AUTO
from lds.graphs.structural import structural_features
from lds.graphs.undirected import Weights
from lds.nn.features import SPARSE_BELOW
from lds.structure.methods.base import Method
from lds.structure.problem import Problem

MATRICES = ("adj_t", "adj")
"""Fields that hold a graph as a matrix, as PyG's `ToSparseTensor` and `ToDense` store it."""

UNREAD = ("adjacency", "adj_matrix", "adjacency_matrix", "adj_mat")
"""Names that others give to such a matrix."""


@dataclass(frozen=True, eq=False)
class GraphInput:
    """A data object and the problem it poses.

    Attributes:
        data: as given, or made from a networkx graph.
        problem: its labels are positions in `classes` at the rows of the split, -1 elsewhere.
        classes: int64 `(n_classes,)`, the user's class numbers, ascending.
        home: device of the tensors of `data`.
        made: whether features were made from the graph.
    """

    data: Data
    problem: Problem
    classes: NDArray[np.int64]
    home: torch.device
    made: bool = False


def graph_input(
    data: Data | nx.Graph,
    method: Method,
    seed: int,
    split: SplitChoice | None,
    edge_weight: Weights | None,
    sample_weight: Tensor | None = None,
    class_weight: ClassWeight = None,
) -> GraphInput:
    """Check a data object and make a problem of it; see `learn_structure` for the arguments.

    Features are stored sparse only if the metric of the method's neighbour search takes them.
    """
    data = as_data(data)
    if isinstance(data, Batch) and data.num_graphs > 1:
        say(
            f"data is a Batch of {data.num_graphs:,} graphs and is taken as one graph: learned "
            "edges may join nodes of two of them"
        )
    y = tensor_of(data, "y")
    if y is None:
        raise ValueError(f"data must have y, the classes of its nodes, got {data}")
    x = tensor_of(data, "x")
    n_nodes = _count_nodes(data, x, y)
    values = _class_numbers(y, n_nodes)
    train, val = masked_nodes(data, split, values)
    labels, classes = _labels(values, train, val)
    with warnings.catch_warnings(record=True) as of_roles:
        warnings.simplefilter("always")
        roles = _split(train, val, labels, seed)
    weights = _weights(labels, classes, sample_weight, class_weight)
    metric = method.to_dict().get("metric", AUTO)
    features = None if x is None else _stored(_features(x), metric)
    graph = _graph(data, n_nodes, edge_weight)
    features, made = _distinct(features, graph)
    home = y.device if x is None else x.device
    problem = Problem(features, labels, roles, graph, weights=weights)
    if method.for_problem(problem).reads_roles:
        for each in of_roles:
            warnings.warn(each.message, stacklevel=3)
    return GraphInput(data, problem, classes, home, made)


def check_same(data: Data, problem: Problem, classes: NDArray[np.int64]) -> None:
    """Refuse another data object than the one that was learned from, as far as labels tell.

    Arguments:
        data: as given.
        problem: of the run.
        classes: their numbers.

    Raises:
        ValueError: data has another number of nodes, or another class at one that was learned from;
            or its y is not one number a node.
    """
    x, y = tensor_of(data, "x"), tensor_of(data, "y")
    n_nodes = data.num_nodes if y is None else _count_nodes(data, x, y)
    if n_nodes != problem.n_nodes:
        raise ValueError(f"data must have the {problem.n_nodes} nodes of the run, got {n_nodes}")
    if y is None:
        return
    rows, given = problem.split.learning, _class_numbers(y, n_nodes)
    other = given[rows] != classes[problem.labels[rows]]
    if other.any():
        node = int(rows[other.argmax()])
        raise ValueError(
            f"data must be what the run learned from, where node {node} is of class "
            f"{classes[problem.labels[node]]}, got {given[node]:g}"
        )


def _weights(
    labels: NDArray[np.int64],
    classes: NDArray[np.int64],
    sample_weight: Tensor | None,
    class_weight: ClassWeight,
) -> NDArray[np.float64] | None:
    """Find what each marked node counts; see `estimators.weights.weigh_rows`."""
    counting, _, weights = weigh_rows(labels, classes, sample_weight, class_weight)
    if (lost := counting != labels).any():
        raise ValueError(
            "sample_weight must be above 0 at every train and validation node, got 0 at node "
            f"{int(lost.argmax())}; take the node out of its mask"
        )
    return weights


def _count_nodes(data: Data, x: Tensor | None, y: Tensor) -> int:
    if x is not None:
        if x.dim() != 2:
            way = "; data.x.view(-1, 1) is one feature a node" if x.dim() == 1 else ""
            raise ValueError(f"data.x must be (n_nodes, n_features), got {tuple(x.shape)}{way}")
        return int(x.shape[0])
    if "num_nodes" in data:
        return int(data.num_nodes)
    return int(y.shape[0]) if y.dim() else 0


def _class_numbers(y: Tensor, n_nodes: int) -> NDArray[np.float64 | np.int64]:
    """Read one number for each node; NaN or -1 is no label."""
    shape = tuple(y.shape)
    if shape not in {(n_nodes,), (n_nodes, 1)}:
        way = ""
        if y.dim() == 2 and shape[0] == n_nodes:
            one = bool(((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all())
            way = (
                "; data.y.argmax(1) are the classes of one-hot rows"
                if one
                else "; several labels a node are not learned at once: data.y[:, k] is one of them"
            )
        raise ValueError(
            f"data.y must have one class a node, ({n_nodes},) as data.x has rows, got {shape}{way}"
        )
    if y.is_complex():
        raise TypeError(f"data.y must hold the numbers of classes, got {y.dtype}")
    y = y.reshape(-1).cpu()
    return (y.double() if y.is_floating_point() else y.long()).numpy()


def _labels(
    values: NDArray[Any], train: NDArray[np.int64], val: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Encode the labels at the given nodes, -1 elsewhere; also return the user's class numbers."""
    rows = np.concatenate([train, val])
    read = values[rows]
    odd = ~(np.isfinite(read) & (read == np.round(read)))
    if odd.any():
        raise ValueError(
            f"data.y must hold the numbers of classes, got {read[odd][0]:g} at node "
            f"{rows[odd.argmax()]}"
        )
    numbers = read.astype(np.int64)
    shown = np.unique(values[train]).astype(np.int64)
    if shown.size < 2:
        raise ValueError(
            f"data.y must show at least two classes among the training nodes, got only {shown[0]}"
        )
    codes, classes = encode_labels(numbers, rows.size)
    labels = np.full(values.size, -1, dtype=np.int64)
    labels[rows] = codes
    return labels, classes.astype(np.int64)


def _split(
    train: NDArray[np.int64], val: NDArray[np.int64], labels: NDArray[np.int64], seed: int
) -> Split:
    if not val.size:
        roles = three_way(labels, train, seed)
        say(
            f"no validation nodes are marked: the {train.size:,} training ones are divided, "
            f"{roles[0].size:,} train, {roles[1].size:,} judge the edges and {roles[2].size:,} stop"
        )
        return Split(*roles, train[:0], dealt=True)
    return Split(train, *halved(val, seed, labels, train), train[:0])


def _features(x: Tensor) -> Features:
    """Copy x to the CPU; widen integers to float64 and half precision to float32."""
    x = x.cpu()
    if x.is_complex():
        raise TypeError(f"data.x must hold real numbers, got {x.dtype}")
    exact = x.dtype in (torch.int32, torch.int64, torch.float64)
    dtype = torch.float64 if exact else torch.float32
    if x.layout != torch.strided:
        entries = x.to_sparse_coo()
        if x.dtype != torch.bool:  # the sums of repeated entries fit the wider type
            entries = entries.to(dtype)
        entries = entries.coalesce()
        if entries.dense_dim() == 0:
            place = tuple(entries.indices().numpy())
            values = entries.values().to(dtype, copy=True).numpy()
            sparse = sp.csr_array(sp.coo_array((values, place), tuple(x.shape)))
            _check_finite(values, place[0], place[1])
            return sparse
        x = entries.to_dense()
    dense: NDArray[np.floating[Any]] = x.to(dtype, copy=True).numpy()
    if not (np.abs(dense) <= LARGEST).all():
        row, col = np.nonzero(~(np.abs(dense) <= LARGEST))
        _check_finite(dense[row, col], row, col)
    return dense


def _check_finite(values: NDArray[Any], row: NDArray[Any], col: NDArray[Any]) -> None:
    bad = ~(np.abs(values) <= LARGEST)
    if not bad.any():
        return
    at = int(bad.argmax())
    where = f"got {values[at]:g} at node {row[at]}, column {col[at]}"
    if np.isfinite(values[at]):
        raise ValueError(f"data.x must fit float32, {where}; scale that column")
    raise ValueError(
        f"data.x must be finite, {where}; impute it (sklearn.impute.SimpleImputer) or leave the "
        "column out"
    )


def _distinct(features: Features | None, graph: sp.csr_array | None) -> tuple[Features, bool]:
    """Return the features; if all nodes have the same ones, make some from the graph.

    Also return whether they were made.
    """
    if features is None:
        why = "data has no x"
    elif not features.shape[1]:
        why = "data.x has no columns"
    elif not features.shape[0] or not _all_equal(features):
        return features, False
    else:
        why = "data.x is the same for every node"
    if graph is None:
        raise ValueError(f"data must have features that tell nodes apart, or edges: {why}")
    made = structural_features(graph)
    say(
        f"{why}: features are made from the graph, {made.shape[1] - 1} eigenvectors and the "
        "log-degree"
    )
    return made, True


def _all_equal(features: Features) -> bool:
    if sp.issparse(features):
        sparse: Any = features
        return bool((sparse.max(axis=0) != sparse.min(axis=0)).nnz == 0)
    dense = np.asarray(features)
    return bool((dense == dense[:1]).all())


def _stored(features: Features, metric: str) -> Features:
    """Store features as CSR if that is smaller and the metric takes it."""
    if sp.issparse(features):
        return features
    dense = np.asarray(features)
    few = np.count_nonzero(dense) < SPARSE_BELOW * dense.size
    return sp.csr_array(dense) if few and metric in (AUTO, *metrics(sparse=True)) else dense


def _graph(data: Data, n_nodes: int, edge_weight: Weights | None) -> sp.csr_array | None:
    """Read the graph of a data object; None if it has no edge."""
    sparse = is_matrix(getattr(data, "edge_index", None))
    edge_index = None if sparse else tensor_of(data, "edge_index")
    names = ("edge_index",) * sparse + MATRICES
    fields = [name for name in (*names, *UNREAD) if getattr(data, name, None) is not None]
    matrix = fields[0] if edge_index is None and fields and fields[0] in names else None
    _say_unread(data, [name for name in fields if name != matrix], matrix, edge_weight)
    if matrix is not None:
        name = f"data.{matrix}"
        graph = as_adjacency(getattr(data, matrix), n_nodes, weights=edge_weight, name=name)
    elif edge_index is None:
        return None
    elif not edge_index.numel():
        say(f"data.edge_index {WITHOUT_EDGES}")
        return None
    else:
        name, weight = _edge_weight(data, edge_weight)
        graph = from_edge_index(
            edge_index.cpu().numpy(),
            weight,
            n_nodes,
            weights=edge_weight,
            name="data.edge_index",
            weight_name=name,
        )
    if graph.nnz:
        return graph
    say(f"data {WITHOUT_EDGES}")
    return None


def _say_unread(
    data: Data, graphs: Sequence[str], matrix: str | None, choice: Weights | None
) -> None:
    """Warn of graphs, and of weights beside a matrix, that are not read.

    Arguments:
        data: the data object.
        graphs: fields that hold a graph which is not read.
        matrix: the field whose matrix is read; None: there is none.
        choice: see `learn_structure`; the weights that it leaves out need no word.
    """
    for name in graphs:
        read = f"data.{matrix or 'edge_index'}"
        there = matrix is not None or getattr(data, "edge_index", None) is not None
        say(f"data.{name} is not read; {read} is{'' if there else ', and is not there'}")
    for name in ("edge_weight", "edge_attr") if matrix is not None and choice != "ignore" else ():
        if getattr(data, name, None) is not None:
            say(
                f"data.{name} is not read beside data.{matrix}, whose entries are the weights; "
                f"ToSparseTensor(attr={name!r}) stores them there"
            )


def _edge_weight(data: Data, choice: Weights | None) -> tuple[str, NDArray[Any] | None]:
    """Find the field with the weights of edges, and the weights; None if there are none."""
    weight = tensor_of(data, "edge_weight")
    name = "data.edge_weight"
    attr = getattr(data, "edge_attr", None)
    if weight is None and attr is not None and choice != "ignore":
        n_columns = _n_columns(attr)
        if n_columns == 1:
            name, weight = "data.edge_attr", tensor_of(data, "edge_attr")
            say(
                "data.edge_attr has one column and is taken as the weight of edges, larger is more "
                "probable; edge_weight='ignore' leaves it out"
            )
        elif n_columns != 0:
            say(
                f"data.edge_attr has {n_columns or 'no'} columns of numbers and is left out; "
                "data.edge_weight = data.edge_attr[:, k] takes one of them as weight"
            )
    if weight is None or choice == "ignore":
        return name, None
    weight = weight.cpu()
    half = weight.dtype in (torch.float16, torch.bfloat16)
    return name, (weight.float() if half else weight).numpy()


def _n_columns(attr: Any) -> int | None:
    """Count the columns of edge attributes; None if they are not a matrix of numbers."""
    if not isinstance(attr, Tensor) or attr.dim() > 2 or attr.is_complex():
        return None
    return 1 if attr.dim() < 2 else int(attr.shape[1])
