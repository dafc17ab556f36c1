"""The user's own table: a CSV or parquet file with a column of labels, some of them blank."""

import csv
import io
import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lds._files import write_atomically
from lds._types import Split
from lds.datasets.base import TABLES, NodeDataset
from lds.datasets.encoding import TableEncoding
from lds.datasets.splits import each_class_first, stratified, three_way


def load(path: Path, *, target: str | None, test_size: float, seed: int) -> NodeDataset:
    """Read, encode and split a table.

    Columns become features as `lds.datasets.encoding` says. Of the labelled rows `test_size` is
    held out, the others are divided by `splits.three_way`.

    Arguments:
        path: a .csv or .parquet file, one row a node.
        target: the column of labels. Blank ones (empty, white space, or missing) are unknown.
            Class names are the labels as text, sorted; in a CSV file, as they are written.
        test_size: share in [0, 1) of the labelled rows held out as test.
        seed: of the split.

    Returns:
        Dense features, labels -1 where blank, no adjacency.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pandas, or pyarrow for parquet, is not installed.
        ValueError: an unknown extension, an unreadable or empty table, no such column, columns that
            cannot be features, fewer than two classes, too few labels.
    """
    if not 0 <= test_size < 1:
        raise ValueError(
            f"test_size (share of the labelled rows) must be in [0, 1), got {test_size}"
        )
    # Labels stay text: a class may be called NA or 01.
    frame = _read(path, {}, as_written=target)
    columns = [str(column) for column in frame.columns]
    if target is None or target not in columns:
        given = "none" if target is None else repr(target)
        raise ValueError(
            f"target must name the column of labels, one of {', '.join(columns)}, got {given}"
        )
    if frame.empty:
        raise ValueError(f"{path} must have at least one row below its header, got none")
    labels, classes = _labels(frame[target], target)
    encoding, features = TableEncoding.fit(frame, exclude=(target,))
    rows = np.flatnonzero(labels >= 0)
    fitted, test = _hold_out(labels, rows, test_size, seed)
    if fitted.size < 3:
        raise ValueError(
            f"{path} must have at least 3 labelled rows besides the test rows, got {rows.size} of "
            f"which test_size={test_size} holds out {test.size}"
        )
    split = Split(*three_way(labels, fitted, seed), test)
    return NodeDataset(str(path), features, labels, classes, split, encoding=encoding)


def load_rows(path: Path, encoding: TableEncoding) -> NDArray[np.float64]:
    """The features of further rows, encoded as those of the table that was fitted.

    Arguments:
        path: a .csv or .parquet file with its columns; a column of labels may be there or not.
        encoding: of that table.

    Raises:
        FileNotFoundError, ImportError: as for `load`.
        ValueError: an unreadable or empty table, or columns that are missing or of another kind.
    """
    frame = _read(path, {})
    if frame.empty:
        raise ValueError(f"{path} must have at least one row below its header, got none")
    return encoding.encode(frame)


def _read(path: Path, kinds: dict[str, type], as_written: str | None = None) -> Any:
    """The file as a pandas frame; in CSV, with columns of known kinds, and one left as text."""
    if path.suffix.lower() not in TABLES:
        raise ValueError(f"a table must be a {' or '.join(TABLES)} file, got {str(path)!r}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no table at {path}")
    try:
        import pandas as pd

        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        frame = pd.read_csv(path, dtype=kinds)
        if as_written in frame.columns:
            text = pd.read_csv(path, usecols=[as_written], dtype=str, na_filter=False)
            frame[as_written] = text[as_written]
        return frame
    except ImportError as error:
        raise ImportError(
            f"reading {path} needs pandas, and pyarrow for parquet: pip install 'lds[table]' "
            f"({error})"
        ) from error
    except (ValueError, OSError) as error:  # pandas's and pyarrow's own errors are ValueErrors
        raise ValueError(
            f"{path} cannot be read as a table ({' '.join(str(error).split())})"
        ) from error


def _labels(column: Any, target: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class numbers, -1 where blank, and the names."""
    values = column.to_numpy(dtype=object, na_value=None)
    if column.dtype.kind == "f" and all(v is None or float(v).is_integer() for v in values):
        values = [None if v is None else int(v) for v in values]  # integers, but for the blanks
    texts = ["" if value is None else str(value).strip() for value in values]
    classes = sorted(set(texts) - {""})
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "blank rows only"
        raise ValueError(f"target column {target!r} must show at least two classes, got {found}")
    number = {"": -1} | {name: c for c, name in enumerate(classes)}
    return np.array([number[text] for text in texts], dtype=np.int64), tuple(classes)


def _hold_out(
    labels: NDArray[np.int64], rows: NDArray[np.int64], test_size: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The labelled rows to learn from, and those held out."""
    n_test = math.ceil(test_size * rows.size)
    if n_test == 0:
        return rows, rows[:0]
    _, counts = np.unique(labels[rows], return_counts=True)
    if counts.min() >= 2 and counts.size <= min(n_test, rows.size - n_test):
        kept, held = stratified(labels[rows], [rows.size - n_test], seed)
        return rows[kept], rows[held]
    warnings.warn(
        f"the test rows cannot be drawn by class: {n_test} of {rows.size} labelled rows for "
        f"{counts.size} classes, the smallest with {counts.min()}; they are drawn without regard "
        "to classes",
        UserWarning,
        stacklevel=2,
    )
    order = each_class_first(labels, rows, np.random.default_rng(seed))
    return np.sort(order[:-n_test]), np.sort(order[-n_test:])


def write_predictions(
    path: Path, rows: Iterable[int], probabilities: NDArray[Any], classes: Sequence[str]
) -> None:
    """A CSV file of row, predicted class and its probability.

    Arguments:
        path: of the file.
        rows: their numbers.
        probabilities: `(n_rows, n_classes)`, one line a row.
        classes: class c has the name classes[c].
    """
    text = io.StringIO()
    table = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    text.write("row,prediction,probability\n")
    for row, p in zip(rows, probabilities, strict=True):
        table.writerow([int(row), classes[int(p.argmax())], round(float(p.max()), 6)])
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))
