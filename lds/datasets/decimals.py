"""Detect the decimal mark of the numbers in a file."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

COMMA = re.compile(r"[-+]?(\d{1,3}(\.\d{3})+|\d*),\d+%?")
"""A number with a decimal comma, perhaps with points between thousands."""

POINT = re.compile(r"[-+]?(\d{1,3}(,\d{3})+|\d*)\.\d+(e[-+]?\d+)?%?", re.I)
"""A number with a decimal point, perhaps with commas between thousands."""

THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}((\.\d{3})+|(,\d{3})+)%?")
"""A number that may be whole, with a mark between thousands."""

MILLIONS = re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3}){2,}%?")
"""A whole number with several points between thousands, so that the point is no decimal mark."""

CERTAIN = 1000
"""Number of cells with a certain decimal mark after which the search ends."""


class DecimalMark(NamedTuple):
    """The decimal mark of a file.

    Arguments:
        mark: "." or ","; None: no number has one.
        doubt: a sentence on how a number was read that has two meanings, "" where there is none.
    """

    mark: str | None
    doubt: str = ""


def decimal_mark(
    rows: Iterable[Sequence[str]], separator: str, assumed: str | None = None
) -> DecimalMark:
    """Detect the decimal mark of numbers.

    A number such as 1,100 has two meanings. It is read by the other numbers of the file. Where none
    decides, the mark in it is a decimal comma in a file that is separated by ";", for programs
    write ";" to keep the comma for decimals; otherwise the point is a decimal mark and the comma is
    between thousands.

    Arguments:
        rows: cells of the file.
        separator: of cells.
        assumed: the mark where no number decides; None guesses it.
    """
    found: Counter[str] = Counter()
    example: dict[str, str] = {}
    for cells in rows:
        if found[","] + found["."] > CERTAIN:
            break
        for cell in cells:
            if "," not in cell and "." not in cell:
                continue
            kind = "," if COMMA.fullmatch(cell) else "." if POINT.fullmatch(cell) else ""
            if kind and THOUSANDS.fullmatch(cell):
                example.setdefault(kind, cell)
            else:
                found[kind or ("millions" if MILLIONS.fullmatch(cell) else "")] += 1
    if found[","] and found["."]:
        return DecimalMark("," if found[","] > found["."] else ".")
    if found[","] or found["."]:
        return DecimalMark("," if found[","] else ".")
    if not example:
        return DecimalMark(None)
    if found["millions"]:
        return DecimalMark(",")
    if assumed is not None:
        return DecimalMark(assumed)
    if separator == ";" and "," in example:
        return DecimalMark(",", _doubt(example[","], "comma", is_decimal=True))
    if "." in example:
        certain = separator == ","  # a file that keeps the comma for cells has decimal points
        doubt = "" if certain else _doubt(example["."], "point", is_decimal=True)
        return DecimalMark(".", doubt)
    return DecimalMark(None, _doubt(example[","], "comma", is_decimal=False))


def _doubt(number: str, mark: str, *, is_decimal: bool) -> str:
    fraction = number.replace(",", ".")
    whole = number.replace(",", "").replace(".", "")
    chosen, other = (fraction, whole) if is_decimal else (whole, fraction)
    return (
        f"numbers such as {number} are read as {chosen}, not as {other}: no other number decides "
        f"what the {mark} means (leave out separators of thousands to be sure)"
    )
