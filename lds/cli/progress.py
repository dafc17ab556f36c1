"""Progress of a fit: a bar in a terminal, lines in a log."""

from typing import TYPE_CHECKING

from rich.progress import Progress

from lds._progress import members_trained
from lds.cli.console import log

if TYPE_CHECKING:
    from lds.structure.iteration import Iteration


class FitProgress:
    """Update the progress bar of a fit; where there is no terminal, print lines.

    Arguments:
        progress: the bar.
        quiet: True prints no lines.
    """

    def __init__(self, progress: Progress, quiet: bool) -> None:
        self.progress, self.quiet = progress, quiet
        self.task = progress.add_task("", total=None, state="")
        self.best: float | None = None

    def say(self, state: str) -> None:
        """Show what is done now, where it has no steps to count."""
        self.progress.reset(self.task, total=None, state=state)
        self.progress.refresh()
        log(state, self.quiet)

    def count(self, state: str, total: int) -> None:
        """Show what is done now, in a number of steps."""
        self.progress.reset(self.task, total=total, state=state)
        log(state, self.quiet)

    def iteration(self, record: "Iteration") -> None:
        """Show a finished outer iteration."""
        if record.improved:
            self.best = record.stopping_accuracy
        state = record.in_words(self.best)
        self.progress.update(self.task, completed=record.iteration + 1, state=state)
        log(f"{record.iteration + 1}: {state}", self.quiet)

    def member(self, done: int, total: int) -> None:
        """Show how many members of a refit are trained."""
        state = members_trained(done, total)
        if not done:
            self.progress.reset(self.task, total=total)
        self.progress.update(self.task, completed=done, state=state)
        log(state, self.quiet)

    def controls(self) -> None:
        """Show that the controls run."""
        self.say("running the controls")
