"""Names of the files in a run folder, and whether they are there. Imports nothing heavy."""

import json
from collections.abc import Iterable
from pathlib import Path

SETTINGS = "settings.json"
PREDICTIONS = "predictions.csv"
"""The predictions of rows without a label, which `lds fit` writes for people and programs."""

REPORT = "report.html"
"""The page that `lds report` writes there."""

CHECKPOINTS = ("checkpoint.pt", "checkpoint.before.pt")
"""Names of the files with the latest state of a run, and with the one before it."""

CONTROLS = "controls"
"""Folder of the checkpoints of the controls."""

FILES = (
    SETTINGS,
    "metrics.jsonl",
    "summary.json",
    "start.npz",
    "edge_probs.npz",
    "weights.safetensors",
    "predictions.npz",
)
"""What a finished run has."""

FEATURES, ENCODING, PREPARATION = "features.npz", "encoding.npz", "preparation.npz"
ACCOUNT = "account.npz"

WRITTEN = (*FILES, FEATURES, ENCODING, PREPARATION, ACCOUNT, PREDICTIONS, REPORT)
"""What a run writes, or deletes where it has none."""

SAVED = tuple(name for name in WRITTEN if name != PREDICTIONS)
"""The same of a fit that is saved from Python."""


def check_run(folder: str | Path) -> None:
    """Refuse a folder that is not of a run, ended or not.

    Raises:
        FileNotFoundError: it is not there, or has no settings.
    """
    if not Path(folder).exists():
        raise FileNotFoundError(f"there is no folder {folder}; `lds runs` lists the runs")
    if not (Path(folder) / SETTINGS).is_file():
        raise FileNotFoundError(f"{folder} is not the folder of a run: it has no {SETTINGS}")


def check_finished(folder: str | Path) -> None:
    """Refuse what is not the folder of a finished run, without reading it.

    Raises:
        FileNotFoundError: the folder or one of its files is missing.
    """
    check_run(folder)
    for name in FILES:
        if not (Path(folder) / name).is_file():
            raise FileNotFoundError(
                f"{folder} is not the folder of a finished run: it has no {name}; if `lds fit` "
                f"began it, `lds fit --resume {folder}` goes on with it"
            )


def check_free(folder: str | Path, way_out: str) -> None:
    """Refuse a folder that holds a run, ended or not: what is written would take its place.

    Arguments:
        folder: that is to be written.
        way_out: what makes it be written over, in words.

    Raises:
        FileExistsError: it holds a run.
    """
    if (Path(folder) / SETTINGS).exists():
        raise FileExistsError(f"{folder} holds a run; name another folder, or {way_out}")


def check_replaceable(folder: str | Path, names: Iterable[str] = WRITTEN) -> None:
    """Refuse a folder of no run that holds files of the names of a run's, which would be lost.

    Arguments:
        folder: that is to be written.
        names: of these files.

    Raises:
        FileExistsError: it holds one of them, and neither settings of a run nor a checkpoint.
    """
    folder = Path(folder)
    if any((folder / name).is_file() for name in CHECKPOINTS) or _has_settings(folder):
        return
    for name in names:
        if (folder / name).exists():
            raise FileExistsError(
                f"{folder} is not the folder of a run, and its {name} would be lost; name another "
                "folder"
            )


def _has_settings(folder: Path) -> bool:
    """Whether the settings in a folder are those of a run, of this or an earlier format."""
    try:
        settings = json.loads((folder / SETTINGS).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and {"format", "method", "options"} <= settings.keys()


def discard_checkpoints(folder: str | Path) -> None:
    """Delete the checkpoints of a run in a folder, those of its controls too."""
    for place in (Path(folder), Path(folder) / CONTROLS):
        for name in CHECKPOINTS:
            (place / name).unlink(missing_ok=True)
