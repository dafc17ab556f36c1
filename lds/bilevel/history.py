"""What an outer loop came to, step by step and in the end."""

from dataclasses import dataclass, field

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
        info: what the method found out; "evaluate" is the value of `evaluate`, where it was asked.
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
    """What an outer loop came to, which is that of the iteration kept.

    Attributes:
        hyper: λ: with keep="best" that of the lowest value met, with "last" that of the last
            hypergradient, with "averaged" the mean over outer iterations.
        params: the weights w_T(λ) that belong to it; averaged likewise where inner runs go on from
            each other.
        value: `evaluate` at both; without `evaluate`, E.
        history: one record a hypergradient.
        reason: why the loop ended: "n_outer" or "n_steps", a stopping rule's word, "callback",
            "interrupted" or "non-finite: ...".
        last: where it ended, one update of λ later than the last hypergradient.
        kept: "best", "last" or "averaged".
    """

    hyper: Tree
    params: Tree
    value: float
    history: list[Record]
    reason: str
    last: Last
    kept: str
