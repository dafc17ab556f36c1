"""Encode the columns of a table as features, and further rows in the same way.

| kind of column (see `columns`) | features |
|---|---|
| number, duration, time of day | its distance from the mean, in standard deviations |
| boolean | 0 or 1 |
| date | as a number; the time of the year if the dates span one, the time of day if it varies |
| category | 0 or 1 for each value |
| text | `text.Pieces` |

A missing number or date becomes the median of its column (a few large values do not move it), a
missing boolean the mean; a missing category or text has 0 in all its features. A column with
missing cells has one more feature, which is 1 where the cell is missing.

Where all columns are complete numbers in like units (pixels, for example) or counts of words, they
stay as they are.
"""

import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._types import Features
from lds._units import in_different_units
from lds._words import nearest
from lds.datasets.column import Column, Form, missing
from lds.datasets.columns import recognise
from lds.datasets.decimals import decimal_mark
from lds.datasets.dtypes import as_pandas, cells_of, column_at, names_of
from lds.datasets.encoders import Category, Encoder, Quantity, Text, encoder_of, stored_encoder
from lds.datasets.later_rows import read
from lds.datasets.notes import Notes, listed
from lds.graphs.similarity import are_words

TYPED = "biufcmM"
"""Kinds of dtypes, as in NumPy, of columns that hold no text."""

PLAIN = ("number", "duration", "time")
"""Kinds of columns that are encoded as numbers are."""


@dataclass(frozen=True, eq=False)
class TableEncoding:
    """Encode the columns of a table as features.

    Attributes:
        columns: encoders of the columns that become features, in the order of the table.
        left_out: by name, why each other column is left out.
        names: of all columns of the table but the excluded ones; an array has them in this order.
    """

    columns: tuple[Encoder, ...]
    left_out: dict[str, str]
    names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        frame: Any,
        exclude: Collection[str] = (),
        decimal: str | None = None,
        categorical: Collection[str] | None = None,
    ) -> "TableEncoding":
        """Fit to all rows of a table, see `fit`."""
        return cls.fit(frame, exclude, decimal, categorical)[0]

    @classmethod
    def fit(
        cls,
        frame: Any,
        exclude: Collection[str] = (),
        decimal: str | None = None,
        categorical: Collection[str] | None = None,
    ) -> tuple["TableEncoding", NDArray[np.float64]]:
        """Fit to all rows of a table, without their labels, and encode them.

        Guesses (numbers among text, odd cells, identifiers) become warnings.

        Arguments:
            frame: of pandas, polars or pyarrow; or `(n_rows, n_columns)` float64, NaN where
                missing, whose columns are called "0", "1", ...
            exclude: columns that become no features: the target, identifiers.
            decimal: decimal mark of numbers written as text, "." or ","; None finds it from all of
                these columns, as in a file.
            categorical: columns of categories, whatever their cells are; None: those of the dtype
                category.

        Returns:
            The encoding, and the features of these rows, as `encode` gives them.

        Raises:
            ValueError: a name is no column or is the name of two, a number is infinite, a cell is
                no number, date or text, or no column is left; one error lists all faults.
            TypeError, ImportError: as for `dtypes.as_pandas`.
        """
        if decimal not in (".", ",", None):
            raise ValueError(f'decimal must be "." or ",", or None to find it, got {decimal!r}')
        frame, notes = as_pandas(frame), Notes()
        names = names_of(frame)
        _check_names(names, [*exclude, *(categorical or ())], notes)
        places = [place for place, name in enumerate(names) if name not in exclude]
        if not places:
            notes.faults.append("the table must have a column besides its target, got none")
        if notes.faults:
            notes.fail()
        if decimal is None:
            decimal = _decimal_of(frame, places, notes)
        chosen = None if categorical is None else [names.index(name) for name in categorical]
        found, left_out = recognise(frame, places, notes, decimal=decimal, categorical=chosen)
        if not found and not notes.faults:
            notes.faults.append(
                "the table must have a column that differs between rows, got only columns that are "
                f"left out: {listed([f'{name!r} ({why})' for name, why in left_out.items()])}"
            )
        notes.say()
        columns = [encoder_of(column) for column in found]
        if _stay(found):
            columns = [
                replace(column, center=0.0, scale=1.0)
                for column in columns
                if isinstance(column, Quantity)
            ]
        encoding = cls(tuple(columns), left_out, tuple(names[place] for place in places))
        return encoding, encoding._features([column.values for column in found])

    @classmethod
    def unchanged(cls, x: Features) -> "TableEncoding":
        """Make an encoding that keeps numbers as they are and fills missing ones with the median.

        Arguments:
            x: `(n_rows, n_columns)`, finite, dense or CSR.
        """
        form, names = Form("number", "", ("",)), [str(place) for place in range(x.shape[1])]
        medians = [float(np.median(column)) for column in _columns(x)]
        columns = [
            Quantity(name, form, median, 0.0, 1.0, 0)
            for name, median in zip(names, medians, strict=True)
        ]
        return cls(tuple(columns), {}, tuple(names))

    @property
    def feature_names(self) -> list[str]:
        """The name of each feature."""
        return [
            name
            for column in self.columns
            for name in [*column.features, *[f"{column.name} missing"] * (column.n_missing > 0)]
        ]

    def encode(self, frame: Any, decimal: str | None = None) -> NDArray[np.float64]:
        """Compute the features of rows, `(n_rows, n_features)`; columns not in the fit are ignored.

        A value that a category did not have in the fit is 0 in all features of the category, with
        a warning. A number missing in a column that had none missing becomes the median, with a
        warning, and so does an unreadable cell.

        Arguments:
            frame: as for `fit`; an array has the columns of the fit in their order.
            decimal: decimal mark of numbers in text, "." or ",", in columns that held no text in
                the fit; the others keep its mark. None finds it from these rows.

        Raises:
            ValueError: a column is missing, is there twice or has cells of another kind than in
                the fit: none of two or more cells can be read, or dates have a time zone where
                those of the fit had none.
        """
        frame, notes = as_pandas(frame), Notes()
        names = list(self.names) if isinstance(frame, np.ndarray) else names_of(frame)
        wanted = [column.name for column in self.columns]
        lacking = [name for name in wanted if name not in names]
        if lacking:
            others = [name for name in names if name not in wanted]
            near = [nearest(name, others).removeprefix("; ") for name in lacking]
            hints = [
                n + (f" ({hint})" if hint else "") for n, hint in zip(lacking, near, strict=True)
            ]
            raise ValueError(
                f"the table must have the columns {listed(wanted)}; it lacks {listed(hints)}"
            )
        _check_names(names, (), notes)
        if decimal is None:
            typed = [names.index(c.name) for c in self.columns if not c.form.decimal]
            decimal = _decimal_of(frame, typed, notes)
        found = []
        for column in self.columns:
            raw = column_at(frame, names.index(column.name))
            form = replace(column.form, decimal=column.form.decimal or decimal)
            values = read(column.name, raw, form, notes)
            found.append(values)
            gone = missing(values)
            if gone.any() and not column.n_missing:
                notes.guess(
                    "cells are missing in columns that had none missing in the fit, and count as "
                    "average: {}",
                    f"{column.name!r} row {np.flatnonzero(gone)[0]}",
                )
            if isinstance(column, Category):
                _note_new_values(column, values, notes)
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
        """Describe each column, without any of its values.

        Returns:
            For each column a dictionary of "name", "kind", "features" (how many it became) and
            "missing" (how many cells were missing); of a column that was left out, "kind" says why.
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
        """Store the encoding in arrays without objects; "encoding" holds JSON."""
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
        """Make the encoding that `to_arrays` stored.

        Raises:
            ValueError: the arrays are not what `to_arrays` returns.
        """
        try:
            stored = json.loads(arrays["encoding"].tobytes())
            columns = [_stored(c, k, arrays) for k, c in enumerate(stored["columns"])]
            return cls(tuple(columns), dict(stored["left_out"]), tuple(stored["names"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"the encoding of the table is damaged ({error!r})") from error


def _stored(column: dict[str, Any], place: int, arrays: dict[str, NDArray[Any]]) -> Encoder:
    is_text = column["form"]["kind"] == "text"
    wanted = [f"weights {place}", f"components {place}"] if is_text else []
    return stored_encoder(column, tuple(arrays[name] for name in wanted))


def _decimal_of(frame: Any, places: Sequence[int], notes: Notes) -> str:
    """Find the decimal mark of the numbers that a frame holds as text, and note the guess."""
    if isinstance(frame, np.ndarray):
        return "."
    raw = [column_at(frame, place) for place in places]
    cells = [cells_of(column) for column in raw if column.dtype.kind not in TYPED]
    texts = [[cell if isinstance(cell, str) else "" for cell in column] for column in cells]
    mark, doubt = decimal_mark(list(zip(*texts, strict=True)), "")
    if mark == ",":
        notes.guess("numbers in text have a decimal comma", "")
    if doubt:
        notes.guess(doubt, "")
    return mark or "."


def _stay(columns: Sequence[Column]) -> bool:
    """Whether all columns are complete numbers in like units, or counts of words."""
    if not all(c.form.kind in PLAIN and not c.missing.any() for c in columns):
        return False
    if not in_different_units([column.values.std() for column in columns]):
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
    """Write the fault of names that two columns have; "" if all names differ."""
    twice = sorted(name for name, n in Counter(names).items() if n > 1)
    if not twice:
        return ""
    return f"columns must have different names, got more than one {listed(twice)}; rename them"


def _note_new_values(column: Category, values: NDArray[Any], notes: Notes) -> None:
    new = sorted({value for value in values if value is not None} - set(column.values))
    if new:
        notes.guess(
            "columns have values that were not there in the fit; they count as none of its "
            "values: {}",
            f"column {column.name!r} such as {new[0]!r}",
        )


def _columns(x: Features) -> Iterator[NDArray[np.float64]]:
    """Yield columns; of a sparse one that is mostly 0 a 0, which is its median."""
    if not sp.issparse(x):
        yield from np.asarray(x).T
        return
    by_column: Any = sp.csc_array(x)
    n_rows, ends = x.shape[0], by_column.indptr
    for first, end in itertools.pairwise(ends.tolist()):
        mostly = 2 * (end - first) < n_rows
        rest = np.zeros(1 if mostly else n_rows - (end - first))
        yield rest if mostly else np.concatenate([by_column.data[first:end], rest])
