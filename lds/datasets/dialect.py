"""Detect how a text of cells is written: separator, quotes, comments, header."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lds.datasets.cells import MISSING

COMMENTS = ("#", "%", "//")
"""Marks at the beginning of a comment line."""

SEPARATORS = (",", ";", "\t", "|", " ")
"""Separators that are detected."""

NAMES = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'", " ": "spaces"}
"""Separators as messages write them."""

SPELLED = {
    "tab": "\t",
    "\\t": "\t",
    "space": " ",
    "spaces": " ",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
}
"""Words for separators that are hard to type in a shell."""

SAMPLE_LINES, SAMPLE_CHARACTERS = 100, 20_000
"""The separator is detected from the first lines: at most so many, and so many characters."""

YEARS = range(1800, 2101)
"""Integers that name columns of years."""

VALUE = re.compile(r"(?=.*\d)[^A-Za-z]*(\d[eE][-+]?\d+)?[^A-Za-z]*|[-\d]+T[\d:.,+-]+Z?")
"""A number, an amount, a date or a time: digits and no letter except in an exponent."""

NUMERIC = 0.9
"""Share of values among the cells of a column from which on it is a column of values."""

HEADER_ROWS = 1000
"""Number of rows that decide whether a column is one of values."""


@dataclass(frozen=True)
class Dialect:
    """How the cells of a line are separated.

    Arguments:
        separator: one character; " " is any run of spaces and tabs.
        quote: the character around cells that hold a separator.
    """

    separator: str
    quote: str = '"'

    def rows(self, lines: Sequence[str], first: int = 1) -> list[tuple[int, list[str]]]:
        """Split lines into rows of cells, without white space around them and without blank lines.

        Arguments:
            lines: without their ends.
            first: number of the first line.

        Returns:
            For each row, the number of the line on which it ends, and its cells.

        Raises:
            ValueError: a quote is not closed, or is not followed by a separator.
        """
        spaces = self.separator == " "
        after = re.compile(rf"{re.escape(self.quote)} +(?={re.escape(self.separator)}|$)")
        source = (
            after.sub(self.quote, (line.replace("\t", " ") if spaces else line).rstrip(" ")) + "\n"
            for line in lines
        )
        escaped = any(f"\\{self.quote}" in line for line in lines)
        reader = csv.reader(
            source,
            delimiter=self.separator,
            quotechar=self.quote,
            skipinitialspace=True,
            escapechar="\\" if escaped else None,
            strict=True,
        )
        rows, begun = [], 0
        try:
            for cells in reader:
                begun = reader.line_num
                if cells:
                    rows.append((first - 1 + begun, [cell.strip() for cell in cells]))
        except csv.Error as error:
            raise ValueError(_broken_quote(str(error), first + begun, self)) from error
        return rows


def _broken_quote(error: str, line: int, dialect: Dialect) -> str:
    if "field larger" in error:
        return f"line {line} has a cell of over 131,072 characters; perhaps a quote is left open"
    if "unexpected end" in error:
        return f"line {line} opens a quote ({dialect.quote}) that is never closed"
    return (
        f"line {line} has a quote ({dialect.quote}) that is not followed by a separator "
        f"({NAMES.get(dialect.separator, repr(dialect.separator))}); a quote within a quoted cell "
        "is written twice"
    )


def separator_of(text: str) -> str:
    """Return the separator that a user typed: one character, or a word of `SPELLED`.

    Raises:
        ValueError: it is neither.
    """
    found = SPELLED.get(text.lower(), text)
    if len(found) != 1 or found in "\"'\n\r" or found.isalnum():
        raise ValueError(
            f"separator must be one character, such as ',' or ';', or a word ({', '.join(SPELLED)})"
            f", got {text!r}"
        )
    return found


SPACED = re.compile(r"""(["']) *([,;|\t]) *(?=["'])""")
"""A separator of quoted cells with spaces around it, which would be read as separators."""


def find_dialect(lines: Sequence[str], separator: str | None) -> Dialect:
    """Detect the separator and the quote of a file with `clevercsv`.

    References:
        van den Burg, Nazábal and Sutton, 2019, "Wrangling messy CSV files by detecting row and
        type patterns", https://doi.org/10.1007/s10618-019-00646-y

    Arguments:
        lines: of the file, without comments.
        separator: given by the user; None detects it.

    Returns:
        The dialect; with one column, and so without a separator, it is ",".
    """
    import clevercsv  # of the extra lds[table]

    sample = "\n".join(line for line in lines[:SAMPLE_LINES] if line.strip())
    sample = sample[:SAMPLE_CHARACTERS].rpartition("\n")[0] or sample
    sample = SPACED.sub(r"\1\2", sample)
    among = list(SEPARATORS) if separator is None else [separator]
    found = clevercsv.Sniffer().sniff(sample, delimiters=among)
    quote = "'" if found is not None and found.quotechar == "'" else '"'
    if separator is not None:
        return Dialect(separator, quote)
    guess = Dialect((found and found.delimiter) or ",", quote)
    spaced = Dialect(" ", quote)
    return spaced if _holds_rows(guess, spaced, sample.split("\n")) else guess


SEVERAL = re.compile(r"[-+]?[\d.,]+(\s+[-+]?[\d.,]+)+")
"""Several numbers in one cell."""

GROUPED = re.compile(r"[-+]?\d{1,3}(\s\d{3})+([.,]\d+)?")
"""One number in groups of three digits."""


def _holds_rows(guess: Dialect, spaced: Dialect, sample: list[str]) -> bool:
    """Whether each cell of a column holds several numbers, and spaces split all lines evenly."""
    if guess.separator == " ":
        return False
    try:
        columns = list(zip(*(cells for _, cells in guess.rows(sample)), strict=True))
        parted = {len(cells) for _, cells in spaced.rows(sample)}
    except ValueError:
        return False
    return len(parted) == 1 and any(
        all(SEVERAL.fullmatch(cell) for cell in column)
        and not all(GROUPED.fullmatch(cell) for cell in column)
        for column in columns
    )


def leading_comments(lines: Sequence[str]) -> tuple[int, list[str]]:
    """Count the lines before the first row, and list the comments among them without their marks.

    A line that begins with a mark of `COMMENTS` is a comment, unless most lines of the file do.
    """
    marked = sum(line.startswith(COMMENTS) for line in lines)
    if 2 * marked > sum(bool(line.strip()) for line in lines):
        return 0, []
    comments: list[str] = []
    for number, line in enumerate(lines):
        if line.strip() and not line.startswith(COMMENTS):
            return number, comments
        if line.strip():
            comments.append(line.lstrip("#%/ \t"))
    return len(lines), comments


class HeaderGuess(NamedTuple):
    """Whether the first line names the columns.

    Arguments:
        is_header: None where columns of numbers have both words and numbers above them.
        by_words: whether the guess rests on words alone, for no column of numbers decides.
    """

    is_header: bool | None
    by_words: bool = False


def guess_header(first: Sequence[str], body: Sequence[Sequence[str]]) -> HeaderGuess:
    """Guess whether the first line names the columns.

    A word that is nowhere else in its column of numbers makes the line a header; a number there
    makes it a row, unless the numbers of the line count up, as names 0, 1, 2 and 2019, 2020 do. A
    line of such numbers alone that are no years is a row if they are as those below: a count from 0
    or 1 if all of its numbers are in their columns again, another count if all are within their
    columns. Without columns of numbers it is a row if one of its cells is in its column again, or
    twice in the line.

    Arguments:
        first: its cells.
        body: the other rows, of as many cells.
    """
    cells = [cell for cell in first if cell.lower() not in MISSING]
    body = [row for row in body if row != first]  # a header may be there again
    if not body:
        return HeaderGuess(not any(VALUE.fullmatch(cell) for cell in cells))
    words, values, like = [], [], list[bool]()
    count = _count(cells)
    alone = all(VALUE.fullmatch(cell) for cell in cells) and count not in YEARS
    columns = list(zip(*body, strict=True))
    for cell, column in zip(first, columns, strict=True):
        rest = [one for one in column[:HEADER_ROWS] if one.lower() not in MISSING]
        if cell.lower() in MISSING or not rest:
            continue
        if sum(bool(VALUE.fullmatch(one)) for one in rest) < NUMERIC * len(rest):
            continue
        if VALUE.fullmatch(cell):
            values.append(cell)
            if count is not None and alone:
                like.append(cell in column if count in (0, 1) else _within(cell, rest))
        elif cell not in column:
            words.append(cell)
    named_by_count = not all(like)
    if named_by_count or (count is not None and not alone):
        values = []
    if words and len(values) > len(words):
        return HeaderGuess(None)
    if words or values:
        return HeaderGuess(bool(words))
    if len(set(cells)) < len(cells):
        return HeaderGuess(False, by_words=True)
    again = any(
        cell in column
        for cell, column in zip(first, columns, strict=True)
        if cell.lower() not in MISSING and not (named_by_count and VALUE.fullmatch(cell))
    )
    return HeaderGuess(not again, by_words=True)


def _count(cells: Sequence[str]) -> int | None:
    """Return the first of the numbers among the cells if they are consecutive integers in order."""
    numbers = [cell for cell in cells if VALUE.fullmatch(cell)]
    if len(numbers) < 2 or not all(number.isdecimal() for number in numbers):
        return None
    first = int(numbers[0])
    counts = [int(number) for number in numbers] == list(range(first, first + len(numbers)))
    return first if counts else None


def _within(cell: str, column: Sequence[str]) -> bool:
    """Whether an integer is neither below nor above all numbers of a column."""
    numbers = [float(one) for one in column if re.fullmatch(r"[-+]?\d+(\.\d*)?", one)]
    return bool(numbers) and min(numbers) <= int(cell) <= max(numbers)
