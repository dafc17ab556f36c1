"""Reverse mode, whole or truncated, with all states or a few checkpoints (Algorithm 2)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from lds._numbers import check_flag, integer
from lds.bilevel.checks import all_finite, check_adjoint
from lds.bilevel.dynamics import ObjectiveDynamics
from lds.bilevel.method import AbstractHypergradient, Memory
from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tape import Tape
from lds.bilevel.tensors import Tree, add
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


TAPE_BYTES = 1 << 25
"""Bytes of the tape of a run up to which `Reverse()` keeps it: 32 MB, a sixth of what a process
that imports torch takes. A step of a logistic regression with 20 weights on 100 rows keeps 9 kB,
one of an MLP with 19,210 weights on 900 rows 2.3 MB."""


@dataclass
class _Kept(Memory):
    """What is kept of a run.

    Attributes:
        start: Φ_0, or None.
        trajectory: the steps.
        first: number of steps before those to keep.
        window: number of steps to keep; None if it is not known.
        tape: the tape of the steps kept; None for none.
        undecided: whether the first step kept decides if there is a tape.
    """

    start: Start | None = None
    trajectory: Trajectory = field(default_factory=lambda: Trajectory(None, None))
    first: int = 0
    window: int | None = None
    tape: Tape | None = None
    undecided: bool = False


@dataclass(frozen=True)
class Reverse(AbstractHypergradient):
    """Reverse-HG: α_T = ∂E/∂s_T, then α_{t-1} = α_t A_t and g += α_t B_t (Algorithm 2).

    Exact without truncation. With it the steps before the last `truncation` ones are left out, an
    error that shrinks geometrically if Φ contracts. States are kept and steps applied again, so
    there is no tape over the whole run, unless it is small (`tape`). Time: about four applications
    of ∇L a step, three with a tape, five with checkpoints; memory: one state a step, or about 2√T
    states, and the tape of a single step.

    References:
        Franceschi, 2021, §5.4.1 Algorithm 2; truncation: §6.3.1, §9.3.2. Checkpoints: Griewank and
        Walther, 2008, chapter 12.

    Arguments:
        truncation: τ, number of last steps to sweep over; None is every step, and Φ_0.
        checkpoint: None keeps the state before every step. A number keeps that many states and
            computes the others again; "sqrt" keeps about √T.
        tape: True keeps the history of every step, as for differentiating the unrolled loop, and
            applies none again: the same numbers in about half the time where a step takes less than
            a millisecond. False keeps none. None keeps it if that of all steps takes at most 32 MB,
            as measured at the first step, or if there is one step; not with `checkpoint`, `check`
            or a run of open length, for which a truncation keeps none in any case. With a tape the
            last step is applied again and compared, once in an outer loop; the gradient does not
            depend on whether the others repeat.
        check: compare the state after every step with that of its first application. Without tapes
            the inner loss of each step, and the state after the last, are always compared.

    Raises:
        TypeError: `truncation` or `checkpoint` is of another kind.
        ValueError: `truncation` or `checkpoint` below 1, or `tape` with `checkpoint` or `check`.
        ReplayError: in use, a step gives another result when it is applied again, because of other
            data or other random numbers.
    """

    truncation: int | None = None
    checkpoint: Literal["sqrt"] | int | None = None
    check: bool = False
    tape: bool | None = None

    def __post_init__(self) -> None:
        if self.truncation is not None:
            object.__setattr__(self, "truncation", integer("Reverse(truncation)", self.truncation))
        if self.truncation is not None and self.truncation < 1:
            raise ValueError(
                f"Reverse(truncation) must be None or at least 1, got {self.truncation}; "
                "None keeps every step"
            )
        check_flag("Reverse(check)", self.check)
        check_flag("Reverse(tape)", self.tape, none=True)
        if self.tape and (self.check or self.checkpoint is not None):
            raise ValueError(
                "Reverse(tape=True) applies no step again, so there is nothing for checkpoint= or "
                "check= to do; leave them out, or tape="
            )
        if self.checkpoint is None or self.checkpoint == "sqrt":
            return
        try:
            count = integer("checkpoint", self.checkpoint)
        except TypeError:
            raise TypeError(
                "Reverse(checkpoint) must be None, 'sqrt' or a number of states, "
                f"got {self.checkpoint!r}"
            ) from None
        object.__setattr__(self, "checkpoint", count)
        if count < 1:
            raise ValueError(
                f"Reverse(checkpoint) must be at least 1 state, got {self.checkpoint}; "
                "None keeps every state"
            )

    def start(self, start: Start | None, n_steps: int | None = None) -> _Kept:
        """Make an empty trajectory."""
        if n_steps is None:
            if self.checkpoint is not None:
                raise ValueError(
                    "Reverse(checkpoint) must know n_steps in advance; here it is open: use "
                    "checkpoint=None"
                )
            trajectory = Trajectory(self.truncation, None)
            tape = Tape() if self.tape and self.truncation is None else None
            return _Kept(start=start, trajectory=trajectory, tape=tape)
        window = n_steps if self.truncation is None else min(self.truncation, n_steps)
        stride = 1
        if self.checkpoint is not None:
            kept = math.isqrt(window) if self.checkpoint == "sqrt" else self.checkpoint
            stride = -(-window // max(1, kept)) or 1
        tapes = False if self.check or self.checkpoint is not None else self.tape
        if tapes is None and window == 1:  # a step applied again has a tape as large
            tapes = True
        return _Kept(
            start=start,
            trajectory=Trajectory(self.truncation, None if tapes else n_steps, stride),
            first=n_steps - window,
            window=window,
            tape=Tape() if tapes else None,
            undecided=tapes is None,
        )

    def observe(self, memory: _Kept, step: Step) -> tuple[Tree, Tensor | None] | None:
        """Keep the step, and its tape; drop the oldest beyond the truncation."""
        taken = memory.trajectory.n_steps
        taped = memory.undecided or memory.tape is not None
        begins = taped and taken == memory.first and "compared" not in memory.notes
        if begins and not isinstance(step.dynamics, ObjectiveDynamics):
            # Without grad mode torch refuses autograd.grad in a step, which a tape would take for
            # constant. Of a step that turns grad mode on, `twice.watched` warns.
            step.run()
        if memory.undecided and taken == memory.first:
            memory.undecided = False
            tape = Tape()
            found = tape.run(step)
            if self._small(memory, tape):
                memory.tape = tape
                memory.trajectory = Trajectory(self.truncation, None, taken=taken)
            memory.trajectory.observe(step)
            return found
        memory.trajectory.observe(step)
        return memory.tape.run(step) if memory.tape and taken >= memory.first else None

    def _small(self, memory: _Kept, tape: Tape) -> bool:
        """Return whether the tape of all steps takes at most `TAPE_BYTES`, by that of the first."""
        if "small" not in memory.notes:
            assert memory.window is not None
            memory.notes["small"] = memory.window * tape.n_bytes <= TAPE_BYTES
        return bool(memory.notes["small"])

    def gradient(self, memory: _Kept, outer: Outer) -> list[Any]:
        """Sweep back over the kept steps."""
        trajectory = memory.trajectory
        tape = memory.tape if len(trajectory) else None
        if tape is not None and "compared" not in memory.notes:
            trajectory.last.compare(outer.step.state)
            memory.notes["compared"] = True
        alpha, g = self._swept(trajectory, tape, outer)
        formed = [a for a in alpha if a is not None and a.is_floating_point()]
        if not all_finite(formed):  # rare: sweep again to find the step
            alpha = outer.adjoint
            for step in trajectory.backwards():
                alpha, _ = step.vjp(alpha)
                check_adjoint(alpha, step.state, step.t)
        if memory.start is not None and trajectory.n_steps == len(trajectory):  # Φ_0 not cut off
            g = add(g, memory.start.vjp(alpha))
        return g

    def _swept(
        self, trajectory: Trajectory, tape: Tape | None, outer: Outer
    ) -> tuple[list[Tensor | None], list[Any]]:
        if tape is not None:
            try:
                return tape.sweep(outer)
            except RuntimeError:  # not differentiable twice: step by step, to say which step
                pass
        return sweep(trajectory.backwards(), outer, check=self.check)
