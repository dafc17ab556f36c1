"""How the columns of a table become features, so that further rows become them in the same way."""

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import OneHotEncoder, StandardScaler


@dataclass(frozen=True)
class Numeric:
    """A column of numbers or booleans: (x - mean) / scale."""

    name: str
    mean: float
    scale: float


@dataclass(frozen=True)
class Text:
    """A column of anything else: one feature a value, as text; a missing one is the value ""."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class TableEncoding:
    """Numeric columns standardised, then the others one-hot.

    Arguments:
        target: the column of labels, which is no feature.
        numeric, text: the other columns.
    """

    target: str
    numeric: tuple[Numeric, ...]
    text: tuple[Text, ...]

    @classmethod
    def of(cls, frame: Any, target: str) -> "TableEncoding":
        """Means, scales and values of all rows of a pandas frame.

        Raises:
            ValueError: no column besides the target, or a numeric column that is not finite.
        """
        frame = frame.drop(columns=target)
        if not len(frame.columns):
            raise ValueError("the table must have a column besides its target, got none")
        names = [name for name in frame.columns if frame[name].dtype.kind in "biuf"]
        numeric: list[Numeric] = []
        if names:
            scaler = StandardScaler().fit(_numbers(frame, names))
            pairs = zip(scaler.mean_.tolist(), scaler.scale_.tolist(), strict=True)
            numeric = [Numeric(n, *pair) for n, pair in zip(map(str, names), pairs, strict=True)]
        others = frame.drop(columns=names)
        text: list[Text] = []
        if len(others.columns):
            found = OneHotEncoder().fit(_texts(others)).categories_
            text = [
                Text(str(name), tuple(map(str, values)))
                for name, values in zip(others.columns, found, strict=True)
            ]
        return cls(target, tuple(numeric), tuple(text))

    def encode(self, frame: Any) -> NDArray[np.float32]:
        """The features of a pandas frame's rows, `(n_rows, n_features)`; other columns are ignored.

        A value that a text column did not have before has none of its features; a warning says so.

        Raises:
            ValueError: a column is missing, or a numeric one is not finite numbers.
        """
        names = [c.name for c in self.numeric] + [c.name for c in self.text]
        missing = [name for name in names if name not in frame.columns]
        if missing:
            raise ValueError(
                f"the table must have the columns {', '.join(names)}; it lacks {', '.join(missing)}"
            )
        parts: list[NDArray[Any]] = []
        if self.numeric:
            values = _numbers(frame, [column.name for column in self.numeric])
            mean = np.array([column.mean for column in self.numeric])
            parts.append((values - mean) / np.array([column.scale for column in self.numeric]))
        for column in self.text:
            texts = _texts(frame[[column.name]])
            known = texts == np.array(column.values, dtype=object)
            if not known.any(1).all():
                new = sorted(set(texts[~known.any(1), 0]))
                warnings.warn(
                    f"column {column.name!r} has values that were not there in the fit, such as "
                    f"{new[0]!r}; they count as none of its values",
                    UserWarning,
                    stacklevel=2,
                )
            parts.append(known)
        return np.hstack(parts).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "TableEncoding":
        """What `to_dict` gave.

        Raises:
            ValueError: it is not what `to_dict` gives.
        """
        try:
            numeric = [Numeric(**column) for column in stored["numeric"]]
            text = [Text(c["name"], tuple(c["values"])) for c in stored["text"]]
            return cls(stored["target"], tuple(numeric), tuple(text))
        except (KeyError, TypeError) as error:
            raise ValueError(f"the encoding of the table is damaged ({error!r})") from error


def _numbers(frame: Any, names: list[str]) -> NDArray[np.float64]:
    """Columns of a frame as finite numbers."""
    columns = []
    for name in names:
        try:
            values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"column {name!r} must hold numbers, as in the fit ({error})"
            ) from error
        if not np.isfinite(values).all():
            raise ValueError(
                f"column {name!r} must be finite, got a blank, NaN or infinity; fill it in, or "
                "leave the row or the column out"
            )
        columns.append(values)
    return np.column_stack(columns)


def _texts(frame: Any) -> NDArray[Any]:
    """Columns of a frame as text, "" where missing."""
    texts: NDArray[Any] = frame.astype("string").fillna("").to_numpy(dtype=object)
    return texts
