"""Convert X (arrays, sparse matrices, data frames) to the features of a fit."""

import reprlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.sparsefuncs import min_max_axis
from sklearn.utils.validation import validate_data

from lds._arrays import canonical, of_tensor, widened
from lds._labels import is_missing
from lds._types import Features
from lds.datasets.cells import LARGEST
from lds.datasets.dtypes import as_pandas, names_of
from lds.datasets.encoding import TableEncoding, repeated
from lds.datasets.labels import columns_equal_to
from lds.nn.preparation import as_array

FROM_DTYPE = "from_dtype"


def is_frame(X: Any) -> bool:
    """Return whether X is a frame of pandas, polars or pyarrow, but not one of sparse columns."""
    columns = hasattr(X, "columns") or hasattr(X, "collect_schema")
    if not columns or not (hasattr(X, "iloc") or hasattr(X, "to_pandas") or hasattr(X, "collect")):
        return False
    dtypes = list(getattr(X, "dtypes", ()))
    return not dtypes or not all(getattr(dtype, "fill_value", None) == 0 for dtype in dtypes)


def fitted_features(estimator: Any, X: ArrayLike) -> tuple[Any, TableEncoding | None]:
    """Make the features of the rows of a fit, and their encoding.

    Arguments:
        estimator: gets `n_features_in_` and `feature_names_in_`; has `categorical_features`.
        X: see `LDSClassifier.fit`.

    Returns:
        float64 `(n_rows, n_features)`, dense or CSR, and the encoding; None if X holds finite
        numbers only, which are the features as they are. Constant columns become no features,
        unless all are constant.

    Raises:
        TypeError, ValueError: X cannot be used.
    """
    categorical = estimator.categorical_features
    if is_frame(X):
        frame = _checked_frame(estimator, X, reset=True)
        names = [str(name) for name in frame.columns]
        encoding, features = TableEncoding.fit(frame, categorical=_chosen(categorical, names))
        return features, encoding
    x: Any = _checked_array(estimator, X, reset=True)
    names = [str(place) for place in range(x.shape[1])]
    chosen = _chosen(categorical, names) or []
    sparse: bool = sp.issparse(x)
    if sparse and chosen:
        raise ValueError(
            "categorical_features are for dense arrays and data frames, got sparse X; encode "
            "them first, as scikit-learn's OneHotEncoder does"
        )
    if not chosen and (sparse or not np.isnan(x).any()):
        least, most = min_max_axis(x, axis=0) if sparse else (x.min(0), x.max(0))
        varies: NDArray[np.bool_] = least != most
        if varies.all() or not varies.any():
            return x, None
        some = canonical(x[:, varies]) if sparse else np.ascontiguousarray(x[:, varies])
        return some, _unchanged(x, varies)
    encoding, features = TableEncoding.fit(x, categorical=chosen)
    return features, encoding


def _unchanged(x: Features, varies: NDArray[np.bool_]) -> TableEncoding:
    """Make the encoding that keeps the columns that vary as they are and leaves out the others."""
    every = TableEncoding.unchanged(x)
    kept = tuple(c for c, is_one in zip(every.columns, varies, strict=True) if is_one)
    names = {every.names[place]: "constant" for place in np.flatnonzero(~varies)}
    return replace(every, columns=kept, left_out=names)


def warn_of_label_columns(X: Any, labels: NDArray[Any], rows: NDArray[np.int64]) -> None:
    """Warn of columns of X that hold the labels themselves.

    Arguments:
        X: dense, or a frame.
        labels: of the labelled rows.
        rows: numbers of these rows.
    """
    X = of_tensor(X)
    if sp.issparse(X):
        return
    if is_frame(X):
        frame = as_pandas(X)
        columns = {str(name): frame.iloc[rows, k] for k, name in enumerate(frame.columns)}
    else:
        x = np.asarray(X)[rows]
        columns = {str(k): x[:, k] for k in range(x.shape[1])}
    for name in columns_equal_to(labels, columns):
        warnings.warn(
            f"column {name} of X equals y at all {len(rows):,} labelled rows; if it is the "
            "label, leave it out of X",
            UserWarning,
            stacklevel=3,
        )


def later_features(
    estimator: Any, X: ArrayLike, encoding: TableEncoding | None, fitted: Any
) -> Any:
    """Make the features of new rows.

    Arguments:
        estimator, X: as for `fitted_features`.
        encoding: of the fit.
        fitted: its features.
    """
    if is_frame(X):
        frame = _checked_frame(estimator, X, reset=False)
        names = tuple(map(str, frame.columns))
        if encoding is not None and encoding.names == names:
            return encoding.encode(frame)
        if encoding is not None and sorted(encoding.names) == sorted(names):
            raise ValueError(
                f"X must have its columns in the order of fit, {', '.join(encoding.names[:10])}, "
                f"got {', '.join(names[:10])}; X[list(columns of fit)] brings them in line"
            )
        wanted = tuple(map(str, range(len(names)))) if encoding is None else encoding.names
        _check_named(estimator, frame, wanted)
        X = frame  # of numbers, where the fit had an array
    elif encoding is not None and _holds_objects(X) and hasattr(estimator, "feature_names_in_"):
        import pandas as pd

        validate_data(estimator, X, reset=False, skip_check_array=True)
        return encoding.encode(pd.DataFrame(np.asarray(X, dtype=object), columns=encoding.names))
    x: Any = _checked_array(estimator, X, reset=False)
    if sp.issparse(x) and (encoding is None or sp.issparse(fitted)):
        if encoding is None:
            return x
        kept = [int(column.name) for column in encoding.columns]
        rows: Any = x  # for mypy, what issparse finds has no columns
        return canonical(rows[:, kept])
    x = as_array(x)
    if encoding is None and np.isnan(x).any():
        encoding = TableEncoding.unchanged(as_array(fitted))
    return x if encoding is None else encoding.encode(x)


def _check_named(estimator: Any, frame: Any, wanted: Sequence[str]) -> None:
    """Refuse columns with other names than in the fit.

    The numbers from 0 are no names. Where only the fit or only the frame has names and they are
    text, scikit-learn has warned that columns go by position.

    Arguments:
        estimator: that was fitted.
        frame: of later rows.
        wanted: names of the columns of the fit, as text; the numbers from 0 of an array.
    """
    names, numbered = list(map(str, frame.columns)), list(map(str, range(len(wanted))))
    if names == list(wanted) or len(names) != len(wanted):
        return  # scikit-learn refuses another number of columns
    if list(wanted) == numbered:
        warned = all(isinstance(name, str) for name in frame.columns)
    else:
        warned = names == numbered and hasattr(estimator, "feature_names_in_")
    if not warned:
        raise ValueError(
            f"X must have the columns of fit, {', '.join(wanted[:10])}, got "
            f"{', '.join(names[:10])}; pass X.to_numpy() to match columns by position"
        )


def _checked_frame(estimator: Any, X: Any, *, reset: bool) -> Any:
    frame = as_pandas(X)
    if fault := repeated(names_of(frame)):
        raise ValueError(fault)
    validate_data(estimator, frame, reset=reset, skip_check_array=True)
    least = 2 if reset else 1
    if len(frame) < least or not len(frame.columns):
        raise ValueError(
            f"X must have at least {least} row{'s' * reset} and a column, got shape {frame.shape}"
        )
    return frame


def _checked_array(estimator: Any, X: ArrayLike, *, reset: bool) -> Any:
    """Check numbers, NaN where missing; a sparse matrix must have none missing."""
    X = _numbers(of_tensor(X))
    checked: Any = validate_data(
        estimator,
        widened(X),  # scikit-learn sums repeated entries first
        reset=reset,
        accept_sparse="csr",
        dtype=np.float64,
        copy=reset,  # what is done to X after the fit changes nothing of it
        ensure_all_finite=False,
        ensure_min_samples=2 if reset else 1,
    )
    x: Any = canonical(checked)
    rows: NDArray[Any]
    columns: NDArray[Any]
    if sp.issparse(x):
        sparse: Any = x
        entries = sparse.tocoo()
        rows, columns, values = entries.row, entries.col, entries.data
        wrong = ~(np.abs(values) <= LARGEST)
        missing = "; missing values are taken in dense arrays and data frames"
    else:
        wrong = np.abs(x) > LARGEST
        places = np.nonzero(wrong)
        values, wrong, missing = x[places], wrong[places], ""
        rows, columns = places[0], places[1]
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        value = values[first]
        what = "NaN" if np.isnan(value) else "infinity" if np.isinf(value) else "a value too large"
        raise ValueError(
            f"X must hold finite numbers (float32), got {what} ({value:g}) in row {rows[first]}, "
            f"column {columns[first]}{missing if np.isnan(value) else ''}"
        )
    return x


def _numbers(X: Any) -> Any:
    """Refuse cells of arrays and lists that are no numbers; what is missing becomes NaN.

    Scikit-learn would make numbers of dates, -9.2e18 of a missing one, and read what a mask hides.
    """
    if not isinstance(X, np.ndarray | list | tuple):
        return X
    try:
        cells: NDArray[Any] = np.asarray(X)
    except ValueError:  # rows of several lengths, which scikit-learn refuses
        return X
    way = "pandas.DataFrame(X) takes text, dates and missing cells"
    if cells.dtype.kind in "mMV" or (cells.ndim == 1 and cells.size and _is_record(cells[0])):
        what = "records" if cells.dtype.kind in "VO" else str(cells.dtype)
        raise TypeError(f"X must hold numbers, got {what}; {way}")
    if cells.ndim == 2 and cells.dtype.kind in "OUST":
        hidden = np.ma.getmaskarray(X) if isinstance(X, np.ma.MaskedArray) else None
        return _floats(cells.astype(object), hidden, way)
    if isinstance(X, np.ma.MaskedArray):
        return np.ma.filled(np.ma.asarray(X, dtype=np.float64), np.nan)
    return X


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping | np.void)


def _floats(cells: NDArray[Any], hidden: NDArray[Any] | None, way: str) -> NDArray[np.float64]:
    """Convert objects `(n_rows, n_columns)` to float64, NaN where missing or hidden by a mask."""
    found = np.full(cells.shape, np.nan)
    for place in np.ndindex(*cells.shape):
        cell = cells[place]
        if is_missing(cell) or (hidden is not None and hidden[place]):
            continue
        try:
            if isinstance(cell, np.ndarray | np.datetime64 | timedelta | np.timedelta64):
                raise TypeError(f"it is of type {type(cell).__name__}")
            found[place] = float(cell)
        except (TypeError, ValueError, OverflowError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"X must hold numbers, got {reprlib.repr(cell)} in row {place[0]}, column "
                f"{place[1]} ({error}); {way}"
            ) from error
    return found


def _holds_objects(X: Any) -> bool:
    X = of_tensor(X)
    return not sp.issparse(X) and np.asarray(X).dtype.kind in "OUS"


def _chosen(categorical: Any, names: Sequence[str]) -> list[str] | None:
    """Find the names of the columns of categories; None: their dtype decides."""
    if categorical is None:
        return []
    if isinstance(categorical, str):
        if categorical == FROM_DTYPE:
            return None
        raise ValueError(
            f"categorical_features must be None, {FROM_DTYPE!r}, or a list of names, places or a "
            f"mask of columns, got {categorical!r}"
        )
    given: NDArray[Any] = np.asarray(categorical)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "biuOUST"):
        raise ValueError(
            f"categorical_features must be a list of names, places or a mask of columns, got "
            f"{given.dtype} of shape {given.shape}"
        )
    if given.dtype == bool:
        if given.size != len(names):
            raise ValueError(
                f"categorical_features as a mask must have one entry a column, {len(names)}, got "
                f"{given.size}"
            )
        return [name for name, is_one in zip(names, given, strict=True) if is_one]
    if given.dtype.kind in "iu":
        if given.size and not -len(names) <= given.min() <= given.max() < len(names):
            raise ValueError(
                f"categorical_features must be places of the {len(names)} columns, got "
                f"{given.min()} to {given.max()}"
            )
        return [names[place] for place in given]
    lacking = [str(name) for name in given if str(name) not in names]
    if lacking:
        raise ValueError(
            f"categorical_features must name columns of X, got {', '.join(lacking[:5])}; "
            f"X has {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
        )
    return [str(name) for name in given]
