"""The columns of a table, recognised: which are numbers, booleans, dates, categories and text.

A column is recognised as a whole, by the cells that are there:

| kind | its cells | its values |
|---|---|---|
| number | nearly all numbers, in any of the usual ways to write them | float64, NaN where missing |
| boolean | true/false, yes/no, t/f or y/n | 1 and 0, NaN where missing |
| date | nearly all dates or times in one format | seconds since 1970, NaN where missing |
| category | text of few values, or declared as categories | text, None where missing |
| text | text of more values | text, None where missing |

Columns that identify rows, say nothing or say the same in each row are left out. What is guessed
is said in warnings, and what cannot be used in one error.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lds.datasets.cells import LARGEST, are_booleans, is_number, read_booleans, read_numbers
from lds.datasets.dates import formats_of, read_dates
from lds.datasets.dtypes import cells_of, column_at, names_of, plain_of, texts_of
from lds.datasets.notes import Notes, listed

Kind = Literal["number", "boolean", "date", "category", "text"]

FEW_VALUES = 40
"""A column of text with more values is no category (skrub's `cardinality_threshold`)."""

NEARLY = 0.9
"""Share of a column's cells that makes it one of numbers, or of dates; the others are missing."""

IDENTIFYING = 0.5
"""Share of different cells from which on a column that is named like one is an identifier."""

DIFFERENT = 0.95
"""Share of different cells from which on text that looks like identifiers is one."""

ROWS = 10
"""Fewer rows are too few to tell an identifier by its cells."""

_NAMED_ID = re.compile(
    r"(?i:unnamed: ?\d+|index|idx|row|row[ _.-]?names?|row[ _.-]?(?:id|no|nr|num|number|index)|"
    r"ids?|u?uid|guid|identifier)|.*[a-z0-9]I[dD]|(?i:.*[ _.-](?:id|uuid|guid))|"
)
_WITH_UNIT = re.compile(r"[+-]?\d[\d.,]*\s?([^\W\d_]{1,4}[²³]?|°[CF]?|['\"″′])")
_CODE = re.compile(r"0\d+")
_LIKE_ID = re.compile(r"[0-9a-fA-F-]{8,}|\S*\d\S*|\D*\d+|\S+@\S+|[\d\s()+/-]+")


@dataclass(frozen=True)
class Form:
    """How the cells of a column are read, now and in later rows.

    Arguments:
        kind: what they are.
        decimal: mark of numbers written as text.
        pattern: format of dates written as text; "" if they are not.
    """

    kind: Kind
    decimal: str = "."
    pattern: str = ""


@dataclass(frozen=True, eq=False)
class Column:
    """A column and its values, see the table above; `place` counts columns from 0."""

    name: str
    place: int
    form: Form
    values: NDArray[Any]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Where it has no value."""
        return missing(self.values)


def missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where values of a column are missing."""
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    return np.array([value is None for value in values], dtype=bool)


def recognise(
    frame: Any,
    places: Sequence[int],
    notes: Notes,
    *,
    decimal: str = ".",
    categorical: Collection[int] | None = None,
) -> tuple[list[Column], dict[str, str]]:
    """The columns of a table that can become features, and those left out.

    Arguments:
        frame: of pandas, any dtypes; or an array of numbers, of which all are kept but those
            without values.
        places: of the columns to look at.
        notes: gets what is to be said.
        decimal: the decimal mark of numbers written as text.
        categorical: places of the columns of categories; None: those of pandas' dtype category.

    Returns:
        The columns, and by name why another one is left out.
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
    out = _silent(columns, notes)
    if not isinstance(frame, np.ndarray):
        rest = [column for column in columns if column.name not in out]
        out |= _identifiers(rest, frame, categorical or (), notes)
    return [column for column in columns if column.name not in out], out


def read(name: str, raw: Any, form: Form, notes: Notes) -> NDArray[Any]:
    """The values of a column of later rows, read as that of the fit was."""
    if form.kind in ("category", "text"):
        return texts_of(cells_of(raw))
    kind, plain = plain_of(name, raw, notes)
    if kind == "category":
        kind, plain = "cells", plain.tolist()
    if kind != "cells":
        if (form.kind == "date") != (kind == "date"):
            notes.faults.append(
                f"column {name!r} must hold {form.kind}s, as in the fit, got {kind}s"
            )
            return np.zeros(len(plain))
        return _finite(name, plain, notes) if form.kind == "number" else plain
    if form.kind == "number":
        numbers = read_numbers(plain, form.decimal)
        values, odd = _finite(name, numbers.values, notes), numbers.odd
    elif form.kind == "boolean":
        values, odd = read_booleans(plain)
    else:
        values, odd = read_dates([None if c is None else str(c) for c in plain],
                                 form.pattern or "ISO8601")  # fmt: skip
    _odd(name, plain, odd, f"a {form.kind}", notes)
    return values


def _recognised(
    name: str, place: int, raw: Any, notes: Notes, decimal: str, *, by_dtype: bool
) -> Column | None:
    kind, plain = plain_of(name, raw, notes)
    if kind == "category":
        if by_dtype:
            return Column(name, place, Form("category"), plain)
        kind, plain = "cells", plain.tolist()
    if kind in ("number", "boolean", "date"):
        values = _finite(name, plain, notes) if kind == "number" else plain
        return Column(name, place, Form(kind), values)  # type: ignore[arg-type]
    there = [cell for cell in plain if cell is not None]
    if not there:
        return Column(name, place, Form("category"), texts_of(plain))
    if are_booleans(there):
        return Column(name, place, Form("boolean"), read_booleans(plain)[0])
    numbers = read_numbers(plain, decimal)
    if _nearly_all(len(numbers.odd), len(there)):
        _odd(name, plain, numbers.odd, "a number", notes)
        _units(name, numbers.units, notes)
        if any(isinstance(cell, str) and _CODE.fullmatch(cell) for cell in there):
            notes.guess(
                "digits that begin with 0 are read as numbers; make them text if they are codes, "
                "such as zip codes: {}", repr(name),
            )  # fmt: skip
        if numbers.decimal != decimal:
            notes.guess(
                f"numbers are read with {numbers.decimal!r} as decimal mark, though {decimal!r} is "
                "that of the table, in: {}", repr(name),
            )  # fmt: skip
        form = Form("number", numbers.decimal)
        return Column(name, place, form, _finite(name, numbers.values, notes))
    texts = texts_of(plain)
    different = sorted({text for text in texts if text is not None})
    formats = formats_of(different)
    if formats and _nearly_all(formats[0][1], len(different)):
        pattern, missed = formats[0]
        values, odd = read_dates(texts.tolist(), pattern)
        if len(formats) > 1 and formats[1][1] == missed:
            other = read_dates(texts.tolist(), formats[1][0])[0]
            if not np.array_equal(values, other, equal_nan=True):
                notes.guess(
                    "dates could have the day or the month first and are read in the first of "
                    "two formats: {}", f"{name!r} ({pattern}, not {formats[1][0]})",
                )  # fmt: skip
        _odd(name, plain, odd, "a date", notes)
        return Column(name, place, Form("date", pattern=pattern), values)
    if _share_a_unit(there):
        notes.guess(
            "numbers with a unit are text here, without an order; write the numbers alone: {}",
            f"{name!r} ({there[0]!r})",
        )
        return Column(
            name, place, Form("text" if len(different) > FEW_VALUES else "category"), texts
        )
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


def _finite(name: str, values: NDArray[np.float64], notes: Notes) -> NDArray[np.float64]:
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


def _nearly_all(odd: int, there: int) -> bool:
    """Whether so few cells differ in kind that they count as missing."""
    return odd <= (1 - NEARLY) * there or (odd == 1 and there > ROWS / 2)


def _odd(name: str, cells: Sequence[Any], odd: list[int], what: str, notes: Notes) -> None:
    if odd:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        notes.guess(
            f"cells that are not {what}, in columns where the others are, count as missing: {{}}",
            f"column {name!r} row {odd[0]} {cells[odd[0]]!r}{more}",
        )


def _units(name: str, units: set[str], notes: Notes) -> None:
    if "%" in units and len(units) > 1:
        notes.guess(
            "numbers with and without a percent sign share a column, 12% is taken as 0.12 and 12 "
            "as 12: {}", repr(name),
        )  # fmt: skip
    elif len(units - {""}) > 1:
        notes.guess(
            "amounts in several currencies share a column and are taken as they stand: {}",
            f"{name!r} ({' '.join(sorted(units - {''}))})",
        )


def _silent(columns: list[Column], notes: Notes) -> dict[str, str]:
    """Columns without values, or with the same in each row."""
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


def _identifiers(
    columns: list[Column], frame: Any, declared: Collection[int], notes: Notes
) -> dict[str, str]:
    """Columns that number or name the rows; others of text that are told of."""
    found = [
        column for column in columns
        if column.place not in declared and _identifies(column, column_at(frame, column.place))
    ]  # fmt: skip
    if len(found) == len(columns) and columns:
        notes.guess(
            "the table has no other column, so what looks like an identifier is used: {}",
            listed([repr(column.name) for column in found]),
        )
        return {}
    for column in found:
        notes.guess(
            "columns that identify rows are left out (write integers with a decimal point, or "
            "convert them to floats, to keep them): {}", repr(column.name),
        )  # fmt: skip
    for column in columns:
        there = column.values[~column.missing]
        if column.form.kind == "text" and column not in found:
            n_different = len(set(there))
            if n_different > NEARLY * there.size:
                notes.guess(
                    "text with another value in nearly each row becomes features by its pieces; "
                    "leave out what only names rows: {}", repr(column.name),
                )  # fmt: skip
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
    if _share_a_unit(there.tolist()):
        return False
    like = sum(_LIKE_ID.fullmatch(text) is not None for text in there)
    return there.size >= ROWS and min(n_different, like) > DIFFERENT * there.size


def _share_a_unit(cells: Sequence[Any]) -> bool:
    """Whether nearly all cells are a number and the same few letters, such as 60 kg."""
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
