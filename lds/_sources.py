"""The data sets by name, and the suffixes of tables: what `lds fit NAME` accepts.

The shell reads this before torch and pandas are imported, so it imports nothing heavy.
"""

import difflib
from pathlib import Path
from typing import NamedTuple

from lds._files import check_input_file


class Source(NamedTuple):
    """Where a data set is defined.

    Arguments:
        module: that has the function `load(name, seed, root)`.
        has_graph: whether the data set has a graph.
    """

    module: str
    has_graph: bool = False


REGISTRY = {
    "iris": Source("lds.datasets.tabular"),
    "wine": Source("lds.datasets.tabular"),
    "breast_cancer": Source("lds.datasets.tabular"),
    "digits": Source("lds.datasets.tabular"),
    "20news10": Source("lds.datasets.newsgroups"),
    "mnist": Source("lds.datasets.mnist"),
    "cora": Source("lds.datasets.planetoid", has_graph=True),
    "citeseer": Source("lds.datasets.planetoid", has_graph=True),
    "pubmed": Source("lds.datasets.planetoid", has_graph=True),
}
"""Every data set by its name in lower case. A new data set is a module and one line here."""

ALIASES = {"cancer": "breast_cancer"}
"""Other names of data sets."""

TEXT = (".csv", ".tsv", ".tab", ".psv", ".txt", ".data", ".dat")
"""Suffixes of text files of cells."""

COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
"""Suffixes of compressed files; one may follow a suffix of `TEXT`."""

TABLES = (*TEXT, ".parquet")
"""Suffixes of tables."""

EXCEL = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
"""Suffixes of workbooks, which are refused."""


def is_a_table(name: str | Path) -> bool:
    """Whether a name is the path of a table, not the name of a data set."""
    if registered(name) is not None and not isinstance(name, Path):
        return False
    path = Path(name)
    return isinstance(name, Path) or bool(path.suffix) or len(path.parts) > 1 or path.is_file()


def registered(name: str | Path) -> str | None:
    """Return the key in `REGISTRY` of a name in upper or lower case, or None."""
    key = ALIASES.get(str(name).lower(), str(name).lower())
    return key if key in REGISTRY else None


def check_source(name: str | Path) -> None:
    """Refuse a name that is neither that of a data set nor the path of a table.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the name or the suffix is unknown.
    """
    if is_a_table(name):
        check_table(Path(name))
    elif registered(name) is None:
        near = difflib.get_close_matches(str(name).lower(), REGISTRY, 1)
        raise ValueError(
            f"data set must be one of {', '.join(REGISTRY)}, or the path of a table "
            f"({', '.join(TABLES)}), got {str(name)!r}"
            + (f"; the nearest is {near[0]!r}" if near else "")
        )


def check_table(path: Path) -> None:
    """Refuse a path that is not that of a table.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it has another suffix, or is a folder.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-1] if suffixes else ""
    if last in EXCEL:
        raise ValueError(f"{path} is a workbook; save its sheet as .csv and give that file")
    if last not in (*TABLES, *COMPRESSED):
        raise ValueError(
            f"a table must be a {', '.join(TABLES)} file, a text perhaps compressed "
            f"({', '.join(COMPRESSED)}), got {str(path)!r}"
        )
    check_input_file(path, "table")
