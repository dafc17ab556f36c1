"""The run folder: what a fit leaves behind, written atomically and read without unpickling.

| file | holds |
|---|---|
| settings.json | data set, method, options, seed, versions, format |
| metrics.jsonl | one line an outer iteration |
| summary.json | qualities on test rows, controls, why the run ended |
| start.npz | starting probabilities, symmetric CSR as plain arrays |
| edge_probs.npz | learned probabilities, likewise |
| weights.safetensors | the network's weights |
| predictions.npz | class probabilities, their uncertainty, hidden layer, labels, roles' rows |
| features.npz | the rows as they were learned from, to predict further ones |
| preparation.npz | of the default method: what it fitted on the features |
| account.npz | what members of the method predict, and coefficients before and after learning |
| encoding.npz | of a table: how its columns became features, see `lds.datasets.encoding` |
| checkpoint.pt | where `lds fit --resume` goes on (see `lds._checkpoint`) |

A Python run (`LDSClassifier.save`, `Learned.save`) and `lds fit` write the same folder. `begin_run`
writes the settings alone: a folder without the other files is of a run that has not ended.
"""

import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from safetensors import SafetensorError

from lds._arrays import matrix_of, parts_of
from lds._files import dumps, write_atomically, write_json
from lds._run_files import (
    ACCOUNT,
    ENCODING,
    FEATURES,
    PREDICTIONS,
    PREPARATION,
    REPORT,
    SETTINGS,
    WRITTEN,
    check_finished,
    check_run,
    discard_checkpoints,
)

if TYPE_CHECKING:  # torch takes seconds to import, and settings are read without it
    from torch import Tensor

FORMAT = 6


@dataclass(frozen=True)
class Run:
    """A run read back from its folder.

    Attributes:
        settings: data set, method, options, seed, versions; "classes" are their names. For a run
            on a table, "table" says what kind each column is and how many features it became,
            without its values, and "file" how the file was read. "made_features" is True where
            features were made from the graph.
        metrics: one record an outer iteration.
        summary: accuracies, controls, reason, seconds.
        start: symmetric CSR `(n_nodes, n_nodes)`, in [0, 1]: probabilities before learning.
        edge_probs: the same after it.
        weights: the network's weights by name.
        predictions: arrays "probabilities" `(n_nodes, n_classes)`, "entropy" and
            "mutual_information" `(n_nodes,)`, "hidden" `(n_nodes, hidden_channels)`, "labels"
            `(n_nodes,)`, -1 where unknown, the roles' rows: "train_rows", "validation_rows",
            "stopping_rows" and "test_rows", "row_weights" where rows count differently, and of a
            table with them the rows' "identifiers".
    """

    settings: dict[str, Any]
    metrics: list[dict[str, Any]]
    summary: dict[str, Any]
    start: sp.csr_array
    edge_probs: sp.csr_array
    weights: dict[str, "Tensor"]
    predictions: dict[str, NDArray[Any]]

    @property
    def n_iterations(self) -> int:
        """Outer iterations; the record of a refit does not count."""
        return sum(not record["refit"] for record in self.metrics)


def begin_run(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a run that begins; results of an earlier one there are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in WRITTEN:
        (folder / name).unlink(missing_ok=True)
    write_json(folder / SETTINGS, {"format": FORMAT, **settings})


def clear_fit(folder: str | Path) -> None:
    """Delete what `lds fit` alone left in a folder that is written over, if its run was there.

    That is its predictions and checkpoints; `save_run` writes over everything else.
    """
    try:
        of_fit = "source" in load_settings(folder)
    except (FileNotFoundError, ValueError):  # no run, or one that cannot be gone on with
        return
    if of_fit:
        discard_checkpoints(folder)
        (Path(folder) / PREDICTIONS).unlink(missing_ok=True)


def load_settings(folder: str | Path) -> dict[str, Any]:
    """The settings of a run, ended or not.

    Raises:
        FileNotFoundError: the folder is not that of a run.
        ValueError: they are damaged, or of another format.
    """
    path = Path(folder) / SETTINGS
    check_run(folder)
    settings = _read(path, partial(_parsed, path))
    found = settings.get("format") if isinstance(settings, dict) else None
    if found != FORMAT:
        older = isinstance(found, int) and found < FORMAT
        hint = ", of an earlier version of lds; fit again with this one" if older else ""
        raise ValueError(
            f"{path} must be of run format {FORMAT}, written by `lds fit`, got {found}{hint}"
        )
    known: dict[str, Any] = settings
    return known


def load_summary(folder: str | Path) -> dict[str, Any]:
    """Read the summary of a run: accuracies, reason, edges.

    Raises:
        FileNotFoundError: the folder is not that of a finished run.
        ValueError: the file is damaged.
    """
    check_finished(folder)
    path = Path(folder) / "summary.json"
    return _mapping(path, _read(path, partial(_parsed, path)))


def save_run(
    folder: Path,
    run: Run,
    *,
    features: NDArray[Any] | sp.csr_array,
    encoding: dict[str, NDArray[Any]] | None = None,
    preparation: dict[str, NDArray[Any]] | None = None,
    account: dict[str, NDArray[Any]] | None = None,
) -> None:
    """Write a run; each file is complete or not there. The page of an earlier run is deleted.

    Arguments:
        folder: made if need be.
        run: the record.
        features: `(n_nodes, n_features)`, dense or CSR, see `load_features`.
        encoding: of a table's columns, as arrays, see `load_encoding`.
        preparation: what the method fitted on the features, as arrays, see `load_preparation`.
        account: what its members say, as arrays, see `load_account`.
    """
    from safetensors.torch import save as save_tensors

    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT).unlink(missing_ok=True)
    lines = [dumps(record) for record in run.metrics]
    tensors = {name: leaf.detach().cpu().contiguous() for name, leaf in run.weights.items()}
    weights = save_tensors(tensors)
    checked = {
        "n_metrics": len(lines),
        "weights_crc32": zlib.crc32(weights),
        "features_crc32": _checksum(features),
    }
    write_json(folder / SETTINGS, {"format": FORMAT, **run.settings, **checked})
    write_atomically(
        folder / "metrics.jsonl",
        lambda file: file.write("".join(f"{line}\n" for line in lines).encode()),
    )
    _write_graph(folder / "start.npz", run.start)
    _write_graph(folder / "edge_probs.npz", run.edge_probs)
    write_atomically(folder / "weights.safetensors", lambda file: file.write(weights))
    write_atomically(folder / "predictions.npz", lambda file: _savez(file, run.predictions))
    if sp.issparse(features):
        _write_graph(folder / FEATURES, sp.csr_array(features))
    else:
        dense = {"features": np.asarray(features)}
        write_atomically(folder / FEATURES, lambda file: _savez(file, dense))
    _write_or_delete(folder / ENCODING, encoding)
    _write_or_delete(folder / PREPARATION, preparation)
    _write_or_delete(folder / ACCOUNT, account)
    write_json(folder / "summary.json", run.summary)


def _checksum(features: NDArray[Any] | sp.csr_array) -> int:
    parts = [features]
    if sp.issparse(features):
        sparse: Any = sp.csr_array(features)
        parts = [sparse.data, sparse.indices, sparse.indptr]
    found = 0
    for part in parts:
        found = zlib.crc32(np.ascontiguousarray(part).data, found)
    return found


def load_features(folder: str | Path) -> NDArray[Any] | sp.csr_array:
    """The rows a run learned from, `(n_nodes, n_features)`, dense or CSR.

    Raises:
        FileNotFoundError: the folder has none: the run has not ended.
        ValueError: the file is damaged.
    """
    path = Path(folder) / FEATURES
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {FEATURES}: the run has not ended")
    stored = _read_arrays(path, ())
    return stored["features"] if "features" in stored else _read_graph(path)


def load_encoding(folder: str | Path) -> dict[str, NDArray[Any]]:
    """How the columns of a table became features, as the arrays that were saved.

    Raises:
        FileNotFoundError: the folder has none: the run was not on a table, or has not ended.
        ValueError: the file is damaged.
    """
    path = Path(folder) / ENCODING
    if not path.is_file():
        check_finished(folder)
        raise FileNotFoundError(
            f"{folder} has no {ENCODING}: its run was on features alone (a data set by name, an "
            ".npz file, sparse rows); in Python `Learned.load(folder)` has `predict_new`, which "
            "classifies further rows of such features"
        )
    return _read_arrays(path, ("encoding",))


def load_preparation(folder: str | Path) -> dict[str, NDArray[Any]]:
    """What the method fitted on the features, as arrays; empty where it stores nothing.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(folder) / PREPARATION
    return _read_arrays(path, ()) if path.is_file() else {}


def load_account(folder: str | Path) -> dict[str, NDArray[Any]]:
    """What the members of the method say, as arrays; empty where it has none.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(folder) / ACCOUNT
    return _read_arrays(path, ()) if path.is_file() else {}


def load_run(folder: str | Path, *, weights: bool = True) -> Run:
    """Read a run back.

    Arguments:
        folder: of the run.
        weights: False leaves the network's weights out, and does not import torch.

    Raises:
        FileNotFoundError: the folder or one of its files is missing.
        ValueError: a file is damaged, or of another format.
    """
    folder = Path(folder)
    check_finished(folder)
    settings = load_settings(folder)
    path = folder / "metrics.jsonl"
    lines = _read(path, lambda raw: [_parsed(path, line) for line in raw.splitlines()])
    metrics = [_mapping(path, line) for line in lines]
    if len(metrics) != settings.get("n_metrics"):
        raise ValueError(f"{path} is damaged (lines are missing)")
    return Run(
        settings,
        metrics,
        load_summary(folder),
        _read_graph(folder / "start.npz"),
        _read_graph(folder / "edge_probs.npz"),
        _weights(folder, settings["weights_crc32"]) if weights else {},
        _read_arrays(folder / "predictions.npz", ("probabilities", "labels")),
    )


def _weights(folder: Path, checksum: int) -> "dict[str, Tensor]":
    from safetensors.torch import load

    def parse(raw: bytes) -> "dict[str, Tensor]":
        if zlib.crc32(raw) != checksum:
            raise ValueError("its checksum is not the one in settings.json")
        return load(raw)

    found: dict[str, Tensor] = _read(folder / "weights.safetensors", parse)
    return found


def as_run(source: Any) -> Run:
    """The record of a run, from whatever holds one, for pictures and reports.

    A record that is read from a folder is without the network's weights.

    Arguments:
        source: a record, the folder of a run, or an object with `as_run()`: a fitted classifier, a
            `LearnedStructure` or a `Learned`.

    Raises:
        FileNotFoundError, ValueError: as of `load_run`.
    """
    if isinstance(source, Run):
        return source
    if hasattr(source, "as_run"):
        found: Run = source.as_run()
        return found
    return load_run(source, weights=False)


def _write_or_delete(path: Path, arrays: dict[str, NDArray[Any]] | None) -> None:
    """Write arrays; without any, delete what an earlier run left in their place."""
    if arrays:
        write_atomically(path, lambda file: _savez(file, arrays))
    else:
        path.unlink(missing_ok=True)


def _write_graph(path: Path, graph: sp.csr_array) -> None:
    write_atomically(path, lambda file: _savez(file, parts_of(graph)))


def _read_graph(path: Path) -> sp.csr_array:
    stored = _read_arrays(path, ("data", "indices", "indptr", "shape"))
    try:
        return matrix_of(stored)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error})") from error


def _savez(file: BinaryIO, arrays: dict[str, NDArray[Any]]) -> None:
    np.savez_compressed(file, allow_pickle=False, **arrays)


class _Entries(dict[str, Any]):
    """A JSON object of a file; a name that it lacks is a fault of the file."""

    path: Path

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"{self.path} is damaged (it lacks {name!r})")


def _parsed(path: Path, raw: bytes) -> Any:
    """Parse JSON of a file."""

    def named(pairs: list[tuple[str, Any]]) -> _Entries:
        found = _Entries(pairs)
        found.path = path
        return found

    return json.loads(raw, object_pairs_hook=named)


def _mapping(path: Path, found: Any) -> dict[str, Any]:
    """Refuse JSON that is no object, and one without entries."""
    if not isinstance(found, dict) or not found:
        raise ValueError(f"{path} is damaged (it must hold a JSON object, got {str(found)[:40]})")
    return found


def _read(path: Path, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse(path.read_bytes())
    except (ValueError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error


def _read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except Exception as error:  # zipfile, zlib and NumPy each raise their own
        raise ValueError(f"{path} is damaged ({error})") from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{path} is damaged (it lacks {', '.join(missing)})")
    return arrays
