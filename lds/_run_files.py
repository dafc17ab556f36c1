"""Names of the files in a run folder, and whether they are there. Imports nothing heavy."""

from pathlib import Path

SETTINGS = "settings.json"
PREDICTIONS = "predictions.csv"
"""The predictions of rows without a label, which `lds fit` writes for people and programs."""

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


def check_run(folder: str | Path) -> None:
    """Refuse a folder that is not of a run, ended or not.

    Raises:
        FileNotFoundError: it has no settings.
    """
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
                f"{folder} is not the folder of a finished run: it has no {name}; "
                f"`lds fit --resume {folder}` goes on with it"
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


def forget_fit(folder: str | Path) -> None:
    """Delete what `lds fit` alone leaves of a run that another one takes the place of."""
    folder = Path(folder)
    for place in (folder, folder / CONTROLS):
        for checkpoint in place.glob("checkpoint*.pt"):
            checkpoint.unlink()
    (folder / PREDICTIONS).unlink(missing_ok=True)
