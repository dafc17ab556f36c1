"""Read a table file as a pandas frame.

A text file becomes a frame of text: each cell as it is written, without the quotes and the spaces
around it, "" where it is blank. `lds.datasets.encoding` finds out what the cells mean. A parquet
file becomes a frame of its own types.

pandas is an optional package (the extra lds[table]), so it is imported where it is needed.
"""

import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from lds._sources import check_table
from lds.datasets.decimals import decimal_mark
from lds.datasets.opening import decode, open_table
from lds.datasets.text_table import TextTable, distinct, one_line, renamed

INDEX_NAMES = re.compile(r"Unnamed: 0(\.\d+)?|__index_level_0__")
"""Names that pandas gives to the index in a file."""


@dataclass(frozen=True)
class FileFormat:
    """How a file was read.

    Arguments:
        separator: of cells, one character; " " is any run of spaces and tabs; None in parquet.
        encoding: of the text, by Python's name; None in parquet.
        header: whether the first line names the columns.
        decimal: the decimal mark, "." or ","; None where no number has one, or in parquet.
        compression: gzip, bzip2, xz, zip, or "".
        columns: names of the frame's columns, in the order of the file.
        found: what was guessed or left out, in short sentences.
        renamed: name in the file by name, of columns whose name there is that of one before.
    """

    separator: str | None
    encoding: str | None
    header: bool
    decimal: str | None
    compression: str
    columns: tuple[str, ...]
    found: tuple[str, ...]
    renamed: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "FileFormat":
        """Make the record that `to_dict` stored.

        Raises:
            ValueError: it is not what `to_dict` returns.
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
    """Read a table, see `read_cells`, and find the decimal mark of all its numbers."""
    frame, how = read_cells(path, separator=separator, encoding=encoding, header=header)
    return frame, with_mark(frame, how)


def read_cells(
    path: str | Path,
    *,
    separator: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    like: FileFormat | None = None,
) -> tuple[Any, FileFormat]:
    """Read a text file (see `lds._sources.TABLES`), perhaps compressed, or a parquet file.

    These are left out: blank lines and rows; comments (lines that begin with #, % or // before the
    first row, or that have another number of cells than the rows, with a sentence that names the
    line); an index (a first column without a name whose cells are all different, the index of a
    data frame unless it has a name); a blank last column. Columns without a name are called
    column_1, column_2, ... by their position.

    Arguments:
        path: of the file.
        separator: of cells, one character or a word such as "tab"; None detects it.
        encoding: of the text, by Python's name; None detects it.
        header: whether the first line names the columns; None detects it.
        like: how the table was read of which these are further rows. They have a header if the
            table had one, and none of its columns is left out of them.

    Returns:
        The frame, one row a node, and how it was read, without a decimal mark.

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: pandas, or a package that reads the file, is not installed.
        ValueError: the file cannot be read; the message gives the reason and the lines.
    """
    path = Path(path)
    check_table(path)
    known = () if like is None else like.columns
    opened = open_table(path)
    try:
        import pandas as pd

        if not opened.is_parquet and path.suffix.lower() == ".parquet":
            raise ValueError(f"{path} cannot be read as a table: it is no parquet file")
        if opened.is_parquet:
            for name, given in (("sep", separator), ("encoding", encoding), ("header", header)):
                if given is not None:
                    raise ValueError(f"{name} is for text files, got {given!r} for parquet")
            return _parquet(path, opened.data, known)
        text, encoding, guessed = decode(path, opened.data, encoding)
        if header is None and like is not None:
            header = like.header
        cells = TextTable.of(path, text, separator, header, known)
    except ImportError as error:
        raise ImportError(
            f"reading {path} needs pandas, pyarrow for parquet, clevercsv and chardet for text: "
            f"pip install 'lds[table]' ({error})"
        ) from error
    if guessed:
        cells.found.insert(0, f"the encoding is guessed to be {encoding}")
    frame = pd.DataFrame(cells.body, columns=cells.names, dtype=object)
    frame = frame.drop(columns=_index(frame, cells.found, known) if cells.header else [])
    how = FileFormat(
        separator=cells.separator,
        encoding=encoding,
        header=cells.header,
        decimal=None,
        compression=opened.compression,
        columns=tuple(frame.columns),
        found=tuple(cells.found),
        renamed=cells.renamed,
    )
    return frame, how


def with_mark(
    frame: Any,
    how: FileFormat,
    columns: Collection[str] | None = None,
    assumed: str | None = None,
) -> FileFormat:
    """Find the decimal mark of the numbers of a file of text, and say it if it is the comma.

    Arguments:
        frame: of the file.
        how: it was read.
        columns: that hold numbers; None: all may.
        assumed: the mark, "." or ",", where no number decides it; None guesses it.
    """
    if how.separator is None:
        return how
    kept = frame if columns is None else frame[[c for c in frame.columns if c in columns]]
    rows = kept.itertuples(index=False, name=None)
    mark, doubt = decimal_mark(rows, how.separator, assumed)
    said = [*["numbers have a decimal comma"] * (mark == ","), *[doubt] * bool(doubt)]
    return replace(how, decimal=mark, found=(*how.found, *said))


def _parquet(path: Path, data: bytes, known: Collection[str]) -> tuple[Any, FileFormat]:
    import pandas as pd

    try:
        frame = pd.read_parquet(BytesIO(data))
    except (ValueError, OSError, NotImplementedError) as error:  # pyarrow's are among them
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as a table ({reason})") from error
    found = list[str]()
    named = [name for name in frame.index.names if name is not None]
    if named:
        found.append(f"the index {', '.join(map(repr, named))} is a column")
        frame = frame.reset_index(level=named, allow_duplicates=True)
    elif not isinstance(frame.index, pd.RangeIndex):
        found.append("the index has no name: it is left out")
    frame = frame.reset_index(drop=True)
    given = [one_line(str(name)) for name in frame.columns]
    frame.columns = made = distinct(given, found)
    frame = frame.drop(columns=_index(frame, found, known))
    columns, other = tuple(frame.columns), renamed(given, made)
    return frame, FileFormat(None, None, True, None, "", columns, tuple(found), other)


def _index(frame: Any, found: list[str], known: Collection[str]) -> list[str]:
    """List the first column's name if a program wrote it as an index; else nothing.

    It is none if the table of the fit, whose columns are `known`, has it as a column.
    """
    name = str(frame.columns[0]) if len(frame.columns) > 1 else "-"
    if name and not INDEX_NAMES.fullmatch(name):
        return []
    called = name or "column_1"
    if frame[name].is_unique and (called not in known or called in frame.columns[1:]):
        called = f"is called {name!r}" if name else "has no name"
        found.append(f"the first column {called}: it is an index, left out")
        return [name]
    if not name:
        frame.columns = ["column_1", *frame.columns[1:]]
        found.append("the first column has no name and is called column_1")
    return []
