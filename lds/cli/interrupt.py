"""Ctrl-C during a fit: the first one ends it in order, the second one at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from types import FrameType, TracebackType
from typing import Literal, Self

import typer

from lds.cli.console import err, line

Phase = Literal["begin", "learn", "refit", "controls"]


class StopNow(BaseException):
    """Ends the command at once; no part of a fit catches it and goes on."""


@contextmanager
def before_the_run() -> Iterator[None]:
    """Say of a Ctrl-C in this block that nothing was written, and end the command.

    Raises:
        typer.Exit: there was one.
    """
    try:
        yield
    except KeyboardInterrupt:
        line("interrupted before the run began; nothing was written", err)
        raise typer.Exit(130) from None


class Interrupts:
    """Handles Ctrl-C while a fit runs.

    During outer iterations the first Ctrl-C is a `KeyboardInterrupt`: the fit trains and saves
    what it has. A sentence says so at once. Every other Ctrl-C is `StopNow`.

    Where Ctrl-C is ignored or handled by the caller, or outside the main thread, nothing changes.

    Arguments:
        folder: of the run.
        kept: whether the folder holds checkpoints.
        refits: whether the method trains a committee after its outer iterations.
    """

    def __init__(self, folder: Path, kept: bool, refits: bool) -> None:
        self.folder, self.kept, self.refits = folder, kept, refits
        self.phase: Phase = "begin"
        self.count = 0
        self._installed = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @property
    def way_on(self) -> str:
        """Say how to continue; "" if nothing is kept."""
        return f"lds fit --resume {quote(str(self.folder))}" if self.kept else ""

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count == 1 and self.phase == "learn":
            _say(self._announcement())
            raise KeyboardInterrupt
        raise StopNow

    def _announcement(self) -> str:
        doing = (
            "no more outer iterations; training the committee on what was learned, then saving it"
            if self.refits
            else "no more outer iterations; saving the best one"
        )
        again = "Ctrl-C again stops at once"
        return f"{doing}. {again}" + (f"; to continue later: {self.way_on}" if self.kept else ".")


def _say(text: str) -> None:
    """Print a line from within a signal handler."""
    try:
        line(text, err)
    except RuntimeError:  # the signal came in the middle of another print
        os.write(2, f"\n{text}\n".encode())
