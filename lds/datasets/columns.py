"""Recognise the columns of a table: numbers, booleans, dates, categories and text.

A column is recognised as a whole, by its cells that are not missing:

| kind | its cells | its values |
|---|---|---|
| number | nearly all numbers, in any of the usual ways to write them | float64, NaN where missing |
| boolean | true/false, yes/no, t/f or y/n | 1 and 0, NaN where missing |
| date | nearly all dates or times in up to three formats | seconds since 1970, NaN where missing |
| duration | all spans of time, by their type | seconds, NaN where missing |
| time | all times of a day, by their type | seconds since midnight, NaN where missing |
| category | text of few values, or declared as categories | text, None where missing |
| text | text of more values | text, None where missing |

Columns that identify rows, and columns that are empty or constant, are left out. Guesses become
warnings; all faults of a table become one error.
"""

import re
from collections.abc import Collection, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lds.datasets.cells import LARGEST, Numbers, are_booleans, read_booleans, read_numbers
from lds.datasets.column import NEARLY, ROWS, Column, Form
from lds.datasets.dates import (
    differ,
    formats_of,
    next_format,
    other_order,
    read_dates,
    span_of,
    spelled,
)
from lds.datasets.dtypes import cells_of, column_at, names_of, plain_of, texts_of, zones_of
from lds.datasets.identifiers import identifiers, share_a_unit, silent
from lds.datasets.notes import Notes

FEW_VALUES = 40
"""Most values of a category; a column of more is text (skrub's `cardinality_threshold`)."""

MOST_FORMATS = 3
"""Most formats of dates in one column."""

MOMENTS = ("date", "duration", "time")
"""Kinds of columns whose values no number tells: its unit would be a guess."""

MARKS = (-99.0, -999.0, -9999.0, -99999.0)
"""Numbers that programs write for a missing value; they count, with a warning where they are far
below the other values of their column."""

FAR = 3.0
"""Least ratio of one of `MARKS` to the largest other value, both without their sign."""

_CODE = re.compile(r"0\d+")


def recognise(
    frame: Any,
    places: Sequence[int],
    notes: Notes,
    *,
    decimal: str = ".",
    categorical: Collection[int] | None = None,
) -> tuple[list[Column], dict[str, str]]:
    """Find the columns of a table that can become features, and those to leave out.

    Arguments:
        frame: of pandas, any dtypes; or an array of numbers, of which all columns are kept but
            constant and empty ones.
        places: of the columns to recognise.
        notes: gets the guesses and the faults.
        decimal: the decimal mark of numbers written as text.
        categorical: places of the columns of categories; None: those of pandas' dtype category.

    Returns:
        The columns; and by name, why each other one is left out.
    """
    names, columns = names_of(frame), []
    for place in places:
        raw, name = column_at(frame, place), names[place]
        if categorical is not None and place in categorical:
            columns.append(Column(name, place, Form("category"), texts_of(cells_of(raw))))
            continue
        found = _recognised(name, place, raw, notes, decimal, by_dtype=categorical is None)
        if found is not None:
            columns.append(found)
    out = silent(columns, notes)
    if not isinstance(frame, np.ndarray):
        rest = [column for column in columns if column.name not in out]
        out |= identifiers(rest, frame, categorical or (), notes)
    return [column for column in columns if column.name not in out], out


def _zoned(name: str, raw: Any, values: NDArray[np.float64], notes: Notes) -> bool | None:
    """Find whether all dates of a fit have a time zone, or none; note where only some have."""
    zones = zones_of(raw)[~np.isnan(values)]
    if zones.all() or not zones.any():
        return bool(zones.all())
    notes.guess(
        "dates with and without a time zone share a column, and those without are read as UTC: {}",
        repr(name),
    )
    return None


def _recognised(
    name: str, place: int, raw: Any, notes: Notes, decimal: str, *, by_dtype: bool
) -> Column | None:
    kind, plain = plain_of(name, raw, notes)
    if kind == "category":
        if by_dtype:
            return Column(name, place, Form("category"), plain)
        kind, plain = "cells", plain.tolist()
    if kind in ("number", "boolean", *MOMENTS):
        values = finite(name, plain, notes) if kind == "number" else plain
        zoned = _zoned(name, raw, values, notes) if kind == "date" else None
        units = ("",) if kind == "number" else ()
        _note_marks(name, values if units else values[:0], notes)
        form = Form(kind, "" if units else ".", units, zoned=zoned)  # type: ignore[arg-type]
        return Column(name, place, form, values)
    there = [cell for cell in plain if cell is not None]
    if not there:
        return Column(name, place, Form("category"), texts_of(plain))
    if are_booleans(there):
        return Column(name, place, Form("boolean"), read_booleans(plain)[0])
    numbers = read_numbers(plain, decimal)
    if _nearly_all(len(numbers.odd), len(there)):
        note_odd(name, plain, numbers.odd, "a number", notes)
        note_reading(name, numbers, decimal, notes)
        if any(isinstance(cell, str) and _CODE.fullmatch(cell) for cell in there):
            notes.guess(
                "digits that begin with 0 are read as numbers; make them text if they are codes, "
                "such as zip codes: {}",
                repr(name),
            )
        if any(isinstance(cell, bool | np.bool_) for cell in there):
            notes.guess("True counts as 1 and False as 0 among numbers: {}", repr(name))
        _note_marks(name, numbers.values, notes)
        form = Form("number", numbers.decimal, tuple(sorted(numbers.units)))
        return Column(name, place, form, finite(name, numbers.values, notes))
    texts = texts_of(plain)
    different = sorted({text for text in texts if text is not None})
    if patterns := _date_formats(name, different, notes):
        values, odd = read_dates(texts.tolist(), patterns)
        note_odd(name, plain, odd, "a date", notes)
        zoned = _zoned(name, raw, values, notes)
        return Column(name, place, Form("date", patterns=patterns, zoned=zoned), values)
    if share_a_unit(there):
        notes.guess(
            "numbers with a unit are text here, without an order; write the numbers alone: {}",
            f"{name!r} ({there[0]!r})",
        )
        kind = "text" if len(different) > FEW_VALUES else "category"
        return Column(name, place, Form(kind), texts)  # type: ignore[arg-type]
    if len(numbers.odd) <= len(there) / 2:
        row = numbers.odd[0]
        notes.guess(
            "most cells are numbers, but too many are not, so these columns are text: {}",
            f"{name!r} (row {row}: {plain[row]!r})",
        )
    many = len(different) > FEW_VALUES or (
        len(there) >= ROWS and len(different) > NEARLY * len(there)
    )
    return Column(name, place, Form("text" if many else "category"), texts)


def _date_formats(name: str, cells: Sequence[str], notes: Notes) -> tuple[str, ...]:
    """Find the fewest formats in which nearly all cells are dates; () where there are none.

    Several formats count only if no cell is a different date in two of them. A guess of the order
    of day and month is noted.

    Arguments:
        name: of the column.
        cells: its different texts.
        notes: gets the guesses.
    """
    formats = formats_of(cells)
    if not formats:
        return ()
    patterns: tuple[str, ...] = (formats[0][0],)
    missed = formats[0][1]
    while not _nearly_all(missed, len(cells)):
        another = next_format(cells, patterns)
        if another is None or len(patterns) == MOST_FORMATS:
            return ()
        patterns = *patterns, another
        missed = len(read_dates(cells, patterns)[1])
    if len(patterns) > 1:
        about = f"{name!r} ({' and '.join(spelled(pattern) for pattern in patterns)})"
        readings = [read_dates(cells, [pattern])[0] for pattern in patterns]
        if any(differ(first, second) for first, second in combinations(readings, 2)):
            notes.guess(
                "dates in several formats are not read as dates, for some cells fit two and mean "
                "different days; write all in one format, such as 2021-04-30: {}",
                about,
            )
            return ()
        notes.guess("dates in several formats are read in the one that fits: {}", about)
    for pattern in patterns:
        if other := other_order(cells, pattern):
            order = "day" if pattern.index("%d") < pattern.index("%m") else "month"
            notes.guess(
                "dates could have the day or the month first and no cell decides it; the order "
                "in brackets is assumed (write dates as 2021-04-30 to be sure): {}",
                f"{name!r} ({order} first: {pattern}, not {other})",
            )
    if short := [pattern for pattern in patterns if "%y" in pattern]:
        first, last = span_of(read_dates(cells, short)[0])
        notes.guess(
            "years of two digits are from 1969 to 2068; write all four digits to be sure: {}",
            f"{name!r} ({first} to {last})",
        )
    return patterns


def finite(name: str, values: NDArray[np.float64], notes: Notes) -> NDArray[np.float64]:
    """Return the numbers of a column; add a fault if one is infinite or too large for float32."""
    wrong = np.flatnonzero(np.abs(np.nan_to_num(values, posinf=np.inf, neginf=-np.inf)) > LARGEST)
    if wrong.size:
        value = values[wrong[0]]
        problem = "infinity" if np.isinf(value) else "a value too large for float32"
        more = f" and {wrong.size - 1} more" if wrong.size > 1 else ""
        notes.faults.append(
            f"column {name!r} must hold finite numbers, got {problem} ({value:g}) in row "
            f"{wrong[0]}{more}; leave the cell blank if it is unknown"
        )
        return np.zeros_like(values)
    return values


def _note_marks(name: str, values: NDArray[np.float64], notes: Notes) -> None:
    """Note numbers that may mark missing cells: `MARKS` far below all other values."""
    marks = np.isin(values, MARKS)
    others = np.abs(values[~marks & np.isfinite(values)])
    far = marks & (np.abs(values) > FAR * others.max(initial=1))
    if far.any() and others.size:
        row = int(far.argmax())
        notes.guess(
            "numbers that often mark a missing cell count as numbers, though they are far below "
            "all others of their column; leave such cells blank: {}",
            f"column {name!r} row {row} {values[row]:g} ({far.sum()} in all)",
        )


def _nearly_all(odd: int, there: int) -> bool:
    """Whether the cells of another kind are so few that they count as missing."""
    return odd <= (1 - NEARLY) * there or (odd == 1 and there > ROWS / 2)


def note_odd(name: str, cells: Sequence[Any], odd: list[int], what: str, notes: Notes) -> None:
    """Note the first of the rows `odd`, whose cells are not `what`."""
    if odd:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        notes.guess(
            f"cells that are not {what}, in columns where the others are, count as missing: {{}}",
            f"column {name!r} row {odd[0]} {cells[odd[0]]!r}{more}",
        )


def note_reading(name: str, numbers: Numbers, decimal: str, notes: Notes) -> None:
    """Note the guesses made when a column was read as numbers.

    Arguments:
        name: of the column.
        numbers: as read.
        decimal: the decimal mark of the table.
        notes: gets the guesses.
    """
    units = set(numbers.units)
    if "%" in units and len(units) > 1:
        notes.guess(
            "numbers with and without a percent sign share a column, 12% is read as 0.12 and 12 "
            "as 12: {}",
            repr(name),
        )
    elif len(units - {""}) > 1:
        notes.guess(
            "amounts in several currencies share a column and are read without conversion: {}",
            f"{name!r} ({' '.join(sorted(units - {''}))})",
        )
    if numbers.decimal != decimal:
        notes.guess(
            f"numbers are read with {numbers.decimal!r} as decimal mark, though {decimal!r} is "
            "that of the table, in: {}",
            repr(name),
        )
