"""What every hypergradient method is: an immutable record of options, and three calls.

- Reverse mode records steps while observing and sweeps back over them in `gradient`.
- Forward mode carries the tangent Z_t while observing; its `gradient` is one product.
- An implicit method keeps nothing while observing and solves a linear system in `gradient`.

The memory is a value apart from the method, so that a run can be saved and resumed.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tensors import Columns, Tree

Info = dict[str, float | int | str]
"""What a method found out on the way, by name."""


@dataclass
class Memory:
    """What every method's memory holds.

    Attributes:
        solution: q of an implicit method, from which the next solve may start; None elsewhere.
        info: what the method found out on the way.
    """

    solution: Columns | None = None
    info: Info = field(default_factory=dict)


@dataclass(frozen=True)
class Hypergradient:
    """One estimate of ∇f_T(λ).

    Attributes:
        value: E(w_T, λ), 0-dim tensor.
        grad: like `hyper`, leaf by leaf.
        state: s_T, the state the outer objective was evaluated at.
        info: what the method found out. Implicit methods: "n_iter" products taken, the "residual"
            of the linear system relative to its right-hand side, and where it can be had
            "contraction", an estimate of ρ. `method="auto"`: the "method" chosen and "why".
        solution: q of an implicit method; handed to the next call as `previous`, its solve starts
            there.
        step: T, the steps taken to get to `state`.
    """

    value: Tensor
    grad: Tree
    state: Tree
    info: Info = field(default_factory=dict)
    solution: Columns | None = None
    step: int = 0


class AbstractHypergradient(ABC):
    """The contract of a method; `Any` below is the method's own memory.

    Attributes:
        unrolled: whether it differentiates the steps taken and Φ_0; implicit methods do not.
    """

    unrolled: ClassVar[bool] = True

    @abstractmethod
    def start(self, start: Start | None, n_steps: int | None = None) -> Any:
        """A fresh memory.

        Arguments:
            start: Φ_0; None for a run that begins in mid-run.
            n_steps: how many steps there will be; None where this is not known.
        """

    @abstractmethod
    def observe(self, memory: Any, step: Step) -> tuple[Tree, Tensor | None] | None:
        """Take note of a step that is about to be run.

        Returns:
            s_t and the inner loss where they were computed on the way; None where the step is still
            to be run.
        """

    @abstractmethod
    def gradient(self, memory: Any, outer: Outer) -> list[Any]:
        """∇f_T(λ), leaf by leaf, from what was observed and E's partial derivatives."""
