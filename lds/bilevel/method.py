"""What every hypergradient method is: an immutable record of options, and three calls.

- Reverse mode records steps while observing and sweeps back over them in `gradient`.
- Forward mode would carry the tangent Z_t while observing; its `gradient` is one product.
- An implicit method would keep the last step only and solve a linear system in `gradient`.

The memory is a value apart from the method, so that a run can be saved and resumed.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tensors import Tree


@dataclass(frozen=True)
class Hypergradient:
    """One estimate of ∇f_T(λ).

    Attributes:
        value: E(w_T, λ), 0-dim tensor.
        grad: like `hyper`, leaf by leaf.
        state: s_T, the state the outer objective was evaluated at.
    """

    value: Tensor
    grad: Tree
    state: Tree


class AbstractHypergradient(ABC):
    """The contract of a method; `Any` below is the method's own memory."""

    @abstractmethod
    def start(self, start: Start | None) -> Any:
        """A fresh memory for a run that begins with Φ_0; None: one that begins in mid-run."""

    @abstractmethod
    def observe(self, memory: Any, step: Step) -> None:
        """Take note of a step that is about to be run."""

    @abstractmethod
    def gradient(self, memory: Any, outer: Outer) -> list[Any]:
        """∇f_T(λ), leaf by leaf, from what was observed and E's partial derivatives."""
