"""One column of a table, recognised: its kind, its values, and how its cells are read."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["number", "boolean", "date", "duration", "time", "category", "text"]

NEARLY = 0.9
"""Share of a column's cells that makes it one of numbers, or of dates; the others are missing."""

ROWS = 10
"""Least number of rows from which a column is recognised as an identifier by its cells."""


@dataclass(frozen=True)
class Form:
    """How the cells of a column are read, in the fit and in later rows.

    Arguments:
        kind: of the cells.
        decimal: mark of numbers written as text, "." or ","; "" where the fit had none as text.
        units: signs beside the numbers ("$", "%", ..., "" for none); () is unknown.
        patterns: formats of dates written as text; each cell is read in the first that fits it.
        zoned: whether all dates have a time zone, or none; None: some have, or there are no dates.
    """

    kind: Kind
    decimal: str = "."
    units: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    zoned: bool | None = None


@dataclass(frozen=True, eq=False)
class Column:
    """A column and its values, see the table in `columns`; `place` counts columns from 0."""

    name: str
    place: int
    form: Form
    values: NDArray[Any]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Whether the value is missing, for each row."""
        return missing(self.values)


def missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Find the missing values: NaN among numbers, None among text."""
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    return np.array([value is None for value in values], dtype=bool)
