"""Options that say how a table is read."""

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
