"""Labels and roles as users give them: blanks, strings, masks, row numbers."""

from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import column_or_1d

from lds._types import Split
from lds.datasets.splits import three_way

_UNLABELLED: Any = -1


def encode_labels(y: ArrayLike, n_rows: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Class numbers of labels, and the classes in order.

    Arguments:
        y: `(n_rows,)` strings, integers or booleans (whole floats, too). -1, None, NaN and pandas'
            NA are unlabelled.
        n_rows: how many labels there must be.

    Returns:
        int64 `(n_rows,)`, -1 where unlabelled; and `(n_classes,)`, sorted.

    Raises:
        TypeError: labels of another kind, or of several.
        ValueError: another length, fractions, no label, or one class only.
    """
    if y is None:
        raise ValueError("LDSClassifier requires y to be passed, but the target y is None")
    # A list keeps its objects: as an array of strings it would make "nan" of NaN.
    array = np.asarray(y) if hasattr(y, "__array__") else np.array(y, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = column_or_1d(array, warn=True)
    if array.shape != (n_rows,):
        raise ValueError(f"y must have one label a row of X, ({n_rows},), got {array.shape}")
    if array.dtype.kind == "O":
        known = np.array([not _is_blank(label) for label in array], dtype=bool)
    else:
        known = array == array  # not NaN
    values = _of_one_kind(array[known])
    if values.dtype.kind in "if":
        labelled = values != _UNLABELLED
        known[known] = labelled
        values = values[labelled]
    if not values.size:
        raise ValueError("y must label at least two rows, got none; -1 marks unlabelled rows")
    classes, numbers = np.unique(values, return_inverse=True)
    if classes.size < 2:
        raise ValueError(f"y must show at least two classes, got only {classes[0]}")
    codes = np.full(n_rows, -1, dtype=np.int64)
    codes[known] = numbers
    return codes, classes


def _is_blank(label: Any) -> bool:
    if label is None:
        return True
    try:
        return bool(label != label or (isinstance(label, Number) and label == _UNLABELLED))
    except TypeError:  # pandas.NA is neither equal to itself nor different
        return True
    except ValueError:  # an array is no label, which is for `_of_one_kind` to say
        return False


def _of_one_kind(values: NDArray[Any]) -> NDArray[Any]:
    """Labels as an array of strings, numbers or booleans."""
    if values.dtype.kind == "O":
        kinds = {str if isinstance(label, str) else _number(label) for label in values}
        if len(kinds) > 1 or not kinds <= {str, Number}:
            names = sorted({type(label).__name__ for label in values})
            raise TypeError(
                f"y must hold labels of one kind, strings or numbers, got {' and '.join(names)}"
            )
        values = np.array(values.tolist()) if kinds else np.empty(0)
    if values.dtype.kind == "T":
        values = values.astype(str)
    if values.dtype.kind not in "biufUS":
        raise TypeError(f"y must hold strings, integers or booleans, got {values.dtype}")
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == values.round())).all():
        raise ValueError(
            "y must hold classes, got continuous numbers (Unknown label type: continuous)"
        )
    return values


def _number(label: Any) -> type:
    return Number if isinstance(label, Number | np.bool_) else type(label)


def split_roles(
    codes: NDArray[np.int64], validation: ArrayLike | None, stopping: ArrayLike | None, seed: int
) -> Split:
    """The roles of labelled rows: those asked for, or a third each.

    Arguments:
        codes: `(n_rows,)`, -1 where unlabelled.
        validation, stopping: row numbers or masks, both or neither; the other labelled rows train.
        seed: of the division in three where neither is given.

    Raises:
        ValueError: only one of them, a row out of range, unlabelled or in both, or no row left to
            train on.
    """
    labelled = np.flatnonzero(codes >= 0)
    none = labelled[:0]
    if validation is None and stopping is None:
        return Split(*three_way(codes, labelled, seed), none)
    if validation is None or stopping is None:
        raise ValueError("validation and stopping must be given together, got only one of them")
    judge, stop = _rows(validation, "validation", codes), _rows(stopping, "stopping", codes)
    both = np.intersect1d(judge, stop)
    if both.size:
        raise ValueError(f"validation and stopping must not share rows, got row {both[0]} in both")
    train = np.setdiff1d(labelled, np.concatenate([judge, stop]))
    if not train.size:
        raise ValueError(
            f"validation and stopping must leave labelled rows to train on, got all {labelled.size}"
        )
    return Split(train, judge, stop, none)


def _rows(rows: ArrayLike, name: str, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    found = np.asarray(rows)
    if found.dtype == bool:
        if found.shape != codes.shape:
            raise ValueError(f"{name} as a mask must have shape {codes.shape}, got {found.shape}")
        found = np.flatnonzero(found)
    if found.ndim != 1 or found.size == 0 or found.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be row numbers or a mask of at least one row, "
            f"got {found.dtype} of shape {found.shape}"
        )
    if found.min() < 0 or found.max() >= codes.size:
        raise ValueError(
            f"{name} must index the {codes.size} rows of X, got {found.min()} to {found.max()}"
        )
    if (codes[found] < 0).any():
        raise ValueError(f"{name} must hold labelled rows, got row {found[codes[found] < 0][0]}")
    return np.unique(found).astype(np.int64)
