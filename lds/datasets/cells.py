"""Read a cell of a table: missing, a number, yes or no, or text."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

MISSING = frozenset(
    {"", "?", "??", "???", "-", "--", "---", "–", "—", ".", "..", "...", "missing"}
    | {"na", "n/a", "n.a.", "#na", "#n/a", "#n/a n/a", "<na>", "nan", "-nan", "nat", "null", "none"}
    | {"(missing)", "(blank)", "-1.#ind", "1.#ind", "-1.#qnan", "1.#qnan"}
)
"""Marks of a missing cell, in lower case: those of pandas.read_csv, and "?", dashes and dots."""

YES_NO = (
    {"true": 1.0, "false": 0.0},
    {"yes": 1.0, "no": 0.0},
    {"t": 1.0, "f": 0.0},
    {"y": 1.0, "n": 0.0},
)
"""Pairs of words, in lower case, that make a column of booleans, and their values."""

LARGEST = float(np.finfo(np.float32).max)
"""Largest number allowed in a table: networks compute in float32."""

OTHER = {".": ",", ",": "."}
"""The other decimal mark."""

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»"}
_GROUPS = " \u00a0\u2009\u202f'’_"
"""Separators of thousands besides the comma or the point: spaces, apostrophes, underscore."""


def _number(decimal: str) -> re.Pattern[str]:
    mark, other = re.escape(decimal), OTHER[decimal]
    return re.compile(
        r"(?P<sign>[+−-]?)\s*(?P<before>[$€£¥]?)\s*(?P<later>[+−-]?)\s*"
        rf"(?P<digits>[1-9][0-9]{{0,2}}(?P<group>[{_GROUPS}{other}])[0-9]{{3}}"
        rf"(?:(?P=group)[0-9]{{3}})*(?:{mark}[0-9]*)?|[0-9]+(?:{mark}[0-9]*)?|{mark}[0-9]+)"
        r"(?P<exponent>(?:[eE][+−-]?[0-9]+)?)\s*(?P<after>[$€£¥%]?)"
    )


_NUMBERS = {decimal: _number(decimal) for decimal in ".,"}
_INFINITE = re.compile(r"([+−-]?)(?:inf|infinity|∞)", re.IGNORECASE)


@dataclass
class Numbers:
    """A column read as numbers.

    Arguments:
        values: float64 `(n_rows,)`, NaN where missing or not a number.
        odd: rows with a cell that is neither missing nor a number.
        decimal: the decimal mark in use.
        units: signs beside the digits ("$", "%", ..., "" for none), and the first row of each.
        whole: whether each number is written as an integer.
    """

    values: NDArray[np.float64]
    odd: list[int]
    decimal: str
    units: dict[str, int] = field(default_factory=dict)
    whole: bool = True


def text_of(cell: str) -> str | None:
    """Remove white space and quotes around a cell; return None for a missing one."""
    text = cell.strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    return None if text.lower() in MISSING else text


def read_numbers(cells: Sequence[Any], decimal: str) -> Numbers:
    """Read cells as numbers.

    A number may have separators of thousands, the sign of a currency, brackets for a negative
    number, and an exponent; 12% is 0.12. Where more cells are numbers with the other decimal mark,
    that one is used.

    Arguments:
        cells: `(n_rows,)`, text as `text_of` returns it, numbers, or None where missing.
        decimal: the decimal mark, "." or ",".
    """
    first = read_marked(cells, decimal)
    if not first.odd:
        return first
    second = read_marked(cells, OTHER[decimal])
    return second if len(second.odd) < len(first.odd) else first


def read_marked(cells: Sequence[Any], decimal: str) -> Numbers:
    """Read cells as numbers with this decimal mark alone; see `read_numbers`."""
    found = Numbers(np.full(len(cells), np.nan), [], decimal)
    known: dict[str, tuple[float, str, bool] | None] = {}
    for row, cell in enumerate(cells):
        if cell is None:
            continue
        if not isinstance(cell, str):
            found.values[row] = _float(cell)
            found.units.setdefault("", row)
            found.whole &= found.values[row].is_integer() and not isinstance(cell, float)
            continue
        if cell not in known:
            known[cell] = _parsed(cell, decimal)
        parsed = known[cell]
        if parsed is None:
            found.odd.append(row)
            continue
        value, unit, whole = parsed
        found.values[row] = value
        found.units.setdefault(unit, row)
        found.whole &= whole
    return found


def _float(cell: Any) -> float:
    """Convert a number to a float, infinity if it is larger than any."""
    try:
        return float(cell)
    except OverflowError:  # of integers and fractions
        return math.inf if cell > 0 else -math.inf


def _parsed(text: str, decimal: str) -> tuple[float, str, bool] | None:
    """Read a text as a number, its unit, and whether it is an integer; None if it is no number."""
    bracketed = len(text) > 2 and text[0] == "(" and text[-1] == ")"
    inner = text[1:-1].strip() if bracketed else text
    if infinite := _INFINITE.fullmatch(inner):
        return (-math.inf if bracketed or infinite[1] in ("-", "−") else math.inf), "", False
    match = _NUMBERS[decimal].fullmatch(inner)
    if match is None:
        return None
    sign = match["sign"] + match["later"]
    if len(sign) + bracketed > 1 or (match["before"] and match["after"]):
        return None
    digits = match["digits"].replace(match["group"], "") if match["group"] else match["digits"]
    value = float(digits.replace(decimal, ".") + match["exponent"].replace("−", "-"))
    value = -value if bracketed or sign in ("-", "−") else value
    unit = match["before"] or match["after"]
    whole = unit != "%" and decimal not in digits and not match["exponent"]
    return value / 100 if unit == "%" else value, unit, whole


def read_booleans(cells: Sequence[Any]) -> tuple[NDArray[np.float64], list[int]]:
    """Read cells as 1 for yes and 0 for no, NaN where missing; list the rows that are neither."""
    meaning = {word: value for pair in YES_NO for word, value in pair.items()}
    meaning |= {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
    values, odd = np.full(len(cells), np.nan), []
    for row, cell in enumerate(cells):
        if cell is not None:
            values[row] = meaning.get(str(cell).lower(), np.nan)
            if np.isnan(values[row]):
                odd.append(row)
    return values, odd


def are_booleans(cells: Sequence[Any]) -> bool:
    """Whether the cells that are not missing are one pair of words for yes and no."""
    words = {str(cell).lower() for cell in cells if cell is not None}
    return any(words == set(pair) for pair in YES_NO)


def is_number(cell: Any) -> bool:
    """Whether a cell of a data frame is a real number."""
    return isinstance(cell, Real | Decimal | np.number | np.bool_) and not isinstance(cell, complex)
