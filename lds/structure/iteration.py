"""The record of one outer iteration."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Iteration:
    """The outcome of one outer iteration: an inner run with its hypergradients.

    Attributes:
        iteration: its number, from 0.
        inner_steps: steps of the inner run.
        inner_loss, outer_loss: the last ones, nats.
        stopping_accuracy, stopping_loss: on the early-stopping rows, the loss in nats.
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
