"""Output of all commands: consoles, `--json`, progress bars."""

import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from lds._files import dumps
from lds._progress import bar as progress_bar
from lds.cli.flags import as_typed

out = Console(markup=False, highlight=False, emoji=False)
err = Console(stderr=True, markup=False, highlight=False, emoji=False)

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, for machines, and no text.")
]


def print_json(value: Any) -> None:
    """Print one JSON document; numbers that are not finite become null."""
    sys.stdout.write(f"{dumps(value, indent=2)}\n")


def line(text: str, console: Console = out, style: str | None = None) -> None:
    """Print a text on one line however long it is."""
    console.print(text, style=style, soft_wrap=True)


def print_path(what: str, path: Any) -> None:
    """Print where something was written."""
    line(f"{what}: {path}")


def say_found(path: Any, found: Iterable[str], quiet: bool) -> None:
    """Print what was guessed about a table, on one line."""
    text = as_typed("; ".join(found))
    if text and not quiet:
        line(f"{path}: {text}", err)


def percent(value: float) -> str:
    """Format a share as a percentage."""
    return f"{100 * value:.1f} %"


def bar(quiet: bool) -> Progress:
    """Make a progress bar for terminals; its tasks have a field `state`."""
    return progress_bar(err, disable=quiet or not err.is_terminal)


def log(text: str, quiet: bool) -> None:
    """Print a line where there is no terminal for a bar, such as in a log file."""
    if not (quiet or err.is_terminal):
        line(text, err)
