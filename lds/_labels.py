"""Read labels as class numbers; decide what counts as no label, for the estimators and the shell.

| where | no label |
|---|---|
| list, array, pandas, polars, tensor | None, NaN, NA, NaT, a masked entry, the number -1 |
| file | a blank cell; -1 where all other labels are whole numbers |

Text that often stands for a missing label (`MARKS`) is refused as the name of a class, for a model
would silently learn "?" as a class. In Python, pass None for such a row; in the shell,
`--unlabelled` says what the text means.
"""

import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from numbers import Number
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import DataConversionWarning

from lds._numbers import unmerged

UNLABELLED: Any = -1
"""The number that marks a row without a label, as in scikit-learn's semi-supervised classifiers."""

MARKS = frozenset(
    {"", "-1", "-1.0", "?", "??", ".", "-", "--", "–", "—", "nan", "nat", "na", "n/a", "#n/a"}
    | {"<na>", "none", "null", "nil"}
)
"""Text that tables and programs write for a missing value, in lower case; refused as a class."""

WORDS = frozenset(
    {"unknown", "unlabelled", "unlabeled", "missing", "undefined", "no label", "not available"}
    | {"not labelled", "not labeled", "unclassified", "tbd", "tba", "#value!", "#ref!", "#name?"}
    | {"#div/0!", "#num!", "#null!", "-9", "-99", "-100", "-999", "-9999", "999", "9999"}
)
"""Text that may mean a missing label, in lower case; it counts as a class, with a warning."""

SENTINELS = frozenset({-2, -9, -99, -100, -999, -9999, 99, 255, 999, 9999})
"""Numbers that may mean a missing label; far from the other classes they cause a warning."""

LEAST = 4
"""Least number of labelled rows of a fit, see `LEAST_BY_ROLE`."""

LEAST_BY_ROLE = "two to train, one to choose the edges, one to stop"
"""Purpose of the `LEAST` labelled rows, for messages."""

MOST_NAMED = 5
"""Most classes that a message names."""

FEW = 10
"""Number of classes that is never too many. More classes than this and than half of the labelled
rows cause a warning, or an error if they are numbers far apart."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels as read, before they are numbered.

    Attributes:
        known: bool `(n_rows,)`, whether a row is labelled.
        values: `(n_labelled,)`, labels of those rows: strings, numbers or booleans.
        minus_one: whether the number -1 was read as no label.
        missing: whether some label is None, NaN, NA or NaT.
    """

    known: NDArray[np.bool_]
    values: NDArray[Any]
    minus_one: bool = False
    missing: bool = False


def encode_labels(y: ArrayLike, n_rows: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Turn labels into class numbers, and list the classes in order.

    Arguments:
        y: `(n_rows,)` strings, integers or booleans (whole floats, too) in a list, an array, a
            pandas or polars column or a tensor. None, NaN, NA, NaT, masked entries and the number
            -1 are unlabelled.
        n_rows: number of labels that y must have.

    Returns:
        int64 `(n_rows,)`, -1 where unlabelled; and the classes `(n_classes,)`, sorted, of the type
        of y: nullable integers stay integers, a column of floats has float classes.

    Raises:
        TypeError: labels have another type, or several.
        ValueError: y has another length, numbers with fractions, text that marks a missing label,
            fewer than `LEAST` labelled rows, or one class only.
    """
    labels = read_labels(y, n_rows)
    if labels.minus_one and labels.missing and labels.values.size:
        refuse_two_marks("y", "pass None for all of them, and number the classes from 0")
    codes, classes = numbered(labels)
    check_enough(
        codes,
        classes,
        f"y must label at least {LEAST} rows of two classes or more ({LEAST_BY_ROLE})",
        "; -1 was read as no label, so number the classes from 0" if labels.minus_one else "",
    )
    warn_of_classes(labels, codes, classes, "y")
    return codes, classes


def read_labels(y: ArrayLike, n_rows: int) -> Labels:
    """Read the labels of `y`, of any form that `encode_labels` accepts.

    Raises:
        TypeError, ValueError: as in `encode_labels`, except that few labels or classes are allowed.
    """
    if y is None:
        raise ValueError("LDSClassifier requires y to be passed, but the target y is None")
    array = as_array(y)
    if array.shape != (n_rows,):
        got = array.shape if array.ndim else type(y).__name__
        raise ValueError(f"y must have one label a row of X, ({n_rows},), got {got}")
    if array.dtype.kind == "O":
        there = ~np.array([is_missing(label) for label in array], dtype=bool)
        minus = np.zeros(n_rows, dtype=bool)
        minus[there] = [isinstance(v, Number) and v == UNLABELLED for v in array[there]]
        known = there & ~minus
    else:
        minus = array == UNLABELLED if array.dtype.kind in "if" else np.zeros(n_rows, dtype=bool)
        known = (array == array) & ~minus  # NaN differs from itself
    values = _of_one_kind(array[known])
    if values.dtype.kind == "U":
        texts = values.tolist()
        refuse_marks(texts, "y", "pass None for rows without a label, or rename the class")
        refuse_fractions(texts, "y")
    return Labels(known, values, bool(minus.any()), bool((~known & ~minus).any()))


def numbered(labels: Labels) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Number the classes in order: return class numbers, -1 where unlabelled, and the classes."""
    classes, numbers = np.unique(labels.values, return_inverse=True)
    codes = np.full(labels.known.size, -1, dtype=np.int64)
    codes[labels.known] = numbers
    return codes, classes


def check_enough(
    codes: NDArray[np.int64],
    classes: Sequence[Any] | NDArray[Any],
    needed: str,
    hint: str = "",
    least: int = LEAST,
) -> None:
    """Refuse labels that no fit can learn from.

    Arguments:
        codes: class numbers, -1 where unlabelled.
        classes: class c has the name classes[c].
        needed: beginning of the message, which says what is needed.
        hint: end of the message.
        least: number of labelled rows needed.

    Raises:
        ValueError: there are fewer labelled rows, one class only, a class of its own for every
            labelled row, or classes that are numbers far apart and hardly repeat.
    """
    n_labelled, n_classes = int((codes >= 0).sum()), np.unique(codes[codes >= 0]).size
    if n_labelled < least or n_classes < 2:
        raise ValueError(f"{needed}, got {counted(codes, classes)}{hint}")
    if n_classes == n_labelled:
        raise ValueError(
            f"{needed}, got {n_labelled} rows and as many classes: no class has a second row; a "
            "classifier cannot learn a continuous target or an identifier"
        )
    if n_classes > max(FEW, n_labelled / 2) and _are_spread(classes):
        raise ValueError(
            f"{needed}, got {n_classes} different numbers in {n_labelled} labelled rows: a "
            "quantity (Unknown label type: continuous), and lds classifies; put them into classes"
        )


def _are_spread(classes: Sequence[Any] | NDArray[Any]) -> bool:
    """Whether classes are numbers, and most integers between the least and the largest are none."""
    values = [decimal(str(name)) for name in classes]
    numbers = [value for value in values if value is not None]
    return len(numbers) == len(values) and max(numbers) - min(numbers) > 2 * len(numbers)


def check_trains(
    codes: NDArray[np.int64],
    rows: NDArray[np.int64],
    what: str,
    classes: Sequence[Any] | NDArray[Any] | None = None,
) -> None:
    """Refuse training rows of one class.

    Arguments:
        codes: class numbers, -1 where unlabelled.
        rows: numbers of the training rows.
        what: name of the rows in the message, such as "data.train_mask".
        classes: class c has the name classes[c]; None names it c.

    Raises:
        ValueError: the rows have fewer than two classes.
    """
    if np.unique(codes[rows]).size < 2:
        names = range(int(codes.max(initial=0)) + 1) if classes is None else classes
        raise ValueError(
            f"{what} must show at least two classes, got {counted(codes[rows], names)}"
        )


def counted(codes: NDArray[np.int64], classes: Sequence[Any] | NDArray[Any]) -> str:
    """Write how many rows each class has."""
    names = classes.tolist() if isinstance(classes, np.ndarray) else list(classes)
    found, counts = np.unique(codes[codes >= 0], return_counts=True)
    parts = [f"{n} of class {names[c]!r}" for c, n in zip(found, counts, strict=True)]
    if not parts:
        return "no labelled row"
    if len(parts) > MOST_NAMED:
        parts = [*parts[:MOST_NAMED], f"{counts[MOST_NAMED:].sum()} of others"]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def refuse_marks(texts: Iterable[str], what: str, way_out: str) -> None:
    """Refuse text that marks a missing label as the name of a class.

    Arguments:
        texts: labels.
        what: name of the labels in the message.
        way_out: end of the message; "{}" in it becomes the text found.

    Raises:
        ValueError: a label is one of `MARKS`; "-" is allowed where another class is "+".
    """
    counts = Counter(texts)
    allowed = {"-"} if "+" in counts else set()
    for text, n in sorted(counts.items()):
        if plain(text) in MARKS - allowed:
            raise ValueError(
                f"{what} has the label {text!r} ({n} of {counts.total()} rows), which often means "
                f"no label; {way_out.format(repr(text))}"
            )


def refuse_two_marks(what: str, way_out: str) -> NoReturn:
    """Refuse labels that mark rows without a label in two ways.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"{what} marks rows without a label in two ways, by -1 and as missing, so that -1 may be a "
        f"class; {way_out}"
    )


def refuse_fractions(texts: Iterable[str], what: str) -> None:
    """Refuse text of numbers of which some have a fraction.

    Raises:
        ValueError: all texts are numbers, and some have a fraction.
    """
    found = [decimal(text) for text in set(texts)]
    values = [value for value in found if value is not None]
    if len(values) == len(found) and any(map(_is_continuous, values)):
        raise ValueError(
            f"{what} must hold classes, got continuous numbers (Unknown label type: continuous); "
            "if they are classes, name them with a letter, such as 'v1.5'"
        )


def warn_of_classes(
    labels: Labels, codes: NDArray[np.int64], classes: NDArray[Any], what: str
) -> None:
    """Warn once of all that may be a mistake in the classes."""
    doubts = []
    texts = [name for name in classes.tolist() if isinstance(name, str)]
    alike = defaultdict(list)
    for text in texts:
        for key in _near(text):
            alike[key].append(text)
    if pairs := list(dict.fromkeys(tuple(group) for group in alike.values() if len(group) > 1)):
        named = "; ".join(", ".join(map(repr, group)) for group in pairs[:MOST_NAMED])
        doubts.append(f"classes with nearly the same name ({named}) count as different ones")
    if words := [text for text in texts if plain(text) in WORDS]:
        doubts.append(f"{words[0]!r} counts as a class; mark rows without a label otherwise")
    if labels.minus_one and not texts and classes[0] < 0:
        doubts.append(f"-1 was read as no label, though {classes[0]} is a class")
    if not texts and (odd := _sentinels(classes)):
        doubts.append(f"{odd[0]} counts as a class; mark rows without a label by -1 or as missing")
    n_labelled = int((codes >= 0).sum())
    if len(classes) > max(FEW, n_labelled / 2):
        doubts.append(f"{len(classes)} classes are many for {n_labelled} labelled rows")
    if doubts:
        warnings.warn(f"{what}: {'; '.join(doubts)}", UserWarning, stacklevel=3)


def _sentinels(classes: NDArray[Any]) -> list[Any]:
    """List classes of `SENTINELS` that are far from the others, or the only ones below 0."""
    if not classes.size or not isinstance(classes.tolist()[0], int | float):
        return []
    others = [value for value in classes.tolist() if value not in SENTINELS]
    near, least = 3 * max([1, *map(abs, others)]), min(others, default=-1)
    return [v for v in classes.tolist() if v in SENTINELS and (abs(v) > near or v < 0 <= least)]


def as_array(y: Any) -> NDArray[Any]:
    """Convert labels of any container to an array, of objects where some may be missing."""
    if isinstance(y, np.ma.MaskedArray):
        y = np.where(np.ma.getmaskarray(y), np.array(None, dtype=object), y.data)
    if len(getattr(y, "shape", ())) == 2 and len(getattr(y, "columns", ())) == 1:
        # A table of pyarrow has its columns themselves there, other data frames their names.
        y = y.column(0) if hasattr(y, "column_names") else y[y.columns[0]]
        _warn_of_column()
    dtype = getattr(y, "dtype", None)
    if hasattr(y, "to_pylist"):
        y = y.to_pylist()
    elif dtype is not None and not isinstance(dtype, np.dtype):
        # Conversion to an array would make floats of integers with missing ones among them.
        y = y.to_list() if hasattr(y, "to_list") else y.tolist()
    # A list becomes an array of objects: an array of strings would make "nan" of NaN.
    array = np.asarray(y) if hasattr(y, "__array__") else np.array(y, dtype=object)
    if array.dtype.kind == "T":
        array = array.astype(object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
        _warn_of_column()
    return array


def is_missing(label: Any) -> bool:
    """Whether a label is None, NaN, NA or NaT."""
    try:
        return label is None or bool(label != label)
    except (TypeError, ArithmeticError):  # pandas.NA and a signalling NaN refuse comparison
        return True
    except ValueError:  # an array is no label; `_of_one_kind` refuses it
        return False


def plain(text: str) -> str:
    """Remove what readers do not see from text: case, forms of a letter, control characters."""
    spaced = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf")).strip()


def decimal(text: str) -> Decimal | None:
    """Read text as a number; None where it is none."""
    try:
        return None if (value := Decimal(text.strip())).is_nan() else value
    except InvalidOperation:
        return None


def _is_continuous(value: Decimal) -> bool:
    return value.is_infinite() or value != value.to_integral_value()


def _near(text: str) -> set[Any]:
    """Reduce a name to keys that nearly equal names share: numbers it may be, or plain text."""
    forms = {text, text.replace(",", ".")}
    if re.fullmatch(r"[+-]?\d{1,3}(\.\d{3}|,\d{3})+", text):
        forms.add(re.sub("[.,]", "", text))
    numbers = {value for form in forms if (value := decimal(form)) is not None}
    return numbers or {re.sub(r"(?<=\w)[-_\s]+(?=\w)", " ", plain(text)).rstrip(".")}


def _of_one_kind(values: NDArray[Any]) -> NDArray[Any]:
    """Convert labels to an array of strings, numbers or booleans; refuse a mixture."""
    if values.dtype.kind == "O":
        kinds = {str if isinstance(label, str) else _number(label) for label in values}
        if len(kinds) > 1 or not kinds <= {str, Number}:
            names = sorted({type(label).__name__ for label in values})
            raise TypeError(
                f"y must hold labels of one kind, strings or numbers, got {' and '.join(names)}"
            )
        if len({isinstance(label, bool | np.bool_) for label in values}) > 1:
            warnings.warn("y holds booleans and numbers: True is 1 and False is 0", stacklevel=4)
        values = unmerged(values.tolist(), "y") if kinds else np.empty(0)
    if values.dtype.kind not in "biufU":
        way = "; y.astype(str) makes text of bytes" if values.dtype.kind == "S" else ""
        got = type(values[0]).__name__ if values.dtype.kind == "O" else values.dtype
        raise TypeError(
            f"y must hold strings, integers of at most 64 bits or booleans, got {got}{way}"
        )
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == values.round())).all():
        raise ValueError(
            "y must hold classes, got continuous numbers (Unknown label type: continuous)"
        )
    return values


def _number(label: Any) -> type:
    return Number if isinstance(label, Number | np.bool_) else type(label)


def _warn_of_column() -> None:
    text = "A column-vector y was passed when a 1d array was expected; y.ravel() is one"
    warnings.warn(text, DataConversionWarning, stacklevel=4)
