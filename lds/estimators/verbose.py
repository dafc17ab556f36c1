"""The progress of a fit with verbose=True: a bar in terminals and notebooks, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, NamedTuple, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lds._progress import STARTING, members_trained, seconds_left
from lds.structure.iteration import Iteration


class Show(Protocol):
    """Shows one state of a fit: a line, and how many of all steps are done."""

    def __call__(self, text: str, done: int, total: int) -> None:
        """Show it."""


class Callbacks(NamedTuple):
    """What `learn` takes; None where nothing is to be shown."""

    on_iteration: Callable[[Iteration], None] | None
    on_member: Callable[[int, int], None] | None


@contextmanager
def fit_progress(verbose: bool, max_iter: int) -> Iterator[Callbacks]:
    """Show the progress of a fit within a `with` block.

    Arguments:
        verbose: False shows nothing.
        max_iter: most outer iterations of the fit.
    """
    if not verbose:
        yield Callbacks(None, None)
        return
    with _shown() as show:
        shown = _FitProgress(show, max_iter)
        yield Callbacks(shown.iteration, shown.member)


class _FitProgress:
    """Write what is done, and an estimate of the time left in it.

    Arguments:
        show: takes the text.
        max_iter: most outer iterations.
    """

    def __init__(self, show: Show, max_iter: int) -> None:
        self._show, self._max_iter = show, max_iter
        self._begun, self._before = time.monotonic(), -1

    def iteration(self, record: Iteration) -> None:
        """Show a finished outer iteration."""
        done = record.iteration + 1
        if self._before < 0:  # iterations of an earlier session, if this one was resumed
            self._before = record.iteration
        text = f"{done}: {record.in_words()}"
        left = self._left(done - self._before, self._max_iter - self._before)
        self._show(text + left, done, self._max_iter)

    def member(self, done: int, total: int) -> None:
        """Show how many members of a refit are trained."""
        if not done:
            self._begun = time.monotonic()
        self._show(members_trained(done, total) + self._left(done, total), done, total)

    def _left(self, done: int, total: int) -> str:
        """Write the time left; "" where nothing is known or less than a second is left."""
        seconds = seconds_left(time.monotonic() - self._begun, done, total)
        return f", about {seconds:.0f} s left" if done and seconds >= 1 else ""


@contextmanager
def _shown() -> Iterator[Show]:
    """Choose how to show: in place in a notebook, a bar in a terminal, else lines."""
    console = Console()
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if hasattr(shell, "kernel"):
        yield _in_notebook()
    elif console.is_terminal:
        columns = (BarColumn(bar_width=10), TextColumn("{task.description}", markup=False))
        with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
            task = progress.add_task(STARTING, total=None)

            def on_bar(text: str, done: int, total: int) -> None:
                progress.update(task, description=text, completed=done, total=total)

            yield on_bar
    else:
        yield _line


def _line(text: str, done: int, total: int) -> None:
    """Print a line."""
    print(text, flush=True)


def _in_notebook() -> Show:
    """Show one line of HTML, which later states replace."""
    from IPython.display import HTML, display

    handle = display(HTML(STARTING), display_id=True)

    def update(text: str, done: int, total: int) -> None:
        bar = f'<progress value="{done}" max="{total}"></progress>'
        handle.update(HTML(f"{bar} {escape(text)}"))

    return update
