"""Runs in a folder, read from their settings and summaries. Imports nothing heavy."""

import json
from pathlib import Path
from typing import Any

from lds._run_files import FILES, SETTINGS
from lds._verdict import gain_of, n_test


def runs_in(folder: Path) -> list[dict[str, Any]]:
    """List the runs in a folder, by name.

    Arguments:
        folder: of run folders; a run folder itself is a list of one.

    Returns:
        For each run a dictionary of "folder", "state" ("done", "interrupted", "unfinished" or
        "damaged"), and, where known, "data", "method", "seed", "test_accuracy", "test_rows",
        "gain" over the frozen graph with its interval (shares of the test rows), and "seconds".
    """
    found = [folder] if (folder / SETTINGS).is_file() else sorted(folder.iterdir())
    return [_described(one) for one in found if (one / SETTINGS).is_file()]


def _described(folder: Path) -> dict[str, Any]:
    known: dict[str, Any] = {"folder": str(folder)}
    try:
        settings = json.loads((folder / SETTINGS).read_bytes())
        known |= {
            "data": Path(str(settings["data"])).name,
            "method": settings["method"],
            "seed": settings["seed"],
        }
        if not all((folder / name).is_file() for name in FILES):
            return {**known, "state": "unfinished"}
        summary = json.loads((folder / "summary.json").read_bytes())
        state = "interrupted" if summary["reason"] == "interrupted" else "done"
        return {
            **known,
            "state": state,
            "test_accuracy": summary["test_accuracy"]["lds"],
            "test_rows": n_test(summary),
            "gain": gain_of(summary),
            "seconds": summary.get("seconds"),
        }
    except (ValueError, KeyError, TypeError):
        return {**known, "state": "damaged"}
