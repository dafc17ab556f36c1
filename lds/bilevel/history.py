"""The records of an outer loop, and its solution."""

from dataclasses import dataclass, field

from lds.bilevel.method import Info
from lds.bilevel.summary import fields, size, summary
from lds.bilevel.tensors import Tree


@dataclass(frozen=True, repr=False)
class Record:
    """One hypergradient of an outer loop.

    Attributes:
        iteration: outer iteration; online, the number of inner steps taken.
        value: E at `hyper`.
        grad_norm: Euclidean norm of the hypergradient over all leaves.
        hyper: λ at which both were taken; None in a history if it holds more than 1,000 numbers (a
            callback always gets it).
        info: what the method reports; "evaluate" is the value of `evaluate`, where it was called.
    """

    iteration: int
    value: float
    grad_norm: float
    hyper: Tree
    info: Info = field(default_factory=dict)

    def __repr__(self) -> str:
        values = {"iteration": self.iteration, "value": self.value, "grad_norm": self.grad_norm}
        info = f", info={{{fields(self.info)}}}" if self.info else ""
        return f"Record({fields(values)}, hyper: {size(self.hyper)}{info})"


@dataclass(frozen=True, repr=False)
class Last:
    """The end of an outer loop.

    Attributes:
        hyper: λ after its last update.
        params: the weights of the last inner run, or of the last step online.
    """

    hyper: Tree
    params: Tree

    def __repr__(self) -> str:
        return summary("Last", {}, {"hyper": self.hyper, "params": self.params})


@dataclass(frozen=True, repr=False)
class Solution:
    """The result of an outer loop: the hyperparameters and weights of the iteration kept.

    Attributes:
        hyper: λ: with keep="best" that of the lowest value, with "last" that of the last
            hypergradient, with "averaged" the mean over outer iterations.
        params: w_T(λ); with "averaged" and a warm start, the mean over outer iterations.
        value: `evaluate` at both; without `evaluate`, E. NaN, with a warning, where a function of
            the user's failed that is called after the loop.
        history: one record a hypergradient.
        reason: why the loop ended: "n_outer" or "n_steps", the reason of a stopping rule,
            "callback", "time_limit", "interrupted" or "non-finite: ...".
        last: λ and weights at the end, one update of λ after the last hypergradient.
        kept: "best", "last" or "averaged".
    """

    hyper: Tree
    params: Tree
    value: float
    history: list[Record]
    reason: str
    last: Last
    kept: str

    def __repr__(self) -> str:
        values: dict[str, object] = {
            "value": self.value,
            "kept": self.kept,
            "reason": self.reason,
            "hypergradients": len(self.history),
        }
        if self.history:
            values["last_grad_norm"] = self.history[-1].grad_norm
        return summary("Solution", values, {"hyper": self.hyper, "params": self.params})
