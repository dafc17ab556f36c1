"""One form for every data set: nodes with features, labels, roles and perhaps a graph."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._types import ROLES, Features, Split
from lds.datasets.encoding import TableEncoding
from lds.datasets.reading import FileFormat


@dataclass(frozen=True, eq=False, repr=False)
class NodeDataset:
    """Nodes to classify.

    Arguments:
        name: of the data set, or the file it was read from.
        features: X, `(n_nodes, n_features)` floats, preprocessed; dense or CSR.
        labels: int64 `(n_nodes,)`, class numbers, -1 where unknown.
        classes: class c has the name classes[c].
        split: the rows of each role, all of them labelled.
        adjacency: the given graph, symmetric CSR float32 of starting probabilities, without loops,
            0/1 where its edges have no weights; None: the data set has no graph, and a kNN graph is
            the start.
        held_out: edges of the data set's graph that `load(retain=...)` removed from `adjacency`,
            in the same form; None: none were removed. No method learns from them.
        encoding: how the columns of a table became `features`; None: the data set is no table.
        file: how the file of a table was read; None: the data set is no table.
        identifiers: one for each row; None: rows are known by their numbers.
        made_features: whether features were made from the graph.

    Raises:
        ValueError: shapes, labels, classes or roles do not fit one another.
    """

    name: str
    features: Features
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    split: Split
    adjacency: sp.csr_array | None = None
    held_out: sp.csr_array | None = None
    encoding: TableEncoding | None = None
    file: FileFormat | None = None
    identifiers: tuple[str, ...] | None = None
    made_features: bool = False

    def __post_init__(self) -> None:
        if self.identifiers is not None and len(self.identifiers) != self.n_nodes:
            raise ValueError(
                f"identifiers must be one a row of features, {self.n_nodes}, got "
                f"{len(self.identifiers)}"
            )
        if self.features.ndim != 2:
            raise ValueError(
                f"features must be (n_nodes, n_features), got shape {self.features.shape}"
            )
        n_nodes, labels = self.n_nodes, self.labels
        if labels.dtype != np.int64 or labels.shape != (n_nodes,):
            raise ValueError(
                f"labels must be int64 of shape ({n_nodes},), one a row of features, "
                f"got {labels.dtype} of shape {labels.shape}"
            )
        if labels.size and not -1 <= labels.min() <= labels.max() < len(self.classes):
            raise ValueError(
                f"labels must be -1 or number the {len(self.classes)} classes from 0, "
                f"got {labels.min()} to {labels.max()}"
            )
        for role in ROLES:
            rows = getattr(self.split, role)
            if rows.size and rows.max() >= n_nodes:
                raise ValueError(
                    f"split.{role} must number the {n_nodes} rows from 0, got {rows.max()}"
                )
            if (labels[rows] < 0).any():
                raise ValueError(
                    f"split.{role} must hold labelled rows, "
                    f"got row {rows[labels[rows] < 0][0]} without a label"
                )
        for name in ("adjacency", "held_out"):
            graph = getattr(self, name)
            if graph is not None and graph.shape != (n_nodes, n_nodes):
                raise ValueError(
                    f"{name} must have shape ({n_nodes}, {n_nodes}), got {graph.shape}"
                )

    def __repr__(self) -> str:
        graph = "no graph"
        if self.adjacency is not None:
            graph = f"{np.count_nonzero(self.adjacency.data) // 2} edges"
        rows = ", ".join(f"{getattr(self.split, role).size} {role}" for role in ROLES)
        return (
            f"NodeDataset({self.name!r}, {self.n_nodes} nodes, {self.features.shape[1]} features, "
            f"{len(self.classes)} classes, {graph}; {rows})"
        )

    @property
    def n_nodes(self) -> int:
        """The number of rows of `features`."""
        return int(self.features.shape[0])
