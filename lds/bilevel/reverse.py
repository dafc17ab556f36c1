"""Reverse mode, whole or truncated, with all states or a few checkpoints (Algorithm 2)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from lds.bilevel.checks import check_adjoint
from lds.bilevel.method import AbstractHypergradient, Memory
from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.taped import TapedStep
from lds.bilevel.tensors import Tree, add, norm
from lds.bilevel.trajectory import Trajectory


def sweep(
    steps: Iterable[Step], outer: Outer, *, check: bool = False
) -> tuple[list[Tensor | None], list[Any]]:
    """Sweep back over steps; return α before the first of them, and the hypergradient through them.

    Arguments:
        steps: last first.
        outer: E at the state after the last step.
        check: compare the state after every step with that of the first application; False compares
            that after the last step alone.
    """
    alpha, g = outer.adjoint, outer.direct
    after: Tree | None = outer.step.state
    for step in steps:
        alpha, alpha_B = step.vjp(alpha, after)
        g = add(g, alpha_B)
        after = step.state if check else None
    return alpha, g


@dataclass
class _Kept(Memory):
    start: Start | None = None
    trajectory: Trajectory = field(default_factory=lambda: Trajectory(None, None))


@dataclass(frozen=True)
class Reverse(AbstractHypergradient):
    """Reverse-HG: α_T = ∂E/∂s_T, then α_{t-1} = α_t A_t and g += α_t B_t (Algorithm 2).

    Exact without truncation. With it the steps before the last `truncation` ones are left out, an
    error that shrinks geometrically if Φ contracts. States are kept and steps applied again, so
    there is no tape over the whole run. Time: about three applications of ∇L a step, one more with
    checkpoints; memory: one state a step, or about 2√T states, and the tape of a single step.

    References:
        Franceschi, 2021, §5.4.1 Algorithm 2; truncation: §6.3.1, §9.3.2. Checkpoints: Griewank and
        Walther, 2008, chapter 12.

    Arguments:
        truncation: τ, number of last steps to sweep over; None is every step, and Φ_0.
        checkpoint: None keeps the state before every step. A number keeps that many states and
            computes the others again; "sqrt" keeps about √T.
        tape: keep the tape of every step of its first application, and apply none again: the same
            numbers in about half the time where a step takes less than a millisecond. Memory: the
            tapes of all steps kept, as for differentiating the unrolled loop. One step a sweep, the
            last, is applied again and compared; not with `checkpoint` or `check`.
        check: compare the state after every step with that of its first application. The inner loss
            of each step, and the state after the last step, are always compared.

    Raises:
        TypeError: `checkpoint` is of another kind.
        ValueError: `truncation` or `checkpoint` below 1, or `tape` with `checkpoint` or `check`.
        ReplayError: in use, a step gives another result when it is applied again, because of other
            data or other random numbers.
    """

    truncation: int | None = None
    checkpoint: Literal["sqrt"] | int | None = None
    check: bool = False
    tape: bool = False

    def __post_init__(self) -> None:
        if self.truncation is not None and self.truncation < 1:
            raise ValueError(
                f"Reverse(truncation) must be None or at least 1, got {self.truncation}; "
                "None keeps every step"
            )
        if self.tape and (self.check or self.checkpoint is not None):
            raise ValueError(
                "Reverse(tape=True) applies no step again, so there is nothing for checkpoint= or "
                "check= to do; leave them out, or tape="
            )
        if self.checkpoint is None or self.checkpoint == "sqrt":
            return
        if isinstance(self.checkpoint, bool) or not isinstance(self.checkpoint, int):
            raise TypeError(
                "Reverse(checkpoint) must be None, 'sqrt' or a number of states, "
                f"got {self.checkpoint!r}"
            )
        if self.checkpoint < 1:
            raise ValueError(
                f"Reverse(checkpoint) must be at least 1 state, got {self.checkpoint}; "
                "None keeps every state"
            )

    def start(self, start: Start | None, n_steps: int | None = None) -> _Kept:
        """Make an empty trajectory."""
        if self.tape:  # views of one buffer would change under the tape
            return _Kept(start=start, trajectory=Trajectory(self.truncation, None))
        if self.checkpoint is None:
            return _Kept(start=start, trajectory=Trajectory(self.truncation, n_steps))
        if n_steps is None:
            raise ValueError(
                "Reverse(checkpoint) must know n_steps in advance; here it is open: use "
                "checkpoint=None"
            )
        window = n_steps if self.truncation is None else min(self.truncation, n_steps)
        kept = math.isqrt(window) if self.checkpoint == "sqrt" else self.checkpoint
        stride = -(-window // max(1, kept)) or 1
        return _Kept(start=start, trajectory=Trajectory(self.truncation, n_steps, stride))

    def observe(self, memory: _Kept, step: Step) -> tuple[Tree, Tensor | None] | None:
        """Keep the step, and its tape; drop the oldest beyond the truncation."""
        if not self.tape:
            memory.trajectory.observe(step)
            return None
        taped = TapedStep.of(step)
        memory.trajectory.observe(taped)
        return taped.run()

    def gradient(self, memory: _Kept, outer: Outer) -> list[Any]:
        """Sweep back over the kept steps."""
        trajectory = memory.trajectory
        if self.tape and len(trajectory):
            trajectory.last.compare(outer.step.state)
        alpha, g = sweep(trajectory.backwards(), outer, check=self.check)
        if not math.isfinite(norm(alpha)):  # rare: sweep again to find the step
            alpha = outer.adjoint
            for step in trajectory.backwards():
                alpha, _ = step.vjp(alpha)
                check_adjoint(alpha, step.state, step.t)
        if memory.start is not None and trajectory.n_steps == len(trajectory):  # Φ_0 not cut off
            g = add(g, memory.start.vjp(alpha))
        return g
