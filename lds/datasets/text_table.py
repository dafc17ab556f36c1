"""Split a text file into rows of cells under named columns."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lds.datasets.dialect import (
    COMMENTS,
    NAMES,
    VALUE,
    Dialect,
    find_dialect,
    guess_header,
    leading_comments,
    separator_of,
)

TABBED = (".tsv", ".tab")
"""Suffixes of files separated by tabs."""

SHOWN = 3
"""Number of lines or names that a message lists."""

EXCEL_HINT = re.compile(r"sep=(.)", re.I)
"""A first line that gives the separator to Excel."""


IF_A_ROW = "; if it is a row, say --no-header (in Python header=False)"
IF_A_HEADER = "; if it is a header, say --header (in Python header=True)"


class UnclearHeaderError(ValueError):
    """The first line may be a header or a row."""


@dataclass
class TextTable:
    """A text file split into cells.

    Arguments:
        names: of the columns.
        body: rows below the header, all of the same number of cells.
        separator: of cells.
        header: whether the file has a header.
        found: what was guessed or left out, in short sentences.
        renamed: name in the file by name, of columns whose name there is that of one before.
    """

    names: list[str]
    body: list[list[str]]
    separator: str
    header: bool
    found: list[str]
    renamed: dict[str, str]

    @classmethod
    def of(
        cls,
        path: Path,
        text: str,
        separator: str | None,
        header: bool | None,
        known: Sequence[str] = (),
    ) -> "TextTable":
        """Split a text.

        Arguments:
            path: of the file, for messages and its suffix.
            text: of the file, with line feeds at the ends of lines.
            separator: of cells; None detects it.
            header: whether the first line names the columns; None detects it.
            known: columns of the table of which these are further rows; () where there is none.

        Raises:
            ValueError: the text cannot be split into rows of the same number of cells.
        """
        lines, found = text.split("\n"), list[str]()
        start, given = 0, separator is not None
        if separator is not None:
            separator = separator_of(separator)
        if hint := EXCEL_HINT.fullmatch(lines[0].strip()):
            start, separator = 1, separator or hint[1]
        skipped, comments = leading_comments(lines[start:])
        lines, start = lines[start + skipped :], start + skipped
        if not any(line.strip() for line in lines):
            raise ValueError(f"{path} has comments only: it must have a line for each row")
        dialect = find_dialect(lines, separator)
        try:
            numbered = dialect.rows(lines, start + 1)
        except ValueError as error:
            raise ValueError(f"{path} cannot be read as a table: {error}") from error
        if not (given or dialect.separator == "," or path.suffix.lower() in TABBED):
            found.append(f"columns are separated by {NAMES.get(dialect.separator)}")
        if dialect.quote == "'":
            found.append("cells are quoted by '")
        blank = [number for number, cells in numbered if not any(cells)]
        numbered = [(number, cells) for number, cells in numbered if any(cells)]
        if not numbered:
            raise ValueError(f"{path} has blank cells only")
        width = _width(numbered)
        inner = {
            number: cells
            for number, cells in numbered
            if len(cells) != width and cells[0].startswith(COMMENTS)
        }
        numbered = [(number, cells) for number, cells in numbered if number not in inner]
        rest = _even(path, numbered[1:], width, dialect)
        fits = _fitted(numbered[0][1], rest, width)
        named = _names_in(comments, dialect, width)
        if named and header is not False and _are_names(named, fits or [], rest, known):
            names, header = named, True
            found.append("the last comment names the columns")
            comments = comments[:-1]
        else:
            header = _has_header(path, fits, rest, found) if header is None else header
            if header:
                names = fits or _even(path, numbered, width, dialect)[0]
                numbered = numbered[1:]
            else:
                names = [""] * width
        body = [cells for cells in _even(path, numbered, width, dialect) if cells != names]
        if inner:
            where = _some(f"line {number}: {cells[0]}" for number, cells in inner.items())
            found.append(
                f"{len(inner)} comment{'s' * (len(inner) > 1)} below the first row left out, with "
                f"another number of cells than the rows ({where})"
            )
        for what, left in (
            ("comment", len(comments)),
            ("blank row", len(blank)),
            ("repeated header", len(numbered) - len(body)),
        ):
            if left:
                found.append(f"{left} {what}{'s' * (left > 1)} left out")
        least = 1 if header or not known else len(known)
        return cls._named(names, body, dialect.separator, header, found, least)

    @classmethod
    def _named(
        cls,
        names: list[str],
        body: list[list[str]],
        separator: str,
        header: bool,
        found: list[str],
        least: int,
    ) -> "TextTable":
        """Drop blank last columns while there are more than `least`, and name each of the others.

        Further rows without a header go by position: their last cells may all be missing.
        """
        while len(names) > least and not names[-1] and not any(cells[-1] for cells in body):
            names, body = names[:-1], [cells[:-1] for cells in body]
        given = names
        if not header:
            names = [f"column_{k + 1}" for k in range(len(names))]
            found.append(f"there is no header: columns are called {names[0]} to {names[-1]}")
        else:
            unnamed = [k for k, name in enumerate(names) if not name and k]
            if unnamed:
                called = _some(f"column_{k + 1}" for k in unnamed)
                found.append(f"columns without a name are called {called}")
            given = [
                one_line(name) or ("" if k == 0 else f"column_{k + 1}")
                for k, name in enumerate(names)
            ]
            names = distinct(given, found)
        return cls(names, body, separator, header, found, renamed(given, names))


def one_line(name: str) -> str:
    """Replace white space within a name, line feeds included, by single spaces.

    Its letters are in Unicode's form NFC: programs write an accent as a sign of its own, or not.
    """
    return " ".join(unicodedata.normalize("NFC", name).split())


def _has_header(
    path: Path, first: list[str] | None, rest: list[list[str]], found: list[str]
) -> bool:
    """Guess whether the first line is a header; add the guess to `found` where it may be wrong.

    Arguments:
        path: of the file, for the message.
        first: cells of the first line; None where it cannot be a header.
        rest: the other rows.
        found: gets a sentence.

    Raises:
        UnclearHeaderError: the line has both words and numbers above columns of numbers.
    """
    if first is None:
        return False
    guess, shown = guess_header(first, rest), _some(first)
    if guess.is_header is None:
        raise UnclearHeaderError(
            f"the first line of {path} ({shown}) may be a header or a row: it has "
            "both words and numbers above columns of numbers; say which (--header or "
            "--no-header, in Python header=True or False)"
        )
    if guess.is_header and any(map(VALUE.fullmatch, first)):
        found.append(f"the first line is read as a header ({shown})")
    elif guess.is_header and guess.by_words:
        found.append(
            f"the first line is read as a header ({shown}), for no row has its words{IF_A_ROW}"
        )
    elif guess.by_words:
        found.append(
            f"the first line is read as a row ({shown}), for other rows have its words{IF_A_HEADER}"
        )
    return guess.is_header


def _width(numbered: Sequence[tuple[int, list[str]]]) -> int:
    """Count the cells that most rows have; of equal counts, take the first, perhaps a header's."""
    counts = Counter(len(cells) for _, cells in numbered[1:] or numbered)
    return counts.most_common(1)[0][0]


def _fitted(first: list[str], body: list[list[str]], width: int) -> list[str] | None:
    """Make the first line as wide as the rows; None where it cannot be their header.

    Rows may end in a separator that the header does not have, or the other way round. R writes an
    index in front of the rows and no name for it in the header.
    """
    if len(first) == width:
        return first
    if len(first) > width:
        return None if any(first[width:]) else first[:width]
    if not any(any(cells[len(first) :]) for cells in body):
        return first + [""] * (width - len(first))
    index = [cells[0] for cells in body]
    numbers = [str(k) for k in range(1, len(body) + 1)]
    if len(first) != width - 1 or (index != numbers and any(map(VALUE.fullmatch, index))):
        return None
    return ["", *first] if len(set(index)) == len(index) else None


def _names_in(comments: list[str], dialect: Dialect, width: int) -> list[str]:
    """Split the last comment into names, as `numpy.savetxt` writes them; [] if not one a column."""
    try:
        rows = dialect.rows(comments[-1:])
    except ValueError:
        return []
    return rows[0][1] if rows and len(rows[0][1]) == width > 1 else []


def _are_names(
    named: list[str], first: list[str], rest: list[list[str]], known: Sequence[str]
) -> bool:
    """Whether the names in the last comment are those of the columns, and the first line a row."""
    if known:  # words alone do not tell a header from a row of text
        in_comment, in_line = ({*known} & {one_line(cell) for cell in c} for c in (named, first))
        return len(in_comment) > len(in_line)
    return not (first and guess_header(first, rest).is_header)


def _even(
    path: Path, numbered: Sequence[tuple[int, list[str]]], width: int, dialect: Dialect
) -> list[list[str]]:
    """Cut blank cells beyond `width` from the rows.

    Raises:
        ValueError: some rows have more or fewer cells.
    """
    rows = [(n, cells if any(cells[width:]) else cells[:width]) for n, cells in numbered]
    faults = [(n, len(cells)) for n, cells in rows if len(cells) != width]
    if faults:
        listed = ", ".join(f"line {n} has {count}" for n, count in faults[:SHOWN])
        more = f" and {len(faults) - SHOWN} more lines differ" if len(faults) > SHOWN else ""
        raise ValueError(
            f"{path} cannot be read as a table: rows must have the same number of cells, most have "
            f"{width}, but {listed}{more}; a cell that holds the separator "
            f"({NAMES.get(dialect.separator, repr(dialect.separator))}) must be in quotes, and "
            "another separator can be given"
        )
    return [cells for _, cells in rows]


def distinct(names: list[str], found: list[str]) -> list[str]:
    """Rename columns so that all names differ."""
    made, taken = list[str](), set(names)
    for k, name in enumerate(names):
        other, number = name, 2
        while other in made or (other != name and other in taken):
            other, number = f"{name}_{number}", number + 1
        if other != name:
            found.append(f"column {k + 1} is called {other!r}: there is a {name!r} before it")
        made.append(other)
    return made


def renamed(given: Sequence[str], made: Sequence[str]) -> dict[str, str]:
    """Map each name that `distinct` made to the name that was given, where they differ."""
    return {other: name for name, other in zip(given, made, strict=True) if name and name != other}


def _some(names: Iterable[str]) -> str:
    listed = [str(name) for name in names]
    more = f", ... ({len(listed)} in all)" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
