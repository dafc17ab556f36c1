"""Read a graph that one object holds: of PyG or of networkx."""

import copy
import re
import warnings
from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch, Data, HeteroData

from lds.graphs.interop import edges_of
from lds.structure.problem import Problem

OF_NODES = ("x", "y", "pos", "batch", "n_id", "train_mask", "val_mask", "test_mask")
"""Fields that are of nodes, though there be as many edges."""


def as_data(given: Any) -> Data:
    """Convert a networkx graph to a PyG data object; return a data object as it is.

    Of networkx, the attributes "x" (a number or a vector), "y" (a class number; no label without),
    "train_mask", "val_mask" and "test_mask" of nodes and "weight" of edges are read. Node i of the
    data is node i of the graph where the nodes are the numbers 0 to n - 1, else the i-th of
    `list(graph)`.

    Raises:
        TypeError: it is neither.
        ValueError: a networkx graph has no "y", or "x" at some nodes only.
    """
    if isinstance(given, Data):
        return given
    if isinstance(given, nx.Graph):
        return _from_networkx(given)
    wanted = "data must be a torch_geometric.data.Data or a networkx graph, got "
    if isinstance(given, HeteroData):
        raise TypeError(
            f"{wanted}HeteroData; data.to_homogeneous() makes one graph of its node types"
        )
    way = ""
    if isinstance(given, dict):
        way = "; Data(**data) makes one"
    elif isinstance(given, np.ndarray | Tensor) or sp.issparse(given):
        way = "; LDSClassifier().fit(X, y, adjacency=...) takes a matrix"
    elif hasattr(given, "dataset") and hasattr(given, "batch_size"):
        way = "; its dataset holds them: loader.dataset[0]"
    elif hasattr(given, "__getitem__"):
        way = "; its first graph is data[0]"
    raise TypeError(f"{wanted}{type(given).__name__}{way}")


def _from_networkx(graph: nx.Graph) -> Data:
    nodes = list(graph)
    if set(nodes) == set(range(len(nodes))):
        nodes = sorted(nodes)
    if not any(graph.nodes[node].get("y") is not None for node in nodes):
        raise ValueError(
            'data must have the class number of a node as its attribute "y", got a networkx graph '
            "without; networkx.set_node_attributes sets it"
        )
    fields: dict[str, Any] = {}
    for name in ("y", "train_mask", "val_mask", "test_mask"):
        column = [graph.nodes[node].get(name) for node in nodes]
        if all(value is None for value in column):
            continue
        filled = [_number(value, name, node) for value, node in zip(column, nodes, strict=True)]
        values = torch.tensor(filled, dtype=torch.float64)
        fields[name] = values if name == "y" else values.nan_to_num() != 0
    rows = [graph.nodes[node].get("x") for node in nodes]
    if any(row is not None for row in rows):
        fields["x"] = torch.from_numpy(_stacked(rows, nodes))
    row, col, weight = edges_of(graph, {node: i for i, node in enumerate(nodes)})
    fields["edge_index"] = torch.from_numpy(np.stack([row, col]))
    if weight is not None:
        fields["edge_weight"] = torch.from_numpy(weight)
    return Data(**fields, num_nodes=len(nodes))


def _number(value: Any, name: str, node: Any) -> float:
    if value is None:
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} of node {node!r} must be a number, got {value!r}; LDSClassifier takes names "
            "of classes, and the graph as adjacency="
        ) from error


def _stacked(rows: list[Any], nodes: list[Any]) -> NDArray[np.float64]:
    found, length = [], None
    for row, node in zip(rows, nodes, strict=True):
        try:
            row = row.detach().cpu() if isinstance(row, Tensor) else row
            vector = np.atleast_1d(np.asarray(row, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise TypeError(f"x of node {node!r} must be numbers, got {row!r}") from error
        length = vector.shape if length is None else length
        if row is None or vector.ndim != 1 or vector.shape != length:
            raise ValueError(
                f"x must be a vector of one length at every node, got {row!r} at node {node!r}"
            )
        found.append(vector)
    return np.stack(found)


def tensor_of(data: Data, name: str) -> Tensor | None:
    """Get a field of a data object, as a dense tensor unless it is "x"; None if it is missing.

    Raises:
        TypeError: it is not a tensor.
    """
    value = getattr(data, name, None)
    if value is not None and not isinstance(value, Tensor):
        raise TypeError(
            f"data.{name} must be a tensor, got {type(value).__name__}; torch.as_tensor makes one "
            "of numbers"
        )
    if value is None:
        return None
    return value.detach() if name == "x" else dense(value.detach())


def is_matrix(edges: Any) -> bool:
    """Whether edges are a sparse adjacency of torch or torch_sparse, and not `(2, n_edges)`."""
    if not isinstance(edges, Tensor):
        return hasattr(edges, "sparse_sizes")
    return edges.layout != torch.strided and edges.shape[0] == edges.shape[-1]


def dense(values: Tensor) -> Tensor:
    """Convert a tensor to a dense one."""
    return values if values.layout == torch.strided else values.to_dense()


def class_numbers(names: Sequence[Any]) -> NDArray[np.int64]:
    """Return whole numbers as they are; number the classes where some have other names.

    `lds fit` names its classes by text: that of whole numbers is read, unless two are one number,
    or a class would be -1, which is no label.
    """
    numbers = [_whole(name) for name in names]
    own = len(set(numbers) - {None, -1}) == len(names)
    return np.array(numbers if own else range(len(names)), dtype=np.int64)


def _whole(name: Any) -> int | None:
    """Read the name of a class as a whole number of 64 bits; None where it is none."""
    if not (
        isinstance(name, int)
        or (isinstance(name, float) and name.is_integer())
        or (isinstance(name, str) and re.fullmatch(r"[+-]?\d+", name))
    ):
        return None
    number = int(name)
    return number if -(2**63) <= number < 2**63 else None


def stored_data(problem: Problem, classes: NDArray[np.int64]) -> Data:
    """Make a data object of what a run was learned from; x keeps its precision.

    Rounded, its rows would be new ones to the run.
    """
    x = problem.features
    dense = torch.from_numpy(x.toarray() if sp.issparse(x) else np.asarray(x))
    y = np.where(problem.labels < 0, -1, classes[problem.labels])
    masks = {}
    for name, roles in (("train", ["train"]), ("val", ["validation", "stopping"])):
        mask = torch.zeros(problem.n_nodes, dtype=torch.bool)
        for role in roles:
            mask[torch.from_numpy(getattr(problem.split, role))] = True
        masks[f"{name}_mask"] = mask
    return Data(x=dense.clone(), y=torch.from_numpy(y), **masks)


def without_edges(data: Data, n_nodes: int) -> Data:
    """Copy a data object without its graph and the attributes of its edges.

    A `Batch` becomes a `Data`: what it knows of the edges of each graph is no longer true. Where
    there are as many nodes as edges, a `UserWarning` names the fields that may be of either.

    Arguments:
        data: not changed.
        n_nodes: how many nodes it has; without x, PyG would guess it from the edges.
    """
    new = Data.from_dict(data.to_dict()) if isinstance(data, Batch) else copy.copy(data)
    if data.x is None:
        new.num_nodes = n_nodes
    if is_matrix(getattr(new, "edge_index", None)):
        del new.edge_index  # PyG counts edges along a dimension that a matrix does not have
    fields = set(new.keys())
    gone = {*new.edge_attrs(), "adj_t", "adj", "e_id"} & fields
    if "edge_index" in fields and n_nodes == new.num_edges:
        doubt = {name for name in fields - gone if new.is_node_attr(name)} - {*OF_NODES}
        if doubt:
            warnings.warn(
                f"data has as many nodes as entries of edge_index, {n_nodes}: "
                f"{', '.join(sorted(doubt))} may be of either, and is kept as of the nodes",
                UserWarning,
                stacklevel=3,
            )
    for name in gone:
        del new[name]
    return new
