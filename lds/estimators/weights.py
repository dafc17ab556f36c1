"""What labelled rows count: weights of rows and of classes as one weight a row."""

from collections.abc import Mapping
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lds._arrays import of_tensor, refuse_masked
from lds._labels import LEAST, LEAST_BY_ROLE, MOST_NAMED, check_enough, is_missing
from lds._words import nearest

ClassWeight = Mapping[Any, float] | Literal["balanced"] | None
"""What the rows of each class count: by class, "balanced" (every class counts alike in total), or
None (every row counts alike)."""


def weigh_rows(
    codes: NDArray[np.int64],
    classes: NDArray[Any],
    sample_weight: ArrayLike | None,
    class_weight: ClassWeight,
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.float64] | None]:
    """Multiply the weights of rows by those of their classes.

    "balanced" gives every class the same total, weights of rows included.

    Arguments:
        codes: class numbers `(n_rows,)`, -1 where unlabelled.
        classes: class c has the name classes[c].
        sample_weight: `(n_rows,)`, at least 0, read at labelled rows; 0 takes the label away.
            None: 1 everywhere.
        class_weight: see `ClassWeight`; a class that a mapping leaves out has weight 1.

    Returns:
        Class numbers and classes of the labels that count, and float64 `(n_rows,)` with mean 1 over
        them; None in place of weights that are all equal.

    Raises:
        ValueError: weights have another length, are negative or not finite, leave too few labels,
            or are of a class that there is not.
    """
    n_rows, weight = codes.size, np.ones(codes.size)
    if sample_weight is not None:
        weight = row_weights(sample_weight, n_rows)
        bad = (codes >= 0) & ~(np.isfinite(weight) & (weight >= 0))
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(
                f"sample_weight must be finite and at least 0, got {weight[row]:g} at row {row}"
            )
        codes = np.where(weight > 0, codes, -1)
        kept, numbers = np.unique(codes[codes >= 0], return_inverse=True)
        codes[codes >= 0] = numbers
        classes = classes[kept]
        check_enough(
            codes,
            classes,
            f"sample_weight must be above 0 for at least {LEAST} labelled rows of two classes or "
            f"more ({LEAST_BY_ROLE})",
            "; a weight of zero takes a label away",
        )
    known = codes >= 0
    weight = np.where(known, weight, 1)
    weight /= weight[known].max()  # the sum of large ones would be infinite
    totals = np.bincount(codes[known], weight[known]).astype(np.float64)
    weight[known] *= _of_classes(class_weight, classes, totals)[codes[known]]
    if np.ptp(weight[known]) == 0:
        return codes, classes, None
    return codes, classes, np.where(known, weight / weight[known].mean(), 1)


def row_weights(sample_weight: ArrayLike, n_rows: int) -> NDArray[np.float64]:
    """Read one number a row, of an array, a list or a tensor; None and NA become NaN.

    Raises:
        ValueError: there is another number of weights, or one is masked or no number.
    """
    refuse_masked(sample_weight, "sample_weight")
    given = np.asarray(of_tensor(sample_weight))
    if given.dtype.kind == "O" and given.ndim == 1:
        values = [np.nan if is_missing(value) else value for value in given]
        if all(isinstance(value, Real | np.bool_) for value in values):
            given = np.array(values, dtype=np.float64)
    if given.shape != (n_rows,) or given.dtype.kind not in "biuf":
        raise ValueError(
            f"sample_weight must be one number a row, ({n_rows},), got {given.dtype} "
            f"of shape {given.shape}"
        )
    return given.astype(np.float64)


def _of_classes(
    class_weight: ClassWeight, classes: NDArray[Any], totals: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find the weight of each class, `(n_classes,)`."""
    if class_weight is None:
        return np.ones(len(classes))
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(
                "class_weight must be 'balanced', a mapping from classes to weights, or None, got "
                f"{class_weight!r}"
            )
        return np.asarray(totals.sum() / (len(totals) * totals))
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            "class_weight must be 'balanced', a mapping from classes to weights, or None, got "
            f"{type(class_weight).__name__}"
        )
    names = classes.tolist()
    found = np.ones(len(names))
    for key, value in class_weight.items():
        if key not in names:
            raise ValueError(
                f"class_weight has the class {key!r}, which no labelled row has{_meant(key, names)}"
            )
        if not (isinstance(value, int | float | np.number) and 0 < value < np.inf):
            raise ValueError(
                f"class_weight must be finite and above 0, got {value!r} for class {key!r}; to "
                "ignore a class, remove its labels"
            )
        found[names.index(key)] = value
    return found


def _meant(key: Any, names: list[Any]) -> str:
    """End a message about a class that there is not: the one that may be meant, or all of them."""
    same = [one for one in names if str(one) == str(key)]
    if same:
        kinds = type(same[0]).__name__, type(key).__name__
        return f"; the class {same[0]!r} is of type {kinds[0]}, not {kinds[1]}"
    if near := nearest(str(key), [one for one in names if isinstance(one, str)]):
        return near
    return f"; the classes are {', '.join(map(repr, names[:MOST_NAMED]))}" + (
        ", ..." if len(names) > MOST_NAMED else ""
    )
