"""What is learned from: features, labels, roles of rows, and perhaps a graph."""

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._arrays import canonical
from lds._labels import check_trains
from lds._types import ROLES, Features, Split
from lds.graphs.adjacency import check_adjacency

WIDEST = 1e8
"""Largest ratio of two weights: smaller ones vanish in sums of float32, where 0 / 0 follows."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A node-classification problem, checked once, when it is made.

    Arguments:
        features: X, `(n_nodes, n_features)`, finite; dense or sparse, which is kept as CSR.
        labels: int64 `(n_nodes,)`, classes from 0, -1 where unknown; read at the train, validation
            and stopping rows only.
        split: train (inner objective), validation (A, outer objective), stopping (B) and test.
        graph: symmetric CSR `(n_nodes, n_nodes)` of starting probabilities in [0, 1]; None: there
            is none.
        held_out: symmetric CSR of edges taken from the graph before, for the history alone; None:
            none were.
        weights: float64 `(n_nodes,)`, above 0 at rows that have a role: what a row counts in every
            mean loss and score, in proportion to the others; None: all count alike.

    Raises:
        ValueError: features that are not two-dimensional or finite, labels of another length, rows
            without a label, a role without rows, one class only, a graph of another shape,
            asymmetric or outside [0, 1], or weights that are not positive and finite, or too far
            apart (`WIDEST`).

    Attributes:
        n_classes: classes, counted from the labels; of a `part`, those of the whole.
    """

    features: Features
    labels: NDArray[np.int64]
    split: Split
    graph: sp.csr_array | None = None
    held_out: sp.csr_array | None = None
    weights: NDArray[np.float64] | None = None
    n_classes: int = field(init=False)

    def __post_init__(self) -> None:
        features, labels = canonical(self.features), self.labels
        object.__setattr__(self, "features", features)
        if features.ndim != 2:
            raise ValueError(f"features must be (n_nodes, n_features), got shape {features.shape}")
        values = features.data if sp.issparse(features) else features
        if not np.isfinite(np.asarray(values)).all():
            raise ValueError(
                "features must be finite, got NaN or infinity; impute or drop such rows"
            )
        if labels.shape != (self.n_nodes,):
            raise ValueError(
                f"labels must have one entry a row of features, ({self.n_nodes},), got "
                f"{labels.shape}"
            )
        self._check_roles()
        object.__setattr__(self, "n_classes", int(labels.max()) + 1)
        if self.weights is not None:
            self._check_weights(self.weights)
        if self.graph is not None:
            object.__setattr__(self, "graph", check_adjacency(self.graph, self.n_nodes))

    @property
    def n_nodes(self) -> int:
        """Rows of `features`."""
        return int(self.features.shape[0])

    @property
    def labelled(self) -> NDArray[np.int64]:
        """Train and validation rows, in that order."""
        return np.concatenate([self.split.train, self.split.validation])

    def part(self, rows: NDArray[np.int64]) -> "Problem":
        """Make the problem of some rows, with the roles and edges that they have.

        Arguments:
            rows: ascending row numbers, some of every role.
        """
        if len(rows) == self.n_nodes:
            return self
        place = np.full(self.n_nodes, -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        roles = (place[getattr(self.split, role)] for role in ROLES)
        part = Problem(
            self.features[rows],
            self.labels[rows],
            Split(*(role[role >= 0] for role in roles), dealt=self.split.dealt),
            None if self.graph is None else self.graph[rows][:, rows],
            None if self.held_out is None else self.held_out[rows][:, rows],
            None if self.weights is None else self.weights[rows],
        )
        object.__setattr__(part, "n_classes", self.n_classes)
        return part

    def _check_roles(self) -> None:
        for role in ("train", "validation", "stopping"):
            rows = getattr(self.split, role)
            if rows.size == 0:
                raise ValueError(f"split.{role} must have at least one row, got none")
            if int(rows.max()) >= self.n_nodes:
                raise ValueError(
                    f"split.{role} must index the {self.n_nodes} rows of features, got "
                    f"{int(rows.max())}"
                )
            if int(self.labels[rows].min()) < 0:
                row = int(rows[self.labels[rows] < 0][0])
                raise ValueError(
                    f"split.{role} must hold labelled rows only, got row {row} without one"
                )
        check_trains(self.labels, self.split.train, "split.train")

    def _check_weights(self, weights: NDArray[np.float64]) -> None:
        if weights.shape != (self.n_nodes,):
            raise ValueError(
                f"weights must have one entry a row of features, ({self.n_nodes},), got "
                f"{weights.shape}"
            )
        split = self.split
        rows = split.learning
        good = np.isfinite(weights[rows]) & (weights[rows] > 0)
        if not good.all():
            row = int(rows[~good][0])
            raise ValueError(
                f"weights must be finite and above 0 at labelled rows, got {weights[row]:g} at row "
                f"{row}; to ignore a row, remove its label"
            )
        least, most = float(weights[rows].min()), float(weights[rows].max())
        if most / least > WIDEST:
            raise ValueError(
                f"weights of labelled rows must differ by a factor of at most {WIDEST:g}, got "
                f"{least:g} to {most:g}; to ignore a row, remove its label"
            )
