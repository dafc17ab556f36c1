"""A step that keeps its tape, for short truncation windows."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lds.bilevel.checks import check_state, unchanged
from lds.bilevel.step import Step
from lds.bilevel.tensors import Traced, Tree, detach, leaves, vjp


@dataclass(frozen=True, repr=False)
class TapedStep(Step):
    """A step whose `vjp` uses the tape of its `run`, and frees it.

    The numbers are those of `Step`, which applies Φ_t a second time instead. Saves about a third of
    the time. Memory: the tape of every step from its `run` to its `vjp`, so for a truncation of a
    few steps.
    """

    _tape: list[tuple[Tree, Traced, Traced]] = field(
        default_factory=list, init=False, compare=False
    )

    def run(self) -> tuple[Tree, Tensor | None]:
        """Apply Φ_t; return s_t and the inner loss at s_{t-1}, both without history."""
        state, hyper = Traced(self.state), Traced(self.hyper)
        with (
            self.replay(),
            torch.enable_grad(),
            unchanged(f"step {self.t} of the dynamics", state=state, hyper=hyper),
        ):
            new, loss = self.dynamics.advance(state.tree, hyper.tree, self.t)
        check_state(new, self.state, self.t)
        self._tape[:] = [(new, state, hyper)]
        self.compare_loss(loss)
        return detach(new), loss

    def vjp(
        self, adjoint: list[Tensor | None], after: Tree | None = None
    ) -> tuple[list[Tensor | None], list[Any]]:
        """Compute (α_t A_t, α_t B_t); without a tape, apply Φ_t again."""
        if not self._tape:
            return super().vjp(adjoint, after)
        new, state, hyper = self._tape.pop()
        to_state, to_hyper = vjp(leaves(new), adjoint, [state, hyper])
        return to_state, to_hyper
