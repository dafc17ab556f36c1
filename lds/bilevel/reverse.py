"""Reverse mode, whole or truncated (Algorithm 2)."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from lds.bilevel.method import AbstractHypergradient
from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tensors import add


@dataclass
class _Trajectory:
    start: Start | None
    n_steps: int = 0
    steps: deque[Step] = field(default_factory=deque)


@dataclass(frozen=True)
class Reverse(AbstractHypergradient):
    """Reverse-HG: α_T = ∂E/∂s_T, then α_{t-1} = α_t A_t and g += α_t B_t (Algorithm 2).

    Exact when whole; truncated, it leaves out what lies before the last `truncation` steps, an
    error that shrinks geometrically where Φ contracts. States are kept and steps recomputed: no
    tape over the unroll. Time: about three applications of ∇L a step; memory: one state a step
    kept, and the tape of a single step.

    References:
        Franceschi, 2021, §5.4.1 Algorithm 2; truncation: §6.3.1, §9.3.2.

    Arguments:
        truncation: τ, how many last steps to sweep over; None keeps every step, and Φ_0.

    Raises:
        ValueError: `truncation` below 1.
    """

    truncation: int | None = None

    def __post_init__(self) -> None:
        if self.truncation is not None and self.truncation < 1:
            raise ValueError(
                f"Reverse(truncation) must be None or at least 1, got {self.truncation}; "
                "None keeps every step"
            )

    def start(self, start: Start | None) -> _Trajectory:
        """An empty trajectory."""
        return _Trajectory(start, steps=deque(maxlen=self.truncation))

    def observe(self, memory: _Trajectory, step: Step) -> None:
        """Keep the step; beyond the truncation the oldest goes."""
        memory.steps.append(step)
        memory.n_steps += 1

    def gradient(self, memory: _Trajectory, outer: Outer) -> list[Any]:
        """Sweep back over the steps kept."""
        alpha, g = outer.adjoint, outer.direct
        for step in reversed(memory.steps):
            alpha, alpha_B = step.vjp(alpha)
            g = add(g, alpha_B)
        if memory.start is not None and memory.n_steps == len(memory.steps):  # Φ_0 was not cut off
            g = add(g, memory.start.vjp(alpha))
        return g
