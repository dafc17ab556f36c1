"""The cells of a table, read back from the features that they became."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._types import Features
from lds.datasets.dates import is_time_of_day
from lds.datasets.encoders import Category, Encoder, Quantity, Text
from lds.datasets.encoding import TableEncoding

DIGITS = 6
"""Significant digits of a number: features have single precision."""

LEAST_ERROR = 1e-3
"""Least rounding error of a moment, in seconds."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FIRST, LAST = (
    (moment.replace(microsecond=0, tzinfo=UTC) - EPOCH).total_seconds()
    for moment in (datetime.min, datetime.max)
)
"""The seconds of the years 1 and 9999 between which Python has dates."""


def cells(features: Features, encoding: TableEncoding | None) -> dict[str, list[Any]]:
    """Compute the cells of rows from their features.

    Arguments:
        features: `(n_rows, n_features)`.
        encoding: how columns became features; None: each feature is a column named by its number.

    Returns:
        By column, a cell for each row: a number of six digits, a boolean, a text, a date as ISO
        writes it, or None where it is missing. A column of long text is left out: its features do
        not tell the text.
    """
    if encoding is None:
        dense = _dense(features)
        return {str(k): _numbers(column) for k, column in enumerate(dense.T)}
    dense, place = _dense(features), 0
    found: dict[str, list[Any]] = {}
    for column in encoding.columns:
        width = len(column.features)
        block = dense[:, place : place + width]
        place += width
        gone = np.zeros(len(dense), dtype=bool)
        if column.n_missing:
            gone, place = dense[:, place] > 0.5, place + 1
        if not isinstance(column, Text):
            values = _decoded(column, block)
            found[column.name] = [
                None if absent else value for value, absent in zip(values, gone, strict=True)
            ]
    return found


def row_cells(features: Features, row: int, encoding: TableEncoding | None) -> dict[str, Any]:
    """Compute the cells of one row; of sparse features those that are not 0."""
    if sp.issparse(features):  # numbers: `fitted_features` makes sparse features of no other column
        of_row = features[[row]].tocoo()
        columns = of_row.coords[1].tolist()
        names = range(features.shape[1]) if encoding is None else encoding.feature_names
        return {str(names[k]): v for k, v in zip(columns, _numbers(of_row.data), strict=True)}
    return {name: column[0] for name, column in cells(features[[row]], encoding).items()}


def units(encoding: TableEncoding) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and centre of each feature: a feature x stands for x · scale + centre in its column."""
    scale, centre = [], []
    for column in encoding.columns:
        rest = len(column.features) - 1 + (column.n_missing > 0)
        first = (column.scale, column.center) if isinstance(column, Quantity) else (1.0, 0.0)
        scale += [first[0], *[1.0] * rest]
        centre += [first[1], *[0.0] * rest]
    return np.array(scale), np.array(centre)


def _dense(features: Features) -> NDArray[np.float64]:
    array = features.toarray() if sp.issparse(features) else features
    return np.asarray(array, dtype=np.float64)


def _decoded(column: Encoder, block: NDArray[np.float64]) -> list[Any]:
    if isinstance(column, Category):
        best, there = block.argmax(1), block.max(1, initial=0) > 0.5
        return [column.values[k] if ok else None for k, ok in zip(best, there, strict=True)]
    assert isinstance(column, Quantity)
    values = block[:, 0] * column.scale + column.center
    if column.form.kind == "boolean":
        return [bool(value > 0.5) for value in values]
    if column.form.kind == "date":
        step = max(1, round(column.scale * 1e-5))  # what single precision tells, in seconds
        error = np.spacing(np.abs(block[:, 0]).astype(np.float32)) * column.scale
        short = bool(column.form.patterns) and all(map(is_time_of_day, column.form.patterns))
        return [_date(value, step, short) for value in values + np.maximum(error, LEAST_ERROR)]
    return _numbers(values)


def _date(seconds: float, step: int, without_day: bool) -> str:
    """Write a moment to the day where less is not known, else to the minute."""
    moment = EPOCH + timedelta(seconds=min(max(seconds, FIRST), LAST))
    if without_day:
        return moment.strftime("%H:%M")
    return moment.date().isoformat() if step >= 60 else moment.strftime("%Y-%m-%d %H:%M")


def _numbers(values: NDArray[Any]) -> list[Any]:
    """Round to `DIGITS` significant digits; whole numbers become integers."""
    found: list[Any] = []
    for value in values.tolist():
        if not math.isfinite(value):
            found.append(None)
            continue
        short = float(f"{value:.{DIGITS}g}")
        found.append(int(short) if short == int(short) and abs(short) < 1e15 else short)
    return found
