"""Read columns of a data frame (pandas, polars, pyarrow) by their dtype, or as cells.

pandas is an optional package (the extra lds[table]), so it is imported where it is needed.
"""

from collections.abc import Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from lds.datasets.cells import is_number, text_of
from lds.datasets.dates import has_zone, seconds_of
from lds.datasets.notes import Notes


def names_of(frame: Any) -> list[str]:
    """List the names of columns as text; those of an array are "0", "1", ..."""
    if isinstance(frame, np.ndarray):
        return [str(place) for place in range(frame.shape[1])]
    return [str(name) for name in frame.columns]


def as_pandas(frame: Any) -> Any:
    """Convert a data frame of polars or pyarrow to pandas; return pandas' and arrays as they are.

    Raises:
        ImportError: the frame is not of pandas, and pandas or pyarrow is not installed.
        TypeError: `frame` is none of these.
    """
    if isinstance(frame, np.ndarray) or hasattr(frame, "iloc"):
        return frame
    if hasattr(frame, "collect") and hasattr(frame, "collect_schema"):
        frame = frame.collect()  # polars' LazyFrame
    if not hasattr(frame, "to_pandas"):
        raise TypeError(f"a table must be a data frame, got {type(frame).__name__}")
    try:
        return frame.to_pandas()
    except ImportError as error:
        raise ImportError(
            f"a data frame of {type(frame).__module__.split('.')[0]} needs pandas and pyarrow: "
            f"pip install 'lds[table]' ({error})"
        ) from error


def column_at(frame: Any, place: int) -> Any:
    """Return a column by its place: a pandas Series, or the numbers of an array."""
    return frame[:, place] if isinstance(frame, np.ndarray) else frame.iloc[:, place]


def plain_of(name: str, raw: Any, notes: Notes) -> tuple[str, Any]:
    """Find the kind of a column by its dtype, and its values; "cells" if the dtype does not tell.

    Arguments:
        name: of the column.
        raw: a pandas Series or an array.
        notes: gets a fault if the column cannot be used.
    """
    if isinstance(raw, np.ndarray):
        return "number", raw.astype(np.float64)
    import pandas as pd

    types = pd.api.types
    if isinstance(raw.dtype, pd.CategoricalDtype):
        return "category", texts_of(cells_of(raw))
    if isinstance(raw.dtype, pd.SparseDtype):
        raw = raw.sparse.to_dense()
    if isinstance(raw.dtype, pd.PeriodDtype):
        raw = raw.dt.to_timestamp()
    if types.is_complex_dtype(raw.dtype):
        notes.faults.append(f"column {name!r} must hold real numbers, got complex ones")
        return "number", np.zeros(len(raw))
    if types.is_bool_dtype(raw.dtype) and raw.dtype != object:
        return "boolean", raw.to_numpy(dtype=np.float64, na_value=np.nan)
    if types.is_numeric_dtype(raw.dtype):
        return "number", raw.to_numpy(dtype=np.float64, na_value=np.nan)
    if types.is_datetime64_any_dtype(raw.dtype):
        return "date", seconds_of(raw)
    if types.is_timedelta64_dtype(raw.dtype):
        return "duration", raw.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)
    cells = cells_of(raw)
    there = [cell for cell in cells if cell is not None]
    if there and all(isinstance(cell, bool | np.bool_) for cell in there):
        return "boolean", np.array([np.nan if c is None else float(c) for c in cells])
    if there and all(isinstance(cell, date | np.datetime64) for cell in there):
        return "date", seconds_of(cells)
    if there and all(isinstance(cell, time) for cell in there):
        return "time", np.array([np.nan if c is None else _of_day(c) for c in cells])
    if there and all(isinstance(cell, timedelta | np.timedelta64) for cell in there):
        spans = pd.to_timedelta(pd.Series(cells)).dt.total_seconds()
        return "duration", spans.to_numpy(dtype=np.float64, na_value=np.nan)
    for row, cell in enumerate(cells):
        if not (cell is None or isinstance(cell, str | date) or is_number(cell)):
            notes.faults.append(
                f"column {name!r} must hold a number, a date or text in each row, got "
                f"{type(cell).__name__} in row {row}"
            )
            return "number", np.zeros(len(cells))
    return "cells", [str(c) if isinstance(c, date) else c for c in cells]


def zones_of(raw: Any) -> NDArray[np.bool_]:
    """Find the rows of a pandas column of dates whose date has a time zone."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(raw.dtype):
        dtype = getattr(raw.dtype, "pyarrow_dtype", raw.dtype)
        return np.full(len(raw), getattr(dtype, "tz", None) is not None)
    return np.array([has_zone(cell) for cell in cells_of(raw)], dtype=bool)


def cells_of(raw: Any) -> list[Any]:
    """List the cells of a column, None where missing; strip text of white space and quotes."""
    if isinstance(raw, np.ndarray):
        return [None if np.isnan(c) else int(c) if c.is_integer() else c for c in raw.tolist()]
    try:
        nothing = raw.isna().to_numpy(dtype=bool)
    except ArithmeticError:  # a signalling NaN refuses comparison
        raw = raw.map(lambda cell: None if isinstance(cell, Decimal) and cell.is_snan() else cell)
        nothing = raw.isna().to_numpy(dtype=bool)
    found: list[Any] = []
    for cell, absent in zip(raw.to_numpy(dtype=object), nothing, strict=True):
        cell = decoded(cell)
        if absent or cell is None:
            found.append(None)
        elif isinstance(cell, str):
            found.append(text_of(cell))
        elif isinstance(cell, float | np.floating):
            found.append(None if np.isnan(cell) else float(cell))
        else:
            found.append(cell)
    return found


def decoded(cell: Any) -> Any:
    """Return bytes, as parquet has them for binary text, as text; all else as it is."""
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell


def texts_of(cells: Sequence[Any]) -> NDArray[Any]:
    """Convert cells to text, with one text for each value.

    Whole numbers become integers, for 1 and 1.0 are one value; and letters have Unicode's form NFC,
    for an accent may be a sign of its own.
    """
    texts = [
        None if c is None else str(int(c)) if isinstance(c, float) and c.is_integer() else str(c)
        for c in cells
    ]
    one_form = [None if text is None else normalize("NFC", text) for text in texts]
    return np.array(one_form, dtype=object)


def _of_day(moment: time) -> float:
    return moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6
