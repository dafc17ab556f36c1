"""Read the .npz files in which collections of graphs are published, without pickle.

Three layouts of arrays:

- heterophilous-graphs: `node_features`, `node_labels`, `edges` `(n_edges, 2)`, `train_masks` and
  others `(n_splits, n_nodes)`; PyG's names `edge_index` and `edge_weight` and its shapes
  `(2, n_edges)` and `(n_nodes, n_splits)` are read too, where the shape is not both;
- gnn-benchmark, and PyG's Amazon and Coauthor: CSR matrices as `attr_data`, `attr_indices`,
  `attr_indptr`, `attr_shape` and `adj_data`, ...; `labels`;
- GraphData: the same with `x_data`, ... and `y`.

References:
    Platonov et al., 2023, https://arxiv.org/abs/2302.11640;
    Shchur et al., 2018, https://arxiv.org/abs/1811.05868.
"""

import warnings
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._labels import Labels, numbered
from lds._types import Features, Split
from lds.datasets.base import NodeDataset
from lds.datasets.splits import halved
from lds.graphs.undirected import entries_of, refuse_outside, undirected

FEATURES, LABELS = ("node_features", "attr", "x"), ("node_labels", "labels", "y")
"""Names of arrays, or of the four arrays of a CSR matrix without their ends."""

PER_CLASS = 20, 30
"""Train and validation rows a class where no split is published (Shchur et al., 2018)."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GraphArrays:
    """A graph as arrays.

    Arguments:
        features: X, `(n_nodes, n_features)` float32, dense or CSR.
        labels: int64 `(n_nodes,)`, numbers of classes, perhaps with gaps; -1 where unknown.
        adjacency: symmetric CSR float32 of starting probabilities, without loops.
        masks: of train, validation and test, bool `(n_nodes, n_splits)` each; None: none are
            published.
    """

    features: Features
    labels: Rows
    adjacency: sp.csr_array
    masks: tuple[NDArray[np.bool_], ...] | None

    def dataset(self, name: str, seed: int) -> NodeDataset:
        """Make a data set; the seed chooses the split, or draws it, and halves the validation rows.

        Split seed % n_splits is taken where there are some. Otherwise `PER_CLASS` rows of a class
        are drawn, and at most a third of the class for each. The classes are the labels that occur,
        in order; the labels of the data set number them.
        """
        known = self.labels >= 0
        labels, classes = numbered(Labels(known, self.labels[known]))
        rng = np.random.default_rng(seed)
        if self.masks is None:
            train, validation, test = _drawn(labels, rng)
        else:
            train, validation, test = (
                np.flatnonzero(mask[:, seed % mask.shape[1]]) for mask in self.masks
            )
        split = Split(train, *halved(validation, rng, labels, train), test)
        names = tuple(map(str, classes.tolist()))
        return NodeDataset(name, self.features, labels, names, split, self.adjacency)


def read_arrays(path: Path) -> GraphArrays:
    """Read an .npz file of one of the three layouts.

    Raises:
        ValueError: the file is damaged, needs pickle, has none of the layouts, or its arrays do not
            fit one another.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = set(stored.files)
            wanted = {name for name in names if name.split("_")[0] not in ("node", "idx")}
            wanted |= {"node_features", "node_labels"} & names
            wanted -= {name for name in names if name.endswith(("_names", "_to_idx"))}
            arrays = {name: stored[name] for name in sorted(wanted)}
    except Exception as error:  # zipfile, zlib and NumPy each raise their own
        raise ValueError(
            f"{path} cannot be read as a graph: it must be an .npz file of plain arrays ({error})"
        ) from error
    given = (_matrix(path, arrays, name) for name in FEATURES)
    features = next((found for found in given if found is not None), None)
    labels = next((arrays[name] for name in LABELS if name in arrays), None)
    if features is None or labels is None:
        raise ValueError(
            f"{path} must have features ({', '.join(FEATURES)}) and labels ({', '.join(LABELS)}) "
            f"of nodes, got the arrays {', '.join(sorted(names))}"
        )
    n_nodes = features.shape[0]
    _check_finite(path, features)
    labels = _classes(path, labels, n_nodes)
    if (labels < -1).any():
        node = int((labels < -1).argmax())
        raise ValueError(
            f"{path} must have class numbers from 0, and -1 where a node has no label, got "
            f"{labels[node]} at node {node}"
        )
    if (labels == -1).all():
        raise ValueError(f"{path} must label nodes of two classes or more, got no label")
    return GraphArrays(
        _floats(features),
        labels,
        _adjacency(path, arrays, n_nodes),
        _masks(path, arrays, labels),
    )


def symmetric(
    row: Rows,
    col: Rows,
    n_nodes: int,
    weight: NDArray[Any] | None = None,
    name: str = "edge_index",
    place: str = "",
) -> sp.csr_array:
    """Make a symmetric matrix without loops of edges listed in one direction or both.

    Arguments:
        row, col: ends of the edges.
        n_nodes: how many nodes there are.
        weight: of the edges, see `undirected`; None is 1 everywhere.
        name: of the edges, in messages.
        place: where in `name` the weights are, such as " in adj".
    """
    ends = np.concatenate([row, col]), np.concatenate([col, row])
    twice = None if weight is None else np.tile(weight, 2)
    return undirected(*ends, twice, n_nodes, name=name, weight_name=f"{name} weight{place}")


def _matrix(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> Any:
    """Return an array, or the CSR matrix of its four parts; None: neither is there."""
    parts = [f"{name}_{part}" for part in ("data", "indices", "indptr", "shape")]
    if all(part in arrays for part in parts):
        data, indices, indptr, shape = (arrays[part] for part in parts)
        try:
            matrix = sp.csr_array((data, indices, indptr), shape=tuple(shape.tolist()))
            matrix.check_format(full_check=True)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path} must have the parts of a CSR matrix in {', '.join(parts)} ({error})"
            ) from error
        return matrix
    return arrays.get(f"{name}_matrix", arrays.get(name))


def _check_finite(path: Path, features: Any) -> None:
    """Refuse features that are no finite numbers; name the first node and column of one."""
    if features.ndim != 2 or features.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} must have features that are numbers, (n_nodes, n_features), got "
            f"{features.dtype} of shape {features.shape}"
        )
    if sp.issparse(features):
        stored: Any = sp.coo_array(_floats(features))
        places, values = np.column_stack([stored.row, stored.col]), stored.data
        wrong = places[~np.isfinite(values)]
    else:
        wrong = np.argwhere(~np.isfinite(features))
    if len(wrong):
        node, column = wrong[0]
        more = f" and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
        raise ValueError(
            f"{path} must have finite features, got {features[node, column]:g} at node {node} in "
            f"column {column}{more}; replace it, for example by the median of the column"
        )


def _classes(path: Path, labels: NDArray[Any], n_nodes: int) -> Rows:
    """Return labels as integers: whole floats and booleans are numbers, NaN is no label."""
    whole = labels
    if labels.dtype.kind == "f":
        whole = np.where(np.isnan(labels), -1, labels)
    fractions = labels.dtype.kind == "f" and bool((whole != np.round(whole)).any())
    if labels.shape != (n_nodes,) or labels.dtype.kind not in "biuf" or fractions:
        raise ValueError(
            f"{path} must have one class number a node, ({n_nodes},), got {labels.dtype} of shape "
            f"{labels.shape}{' with fractions' * fractions}"
        )
    return whole.astype(np.int64)


def _floats(features: Any) -> Features:
    if sp.issparse(features):
        sparse: Any = features
        return sp.csr_array(sparse.astype(np.float32))
    return np.asarray(features, dtype=np.float32)


def _adjacency(path: Path, arrays: dict[str, NDArray[Any]], n_nodes: int) -> sp.csr_array:
    """Make the matrix of starting probabilities; weights of adj and of edge_weight count."""
    found = _matrix(path, arrays, "adj")
    if found is None:
        edges = arrays.get("edges", arrays.get("edge_index"))
        if edges is None:
            raise ValueError(f"{path} must have edges or adj, got {', '.join(sorted(arrays))}")
        row, col = _ends(path, edges, n_nodes)
        weight = _weights(path, arrays, len(row))
        return symmetric(row, col, n_nodes, weight, str(path), " in edge_weight")
    if found.shape != (n_nodes, n_nodes):
        raise ValueError(f"{path} must have an adj of {n_nodes} rows, got {found.shape}")
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{path} must have real numbers in adj, got {found.dtype}")
    row, col, weight = entries_of(found)
    return symmetric(row, col, n_nodes, weight, str(path), " in adj")


def _weights(path: Path, arrays: dict[str, NDArray[Any]], n_edges: int) -> NDArray[Any] | None:
    """Return the weights of edges, `(n_edges,)`; None: there are none. Warn of other arrays."""
    weight = arrays.get("edge_weight")
    others = [n for n in arrays if n.startswith("edge_") and n not in ("edge_index", "edge_weight")]
    if others:
        warnings.warn(
            f"{path}: {', '.join(others)} left unread; weights of edges, in [0, 1], are read from "
            "edge_weight",
            UserWarning,
            stacklevel=4,
        )
    if weight is None:
        return None
    if weight.shape not in {(n_edges,), (n_edges, 1)} or weight.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} must have one number an edge in edge_weight, ({n_edges},), got {weight.dtype} "
            f"of shape {weight.shape}"
        )
    return weight.reshape(-1)


def _ends(path: Path, edges: NDArray[Any], n_nodes: int) -> tuple[Rows, Rows]:
    """Return the two ends of edges `(n_edges, 2)`, or else `(2, n_edges)`."""
    if edges.ndim != 2 or 2 not in edges.shape:
        raise ValueError(
            f"{path} must have edges of shape (n_edges, 2) or (2, n_edges), got {edges.shape}"
        )
    if edges.size and edges.dtype.kind not in "iu":
        raise ValueError(f"{path} must have edges of integers, got {edges.dtype}")
    ends = edges.T if edges.shape[1] == 2 else edges
    refuse_outside(ends, n_nodes, str(path), "edge", " in its edges")
    row, col = ends.astype(np.int64)
    return row, col


def _masks(
    path: Path, arrays: dict[str, NDArray[Any]], labels: Rows
) -> tuple[NDArray[np.bool_], ...] | None:
    """Return masks `(n_nodes, n_splits)` of the three roles, None if there are none."""
    n_nodes = labels.size
    there = {
        role: next((n for n in (f"{role}_masks", f"{role}_mask") if n in arrays), None)
        for role in ("train", "val", "test")
    }
    names = [name for name in there.values() if name is not None]
    if not names:
        return None
    if len(names) < len(there):
        lacking = ", ".join(f"{role}_masks" for role, name in there.items() if name is None)
        raise ValueError(
            f"{path} must have the masks of all three roles or of none, got {', '.join(names)} "
            f"without {lacking}"
        )
    found = tuple(_mask(path, name, arrays[name], n_nodes) for name in names)
    splits = {name: mask.shape[1] for name, mask in zip(names, found, strict=True)}
    if 0 in splits.values() or len(set(splits.values()) - {1}) > 1:
        counts = ", ".join(f"{n} in {name}" for name, n in splits.items())
        raise ValueError(
            f"{path} must have as many splits in each role, or one for all of them, got {counts}"
        )
    _check_roles(path, dict(zip(names, found, strict=True)), labels)
    return found


def _check_roles(path: Path, masks: dict[str, NDArray[np.bool_]], labels: Rows) -> None:
    """Refuse too few nodes in train or val, a node without a label, and one in two roles."""
    train, val, _ = masks
    for name, least in ((train, 1), (val, 2)):
        few = np.flatnonzero(masks[name].sum(axis=0) < least)
        if few.size:
            raise ValueError(
                f"{path} must have {least} node{'s' * (least > 1)} or more in {name}, got "
                f"{masks[name][:, few[0]].sum()} in split {few[0]}"
            )
    for name, mask in masks.items():
        blank = np.argwhere(mask & (labels < 0)[:, None])
        if len(blank):
            node, split = blank[0]
            raise ValueError(
                f"{path} must have labelled nodes in {name}, got node {node} without a label in "
                f"split {split}"
            )
    for one, other in combinations(masks, 2):
        both = masks[one] & masks[other]
        if both.any():
            node, split = np.argwhere(both)[0]
            raise ValueError(
                f"{path} must give a node one role in a split, got node {node} in both {one} and "
                f"{other} of split {split}"
            )


def _mask(path: Path, name: str, mask: NDArray[Any], n_nodes: int) -> NDArray[np.bool_]:
    """Return a mask as `(n_nodes, n_splits)`; it has this shape, its transpose's or one split."""
    if mask.ndim not in (1, 2) or n_nodes not in mask.shape:
        raise ValueError(
            f"{path} must have {name} of one boolean a node, ({n_nodes},), (n_splits, {n_nodes}) "
            f"or ({n_nodes}, n_splits), got {mask.dtype} of shape {mask.shape}"
        )
    if mask.dtype.kind not in "biuf" or not ((mask == 0) | (mask == 1)).all():
        odd = "" if mask.dtype.kind not in "iuf" else f", {mask[(mask != 0) & (mask != 1)][0]} too"
        raise ValueError(
            f"{path} must have {name} of booleans, or of 0 and 1, got {mask.dtype}{odd}"
        )
    splits = mask.astype(bool)
    if mask.ndim == 1:
        return splits[:, None]
    return splits.T if mask.shape[1] == n_nodes else splits


def _drawn(labels: Rows, rng: np.random.Generator) -> tuple[Rows, Rows, Rows]:
    train, validation = list[Rows](), list[Rows]()
    for c in np.unique(labels[labels >= 0]):
        rows = rng.permutation(np.flatnonzero(labels == c))
        first, second = (min(size, max(1, rows.size // 3)) for size in PER_CLASS)
        train.append(rows[:first])
        validation.append(rows[first : first + second])
    one, two = np.sort(np.concatenate(train)), np.sort(np.concatenate(validation))
    known = np.flatnonzero(labels >= 0)
    return one, two, np.setdiff1d(known, np.concatenate([one, two]))
