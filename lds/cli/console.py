"""Output of all commands: consoles, `--json`, progress bars."""

import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from lds._files import dumps

out, err = Console(), Console(stderr=True)

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, for machines, and no text.")
]


def print_json(value: Any) -> None:
    """Print one JSON document; numbers that are not finite become null."""
    sys.stdout.write(f"{dumps(value, indent=2)}\n")


def print_path(what: str, path: Any, console: Console = out) -> None:
    """Print where something was written, on one line however long it is."""
    console.print(f"{what}: {path}", soft_wrap=True, highlight=False, markup=False)


def say_found(path: Any, found: Iterable[str], quiet: bool) -> None:
    """Print what was guessed about a table, on one line."""
    text = "; ".join(found)
    if text and not quiet:
        err.print(f"{path}: {text}", soft_wrap=True, highlight=False, markup=False)


def percent(value: float) -> str:
    """Format a share as a percentage."""
    return f"{100 * value:.1f} %"


class _Count(ProgressColumn):
    """Steps done of all steps; nothing where their number is not known yet."""

    def render(self, task: Task) -> Text:
        """Write the numbers."""
        return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}")


def bar(quiet: bool) -> Progress:
    """Make a progress bar for terminals; its tasks have a field `state`.

    It shows the time that a task took so far and an estimate of the time left.
    """
    return Progress(
        _Count(),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[state]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=err,
        disable=quiet or not err.is_terminal,
    )


def log(text: str, quiet: bool) -> None:
    """Print a line where there is no terminal for a bar, such as in a log file."""
    if not (quiet or err.is_terminal):
        err.print(text, soft_wrap=True, highlight=False, markup=False)
