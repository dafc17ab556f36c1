"""Graphs to classify on: attacked, with few labels or edges, and with edges between unlike nodes.

Every case has training rows, validation rows and test rows as published. Methods learn from the
labels of the training rows alone; validation rows stop training and choose settings.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._types import Features
from lds.datasets.graph_arrays import symmetric
from lds.datasets.registry import load
from lds.graphs.adjacency import keep_edges

SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
"""Attacked edges, as a share of the edges of the clean graph (Jin et al., 2020)."""

CITATION = {"cora": 140, "citeseer": 120, "pubmed": 60}
"""Data sets of the public split, and its training labels."""

KEPT = (0.8, 0.6, 0.4, 0.2)
"""Shares of Cora's edges that are kept."""

ADDED = (0.2, 0.4, 0.6, 0.8)
"""Random edges added to Cora, as a share of its edges."""

HETEROPHILOUS = ("texas", "wisconsin", "chameleon_filtered", "minesweeper")
"""Names of the files of graphs whose edges often join nodes of two classes."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GraphCase:
    """A node-classification problem with published roles.

    Arguments:
        features: X, `(n_nodes, n_features)`, dense or CSR.
        labels: int64 `(n_nodes,)`, classes from 0; -1 where unknown.
        graph: symmetric 0/1 CSR without loops; None: the case has none.
        train, validation, test: int64 row numbers.
        score: share of right classes, or the area under the ROC curve of class 1.
    """

    features: Features
    labels: Rows
    graph: sp.csr_array | None
    train: Rows
    validation: Rows
    test: Rows
    score: Literal["accuracy", "AUC"] = "accuracy"

    @property
    def n_classes(self) -> int:
        """Count the classes, from the labels of all rows."""
        return int(self.labels.max()) + 1


Maker = Callable[[int], GraphCase]
"""Makes the case of a seed."""


def attacks(folder: Path) -> Iterator[tuple[str, Maker]]:
    """List clean and attacked graphs by name; the seed changes nothing in them.

    Arguments:
        folder: with attacked/NAME_graph.npz, NAME_SHARE.npz and NAME_splits.json.
    """
    for name in ("cora", "citeseer"):
        for share in SHARES:
            yield f"{name}, metattack {share:.0%}", partial(_attacked, folder, name, share)


def labels(folder: Path) -> Iterator[tuple[str, Maker]]:
    """List citation graphs at their published label counts, with and without edges, by name.

    Arguments:
        folder: root of the data sets, see `lds.datasets.registry.load`.
    """
    for name, count in CITATION.items():
        yield f"{name}, {count} labels, no graph", partial(_citation, folder, name, None)
        yield f"{name}, {count} labels", partial(_citation, folder, name, 1.0)
    for share in KEPT:
        yield f"cora, {share:.0%} of the edges", partial(_citation, folder, "cora", share)
    for share in ADDED:
        yield f"cora, {share:.0%} random edges more", partial(_citation, folder, "cora", 1 + share)


def heterophily(folder: Path) -> Iterator[tuple[str, Maker]]:
    """List graphs with ten official splits by name; the seed is the number of the split.

    Arguments:
        folder: with graphs/NAME.npz.
    """
    for name in HETEROPHILOUS:
        yield name, partial(_official, folder / "graphs" / f"{name}.npz")


BENCHES: dict[str, Callable[[Path], Iterator[tuple[str, Maker]]]] = {
    "attacks": attacks,
    "labels": labels,
    "heterophily": heterophily,
}
"""What lists the cases of each benchmark."""


def add_edges(graph: sp.csr_array, share: float, seed: int) -> sp.csr_array:
    """Add random pairs that are no edges, round(share · n_edges) of them.

    Arguments:
        graph: symmetric 0/1 CSR without loops.
        share: of the undirected edges, 0 or more.
        seed: of the choice, uniform over the pairs without an edge.

    Raises:
        ValueError: the share is negative, or there are not as many pairs without an edge.
    """
    n_nodes, n_edges = graph.shape[0], graph.nnz // 2
    wanted = round(share * n_edges)
    if not 0 <= wanted <= n_nodes * (n_nodes - 1) // 2 - n_edges:
        raise ValueError(f"share (of edges added) must leave room for {wanted} pairs, got {share}")
    rng = np.random.default_rng(seed)
    entries = graph.tocoo()
    taken = {(int(i), int(j)) for i, j in zip(entries.row, entries.col, strict=True) if i < j}
    added: set[tuple[int, int]] = set()
    while len(added) < wanted:
        for i, j in np.sort(rng.integers(n_nodes, size=(wanted, 2)), axis=1).tolist():
            if i < j and (i, j) not in taken and len(added) < wanted:
                added.add((i, j))
    row, col = np.array([*taken, *added], dtype=np.int64).reshape(-1, 2).T
    return symmetric(row, col, n_nodes)


def _attacked(folder: Path, name: str, share: float, seed: int) -> GraphCase:
    place = folder / "attacked"
    with np.load(place / f"{name}_graph.npz", allow_pickle=False) as stored:
        arrays: dict[str, NDArray[Any]] = dict(stored)
    x, clean = (
        sp.csr_array(
            (arrays[f"{part}_data"], arrays[f"{part}_indices"], arrays[f"{part}_indptr"]),
            shape=tuple(arrays[f"{part}_shape"].tolist()),
        )
        for part in ("x", "adj")
    )
    found: Any = sp.load_npz(place / f"{name}_{share:g}.npz") if share else clean
    roles = json.loads((place / f"{name}_splits.json").read_text())
    train, validation, test = (
        np.sort(np.array(roles[f"idx_{role}"], dtype=np.int64)) for role in ("train", "val", "test")
    )
    y = arrays["y"].astype(np.int64)
    return GraphCase(x, y, _simple(found), train, validation, test)


def _citation(folder: Path, name: str, edges: float | None, seed: int) -> GraphCase:
    """Load a citation graph with a share of its edges, above 1 with random ones more."""
    data = load(name, root=folder)
    graph = None if edges is None else data.adjacency
    if graph is not None and edges is not None and edges != 1:
        graph = keep_edges(graph, edges, seed) if edges < 1 else add_edges(graph, edges - 1, seed)
    roles = data.split
    validation = np.sort(np.concatenate([roles.validation, roles.stopping]))
    return GraphCase(data.features, data.labels, graph, roles.train, validation, roles.test)


def _official(path: Path, seed: int) -> GraphCase:
    with np.load(path, allow_pickle=False) as stored:
        arrays: dict[str, NDArray[Any]] = dict(stored)
    y = arrays["node_labels"].astype(np.int64)
    row, col = arrays["edges"].T.astype(np.int64)
    train, validation, test = (
        np.flatnonzero(arrays[f"{role}_masks"][seed]) for role in ("train", "val", "test")
    )
    x = arrays["node_features"].astype(np.float32)
    graph = symmetric(row, col, len(y))
    case = GraphCase(x, y, graph, train, validation, test)
    return replace(case, score="AUC") if path.stem == "minesweeper" else case


def _simple(matrix: Any) -> sp.csr_array:
    """Make a symmetric 0/1 matrix without loops of the entries that are not 0."""
    entries = sp.coo_array(matrix)
    kept = entries.data != 0
    row, col = entries.row[kept].astype(np.int64), entries.col[kept].astype(np.int64)
    return symmetric(row, col, int(entries.shape[0]))
