"""The run folder: what a fit leaves behind, written atomically and read without unpickling.

| file | holds |
|---|---|
| settings.json | data set, options, versions, format |
| metrics.jsonl | one line an outer iteration |
| summary.json | accuracy, NLL, ECE, controls, why the run ended |
| start.npz | starting probabilities, symmetric CSR as plain arrays |
| edge_probs.npz | learned probabilities, likewise |
| weights.safetensors | the network's weights |
| predictions.npz | class probabilities, their uncertainty, hidden layer, labels, roles' rows |
"""

import io
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from lds._files import write_atomically

FORMAT = 1
FILES = (
    "settings.json",
    "metrics.jsonl",
    "summary.json",
    "start.npz",
    "edge_probs.npz",
    "weights.safetensors",
    "predictions.npz",
)


@dataclass(frozen=True)
class Run:
    """A run read back from its folder.

    Attributes:
        settings: data set, options, versions.
        metrics: one record an outer iteration.
        summary: accuracies, controls, reason, seconds.
        start: symmetric CSR `(n_nodes, n_nodes)`, in [0, 1]: probabilities before learning.
        edge_probs: the same after it.
        weights: the network's weights by name.
        predictions: arrays "probabilities" `(n_nodes, n_classes)`, "entropy" and
            "mutual_information" `(n_nodes,)`, "hidden" `(n_nodes, hidden_channels)`, "labels"
            `(n_nodes,)`, -1 where unknown, and the roles' rows: "train_rows", "validation_rows",
            "stopping_rows" and "test_rows".
    """

    settings: dict[str, Any]
    metrics: list[dict[str, Any]]
    summary: dict[str, Any]
    start: sp.csr_array
    edge_probs: sp.csr_array
    weights: dict[str, Tensor]
    predictions: dict[str, NDArray[Any]]


def save_run(
    folder: Path,
    *,
    settings: dict[str, Any],
    metrics: Iterable[dict[str, Any]],
    summary: dict[str, Any],
    start: sp.csr_array,
    edge_probs: sp.csr_array,
    weights: dict[str, Tensor],
    predictions: dict[str, NDArray[Any]],
) -> None:
    """Write a run; each file is complete or not there. See `Run` for the arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [_dumps(record) for record in metrics]
    write_json(folder / "settings.json", {"format": FORMAT, "n_metrics": len(lines), **settings})
    write_atomically(
        folder / "metrics.jsonl",
        lambda file: file.write("".join(f"{line}\n" for line in lines).encode()),
    )
    _write_graph(folder / "start.npz", start)
    _write_graph(folder / "edge_probs.npz", edge_probs)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_atomically(folder / "weights.safetensors", lambda file: file.write(save_tensors(tensors)))
    write_atomically(folder / "predictions.npz", lambda file: _savez(file, predictions))
    write_json(folder / "summary.json", summary)


def load_run(folder: str | Path) -> Run:
    """Read a run back.

    Raises:
        FileNotFoundError: the folder or one of its files is missing.
        ValueError: a file is damaged, or of another format.
    """
    folder = Path(folder)
    for name in FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} is not the folder of a finished run: it has no {name}"
            )
    settings = _read(folder / "settings.json", json.loads)
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise ValueError(
            f"{folder / 'settings.json'} must be of run format {FORMAT}, written by `lds fit`"
        )
    metrics = _read(folder / "metrics.jsonl", lambda raw: [json.loads(x) for x in raw.splitlines()])
    if len(metrics) != settings.get("n_metrics"):
        raise ValueError(f"{folder / 'metrics.jsonl'} is damaged (lines are missing)")
    return Run(
        settings,
        metrics,
        _read(folder / "summary.json", json.loads),
        _read_graph(folder / "start.npz"),
        _read_graph(folder / "edge_probs.npz"),
        _read(folder / "weights.safetensors", load_tensors),
        _read_arrays(folder / "predictions.npz", ("probabilities", "labels")),
    )


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; numbers that are not finite become null."""
    text = _dumps(value, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def _dumps(value: Any, indent: int | None = None) -> str:
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_graph(path: Path, graph: sp.csr_array) -> None:
    arrays = {
        "data": graph.data,
        "indices": graph.indices,
        "indptr": graph.indptr,
        "shape": np.array(graph.shape),
    }
    write_atomically(path, lambda file: _savez(file, arrays))


def _read_graph(path: Path) -> sp.csr_array:
    stored = _read_arrays(path, ("data", "indices", "indptr", "shape"))
    n_rows, n_cols = (int(n) for n in stored["shape"])
    parts = (stored["data"], stored["indices"], stored["indptr"])
    try:
        return sp.csr_array(parts, shape=(n_rows, n_cols))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error})") from error


def _savez(file: BinaryIO, arrays: dict[str, NDArray[Any]]) -> None:
    np.savez_compressed(file, allow_pickle=False, **arrays)


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
