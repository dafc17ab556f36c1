"""The contract of a hypergradient method: an immutable record of options, and three calls.

- Reverse mode records steps while observing and sweeps back over them in `gradient`.
- Forward mode carries the tangent Z_t while observing; its `gradient` is one product.
- An implicit method keeps nothing while observing and solves a linear system in `gradient`.

The memory is a separate value, so that a run can be saved and resumed.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.summary import summary
from lds.bilevel.tensors import Columns, Traced, Tree

Info = dict[str, float | int | str]
"""What a method reports, by name."""


@dataclass
class Memory:
    """What the memory of every method holds.

    Attributes:
        solution: q of an implicit method, from which the next solve may start; else None.
        info: what the method reports.
        notes: what the method found out in earlier hypergradients of one outer loop, by name; empty
            in the first.
    """

    solution: Columns | None = None
    info: Info = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Hypergradient:
    """One estimate of ∇f_T(λ).

    Attributes:
        value: E(w_T, λ), 0-dim tensor.
        grad: like `hyper`, leaf by leaf.
        state: s_T, the state the outer objective was evaluated at.
        info: what the method reports. Implicit methods: "n_iter", the products taken, "residual",
            that of the linear system relative to its right-hand side, and "contraction", an
            estimate of ρ, if there is one. `method="auto"`: the "method" chosen and "why".
        solution: q of an implicit method; the next call starts its solve there if this result is
            its `previous`.
        step: T, the number of steps before `state`.
        grad_norm: Euclidean norm of `grad` over its tensors.
    """

    value: Tensor
    grad: Tree
    state: Tree
    info: Info = field(default_factory=dict)
    solution: Columns | None = None
    step: int = 0
    grad_norm: float = math.nan

    def __repr__(self) -> str:
        values: dict[str, Any] = {"value": self.value, "step": self.step}
        if self.info:
            values["info"] = self.info
        return summary("Hypergradient", values, {"state": self.state}, self.grad)


class AbstractHypergradient(ABC):
    """The contract of a method; `Any` below is the type of its memory.

    Attributes:
        unrolled: whether the method differentiates the steps taken and Φ_0; implicit methods do
            not.
    """

    unrolled: ClassVar[bool] = True

    @abstractmethod
    def start(self, start: Start | None, n_steps: int | None = None) -> Any:
        """Make the memory of a run.

        Arguments:
            start: Φ_0; None for a run that continues an earlier one.
            n_steps: number of steps to come; None if it is not known.
        """

    @abstractmethod
    def observe(self, memory: Any, step: Step) -> tuple[Tree, Tensor | None] | None:
        """Observe a step before it is run.

        Returns:
            s_t and the inner loss, if the method has run the step itself; else None.
        """

    def trace(self, step: Step) -> tuple[Traced, Tree]:
        """Apply a step with the history that the method differentiates; return traced λ and s_t."""
        _, hyper, new = step.traced()
        return hyper, new

    @abstractmethod
    def gradient(self, memory: Any, outer: Outer) -> list[Any]:
        """Compute ∇f_T(λ), leaf by leaf, from the memory and the partial derivatives of E."""
