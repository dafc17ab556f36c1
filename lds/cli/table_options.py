"""Options of the commands that read a table."""

from pathlib import Path
from typing import Annotated

import typer

from lds._sources import COMPRESSED, is_a_table

Target = Annotated[
    str | None,
    typer.Option(
        help="Label column, by name or by position (0 first, -1 last); required for a table."
    ),
]
Separator = Annotated[
    str | None,
    typer.Option("--sep", help="Separator of a table's cells: ';', tab, space; default: detected."),
]
Encoding = Annotated[
    str | None,
    typer.Option(help="Encoding of a table's text: utf-8, cp1252, ...; default: detected."),
]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether a table's first line names its columns; default: detected.",
    ),
]
Drop = Annotated[
    list[str] | None,
    typer.Option(help="Columns of a table to leave out, a or a,b; may be repeated; default: none."),
]
Identifier = Annotated[
    str | None,
    typer.Option("--id", help="Column that names a table's rows; no feature; default: none."),
]
Edges = Annotated[
    Path | None,
    typer.Option(
        help="File of the edges between a table's rows: source, target, weight; default: none."
    ),
]
TestSize = Annotated[
    float | None, typer.Option(help="Share of a table's labels held out; default: 0.2.")
]
Root = Annotated[
    Path | None,
    typer.Option(help="Folder of downloaded data; default: LDS_DATA, else ~/.cache/lds."),
]


def absolute(name: str) -> str:
    """Make the path of a table absolute, so that a run finds it from any folder."""
    return str(Path(name).resolve()) if is_a_table(name) else name


def stem(name: str) -> str:
    """Remove the suffixes of a table's path; the name of a data set stays as it is."""
    path = Path(name)
    return Path(path.stem).stem if path.suffix.lower() in COMPRESSED else path.stem
