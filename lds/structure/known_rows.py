"""Rows of a fit among later rows, and their answers."""

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lds._arrays import canonical, refuse_masked
from lds._types import Features

Rows = Features | Tensor | ArrayLike
Answers = NDArray[np.floating[Any]]

APART = 0.1
"""Difference of the class probabilities of equal rows from which on a warning says so."""


def rows_like(new: Rows, fitted: Features) -> Any:
    """Check later rows, and bring them into the dtype and the storage of those of the fit.

    Integers of the fit are no reason to round: then later rows keep what they hold.

    Arguments:
        new: `(n_new, n_features)`, of any storage.
        fitted: features of the fit.

    Raises:
        TypeError, ValueError: see `Learned.predict_new`.
    """
    if isinstance(new, Tensor):
        new = new.detach().cpu().to_dense()
        new = (new.float() if new.is_floating_point() and new.itemsize < 4 else new).numpy()
    refuse_masked(new, "new")
    rows: Any = new if sp.issparse(new) else np.asarray(new)
    if rows.dtype.kind not in "biuf":
        raise TypeError(
            f"new must hold numbers, (n_new, n_features), got {type(new).__name__} of {rows.dtype}"
        )
    if rows.ndim != 2 or rows.shape[1] != fitted.shape[1]:
        raise ValueError(
            f"new must be (n_new, n_features) with the {fitted.shape[1]} features of the fit, "
            f"got shape {rows.shape}"
        )
    if sp.issparse(rows) != sp.issparse(fitted):
        rows = sp.csr_array(rows) if sp.issparse(fitted) else rows.toarray()
    if fitted.dtype.kind == "f":
        with np.errstate(over="ignore"):
            rows = rows.astype(fitted.dtype, copy=False)
    rows = canonical(rows)
    values: NDArray[Any] = np.asarray(getattr(rows, "data", rows)) if sp.issparse(rows) else rows
    if not np.isfinite(values).all():
        raise ValueError(
            f"new must be finite in {fitted.dtype}, got NaN, infinity or a number too large; "
            "impute or drop such rows"
        )
    return rows


def known_answers(new: Any, fitted: Any, answers: Answers) -> tuple[NDArray[np.bool_], Answers]:
    """Find the rows of `new` that are rows of the fit, and what the fit says of them.

    All rows of the fit in their order have its answers, row by row. Otherwise a row that equals
    several rows of the fit has the mean of their answers, which may differ: on a graph equal rows
    have other edges. Where they differ much a warning says so.

    Arguments:
        new, fitted: `(n, n_features)`, both dense or both CSR as of `canonical`.
        answers: class probabilities of the rows of the fit, `(n_fitted, n_classes)`.

    Returns:
        Which rows of `new` are known, and class probabilities `(n_new, n_classes)`, of no meaning
        where a row is not known.
    """
    first, equal = known_rows(new, fitted)
    known = first >= 0
    if np.array_equal(first, equal):
        return known, answers.copy()
    found = answers[first]
    low, high, total = answers.copy(), answers.copy(), np.zeros_like(answers)
    np.minimum.at(low, equal, answers)
    np.maximum.at(high, equal, answers)
    np.add.at(total, equal, answers)
    apart = (high - low).max(1)[first]
    several = known & (apart > 0)  # a mean of equal numbers would round
    of_several = first[several]
    found[several] = total[of_several] / np.bincount(equal)[of_several, None]
    if n := int((known & (apart > APART)).sum()):
        warnings.warn(
            f"{n:,} of {len(known):,} rows equal several rows of the fit whose class "
            "probabilities differ, and get their mean; the result of the fit (transduction_, "
            "label_distributions_) has those of each row",
            UserWarning,
            stacklevel=4,
        )
    return known, found


def known_rows(new: Any, fitted: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the first row of `fitted` equal to each row of `new`, -1 where there is none.

    Arguments:
        new, fitted: as of `known_answers`.

    Returns:
        These, `(n_new,)`, and the first equal row of each row of `fitted`, `(n_fitted,)`.
    """
    dtype = np.result_type(new.dtype, fitted.dtype)
    new, fitted = new.astype(dtype, copy=False), fitted.astype(dtype, copy=False)
    numbers: dict[bytes, int] = {}
    equal = [numbers.setdefault(row, number) for number, row in enumerate(_contents(fitted))]
    first = [numbers.get(row, -1) for row in _contents(new)]
    return np.array(first, dtype=np.int64), np.array(equal, dtype=np.int64)


def _contents(rows: Any) -> Iterator[bytes]:
    if not sp.issparse(rows):
        yield from (row.tobytes() for row in rows + rows.dtype.type(0))  # -0 becomes 0
        return
    x: Any = rows
    for start, stop in itertools.pairwise(x.indptr):
        yield x.indices[start:stop].astype(np.int64).tobytes() + x.data[start:stop].tobytes()
