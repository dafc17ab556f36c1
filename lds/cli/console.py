"""What every command shares: where text goes, and `--json`."""

import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lds._files import dumps

out, err = Console(), Console(stderr=True)

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, for machines, and no text.")
]


def print_json(value: Any) -> None:
    """One JSON document on standard output; numbers that are not finite become null."""
    sys.stdout.write(f"{dumps(value, indent=2)}\n")


def print_path(what: str, path: Any) -> None:
    """Where something was written, on one line however long."""
    out.print(f"{what}: {path}", soft_wrap=True, highlight=False, markup=False)


def say_found(path: Any, found: Iterable[str], quiet: bool) -> None:
    """What was found out about a table, on one line."""
    text = "; ".join(found)
    if text and not quiet:
        err.print(f"{path}: {text}", soft_wrap=True, highlight=False, markup=False)


def percent(value: float) -> str:
    """A share as people say it."""
    return f"{100 * value:.1f} %"


def bar(quiet: bool) -> Progress:
    """On a terminal, what long work has come to: its tasks have a field `state`."""
    return Progress(
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        console=err,
        disable=quiet or not err.is_terminal,
    )


def log(text: str, quiet: bool) -> None:
    """Where there is no terminal for a bar, such as in a log file, a line."""
    if not (quiet or err.is_terminal):
        err.print(text, soft_wrap=True, highlight=False, markup=False)
