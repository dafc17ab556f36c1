"""Dates and times of day written as text: their formats, and seconds since 1970.

pandas is an optional package (the extra lds[table]), so each function imports it where it needs it.
"""

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

OTHERS = (
    "%m/%d/%y",
    "%d/%m/%y",
    "%d.%m.%y",
    "%d-%b-%y",
    "%m/%Y",
    "%H:%M",
    "%H:%M:%S",
    "%H:%M:%S.%f",
    "%I:%M %p",
)
"""Formats tried besides those that pandas recognises."""

ISO = "ISO8601"
"""pandas' name for year-month-day, perhaps with a time; the parts may differ between cells."""

SAMPLE = 30
"""Number of different cells from which formats are guessed."""

_ZONE = re.compile(r"(?:\dT\d\d|\d:\d\d)[\d:.]*\s?(?:[Zz]|UTC|GMT|[+-]\d\d:?(?:\d\d)?)$")


def seconds_of(moments: Any) -> NDArray[np.float64]:
    """Convert moments (whatever `pandas.to_datetime` accepts) to seconds since 1970 in UTC.

    Missing ones become NaN.
    """
    import pandas as pd

    stamps = pd.to_datetime(pd.Series(moments), utc=True).dt.tz_localize(None)
    whole = stamps.to_numpy("datetime64[us]")
    seconds = whole.astype(np.int64) / 1e6
    seconds[np.isnat(whole)] = np.nan
    return np.asarray(seconds)


def has_zone(cell: Any) -> bool:
    """Whether a date has a time zone: a text by its end, such as Z or +02:00."""
    if isinstance(cell, str):
        return _ZONE.search(cell) is not None
    return getattr(cell, "tzinfo", None) is not None


def read_dates(
    cells: Sequence[Any], patterns: Sequence[str]
) -> tuple[NDArray[np.float64], list[int]]:
    """Convert cells to seconds since 1970.

    Arguments:
        cells: text, None where missing.
        patterns: formats of `strptime`, or `ISO`; each cell is read in the first that fits it.

    Returns:
        float64 `(n_cells,)`, NaN where no format fits or the cell is missing; and the numbers of
        the cells that are present and fit no format.
    """
    import pandas as pd

    column = pd.Series(list(cells), dtype=object)
    seconds = np.full(len(column), np.nan)
    for pattern in patterns:
        found = seconds_of(pd.to_datetime(column, format=pattern, errors="coerce", utc=True))
        seconds = np.where(np.isnan(seconds), found, seconds)
    odd = [k for k, cell in enumerate(cells) if cell is not None and np.isnan(seconds[k])]
    return seconds, odd


def span_of(seconds: NDArray[np.float64]) -> tuple[int, int]:
    """Return the years of the first and of the last moment of some, NaN where missing."""
    there = seconds[~np.isnan(seconds)]
    ends = np.array([there.min(), there.max()]).astype("datetime64[s]")
    first, last = (ends.astype("datetime64[Y]").astype(int) + 1970).tolist()
    return first, last


def formats_of(cells: Sequence[str]) -> list[tuple[str, int]]:
    """List the formats of dates that fit some of the cells, with how many each misses; best first.

    Of formats that miss as many, the one with the month before the day comes first, as in pandas;
    but dates with dots are written with the day first, so there that one comes first.

    Arguments:
        cells: different texts.
    """
    from pandas.tseries.api import guess_datetime_format

    with_digits = sorted({cell for cell in cells if any(sign.isdigit() for sign in cell)})
    sample = with_digits[:: max(1, len(set(cells)) // SAMPLE)]
    candidates: dict[str, None] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pandas warns of a day that cannot come first
        for dayfirst in (False, True):
            for cell in sample:
                guess = guess_datetime_format(cell, dayfirst=dayfirst)
                if isinstance(guess, str):
                    candidates[ISO if guess.startswith("%Y-%m-%d") else guess] = None
    if not any(mark in cell for cell in sample for mark in ":/.-"):
        found = list(candidates)
    else:
        found = [*candidates, *(pattern for pattern in OTHERS if pattern not in candidates)]
    missed = [(pattern, len(read_dates(cells, [pattern])[1])) for pattern in found]
    fitting = [(pattern, n) for pattern, n in missed if n < len(cells)]
    return sorted(fitting, key=lambda entry: (entry[1], entry[0].startswith("%m.")))


def next_format(cells: Sequence[str], patterns: Sequence[str]) -> str | None:
    """Find the format of the dates that other formats miss, or None.

    Arguments:
        cells: different texts.
        patterns: formats of whole dates; other ones have no next.
    """
    if not all(map(_has_a_day, patterns)):
        return None
    _, odd = read_dates(cells, patterns)
    formats = formats_of([cells[k] for k in odd])
    return next((pattern for pattern, _ in formats if _has_a_day(pattern)), None)


def _has_a_day(pattern: str) -> bool:
    """Whether a format is of whole dates, not of a time of day or a month."""
    return pattern == ISO or ("%d" in pattern and "%y" in pattern.lower())


def is_time_of_day(pattern: str) -> bool:
    """Whether a format is of a time of day, without a date."""
    return pattern != ISO and _parts(pattern) <= {"%H", "%I", "%M", "%S", "%f", "%p", "%z"}


def other_order(cells: Sequence[str], pattern: str) -> str | None:
    """Find a format that reads the dates of `pattern` with day and month exchanged, or None.

    Arguments:
        cells: different texts; those that do not fit `pattern` are ignored.
        pattern: a format. A year in front settles the order, and so `ISO` has no other.

    Returns:
        A format that fits all of these cells too, and gives other dates.
    """
    if pattern == ISO or pattern.startswith("%Y") or not {"%d", "%m"} <= _parts(pattern):
        return None
    swapped = pattern.replace("%d", "\0").replace("%m", "%d").replace("\0", "%m")
    first, _ = read_dates(cells, [pattern])
    second, _ = read_dates(cells, [swapped])
    there = ~np.isnan(first)
    return swapped if (~np.isnan(second[there])).all() and differ(first, second) else None


def spelled(pattern: str) -> str:
    """Write a format for a message."""
    return "year-month-day" if pattern == ISO else pattern


def _parts(pattern: str) -> set[str]:
    return {pattern[k : k + 2] for k, sign in enumerate(pattern) if sign == "%"}


def differ(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether some cell that two formats fit is another date in each."""
    both = ~np.isnan(first) & ~np.isnan(second)
    return bool((first[both] != second[both]).any())
