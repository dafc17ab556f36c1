"""What the examples share: their command line, MNIST, and rows as JSON lines."""

import argparse
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lds.experiments.reproduce.pictures import mnist

__all__ = ["command_line", "mnist", "write"]


def command_line(doc: str, budgets: Iterable[str]) -> argparse.ArgumentParser:
    """The arguments every example takes; `budgets` from the smallest to the full one."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(os.environ.get("LDS_DATA") or beside),
        help="folder of the data sets (default: LDS_DATA, or ../shared/data)",
    )
    parser.add_argument("--budget", choices=list(budgets), default="full")
    parser.add_argument("--out", type=Path, help="file to which rows are added as JSON lines")
    return parser


def write(row: dict[str, Any], path: Path | None) -> None:
    """Add a row to the file, if there is to be one."""
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
