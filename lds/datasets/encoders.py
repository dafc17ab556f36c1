"""Encoders of one column each: numbers and dates, categories, text.

Each is made from a column (`of`), names its features (`features`) and computes them (`encode`). A
feature that marks missing cells is not among them; `encoding` adds it.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lds.datasets.column import Column, Form, missing
from lds.datasets.dtypes import texts_of
from lds.datasets.text import Pieces

DAY, YEAR = 86_400.0, 365.2425 * 86_400.0
"""Periods of a date's phases, in seconds."""


@dataclass(frozen=True)
class Quantity:
    """Encode numbers, booleans or dates.

    Arguments:
        name: of the column.
        form: how its cells are read.
        fill: the value of a missing cell.
        center, scale: the feature of a value x is (x - center) / scale.
        n_missing: number of cells missing in the fit.
        cycles: of dates, periods in seconds; the phase in each is a pair of features.
    """

    name: str
    form: Form
    fill: float
    center: float
    scale: float
    n_missing: int
    cycles: tuple[float, ...] = ()

    @classmethod
    def of(cls, column: Column) -> "Quantity":
        """Compute median, mean and standard deviation of the values that are not missing."""
        gone = column.missing
        there = column.values[~gone]
        n_missing, kind = int(gone.sum()), column.form.kind
        mean, deviation = float(there.mean()), float(there.std())
        if np.ptp(there) == 0:  # the rounding of a mean is no deviation
            mean, deviation = float(there[0]), 0.0
        if kind == "boolean":
            return cls(column.name, column.form, mean, 0.0, 1.0, n_missing)
        fill = float(np.median(there))
        cycles: tuple[float, ...] = ()
        if kind == "date":
            span, in_day = np.ptp(there), np.mod(there, DAY)
            cycles = (YEAR,) * bool(span > YEAR) + (DAY,) * bool(span > DAY and np.ptp(in_day) > 0)
        return cls(column.name, column.form, fill, mean, deviation or 1.0, n_missing, cycles)

    @property
    def features(self) -> list[str]:
        """Names of the features."""
        periods = ["year" if period == YEAR else "day" for period in self.cycles]
        phases = [f"{self.name} {part} of {p}" for p in periods for part in ("sine", "cosine")]
        return [self.name, *phases]

    def encode(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Compute the features, `(n_rows, n_features)`."""
        x = np.where(np.isnan(values), self.fill, values)
        angles = [2 * math.pi * np.mod(x, period) / period for period in self.cycles]
        phases = [part for angle in angles for part in (np.sin(angle), np.cos(angle))]
        return np.column_stack([(x - self.center) / self.scale, *phases])


@dataclass(frozen=True)
class Category:
    """Encode each of the `values` as a feature; see `Quantity` for the other arguments."""

    name: str
    form: Form
    values: tuple[str, ...]
    n_missing: int

    @classmethod
    def of(cls, column: Column) -> "Category":
        """List the values in order."""
        there = column.values[~column.missing]
        values = tuple(sorted(set(there)))
        return cls(column.name, column.form, values, len(column.values) - len(there))

    @property
    def features(self) -> list[str]:
        """Names of the features."""
        return [f"{self.name}={value}" for value in self.values]

    def encode(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Compute the features, `(n_rows, n_values)`; a row of another value is 0."""
        place = {value: k for k, value in enumerate(self.values)}
        found = np.zeros((len(values), len(place)))
        for row, value in enumerate(values):
            if value in place:
                found[row, place[value]] = 1
        return found


@dataclass(frozen=True, eq=False)
class Text:
    """Encode text of many values; see `Quantity` for the other arguments."""

    name: str
    form: Form
    pieces: Pieces
    n_missing: int

    @classmethod
    def of(cls, column: Column) -> "Text":
        """Fit `Pieces` to the values that are not missing."""
        there = column.values[~column.missing]
        pieces = Pieces.of(there.tolist())
        return cls(column.name, column.form, pieces, len(column.values) - len(there))

    @property
    def features(self) -> list[str]:
        """Names of the features."""
        return [f"{self.name} text {k}" for k in range(len(self.pieces.components))]

    def encode(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Compute the features, `(n_rows, n_features)`; missing text is 0."""
        found = self.pieces.features(["" if value is None else value for value in values])
        found[missing(values)] = 0
        return found


Encoder = Quantity | Category | Text

_BY_KIND: dict[str, Any] = {"category": Category, "text": Text}


def encoder_of(column: Column) -> Encoder:
    """Make the encoder of a column by its kind."""
    encoder: Encoder = _BY_KIND.get(column.form.kind, Quantity).of(column)
    return encoder


def stored_encoder(stored: dict[str, Any], arrays: tuple[NDArray[Any], ...]) -> Encoder:
    """Make an encoder from what `TableEncoding.to_arrays` stored of it.

    Arguments:
        stored: its fields, plain values.
        arrays: weights and components, of text only.

    Raises:
        ValueError, KeyError, TypeError: it is damaged.
    """
    lists = {name: tuple(stored["form"].get(name, ())) for name in ("units", "patterns")}
    form = Form(**{**stored["form"], **lists})
    if form.kind == "category":
        values = tuple(texts_of(stored["values"]))  # an older run may have other forms of letters
        return Category(**{**stored, "form": form, "values": values})
    if form.kind == "text":
        weights, components = arrays
        vocabulary = tuple(stored["vocabulary"])
        if components.ndim != 2 or not len(vocabulary) == len(weights) == components.shape[1]:
            raise ValueError(f"the arrays of column {stored['name']!r} do not fit")
        pieces = Pieces(vocabulary, weights, components)
        return Text(stored["name"], form, pieces, stored["n_missing"])
    return Quantity(**{**stored, "form": form, "cycles": tuple(stored["cycles"])})
