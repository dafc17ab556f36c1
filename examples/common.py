"""What the examples share: their command line, MNIST, and rows as JSON lines."""

import argparse
import functools
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


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


def mnist(root: Path, sizes: Iterable[int], seed: int) -> list[tuple[Tensor, Tensor]]:
    """Disjoint random sets of digits: images `(n, 28, 28)` in [0, 1] and labels, for each size."""
    images, labels = _mnist(root / "mnist" / "mnist.npz")
    order = np.random.default_rng(seed).permutation(len(labels))
    parts = np.split(order, np.cumsum(list(sizes)))[:-1]
    return [
        (torch.tensor(images[rows]).float() / 255, torch.tensor(labels[rows]).long())
        for rows in parts
    ]


@functools.cache
def _mnist(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.exists():
        raise SystemExit(f"{path} is not there: --root or LDS_DATA names the folder of the data")
    with np.load(path) as arrays:
        images = np.concatenate([arrays["x_train"], arrays["x_test"]])
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]])
    return images, labels


def write(row: dict[str, Any], path: Path | None) -> None:
    """Add a row to the file, if there is to be one."""
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
