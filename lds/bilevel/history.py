"""What an outer loop came to, step by step and in the end."""

from dataclasses import dataclass, field
from typing import Any

from lds.bilevel.method import Info
from lds.bilevel.tensors import Tree


@dataclass(frozen=True)
class Record:
    """One hypergradient of an outer loop.

    Attributes:
        iteration: outer iteration; online, the number of inner steps taken.
        value: E at `hyper`.
        grad_norm: Euclidean norm of the hypergradient over all leaves.
        hyper: λ at which both were taken. In a history, None where it holds more than 1,000
            numbers; a callback always gets it.
        info: what the method found out.
    """

    iteration: int
    value: float
    grad_norm: float
    hyper: Tree
    info: Info = field(default_factory=dict)


@dataclass(frozen=True)
class Last:
    """Where an outer loop ended.

    Attributes:
        hyper: λ after its last update.
        params: the weights of the last inner run, or of the last step online.
    """

    hyper: Tree
    params: Tree


@dataclass(frozen=True)
class Solution:
    """What an outer loop came to: that of the best outer value.

    Attributes:
        hyper: λ of the lowest E met.
        params: the weights w_T(λ) that E was taken at.
        value: that E.
        history: one record a hypergradient.
        reason: why the loop ended: "n_outer" or "n_steps", a stopping rule's word, "callback",
            "interrupted" or "non-finite: ...".
        last: where it ended.
    """

    hyper: Tree
    params: Tree
    value: float
    history: list[Record]
    reason: str
    last: Last


@dataclass
class Best:
    """The best so far."""

    value: float = float("inf")
    hyper: Any = None
    params: Any = None

    def take(self, value: float, hyper: Tree, params: Tree) -> None:
        """Keep these if they are better, or the first."""
        if self.hyper is None or value < self.value:
            self.value, self.hyper, self.params = value, hyper, params
