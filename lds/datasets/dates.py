"""Dates and times of day written as text: their format, and seconds since 1970."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

OTHERS = ("%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%b-%y", "%m/%Y", "%H:%M", "%H:%M:%S",
          "%H:%M:%S.%f", "%I:%M %p")  # fmt: skip
"""Formats tried besides those that pandas recognises."""

SAMPLE = 30
"""Different cells from which formats are guessed."""


def seconds_of(moments: Any) -> NDArray[np.float64]:
    """Seconds since 1970 in UTC of whatever pandas takes for moments, NaN where missing."""
    import pandas as pd

    stamps = pd.to_datetime(pd.Series(moments), utc=True).dt.tz_localize(None)
    whole = stamps.to_numpy("datetime64[us]")
    seconds = whole.astype(np.int64) / 1e6
    seconds[np.isnat(whole)] = np.nan
    return np.asarray(seconds)


def read_dates(cells: Sequence[Any], pattern: str) -> tuple[NDArray[np.float64], list[int]]:
    """Cells as seconds, NaN where missing; and the rows that are there and do not fit `pattern`.

    Arguments:
        cells: text, None where missing.
        pattern: a format of `strptime`, or "ISO8601".
    """
    import pandas as pd

    column = pd.Series(list(cells), dtype=object)
    seconds = seconds_of(pd.to_datetime(column, format=pattern, errors="coerce", utc=True))
    odd = [k for k, cell in enumerate(cells) if cell is not None and np.isnan(seconds[k])]
    return seconds, odd


def formats_of(cells: Sequence[str]) -> list[tuple[str, int]]:
    """Formats of dates that fit some of the cells, with how many each misses; best first.

    Of equally good ones, the one with the month before the day is first, as in pandas.
    """
    from pandas.tseries.api import guess_datetime_format

    sample = sorted({cell for cell in cells if any(sign.isdigit() for sign in cell)})[:: max(
        1, len(set(cells)) // SAMPLE
    )]  # fmt: skip
    candidates: dict[str, None] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on a day that cannot come first
        for dayfirst in (False, True):
            for cell in sample:
                guess = guess_datetime_format(cell, dayfirst=dayfirst)
                if isinstance(guess, str):
                    iso = guess.startswith("%Y-%m-%d")  # times and fractions come and go
                    candidates["ISO8601" if iso else guess] = None
    if not any(":" in cell or "/" in cell or "." in cell or "-" in cell for cell in sample):
        found = list(candidates)
    else:
        found = [*candidates, *(pattern for pattern in OTHERS if pattern not in candidates)]
    missed = [(pattern, len(read_dates(cells, pattern)[1])) for pattern in found]
    fitting = [(pattern, n) for pattern, n in missed if n < len(cells)]
    return sorted(fitting, key=lambda entry: entry[1])
