"""Options that say how a table is read, and paths that are checked before anything heavy starts."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from lds._sources import COMPRESSED, is_a_table

Target = Annotated[
    str | None,
    typer.Option(help="Label column of a table: its name, or its position (0 first, -1 last)."),
]
Separator = Annotated[
    str | None, typer.Option("--sep", help="Between a table's cells: ';', tab, space; found out.")
]
Encoding = Annotated[
    str | None, typer.Option(help="Of a table's text: utf-8, cp1252, utf-16, ...; found out.")
]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="A table's first line has names; found out."),
]
Drop = Annotated[
    list[str] | None,
    typer.Option(help="Column of a table to leave out, or several: a,b; repeat it."),
]
Identifier = Annotated[
    str | None, typer.Option("--id", help="Column that names a table's rows; no feature.")
]


def reading(given: dict[str, Any]) -> dict[str, Any]:
    """The options above as `lds.datasets.load` takes them."""
    names = ("target", "separator", "encoding", "header", "identifier")
    return {name: given[name] for name in names} | {"drop": list(given["drop"] or ())}


def absolute(name: str) -> str:
    """A table's path from the root, so that a run finds it from any folder."""
    return str(Path(name).resolve()) if is_a_table(name) else name


def stem(name: str) -> str:
    """The name of a data set, or of a table without its suffixes."""
    path = Path(name)
    return Path(path.stem).stem if path.suffix.lower() in COMPRESSED else path.stem


def check_folder(path: Path, flag: str) -> None:
    """Refuse a folder that cannot be made.

    Raises:
        ValueError: it or a folder above it is a file, or may not be written into.
    """
    above = path
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise ValueError(f"{flag} {path} cannot be a folder: {above} is a file")
    if not os.access(above, os.W_OK):
        raise ValueError(f"{flag} {path} cannot be written: {above} allows no writing")


def check_file(path: Path, flag: str) -> None:
    """Refuse a file that cannot be written: its folder must be there.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is a folder, or its folder may not be written into.
    """
    if path.is_dir():
        raise ValueError(f"{flag} must name a file, got the folder {path}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")
    check_folder(path.parent, flag)
