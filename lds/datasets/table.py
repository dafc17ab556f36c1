"""Load the user's own table, a file with a column of labels; write predictions for its rows."""

import csv
import io
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lds._files import write_atomically
from lds._types import Split
from lds.datasets.base import NodeDataset
from lds.datasets.edge_list import texts_of_ids
from lds.datasets.encoding import TableEncoding
from lds.datasets.labels import columns_equal_to, encode_column
from lds.datasets.reading import FileFormat, read_cells, read_table, with_mark
from lds.datasets.roles import Roles
from lds.datasets.splits import each_class_first, stratified, three_way
from lds.datasets.table_options import TableOptions
from lds.datasets.text_table import one_line

COLUMNS = ("row", "prediction", "probability")
"""Columns of a file of predictions, before one for each class."""


def load(path: Path, options: TableOptions) -> NodeDataset:
    """Read, encode and split a table.

    `lds.datasets.encoding` makes features of the columns. A share of the labelled rows is held out;
    `splits.three_way` divides the others.

    Arguments:
        path: of the file, one row a node (see `reading.read_table`).
        options: without edges.

    Returns:
        Dense features, labels -1 where blank, no adjacency.

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: pandas, or pyarrow for parquet, is not installed.
        ValueError: the extension is unknown, or the table is unreadable or empty; or, in one error,
            a column does not exist, no column is left for features, a column cannot be encoded, or
            no classifier can learn from the labels.
    """
    return of_frame(path, *read(path, options), options)


def read(path: Path, options: TableOptions) -> tuple[Any, FileFormat]:
    """Read the file of a table as the options say."""
    return read_table(
        path, separator=options.separator, encoding=options.encoding, header=options.header
    )


def of_frame(path: Path, frame: Any, how: FileFormat, options: TableOptions) -> NodeDataset:
    """Encode and split the frame of a file.

    Arguments:
        path: of the file, for messages.
        frame: as `reading.read_table` returns it.
        how: the file was read.
        options: as of `load`.
    """
    _check_rows(path, frame, how)
    faults: list[str] = []
    roles = Roles.of(how.columns, options.target, options.drop, options.identifier, faults)
    labels, classes = np.empty(0, dtype=np.int64), tuple[str, ...]()
    if twins := _twins(how, roles, options.target):
        faults.append(
            f"target must be the name of one column, got {roles.target!r}, which is the name of "
            f"others in the file, here called {', '.join(twins)}; drop them, or give the position "
            "of the target"
        )
    if roles.target is not None:
        with _collected(faults):
            labels, classes = encode_column(
                frame[roles.target],
                roles.target,
                options.unlabelled,
                options.share,
                how.decimal or ".",
            )
    with _collected(faults):
        table, features = TableEncoding.fit(
            frame, exclude=roles.no_features, decimal=how.decimal or "."
        )
    _raise(path, faults)
    _warn_of_label_columns(frame, roles, [c.name for c in table.columns], labels)
    return NodeDataset(
        str(path),
        features,
        labels,
        classes,
        dealt_split(labels, options),
        encoding=table,
        file=replace(how, found=(*how.found, *roles.found)),
        identifiers=None if roles.identifier is None else _identifiers(frame, roles.identifier),
    )


def _twins(how: FileFormat, roles: Roles, given: str | int | None) -> list[str]:
    """List the other columns that have the target's name in the file and are not dropped."""
    if given is None or one_line(str(given)) != roles.target:
        return []  # a position is of one column
    named = how.renamed.items()
    return [made for made, name in named if name == roles.target and made not in roles.no_features]


def _warn_of_label_columns(
    frame: Any, roles: Roles, names: Sequence[str], labels: NDArray[np.int64]
) -> None:
    """Warn of columns that become features and hold the labels themselves."""
    cells, known = frame[labels >= 0], int((labels >= 0).sum())
    for name in columns_equal_to(cells[roles.target], {name: cells[name] for name in names}):
        warnings.warn(
            f"column {name!r} equals the target {roles.target!r} at all {known:,} labelled rows; "
            f"if it is the label, drop it (--drop {name}, in Python drop=[{name!r}])",
            UserWarning,
            stacklevel=3,
        )


@dataclass(frozen=True)
class Rows:
    """New rows for the encoding of a table.

    Attributes:
        features: `(n_rows, n_features)`.
        identifiers: of the rows; None where the table or the new file has none.
        found: what was guessed about their file, in short sentences.
    """

    features: NDArray[np.float64]
    identifiers: tuple[str, ...] | None
    found: tuple[str, ...]


def load_rows(
    path: Path,
    encoding: TableEncoding,
    file: FileFormat,
    source: dict[str, Any],
    *,
    separator: str | None = None,
    text_encoding: str | None = None,
    header: bool | None = None,
) -> Rows:
    """Read new rows, and encode them as the table of the fit.

    Columns are found by name. A file without a header must have all columns of the table, or all
    but its target, in the table's order.

    Arguments:
        path: of the file; its column of labels is optional.
        encoding: of the table of the fit.
        file: how the table of the fit was read.
        source: "target", "drop" and "identifier" of the options of `load`.
        separator, text_encoding, header: how the new file is written; None detects it, except that
            the file has a header if the table had one.

    Raises:
        FileNotFoundError, ImportError: as for `load`.
        ValueError: the file is unreadable or empty, or a column is missing or of another kind.
    """
    roles = Roles.of(file.columns, source["target"], source["drop"], source["identifier"], [])
    wanted = {name for name in file.columns if name != roles.target}
    frame, how = _read_like(path, file, wanted, separator, text_encoding, header)
    several = len(set(file.columns) - set(roles.no_features)) > 1
    _check_rows(path, frame, how, several)
    if not how.header:
        others = [name for name in file.columns if name != roles.target]
        named = {len(file.columns): list(file.columns), len(others): others}
        if len(frame.columns) not in named:
            raise ValueError(
                f"{path} has no header and so must have the table's {len(file.columns)} columns, "
                f"or all but its target {roles.target!r}, got {len(frame.columns)}"
            )
        frame.columns = named[len(frame.columns)]
    frame.columns = _as_in_fit([str(name) for name in frame.columns], file.columns)
    numbers = [column.name for column in encoding.columns if column.form.kind == "number"]
    how = with_mark(frame, how, numbers, file.decimal)
    if {how.decimal, file.decimal} == {",", "."}:
        raise ValueError(
            f"{path} must have the decimal mark of the table of the fit, {file.decimal!r}, got "
            f"{how.decimal!r}"
        )
    known = roles.identifier is not None and roles.identifier in frame.columns
    identifiers = _identifiers(frame, str(roles.identifier)) if known else None
    return Rows(encoding.encode(frame, how.decimal or "."), identifiers, how.found)


def _as_in_fit(names: Sequence[str], of_fit: Sequence[str]) -> list[str]:
    """Rename columns that differ from one column of the fit by white space alone.

    A data frame may have white space in its names, and a text file as it is read has none.
    """
    known, there = set(of_fit), set(names)
    lacking = [name for name in of_fit if name not in there]
    others = [name for name in names if name not in known]
    counts = Counter(map(one_line, lacking)), Counter(map(one_line, others))
    renamed = {one_line(name): name for name in lacking}
    once = {name for name in others if all(count[one_line(name)] == 1 for count in counts)}
    return [renamed[one_line(name)] if name in once else name for name in names]


def _read_like(
    path: Path,
    file: FileFormat,
    wanted: set[str],
    separator: str | None,
    encoding: str | None,
    header: bool | None,
) -> tuple[Any, FileFormat]:
    """Read a text file with the separator of another file if that gives columns.

    Few rows are not enough to detect a separator.
    """
    options: dict[str, Any] = {"encoding": encoding, "header": header, "like": file}
    if separator is None and file.separator is not None:
        try:
            frame, how = read_cells(path, separator=file.separator, **options)
        except ValueError:
            pass
        else:
            if wanted & set(frame.columns) if how.header else len(frame.columns) > 1:
                return frame, how
    return read_cells(path, separator=separator, **options)


def _check_rows(path: Path, frame: Any, how: FileFormat, several: bool = True) -> None:
    """Refuse a table without rows, and one column where there must be several."""
    if frame.empty:
        raise ValueError(f"{path} must have at least one row below its header, got none")
    if several and len(frame.columns) == 1 and how.separator is not None:
        raise ValueError(
            f"{path} must have a column besides its target, got one column; if its columns have "
            "another separator than , ; | tab or spaces, give it"
        )


@contextmanager
def _collected(faults: list[str]) -> Iterator[None]:
    """Append the message of a ValueError to `faults`."""
    try:
        yield
    except ValueError as error:
        faults.append(str(error))


def _raise(path: Path, faults: list[str]) -> None:
    """Raise one error of all faults of a table, if there are any."""
    if len(faults) == 1:
        raise ValueError(faults[0])
    if faults:
        listed = "; ".join(f"({k}) {fault}" for k, fault in enumerate(faults, 1))
        raise ValueError(f"{path} has {len(faults)} faults: {listed}")


def _identifiers(frame: Any, name: str) -> tuple[str, ...]:
    """Convert the cells of a column to text, "" where missing; warn if rows share one."""
    texts = tuple(texts_of_ids(frame[name]))
    if len(set(texts)) < len(texts):
        warnings.warn(
            f"identifier {name!r} is the same in several rows: it has {len(set(texts))} different "
            f"values in {len(texts)} rows",
            UserWarning,
            stacklevel=3,
        )
    return texts


def dealt_split(labels: NDArray[np.int64], options: TableOptions) -> Split:
    """Hold out the test rows of `options`, and deal the other labelled rows to the three roles."""
    known = np.flatnonzero(labels >= 0)
    fitted, test = hold_out(labels, known, options.share, options.seed)
    return Split(*three_way(labels, fitted, options.seed), test, dealt=True)


def hold_out(
    labels: NDArray[np.int64], rows: NDArray[np.int64], test_size: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide labelled rows into rows to learn from and test rows."""
    n_test = math.ceil(test_size * rows.size)
    if n_test == 0:
        return rows, rows[:0]
    _, counts = np.unique(labels[rows], return_counts=True)
    if counts.min() >= 2 and counts.size <= min(n_test, rows.size - n_test):
        kept, held = stratified(labels[rows], [rows.size - n_test], seed)
        if np.unique(labels[rows[kept]]).size == counts.size:
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
    path: Path,
    rows: Iterable[int],
    probabilities: NDArray[Any],
    classes: Sequence[str],
    identifiers: Sequence[str] | None = None,
) -> None:
    """Write a CSV file of identifier, row, predicted class, its probability and all probabilities.

    Arguments:
        path: of the file.
        rows: numbers of the rows.
        probabilities: `(n_rows, n_classes)`, for these rows.
        classes: class c has the name classes[c] and the column "probability_" and that name.
        identifiers: of all rows of the table, for the column "id"; None leaves the column out.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    each = [f"probability_{name}" for name in classes]
    table.writerow([*([] if identifiers is None else ["id"]), *COLUMNS, *each])
    table = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    for row, p in zip(rows, probabilities, strict=True):
        known = [] if identifiers is None else [identifiers[row]]
        shares = [round(float(share), 6) for share in p]
        table.writerow([*known, int(row), classes[int(p.argmax())], max(shares), *shares])
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))
