"""How the columns of a table become features, so that further rows become them in the same way.

| kind of column (see `columns`) | features |
|---|---|
| number | its distance from the mean, in standard deviations |
| boolean | 0 or 1 |
| date | as a number; the time of the year if the dates span one, the time of day if it varies |
| category | 0 or 1 for each value |
| text | `text.Pieces` |

A missing number or date is the median of its column (a few large values do not move it), a missing
boolean the mean; a missing category or text has 0 in all its features. Columns with missing cells
have one feature more, which is 1 where the cell is missing.

Where all columns are numbers without gaps and in like units, or counts of words, they stay as they
are: pixels stay pixels.
"""

import json
import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lds.datasets.columns import Column, Form, missing, read, recognise
from lds.datasets.dtypes import as_pandas, column_at, names_of
from lds.datasets.notes import Notes, listed
from lds.datasets.text import Pieces
from lds.graphs.similarity import are_words

UNITS = 10.0
"""As `lds.nn.preparation.UNITS_RATIO`: columns are in like units where the largest standard
deviation is at most so many times the median one."""

DAY, YEAR = 86_400.0, 365.2425 * 86_400.0


@dataclass(frozen=True)
class Quantity:
    """Numbers, booleans or dates.

    Arguments:
        name: of the column.
        form: how its cells are read.
        fill: what a missing one is.
        center, scale: its feature is (x - center) / scale.
        n_missing: cells that were missing in the fit.
        cycles: periods in seconds whose phase is a pair of features, of dates.
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
        """Median, mean and deviation of the values that are there."""
        gone = column.missing
        there = column.values[~gone]
        n_missing, kind = int(gone.sum()), column.form.kind
        mean, deviation = float(there.mean()), float(there.std())
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
        """Names of the features, but for that of missing cells."""
        phases = [f"{self.name} {part} of {'year' if period == YEAR else 'day'}"
                  for period in self.cycles for part in ("sine", "cosine")]  # fmt: skip
        return [self.name, *phases]

    def encode(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """`(n_rows, n_features)`."""
        x = np.where(np.isnan(values), self.fill, values)
        angles = [2 * math.pi * np.mod(x, period) / period for period in self.cycles]
        phases = [part for angle in angles for part in (np.sin(angle), np.cos(angle))]
        return np.column_stack([(x - self.center) / self.scale, *phases])


@dataclass(frozen=True)
class Category:
    """A feature for each of the `values`; see `Quantity` for the other arguments."""

    name: str
    form: Form
    values: tuple[str, ...]
    n_missing: int

    @classmethod
    def of(cls, column: Column) -> "Category":
        """The values in order."""
        there = column.values[~column.missing]
        values = tuple(sorted(set(there)))
        return cls(column.name, column.form, values, len(column.values) - len(there))

    @property
    def features(self) -> list[str]:
        """Names of the features, but for that of missing cells."""
        return [f"{self.name}={value}" for value in self.values]

    def encode(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """`(n_rows, n_values)`, 0 in rows of other values."""
        place = {value: k for k, value in enumerate(self.values)}
        found = np.zeros((len(values), len(place)))
        for row, value in enumerate(values):
            if value in place:
                found[row, place[value]] = 1
        return found


@dataclass(frozen=True, eq=False)
class Text:
    """Text of many values; see `Quantity` for the other arguments."""

    name: str
    form: Form
    pieces: Pieces
    n_missing: int

    @classmethod
    def of(cls, column: Column) -> "Text":
        """Its pieces."""
        there = column.values[~column.missing]
        pieces = Pieces.of(there.tolist())
        return cls(column.name, column.form, pieces, len(column.values) - len(there))

    @property
    def features(self) -> list[str]:
        """Names of the features, but for that of missing cells."""
        return [f"{self.name} text {k}" for k in range(len(self.pieces.components))]

    def encode(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """`(n_rows, n_features)`."""
        found = self.pieces.features(["" if value is None else value for value in values])
        found[missing(values)] = 0
        return found


Encoded = Quantity | Category | Text
_OF: dict[str, Any] = {"category": Category, "text": Text}


@dataclass(frozen=True, eq=False)
class TableEncoding:
    """Columns of a table to features.

    Attributes:
        columns: those that become features, in the order of the table.
        left_out: why each other one does not, by name.
        names: all columns of the table but the excluded ones, by which an array's are found.
    """

    columns: tuple[Encoded, ...]
    left_out: dict[str, str]
    names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        frame: Any,
        exclude: Collection[str] = (),
        decimal: str = ".",
        categorical: Collection[str] | None = None,
    ) -> "TableEncoding":
        """Learn from all rows of a table, see `fit`."""
        return cls.fit(frame, exclude, decimal, categorical)[0]

    @classmethod
    def fit(
        cls,
        frame: Any,
        exclude: Collection[str] = (),
        decimal: str = ".",
        categorical: Collection[str] | None = None,
    ) -> tuple["TableEncoding", NDArray[np.float64]]:
        """Learn from all rows of a table; labels are not looked at.

        What is guessed (numbers among text, odd cells, identifiers) is said in warnings.

        Arguments:
            frame: of pandas, polars or pyarrow; or `(n_rows, n_columns)` float64 with NaN where
                missing, whose columns are called "0", "1", ...
            exclude: columns that are no features: the target, identifiers.
            decimal: "." or ",": the decimal mark of numbers written as text.
            categorical: columns of categories, whatever they hold; None: those of the dtype
                category.

        Returns:
            The encoding, and the features of these rows, as `encode` gives them.

        Raises:
            ValueError: names that are not columns or are there twice, infinite numbers, cells that
                are no number, date or text, or no column left; all of it in one error.
            TypeError, ImportError: as for `dtypes.as_pandas`.
        """
        if decimal not in (".", ","):
            raise ValueError(f'decimal must be "." or ",", got {decimal!r}')
        frame, notes = as_pandas(frame), Notes()
        names = names_of(frame)
        _check_names(names, [*exclude, *(categorical or ())], notes)
        places = [place for place, name in enumerate(names) if name not in exclude]
        if not places:
            notes.faults.append("the table must have a column besides its target, got none")
        if notes.faults:
            notes.fail()
        chosen = None if categorical is None else [names.index(name) for name in categorical]
        found, left_out = recognise(frame, places, notes, decimal=decimal, categorical=chosen)
        if not found and not notes.faults:
            notes.faults.append(
                "the table must have a column that differs between rows, got only such as say "
                f"nothing: {listed([f'{name!r} ({why})' for name, why in left_out.items()])}"
            )
        notes.say()
        columns = [_OF.get(column.form.kind, Quantity).of(column) for column in found]
        if _stay(found):
            columns = [replace(column, center=0.0, scale=1.0) for column in columns]
        encoding = cls(tuple(columns), left_out, tuple(names[place] for place in places))
        return encoding, encoding._features([column.values for column in found])

    @classmethod
    def unchanged(cls, x: NDArray[np.float64]) -> "TableEncoding":
        """An encoding that leaves numbers as they are, and takes the median for missing ones.

        Arguments:
            x: `(n_rows, n_columns)`, finite.
        """
        form, names = Form("number"), names_of(x)
        columns = [Quantity(name, form, float(np.median(column)), 0.0, 1.0, 0)
                   for name, column in zip(names, x.T, strict=True)]  # fmt: skip
        return cls(tuple(columns), {}, tuple(names))

    @property
    def feature_names(self) -> list[str]:
        """A name for each feature."""
        return [
            name
            for column in self.columns
            for name in [*column.features, *[f"{column.name} missing"] * (column.n_missing > 0)]
        ]

    def encode(self, frame: Any) -> NDArray[np.float64]:
        """The features of rows, `(n_rows, n_features)`; other columns are ignored.

        A value that a category did not have in the fit has none of its features; a warning says so,
        as it does of numbers that are missing where none was in the fit.

        Arguments:
            frame: as for `of`; an array has the columns of the fit in their order.

        Raises:
            ValueError: a column is missing, is there twice or does not hold what it did in the fit.
        """
        frame, notes = as_pandas(frame), Notes()
        names = list(self.names) if isinstance(frame, np.ndarray) else names_of(frame)
        wanted = [column.name for column in self.columns]
        lacking = [name for name in wanted if name not in names]
        if lacking:
            raise ValueError(
                f"the table must have the columns {listed(wanted)}; it lacks {listed(lacking)}"
            )
        _check_names(names, (), notes)
        found = []
        for column in self.columns:
            raw = column_at(frame, names.index(column.name))
            values = read(column.name, raw, column.form, notes)
            found.append(values)
            gone = missing(values)
            if gone.any() and not column.n_missing:
                notes.guess(
                    "cells are missing in columns that had none missing in the fit, and count as "
                    "average: {}", f"{column.name!r} row {np.flatnonzero(gone)[0]}",
                )  # fmt: skip
            if isinstance(column, Category):
                _say_new(column, values, notes)
        notes.say()
        return self._features(found)

    def _features(self, values: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        parts: list[NDArray[np.float64]] = []
        for column, of_column in zip(self.columns, values, strict=True):
            parts.append(column.encode(of_column))
            if column.n_missing:
                parts.append(missing(of_column)[:, None].astype(np.float64))
        return np.hstack(parts)

    def summary(self) -> list[dict[str, Any]]:
        """What became of each column, without any of its values.

        Returns:
            For each a dictionary of "name", "kind", "features", how many it became, and "missing",
            how many cells were; the kind of a column that was left out says why.
        """
        known: dict[str, dict[str, Any]] = {
            column.name: {
                "name": column.name,
                "kind": column.form.kind,
                "features": len(column.features) + (column.n_missing > 0),
                "missing": column.n_missing,
            }
            for column in self.columns
        }
        for name, why in self.left_out.items():
            known[name] = {"name": name, "kind": f"left out: {why}", "features": 0}
        return [known[name] for name in self.names]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays that hold all of it, none of them of objects; "encoding" is JSON."""
        arrays: dict[str, NDArray[Any]] = {}
        columns: list[dict[str, Any]] = []
        for place, column in enumerate(self.columns):
            if isinstance(column, Text):
                arrays[f"weights {place}"] = column.pieces.weights
                arrays[f"components {place}"] = column.pieces.components
                kept = {"name": column.name, "form": asdict(column.form)}
                vocabulary = {"vocabulary": column.pieces.vocabulary}
                columns.append({**kept, **vocabulary, "n_missing": column.n_missing})
            else:
                columns.append(asdict(column))
        stored = {"columns": columns, "left_out": self.left_out, "names": self.names}
        text = json.dumps(stored).encode()
        return {"encoding": np.frombuffer(text, dtype=np.uint8), **arrays}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> "TableEncoding":
        """What `to_arrays` gave.

        Raises:
            ValueError: it is not what `to_arrays` gives.
        """
        try:
            stored = json.loads(arrays["encoding"].tobytes())
            columns = [_stored(c, k, arrays) for k, c in enumerate(stored["columns"])]
            return cls(tuple(columns), dict(stored["left_out"]), tuple(stored["names"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"the encoding of the table is damaged ({error!r})") from error


def _stored(column: dict[str, Any], place: int, arrays: dict[str, NDArray[Any]]) -> Encoded:
    form = Form(**column.pop("form"))
    if form.kind == "category":
        return Category(**{**column, "form": form, "values": tuple(column["values"])})
    if form.kind == "text":
        weights, components = arrays[f"weights {place}"], arrays[f"components {place}"]
        vocabulary = tuple(column.pop("vocabulary"))
        if components.ndim != 2 or not len(vocabulary) == len(weights) == components.shape[1]:
            raise ValueError(f"the arrays of column {column['name']!r} do not fit")
        return Text(form=form, pieces=Pieces(vocabulary, weights, components), **column)
    return Quantity(**{**column, "form": form, "cycles": tuple(column["cycles"])})


def _stay(columns: Sequence[Column]) -> bool:
    """Whether columns are numbers without gaps and in like units, or counts of words."""
    if not all(c.form.kind == "number" and not c.missing.any() for c in columns):
        return False
    deviations = [float(column.values.std()) for column in columns]
    if max(deviations) <= UNITS * float(np.median(deviations)):
        return True
    return are_words(np.column_stack([column.values for column in columns]))


def _check_names(names: Sequence[str], wanted: Sequence[str], notes: Notes) -> None:
    if lacking := [name for name in wanted if name not in names]:
        notes.faults.append(
            f"the table must have the columns {listed(wanted)}, got {listed(names)} "
            f"without {listed(lacking)}"
        )
    if fault := repeated(names):
        notes.faults.append(fault)


def repeated(names: Sequence[str]) -> str:
    """What is to be said of names that are there twice; "" of different ones."""
    twice = sorted(name for name, n in Counter(names).items() if n > 1)
    if not twice:
        return ""
    return f"columns must have different names, got more than one {listed(twice)}; rename them"


def _say_new(column: Category, values: NDArray[Any], notes: Notes) -> None:
    new = sorted({value for value in values if value is not None} - set(column.values))
    if new:
        notes.guess(
            "columns have values that were not there in the fit; they count as none of its "
            "values: {}", f"column {column.name!r} such as {new[0]!r}",
        )  # fmt: skip
