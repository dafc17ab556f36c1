"""Divide labelled rows into roles, and compute the accuracy on labelled rows."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import accuracy_score

from lds._arrays import of_tensor, refuse_masked
from lds._labels import check_trains, read_labels
from lds._types import Split
from lds.datasets.splits import three_way
from lds.estimators.weights import row_weights


def split_roles(
    codes: NDArray[np.int64],
    classes: Sequence[Any] | NDArray[Any],
    validation: ArrayLike | None,
    stopping: ArrayLike | None,
    seed: int,
) -> Split:
    """Divide labelled rows into roles: the given ones, or a third each.

    Arguments:
        codes: `(n_rows,)`, -1 where unlabelled.
        classes: class c has the name classes[c].
        validation, stopping: row numbers, or masks of booleans or of 0 and 1, both or neither; all
            other labelled rows train.
        seed: of the random division, if neither is given.

    Raises:
        ValueError: only one of them is given; a row is out of range, unlabelled or in both; or
            the other labelled rows are of fewer than two classes.
    """
    labelled = np.flatnonzero(codes >= 0)
    none = labelled[:0]
    if validation is None and stopping is None:
        return Split(*three_way(codes, labelled, seed), none, dealt=True)
    if validation is None or stopping is None:
        raise ValueError("validation and stopping must be given together, got only one of them")
    judge, stop = _rows(validation, "validation", codes), _rows(stopping, "stopping", codes)
    both = np.intersect1d(judge, stop)
    if both.size:
        raise ValueError(f"validation and stopping must not share rows, got row {both[0]} in both")
    train = np.setdiff1d(labelled, np.concatenate([judge, stop]))
    check_trains(codes, train, "the labelled rows outside of validation and stopping", classes)
    alone = np.setdiff1d(codes[stop], codes[np.concatenate([train, judge])])
    if alone.size:
        names = ", ".join(repr(name) for name in np.asarray(classes)[alone].tolist())
        warnings.warn(
            f"all labelled rows of {'class' if alone.size == 1 else 'classes'} {names} are in "
            "stopping, from which nothing is learned; leave one of each class to training or "
            "validation",
            UserWarning,
            stacklevel=2,
        )
    return Split(train, judge, stop, none)


def is_mask(rows: NDArray[Any]) -> bool:
    """Return whether rows are given by a mask: booleans, or more than two zeros and ones."""
    if rows.dtype == bool:
        return True
    numbers = rows.ndim == 1 and rows.dtype.kind in "iu"
    return numbers and rows.size > 2 and bool(((rows == 0) | (rows == 1)).all())


def _rows(rows: ArrayLike, name: str, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    refuse_masked(rows, name)
    found = np.asarray(of_tensor(rows))
    numbers = found.ndim == 1 and found.dtype.kind in "iu"
    if is_mask(found):
        if found.shape != codes.shape:
            raise ValueError(f"{name} as a mask must have shape {codes.shape}, got {found.shape}")
        found, numbers = np.flatnonzero(found), True
    if not numbers or found.size == 0:
        raise ValueError(
            f"{name} must be row numbers or a mask of at least one row, got {found.dtype} of shape "
            f"{found.shape}{'; astype(bool) makes a mask' if found.dtype.kind in 'fO' else ''}"
        )
    if found.min() < 0 or found.max() >= codes.size:
        raise ValueError(
            f"{name} must index the {codes.size} rows of X, got {found.min()} to {found.max()}"
        )
    if (codes[found] < 0).any():
        raise ValueError(f"{name} must hold labelled rows, got row {found[codes[found] < 0][0]}")
    return np.unique(found).astype(np.int64)


def accuracy(
    predicted: NDArray[Any], y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the weighted share of labelled rows whose class was predicted.

    Arguments:
        predicted: `(n_rows,)`, classes.
        y: `(n_rows,)`, see `lds._labels.encode_labels`; rows without a label do not count.
        sample_weight: `(n_rows,)`, at least 0; None gives all rows the same weight.

    Raises:
        TypeError: y holds text and the classes are numbers, or the other way round.
        ValueError: y or the weights cannot be used, or no row is labelled.
    """
    labels = read_labels(y, predicted.size)
    if not labels.known.any():
        raise ValueError(f"y must label a row to score, got {predicted.size} rows without a label")
    is_text, of_fit = labels.values.dtype.kind == "U", predicted.dtype.kind in "UO"
    if is_text != of_fit:
        kinds = ("numbers", "text") if is_text else ("text", "numbers")
        one, other = (values[:1].tolist()[0] for values in (predicted, labels.values))
        raise TypeError(
            f"y must hold the classes of the fit, which are {kinds[0]} such as {one!r}, got "
            f"{kinds[1]} such as {other!r}{'' if is_text else '; y.astype(str) makes text of them'}"
        )
    weights = None
    if sample_weight is not None:
        weights = row_weights(sample_weight, predicted.size)[labels.known]
        if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.sum():
            raise ValueError(
                "sample_weight must be finite and at least 0, and above 0 for a labelled row"
            )
    return float(accuracy_score(labels.values, predicted[labels.known], sample_weight=weights))
