"""What `lds fit NAME` may name: a data set, or a table of the user's own. Imports nothing heavy."""

import difflib
from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    """The module with the function `load(name, seed, root)`, and whether the set has a graph."""

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
ALIASES = {"cancer": "breast_cancer"}

TEXT = (".csv", ".tsv", ".tab", ".psv", ".txt", ".data", ".dat")
COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
TABLES = (*TEXT, ".parquet")
"""Suffixes of tables; one of `COMPRESSED` may follow that of a text."""

EXCEL = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")


def is_a_table(name: str | Path) -> bool:
    """Whether a name is meant as a table's path, not as that of a data set."""
    if registered(name) is not None and not isinstance(name, Path):
        return False
    path = Path(name)
    return isinstance(name, Path) or bool(path.suffix) or len(path.parts) > 1 or path.is_file()


def registered(name: str | Path) -> str | None:
    """The key in `REGISTRY` of a data set, in upper or lower case, or None."""
    key = ALIASES.get(str(name).lower(), str(name).lower())
    return key if key in REGISTRY else None


def check_source(name: str | Path) -> None:
    """Refuse what is neither a data set nor a table that is there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown name or suffix.
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
    """Refuse a path that cannot be a table's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix, or a folder.
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
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the table in it")
    if not path.is_file():
        near = difflib.get_close_matches(path.name, _files_beside(path), 1)
        hint = f"; there is {path.parent / near[0]}" if near else ""
        raise FileNotFoundError(f"there is no table at {path}{hint}")


def _files_beside(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []
