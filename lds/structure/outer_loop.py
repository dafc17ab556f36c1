"""The outer loop of a run: checkpoints, callbacks, interruption. Restarts and views are two."""

from abc import ABC, abstractmethod
from typing import Any

from lds._checkpoint import Checkpoint
from lds.bilevel.checks import NonFiniteError
from lds.structure.context import RunContext
from lds.structure.iteration import Iteration


class OuterLoop(ABC):
    """The state of a run between its outer iterations.

    Attributes:
        history: one record an outer iteration.
    """

    history: list[Iteration]

    @abstractmethod
    def iterate(self) -> Iteration:
        """Do one outer iteration and add its record to the history."""

    @abstractmethod
    def ended(self) -> str | None:
        """Say why the run ends here; None where it goes on."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds after an outer iteration."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where the `state` of a run of the same problem was taken."""

    def run(self, context: RunContext, fingerprint: dict[str, Any]) -> str:
        """Iterate until the run ends.

        Arguments:
            context: callbacks, and the checkpoint to keep and to go on from.
            fingerprint: what must be the same to go on.

        Returns:
            Why it ended: as `ended` says, "interrupted" or "non-finite: ...".

        Raises:
            KeyboardInterrupt, NonFiniteError: before the first outer iteration ended.
        """
        kept = None
        if context.checkpoint is not None:
            kept = Checkpoint(context.checkpoint, fingerprint)
            if (state := kept.begin(context.resume)) is not None:
                self.restore(state)
        reason = self.ended()
        try:
            while reason is None:
                record = self.iterate()
                if context.on_iteration is not None:
                    context.on_iteration(record)
                if kept is not None:
                    kept.save(self.state())
                reason = self.ended()
        except (KeyboardInterrupt, NonFiniteError) as stop:
            if not self.history:
                raise
            reason = "interrupted" if isinstance(stop, KeyboardInterrupt) else f"non-finite: {stop}"
        return reason
