"""Columns that become no features: those that name the rows, and those without information."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lds.datasets.cells import is_number, read_numbers
from lds.datasets.column import NEARLY, ROWS, Column
from lds.datasets.dtypes import cells_of, column_at
from lds.datasets.notes import Notes, listed

IDENTIFYING = 0.5
"""Share of different cells from which on a column with the name of an identifier is one."""

DIFFERENT = 0.95
"""Share of different cells from which on text that looks like identifiers is one."""

_NAMED_ID = re.compile(
    r"(?i:unnamed: ?\d+|index|idx|row|row[ _.-]?names?|row[ _.-]?(?:id|no|nr|num|number|index)|"
    r"ids?|u?uid|guid|identifier)|.*[a-z0-9]I[dD]|(?i:.*[ _.-](?:id|uuid|guid))|"
)
_WITH_UNIT = re.compile(r"[+-]?\d[\d.,]*\s?([^\W\d_]{1,4}[²³]?|°[CF]?|['\"″′])")
_LIKE_ID = re.compile(r"[0-9a-fA-F-]{8,}|\S*\d\S*|\D*\d+|\S+@\S+|[\d\s()+/-]+")


def silent(columns: Sequence[Column], notes: Notes) -> dict[str, str]:
    """Find the columns without values or with the same value in each row.

    Returns:
        By name, why a column is left out.
    """
    out: dict[str, str] = {}
    for column in columns:
        gone = column.missing
        there = column.values[~gone]
        if not there.size:
            out[column.name] = "all missing"
        elif not gone.any() and (there == there[0]).all():
            out[column.name] = "constant"
    if out:
        about = [f"{name!r} ({why})" for name, why in out.items()]
        notes.guesses["columns that say nothing are left out: {}"] = about
    return out


def identifiers(
    columns: Sequence[Column], frame: Any, declared: Collection[int], notes: Notes
) -> dict[str, str]:
    """Find the columns that number or name the rows; note other text that may do so.

    Arguments:
        columns: recognised.
        frame: that they are of.
        declared: places of columns that the user declared categories; they are kept.
        notes: gets a sentence on each kind of column found.

    Returns:
        By name, why a column is left out.
    """
    found = [
        column
        for column in columns
        if column.place not in declared and _identifies(column, column_at(frame, column.place))
    ]
    if len(found) == len(columns) and columns:
        notes.guess(
            "the table has no other column, so what looks like an identifier is used: {}",
            listed([repr(column.name) for column in found]),
        )
        return {}
    for column in found:
        advice = (
            " (write integers with a decimal point, or convert them to floats, to keep them)"
            if column.form.kind == "number"
            else ""
        )
        notes.guess(f"columns that identify rows are left out{advice}: {{}}", repr(column.name))
    for column in columns:
        there = column.values[~column.missing]
        if column.form.kind == "text" and column not in found:
            n_different = len(set(there))
            if n_different > NEARLY * there.size:
                notes.guess(
                    "text with another value in nearly each row becomes features by its pieces; "
                    "leave out what only names rows: {}",
                    repr(column.name),
                )
    return {column.name: "identifier" for column in found}


def _identifies(column: Column, raw: Any) -> bool:
    there = column.values[~column.missing]
    n_different = len(set(there.tolist()))
    named = _NAMED_ID.fullmatch(column.name.strip()) is not None
    if column.form.kind == "number":
        if not _whole(raw, there):
            return False
        n_rows = len(column.values)
        counts = n_rows >= ROWS and n_different == n_rows == there.max() - there.min() + 1
        return bool(counts or (named and n_different > IDENTIFYING * there.size))
    if column.form.kind not in ("category", "text"):
        return False
    if named and n_different > IDENTIFYING * there.size:
        return True
    if share_a_unit(there.tolist()):
        return False
    like = sum(_LIKE_ID.fullmatch(text) is not None for text in there)
    return there.size >= ROWS and min(n_different, like) > DIFFERENT * there.size


def share_a_unit(cells: Sequence[Any]) -> bool:
    """Whether nearly all cells are a number followed by the same few letters, such as 60 kg."""
    found = Counter(
        match[1]
        for cell in cells
        if isinstance(cell, str) and (match := _WITH_UNIT.fullmatch(cell))
    )
    return bool(found) and max(found.values()) >= NEARLY * len(cells)


def _whole(raw: Any, values: NDArray[np.float64]) -> bool:
    """Whether numbers are integers by their dtype, or as they are written."""
    if not np.equal(values, np.round(values)).all():
        return False
    if raw.dtype.kind in "iu":
        return True
    if raw.dtype.kind == "f":
        return bool(raw.isna().any())  # integers with gaps become floats in pandas
    cells = cells_of(raw)
    plain = all(cell is None or isinstance(cell, str) or is_number(cell) for cell in cells)
    return plain and read_numbers(cells, ".").whole
