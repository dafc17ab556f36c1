"""Read the columns of later rows in the way that the fit read its own.

The decimal mark, the formats of dates and the kind of a column are those of the fit, whatever the
other rows hold. A cell that does not fit them is noted or refused by its column and row.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lds.datasets.cells import OTHER, read_booleans, read_marked
from lds.datasets.column import Form
from lds.datasets.columns import MOMENTS, finite, note_odd
from lds.datasets.dates import ISO, read_dates
from lds.datasets.dtypes import cells_of, plain_of, texts_of, zones_of
from lds.datasets.notes import Notes


def read(name: str, raw: Any, form: Form, notes: Notes) -> NDArray[Any]:
    """Read the values of a column of later rows in the way that the fit read its own."""
    if form.kind in ("category", "text"):
        return texts_of(cells_of(raw))
    kind, plain = plain_of(name, raw, notes)
    if kind == "category":
        kind, plain = "cells", plain.tolist()
    if kind != form.kind and _unlike(kind, form.kind, plain):
        got = "text or plain numbers" if kind == "cells" else f"{kind}s"
        notes.faults.append(f"column {name!r} must hold {form.kind}s, as in the fit, got {got}")
        return np.zeros(len(plain))
    if kind == "cells":
        values, odd = _cells_like(name, plain, form, notes)
    else:
        values, odd = _values_like(kind, plain, form)
    if form.kind == "number":
        if kind != "cells" and not np.isnan(values).all():
            row = int((~np.isnan(values)).argmax())
            _note_units(name, values.tolist(), {"": row}, form, notes)
        values = finite(name, values, notes)
    if odd:
        _refuse_or_note(name, cells_of(raw), odd, values, form, notes)
    if form.kind == "date":
        _check_zone(name, raw, values, form, notes)
    return values


def _cells_like(
    name: str, cells: list[Any], form: Form, notes: Notes
) -> tuple[NDArray[np.float64], list[int]]:
    """Read cells in a form; list the rows of those that do not fit it."""
    if form.kind == "number":
        numbers = read_marked(cells, form.decimal)
        _note_units(name, cells, numbers.units, form, notes)
        return numbers.values, numbers.odd
    if form.kind == "boolean":
        return read_booleans(cells)
    if form.kind == "date":
        texts = [None if cell is None else str(cell) for cell in cells]
        return read_dates(texts, form.patterns or (ISO,))
    return np.full(len(cells), np.nan), []  # all are missing


def _values_like(
    kind: str, values: NDArray[np.float64], form: Form
) -> tuple[NDArray[np.float64], list[int]]:
    """Return values of a dtype, NaN where a boolean is neither 0 nor 1; list the rows of those."""
    if form.kind != "boolean" or kind == "boolean":
        return values, []
    wrong = ~np.isnan(values) & ~np.isin(values, (0, 1))
    return np.where(wrong, np.nan, values), np.flatnonzero(wrong).tolist()


def _unlike(kind: str, of_fit: str, plain: Any) -> bool:
    """Whether values of a kind cannot stand for those of the fit, whose kind is another one."""
    if kind != "cells":
        return kind in MOMENTS or of_fit in MOMENTS
    return of_fit in ("duration", "time") and any(cell is not None for cell in plain)


def _refuse_or_note(
    name: str,
    cells: Sequence[Any],
    odd: list[int],
    values: NDArray[np.float64],
    form: Form,
    notes: Notes,
) -> None:
    """Add a fault if no cell of later rows can be read, a guess if some can.

    A single cell is a guess: it may be a slip, and the answer must not depend on other rows.
    """
    mark = ""
    if form.kind == "number":
        other = read_marked([str(cells[row]) for row in odd], OTHER[form.decimal])
        mark = f" with {form.decimal!r} as decimal mark" if len(other.odd) < len(odd) else ""
    if len(odd) > 1 and np.isnan(values).all():
        notes.faults.append(
            f"column {name!r} must hold {form.kind}s{mark}, as in the fit, got {cells[odd[0]]!r} "
            f"in row {odd[0]} and no {form.kind} in any other row"
        )
    else:
        note_odd(name, cells, odd, f"a {form.kind}{mark}", notes)


def _note_units(
    name: str, cells: Sequence[Any], units: dict[str, int], form: Form, notes: Notes
) -> None:
    """Note the first number of later rows with a sign that no number of the fit has.

    Arguments:
        name: of the column.
        cells: of it.
        units: of their numbers, and the first row of each.
        form: of the fit.
        notes: gets the guesses.
    """
    for unit, row in units.items():
        if not form.units or unit in form.units:
            continue
        if unit == "%":
            sentence = (
                "numbers with a percent sign, in columns without one in the fit, are hundredths "
                "(12% is 0.12): {}"
            )
        elif form.units == ("%",):
            sentence = (
                "numbers without a percent sign, in columns with one in the fit, are no hundredths "
                "(12 is not 12%): {}"
            )
        elif unit and set(form.units) - {"", "%"}:
            sentence = "amounts in another currency than in the fit are read without conversion: {}"
        else:
            continue
        notes.guess(sentence, f"column {name!r} row {row} {cells[row]!r}")


def _check_zone(name: str, raw: Any, values: NDArray[np.float64], form: Form, notes: Notes) -> None:
    """Refuse dates with a time zone where those of the fit have none, and the other way round."""
    wrong = np.flatnonzero(~np.isnan(values) & (zones_of(raw) != form.zoned))
    if form.zoned is not None and wrong.size:
        with_or_without = "with" if form.zoned else "without"
        notes.faults.append(
            f"column {name!r} must hold dates {with_or_without} a time zone, as in the fit, got "
            f"{str(cells_of(raw)[wrong[0]])!r} in row {wrong[0]}"
        )
