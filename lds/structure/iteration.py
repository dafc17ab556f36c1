"""The record of one outer iteration."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Iteration:
    """The outcome of one outer iteration: an inner run with its hypergradients.

    Attributes:
        iteration: its number, from 0.
        inner_steps: steps of the inner run.
        inner_loss, outer_loss: the last ones, nats.
        stopping_accuracy, stopping_loss: on the early-stopping rows, the loss in nats; by a method
            without roles of rows, on labels left out.
        expected_edges: Σθ over undirected pairs, after the iteration.
        inner_lr, outer_lr: step sizes.
        group_probs: mean θ by group of pairs, see `lds.edges.groups`.
        improved: whether it is the best so far.
        refit: whether it is the record of a refit after the last outer iteration.
    """

    iteration: int
    inner_steps: int
    inner_loss: float
    outer_loss: float
    stopping_accuracy: float
    stopping_loss: float
    expected_edges: float
    inner_lr: float
    outer_lr: float
    group_probs: dict[str, float]
    improved: bool
    refit: bool = False

    def in_words(self, best: float | None = None) -> str:
        """Say how the iteration ended, in a line.

        A method without inner weights has no inner loss, and is judged by labels left out.

        Arguments:
            best: the best accuracy so far, in [0, 1]; None leaves it out.
        """
        judge, losses = "left-out labels", f"loss {self.outer_loss:.3f}"
        if not math.isnan(self.inner_loss):
            judge = "stopping"
            losses = f"inner {self.inner_loss:.3f}, outer {self.outer_loss:.3f}"
        shown = "" if best is None else f" (best {100 * best:.1f})"
        return (
            f"{losses}, {judge} {100 * self.stopping_accuracy:.1f}{shown} %, "
            f"{self.expected_edges:,.0f} edges"
        )
