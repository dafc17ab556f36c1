"""Data sets by name: each one `NodeDataset`, preprocessed and split as its protocol says."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._sources import REGISTRY, check_source, is_a_table, registered
from lds._types import Features, Split
from lds.graphs.adjacency import keep_edges

if TYPE_CHECKING:
    from lds.datasets.encoding import TableEncoding
    from lds.datasets.reading import FileFormat


@dataclass(frozen=True, eq=False)
class NodeDataset:
    """Nodes to classify.

    Arguments:
        name: of the data set, or the file it was read from.
        features: X, `(n_nodes, n_features)` floats, preprocessed; dense or CSR.
        labels: int64 `(n_nodes,)`, numbers of classes, -1 where unknown.
        classes: class c has the name classes[c].
        split: the rows of each role, all of them labelled.
        adjacency: the given graph, symmetric 0/1 CSR float32 without loops; None: there is none,
            kNN starts it.
        held_out: edges of the data set's graph that are not in `adjacency` because `load` took them
            away, in the same form; None: none were. Nothing learns from them.
        encoding: of a table's columns as `features`; None: they are not a table's.
        file: how a table was read, and what was found out; None: likewise.
        identifiers: of the rows, one each; None: rows are known by their numbers.

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
    encoding: "TableEncoding | None" = None
    file: "FileFormat | None" = None
    identifiers: tuple[str, ...] | None = None

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
        for role in (field.name for field in fields(self.split)):
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

    @property
    def n_nodes(self) -> int:
        """Rows of `features`."""
        return int(self.features.shape[0])


def names() -> tuple[str, ...]:
    """Names that `load` knows."""
    return tuple(REGISTRY)


def data_root(root: str | Path | None = None) -> Path:
    """The folder of downloaded data: `root`, else the variable LDS_DATA, else ~/.cache/lds."""
    chosen = root or os.environ.get("LDS_DATA") or Path("~/.cache/lds")
    return Path(chosen).expanduser()


def load(
    name: str | Path,
    *,
    seed: int = 0,
    root: str | Path | None = None,
    retain: float | None = None,
    target: str | int | None = None,
    test_size: float = 0.2,
    separator: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    drop: Sequence[str] = (),
    identifier: str | int | None = None,
    unlabelled: Sequence[str] | None = None,
) -> NodeDataset:
    """Load a data set by name, or a table of the user's own by path.

    Arguments:
        name: one of `names()` (upper or lower case; "cancer" is "breast_cancer"), or the path of a
            table: a text of cells or a parquet file (see `reading.read_table`).
        seed: of the split, and of the edges kept.
        root: folder of downloaded data, see `data_root`; what is missing is fetched into it.
        retain: share in [0, 1] of the undirected edges kept, for sets with a graph; 0 leaves none
            (`adjacency` is None), None keeps all.
        target: for tables, the column of labels by name or by position (-1 is the last); rows where
            it is blank are unlabelled.
        test_size: for tables, share in [0, 1) of the labelled rows held out as test.
        separator, encoding, header: for tables, how the file is written (see `reading.read_table`);
            None finds it out.
        drop: for tables, columns to leave out, by name or by position.
        identifier: for tables, the column that names the rows; no feature.
        unlabelled: for tables, text in the target that marks a row without a label besides a blank
            cell; if given, even as ("",), other text is the name of a class. None refuses text that
            often means no label, such as "?".

    Raises:
        ValueError: an unknown name or file extension, an option that does not apply, or a table
            that cannot be used (see `table.load`).
        FileNotFoundError: a file is not there, and cannot be fetched.

    Examples:
        >>> wine = load("wine", seed=1)
        >>> wine.features.shape, wine.classes, wine.split.train.size
        ((178, 13), ('class_0', 'class_1', 'class_2'), 10)
    """
    key = None if is_a_table(name) else registered(name)
    if retain is not None:
        with_graph = [known for known, entry in REGISTRY.items() if entry.has_graph]
        if key not in with_graph:
            raise ValueError(
                f"retain is for data sets with a graph ({', '.join(with_graph)}), got "
                f"{retain} for {str(name)!r}; leave it out"
            )
        if not 0 <= retain <= 1:
            raise ValueError(f"retain (share of the edges kept) must be in [0, 1], got {retain}")
    check_source(name)
    if key is None:
        from lds.datasets.table import load as load_table

        return load_table(
            Path(name), target=target, test_size=test_size, seed=seed, separator=separator,
            encoding=encoding, header=header, drop=drop, identifier=identifier,
            unlabelled=unlabelled,
        )  # fmt: skip
    for option, given in (
        ("target", target),
        ("separator", separator),
        ("encoding", encoding),
        ("header", header),
        ("drop", drop or None),
        ("identifier", identifier),
        ("unlabelled", unlabelled),
    ):
        if given is not None:
            raise ValueError(
                f"{option} is for a table, got {given!r} for the data set {key!r}; leave it out"
            )
    loader: Callable[[str, int, Path], NodeDataset] = import_module(REGISTRY[key].module).load
    dataset = loader(key, seed, data_root(root))
    if retain is None or dataset.adjacency is None:
        return dataset
    kept = keep_edges(dataset.adjacency, retain, seed)
    held_out = sp.csr_array(dataset.adjacency - kept)
    held_out.eliminate_zeros()
    return replace(
        dataset,
        adjacency=kept if retain else None,
        held_out=held_out if held_out.nnz else None,
    )
