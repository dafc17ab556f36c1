"""Show the progress of a loop: a bar in terminals and notebooks, lines elsewhere; its texts."""

from time import monotonic
from typing import Any

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

SECONDS = 1.0
"""Least time between two lines, so that a loop of short iterations does not flood a log file."""


STARTING = "starting graph and first outer iteration"
"""What a fit does before its first record."""


def members_trained(done: int, total: int) -> str:
    """Write how many members of a refit are trained."""
    return f"refit, {done} of {total} members trained"


def seconds_left(spent: float, done: int, total: int) -> float:
    """Estimate the time left at the pace so far.

    Arguments:
        spent: seconds that `done` of `total` steps took.
        done, total: numbers of steps.
    """
    return spent / max(1, done) * (total - done)


class _Count(ProgressColumn):
    """Steps done of all steps; nothing where their number is not known yet."""

    def render(self, task: Task) -> Text:
        """Write the numbers."""
        return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}")


def bar(console: Console, disable: bool = False) -> Progress:
    """Make a progress bar, whose tasks have a field `state`.

    It shows the time that a task took so far and an estimate of the time left.
    """
    return Progress(
        _Count(),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[state]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=disable,
    )


class Shown:
    """Show the iterations of a loop while a block runs, on the standard error stream.

    Where there is neither a terminal nor a notebook, print a line with the state and the time left
    for the first iteration, for the last, and about once a second between.

    Arguments:
        total: number of iterations.
        done: iterations made before this block.
        console: where to; None is the standard error stream.
    """

    def __init__(self, total: int, done: int = 0, console: Console | None = None) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._total, self._done, self._begun = total, done, done
        self._state = ""
        self._bar: Progress | None = None
        if self._console.is_terminal or self._console.is_jupyter:
            self._bar = bar(self._console)
            self._task = self._bar.add_task("", total=total, completed=done, state="")
        self._start = monotonic()
        self._printed_at, self._printed = -SECONDS, done

    def __enter__(self) -> "Shown":
        """Show the bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        """Leave the last state on the screen."""
        if self._bar is not None:
            self._bar.stop()
        elif self._printed != self._done:
            self._print()

    def update(self, done: int, state: str) -> None:
        """Show that `done` iterations are made, and what the last one found."""
        self._done, self._state = done, state
        if self._bar is not None:
            self._bar.update(self._task, completed=done, state=state)
        elif monotonic() - self._start - self._printed_at >= SECONDS:
            self._print()

    def _print(self) -> None:
        spent = monotonic() - self._start
        left = seconds_left(spent, self._done - self._begun, self._total - self._begun)
        end = f", {left:.0f} s left" if self._done < self._total else f", {spent:.1f} s"
        self._console.print(
            f"{self._done}/{self._total}: {self._state}{end}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
        self._printed_at, self._printed = spent, self._done
