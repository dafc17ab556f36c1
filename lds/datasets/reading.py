"""A table file as a pandas frame, and how it was read.

A text becomes a frame of text: each cell as it is written, without the quotes and the spaces around
it, "" where it is blank. What the cells mean is for `lds.datasets.encoding`. A parquet file becomes
a frame of its own types.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from lds._sources import check_table
from lds.datasets.dialect import (
    COMMENTS,
    NAMES,
    VALUE,
    Dialect,
    decimal_mark,
    find_dialect,
    is_header,
    leading_comments,
    separator_of,
)
from lds.datasets.opening import decode, open_table

TABBED = (".tsv", ".tab")
"""Suffixes that say what the separator is."""

SHOWN = 3
"""Lines or names that a sentence lists."""

EXCEL_HINT = re.compile(r"sep=(.)", re.I)
"""A first line by which Excel is told the separator."""

INDEX_NAMES = re.compile(r"Unnamed: 0(\.\d+)?|__index_level_0__")
"""What pandas calls a written index."""


@dataclass(frozen=True)
class FileFormat:
    """How a file was read.

    Arguments:
        separator: of cells, one character; " " is any run of spaces and tabs; None in parquet.
        encoding: Python's name of it; None in parquet.
        header: whether the first line names the columns.
        decimal: the mark in numbers, "." or ","; None where no number has one, or in parquet.
        compression: gzip, bzip2, xz, zip, or "".
        columns: names of the frame's columns, in the order of the file.
        found: what was guessed, or left out, in short sentences.
    """

    separator: str | None
    encoding: str | None
    header: bool
    decimal: str | None
    compression: str
    columns: tuple[str, ...]
    found: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "FileFormat":
        """What `to_dict` gave.

        Raises:
            ValueError: it is not what `to_dict` gives.
        """
        try:
            lists = {name: tuple(stored[name]) for name in ("columns", "found")}
            return cls(**{**stored, **lists})
        except (KeyError, TypeError) as error:
            raise ValueError(f"the format of the table is damaged ({error!r})") from error


def read_table(
    path: str | Path,
    *,
    separator: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
) -> tuple[Any, FileFormat]:
    """Read a text of cells (see `lds._sources.TABLES`), perhaps compressed, or a parquet file.

    Blank lines and rows, comments (lines that begin with #, % or // before the first row, or that
    have not as many cells as a row), an index (a first column without a name whose cells are all
    different) and a blank last column are left out. Columns without a name are called column_1,
    column_2, ... by their position.

    Arguments:
        path: of the file.
        separator: of cells, one character or a word such as "tab"; None finds it out.
        encoding: Python's name of it; None finds it out.
        header: whether the first line names the columns; None finds it out.

    Returns:
        The frame, one row a node, and how it was read.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pandas, or a package that reads the file, is not installed.
        ValueError: the file cannot be read; the message says why, and which lines are at fault.
    """
    path = Path(path)
    check_table(path)
    opened = open_table(path)
    try:
        import pandas as pd

        if not opened.is_parquet and path.suffix.lower() == ".parquet":
            raise ValueError(f"{path} cannot be read as a table: it is no parquet file")
        if opened.is_parquet:
            for name, given in (("sep", separator), ("encoding", encoding), ("header", header)):
                if given is not None:
                    raise ValueError(f"{name} is for text files, got {given!r} for parquet")
            return _parquet(path, opened.data)
        text, encoding, guessed = decode(path, opened.data, encoding)
        cells = _Cells.of(path, text, separator, header)
    except ImportError as error:
        raise ImportError(
            f"reading {path} needs pandas, pyarrow for parquet, clevercsv and chardet for text: "
            f"pip install 'lds[table]' ({error})"
        ) from error
    if guessed:
        cells.found.insert(0, f"the encoding is guessed to be {encoding}")
    frame = pd.DataFrame(cells.body, columns=cells.names, dtype=object)
    frame = frame.drop(columns=_index(frame, cells.found) if cells.header else [])
    mark = decimal_mark(cells.body, cells.separator)
    if mark == ",":
        cells.found.append("numbers have a decimal comma")
    how = FileFormat(
        cells.separator, encoding, cells.header, mark, opened.compression, tuple(frame.columns),
        tuple(cells.found),
    )  # fmt: skip
    return frame, how


def _parquet(path: Path, data: bytes) -> tuple[Any, FileFormat]:
    import pandas as pd

    try:
        frame = pd.read_parquet(BytesIO(data)).reset_index(drop=True)
    except (ValueError, OSError, NotImplementedError) as error:  # pyarrow's are among them
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as a table ({reason})") from error
    found = list[str]()
    frame.columns = _distinct([_one_line(str(name)) for name in frame.columns], found)
    frame = frame.drop(columns=_index(frame, found))
    return frame, FileFormat(None, None, True, None, "", tuple(frame.columns), tuple(found))


@dataclass
class _Cells:
    """A text in cells: names of columns, rows, and what was found out on the way."""

    names: list[str]
    body: list[list[str]]
    separator: str
    header: bool
    found: list[str]

    @classmethod
    def of(cls, path: Path, text: str, separator: str | None, header: bool | None) -> "_Cells":
        lines, found = text.split("\n"), list[str]()
        start, insisted = 0, separator is not None
        if separator is not None:
            separator = separator_of(separator)
        if hint := EXCEL_HINT.fullmatch(lines[0].strip()):
            start, separator = 1, separator or hint[1]
        skipped, comments = leading_comments(lines[start:])
        lines, start = lines[start + skipped :], start + skipped
        if not any(line.strip() for line in lines):
            raise ValueError(f"{path} is empty but for comments: it must have a line for each row")
        dialect = find_dialect(lines, separator)
        try:
            numbered = dialect.rows(lines, start + 1)
        except ValueError as error:
            raise ValueError(f"{path} cannot be read as a table: {error}") from error
        obvious = insisted or dialect.separator == "," or path.suffix.lower() in TABBED
        if not obvious:
            found.append(f"columns are separated by {NAMES.get(dialect.separator)}")
        if dialect.quote == "'":
            found.append("cells are quoted by '")
        blank = [number for number, cells in numbered if not any(cells)]
        numbered = [(number, cells) for number, cells in numbered if any(cells)]
        if not numbered:
            raise ValueError(f"{path} has blank cells only")
        width = _width(numbered)
        inner = {
            number
            for number, cells in numbered
            if len(cells) != width and cells[0].startswith(COMMENTS)
        }
        numbered = [(number, cells) for number, cells in numbered if number not in inner]
        rest = _even(path, numbered[1:], width, dialect)
        fits = _fitted(numbered[0][1], rest, width)
        guess = False if fits is None else is_header(fits, rest)
        named = _names_in(comments, dialect, width)
        if named and not guess and header is not False:
            names, header = named, True
            found.append("the last comment names the columns")
            comments = comments[:-1]
        elif header or (header is None and guess):
            if header is None and any(map(VALUE.fullmatch, fits or ())):
                found.append(f"the first line is read as a header ({_some(fits or ())})")
            names, header = fits or _even(path, numbered, width, dialect)[0], True
            numbered = numbered[1:]
        elif header is None and guess is None:
            raise ValueError(
                f"the first line of {path} ({_some(fits or ())}) may be a header or a row: it has "
                "both words and numbers above columns of numbers; insist on one of them (--header "
                "or --no-header, in Python header=True or False)"
            )
        else:
            names, header = [""] * width, False
        body = [cells for cells in _even(path, numbered, width, dialect) if cells != names]
        for what, left in (
            ("comment", len(comments) + len(inner)),
            ("blank row", len(blank)),
            ("repeated header", len(numbered) - len(body)),
        ):
            if left:
                found.append(f"{left} {what}{'s' * (left > 1)} left out")
        return cls._named(names, body, dialect.separator, header, found)

    @classmethod
    def _named(
        cls, names: list[str], body: list[list[str]], separator: str, header: bool, found: list[str]
    ) -> "_Cells":
        """Without blank last columns, and with a name for each of the others."""
        while len(names) > 1 and not names[-1] and not any(cells[-1] for cells in body):
            names, body = names[:-1], [cells[:-1] for cells in body]
        if not header:
            names = [f"column_{k + 1}" for k in range(len(names))]
            found.append(f"there is no header: columns are called {names[0]} to {names[-1]}")
        else:
            unnamed = [k for k, name in enumerate(names) if not name and k]
            if unnamed:
                called = _some(f"column_{k + 1}" for k in unnamed)
                found.append(f"columns without a name are called {called}")
            names = [
                _one_line(name) or ("" if k == 0 else f"column_{k + 1}")
                for k, name in enumerate(names)
            ]
            names = _distinct(names, found)
        return cls(names, body, separator, header, found)


def _one_line(name: str) -> str:
    return " ".join(name.split())


def _width(numbered: Sequence[tuple[int, list[str]]]) -> int:
    """How many cells most rows have; of equals, the first one's, which may be a header."""
    counts = Counter(len(cells) for _, cells in numbered[1:] or numbered)
    return counts.most_common(1)[0][0]


def _fitted(first: list[str], body: list[list[str]], width: int) -> list[str] | None:
    """A first line as wide as the rows, or None where it cannot be their header.

    Rows may end in a separator that the header does not have, or the other way round; and R writes
    an index in front of the rows without a name in the header.
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
    """Cells of the last comment, if they are as many as a row's, as `numpy.savetxt` writes them."""
    try:
        rows = dialect.rows(comments[-1:])
    except ValueError:
        return []
    return rows[0][1] if rows and len(rows[0][1]) == width > 1 else []


def _even(
    path: Path, numbered: Sequence[tuple[int, list[str]]], width: int, dialect: Dialect
) -> list[list[str]]:
    """Rows of `width` cells, blank ones beyond that cut off.

    Raises:
        ValueError: some have more or fewer cells.
    """
    rows = [(n, cells if any(cells[width:]) else cells[:width]) for n, cells in numbered]
    faults = [(n, len(cells)) for n, cells in rows if len(cells) != width]
    if faults:
        told = ", ".join(f"line {n} has {count}" for n, count in faults[:SHOWN])
        more = f" and {len(faults) - SHOWN} more lines differ" if len(faults) > SHOWN else ""
        raise ValueError(
            f"{path} cannot be read as a table: rows must have the same number of cells, most have "
            f"{width}, but {told}{more}; a cell that holds the separator "
            f"({NAMES.get(dialect.separator, repr(dialect.separator))}) must be in quotes, and "
            "another separator can be given"
        )
    return [cells for _, cells in rows]


def _distinct(names: list[str], found: list[str]) -> list[str]:
    """Names of which none is there twice."""
    made, taken = list[str](), set(names)
    for k, name in enumerate(names):
        other, number = name, 2
        while other in made or (other != name and other in taken):
            other, number = f"{name}_{number}", number + 1
        if other != name:
            found.append(f"column {k + 1} is called {other!r}: there is a {name!r} before it")
        made.append(other)
    return made


def _index(frame: Any, found: list[str]) -> list[str]:
    """The first column, if it is an index that a program wrote; its name."""
    name = str(frame.columns[0]) if len(frame.columns) > 1 else "-"
    if name and not INDEX_NAMES.fullmatch(name):
        return []
    if frame[name].is_unique:
        called = f"is called {name!r}" if name else "has no name"
        found.append(f"the first column {called}: it is an index, left out")
        return [name]
    if not name:
        frame.columns = ["column_1", *frame.columns[1:]]
        found.append("the first column has no name and is called column_1")
    return []


def _some(names: Iterable[str]) -> str:
    listed = [str(name) for name in names]
    more = f", ... ({len(listed)} in all)" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
