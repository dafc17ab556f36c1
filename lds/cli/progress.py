"""Progress of a fit: a bar in a terminal, lines in a log."""

from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from lds.cli.console import log

if TYPE_CHECKING:
    from lds.structure.iteration import Iteration


class FitProgress:
    """Update the progress bar of a fit; where there is no terminal, print lines.

    Arguments:
        progress, task: the bar.
        quiet: True prints no lines.
    """

    def __init__(self, progress: Progress, task: Any, quiet: bool) -> None:
        self.progress, self.task, self.quiet = progress, task, quiet
        self.best: float | None = None

    def iteration(self, record: "Iteration") -> None:
        """Show a finished outer iteration."""
        if record.improved:
            self.best = record.stopping_accuracy
        best = "" if self.best is None else f" (best {100 * self.best:.1f})"
        state = (
            f"loss in {record.inner_loss:.3f} out {record.outer_loss:.3f}, "
            f"stopping {100 * record.stopping_accuracy:.1f}{best} %, "
            f"{record.expected_edges:,.0f} edges"
        )
        self.progress.update(self.task, completed=record.iteration + 1, state=state)
        log(f"{record.iteration + 1}: {state}", self.quiet)

    def member(self, done: int, total: int) -> None:
        """Show how many members of a refit are trained."""
        state = f"refit, {done} of {total} members trained"
        self.progress.update(self.task, completed=done, total=total, state=state)
        log(state, self.quiet)

    def controls(self) -> None:
        """Show that the controls run."""
        self.progress.update(self.task, state="running the controls")
        log("running the controls", self.quiet)
