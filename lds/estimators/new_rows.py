"""Rows that were not there in the fit: as a fitted row where they equal one, else attached."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._random import mix
from lds._types import Features
from lds.config import LDSConfig
from lds.datasets.encoding import TableEncoding
from lds.datasets.reading import FileFormat
from lds.datasets.table import load_rows
from lds.edges.base import EdgeDistribution
from lds.edges.free import FreeEdges
from lds.graphs.candidates import PairList
from lds.graphs.connected import starting_tree
from lds.graphs.knn import neighbor_search
from lds.run_folder import load_encoding, load_features, load_run
from lds.structure.committee import predict_new
from lds.structure.predict import likenesses, predict_proba_new
from lds.structure.task import task_on


def predict_new_rows(
    new: Features,
    x: Features,
    codes: NDArray[np.int64],
    config: LDSConfig,
    params: dict[str, Tensor],
    edges: EdgeDistribution,
    probabilities: NDArray[np.floating[Any]],
) -> NDArray[np.floating[Any]]:
    """Class probabilities of rows, `(n_new, n_classes)`; they sum to 1.

    A row equal to one of the fit gets the answer it got there. Any other has the edges that the
    learned coefficients give it (`committee.predict_new`), or, where probabilities are free, as its
    `n_neighbors` nearest rows of the fit have them (`predict.likenesses`).

    Arguments:
        new: `(n_new, n_features)`, dense or CSR as `x` is.
        x, codes: features and class numbers of the fit.
        config, params, edges: of the fit.
        probabilities: `(n_rows, n_classes)`, what it predicted for its own rows.
    """
    known = _known_rows(new, x)
    found: NDArray[np.floating[Any]] = probabilities[known]
    other = known < 0
    seed = mix(config.seed, -5)
    if other.any() and config.method == "committee":
        attached = predict_new(
            x, codes, new[other], params, edges, probabilities, config, seed
        )  # fmt: skip
        found[other] = attached.cpu().numpy()
    elif other.any():
        search = neighbor_search(x, config.n_neighbors, config.metric)
        distances, neighbors = search.kneighbors(new[other])
        task = task_on(x, codes, config, torch.float32, edges.probs.device)
        near = likenesses(neighbors.astype(np.int64), distances, edges.probs)
        attached = predict_proba_new(
            task, params, edges, new[other], near, config.n_draws, seed
        )  # fmt: skip
        found[other] = attached.cpu().numpy()
    return found


@dataclass(frozen=True)
class NewRows:
    """What a run says of the rows of a file.

    Attributes:
        probabilities: `(n_rows, n_classes)`.
        classes: class c has the name classes[c].
        identifiers: of the rows; None where the run's table or the file has none.
        found: what was found out about the file, in short sentences.
    """

    probabilities: NDArray[np.floating[Any]]
    classes: tuple[str, ...]
    identifiers: tuple[str, ...] | None
    found: tuple[str, ...]


def predict_from_run(
    folder: Path,
    rows: Path,
    *,
    separator: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
) -> NewRows:
    """Class probabilities of the rows of a file, by a run of `lds fit` on a table.

    The run keeps probabilities of edges above its cut-off alone, and so draws graphs without the
    others; its summary has their sum.

    Arguments:
        folder: of the run.
        rows: the file (see `reading.read_table`).
        separator, encoding, header: how it is written; None finds it out.

    Raises:
        FileNotFoundError: the folder is not of a finished run on a table, or there is no such file.
        ValueError: a file is damaged, or the rows do not fit the table (see `table.load_rows`).
    """
    run, x = load_run(folder), load_features(folder)
    settings = run.settings
    table = TableEncoding.from_arrays(load_encoding(folder))
    read = load_rows(
        rows, table, FileFormat.from_dict(settings["file"]), settings["source"],
        separator=separator, text_encoding=encoding, header=header,
    )  # fmt: skip
    config = LDSConfig(**settings["options"])
    tree = starting_tree(x, run.edge_probs, config.metric) if config.connected else None
    edges = FreeEdges(run.edge_probs, candidates=PairList.of(run.edge_probs), tree=tree)
    probabilities = predict_new_rows(
        read.features, x, run.predictions["labels"], config, run.weights, edges,
        run.predictions["probabilities"],
    )  # fmt: skip
    return NewRows(probabilities, tuple(settings["classes"]), read.identifiers, read.found)


def _known_rows(x: Any, fitted: Any) -> NDArray[np.int64]:
    """The first row of `fitted` equal to each row of `x`, -1 where there is none."""
    numbers: dict[bytes, int] = {}
    for number, row in enumerate(_contents(fitted)):
        numbers.setdefault(row, number)
    return np.array([numbers.get(row, -1) for row in _contents(x)], dtype=np.int64)


def _contents(rows: Any) -> Iterator[bytes]:
    if not sp.issparse(rows):
        yield from (row.tobytes() for row in rows + rows.dtype.type(0))  # -0 becomes 0
        return
    matrix: Any = rows
    x = matrix.copy()
    x.sum_duplicates()  # sorts the indices, too
    x.eliminate_zeros()
    for start, stop in itertools.pairwise(x.indptr):
        yield x.indices[start:stop].astype(np.int64).tobytes() + x.data[start:stop].tobytes()
