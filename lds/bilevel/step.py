"""One step of a run that can be applied again, and its products with A_t and B_t (eq. 5.13)."""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lds._random import mix, replayed
from lds.bilevel.buffers import split
from lds.bilevel.checks import check_scalar, check_state, unchanged
from lds.bilevel.dynamics import Dynamics, Tangents
from lds.bilevel.explain import explained
from lds.bilevel.replay import check_loss_replay, check_replay
from lds.bilevel.summary import summary
from lds.bilevel.tensors import (
    Columns,
    Traced,
    Tree,
    anew,
    detach,
    devices,
    leaves,
    pushforward,
    rebuild,
    requires_grad,
    vjp,
)


def _drawing(seed: int | None, dynamics: Dynamics, *trees: Tree) -> AbstractContextManager[None]:
    """Seed the random numbers on the devices of `trees` for a block; None does not seed."""
    if seed is None:
        return nullcontext()
    return replayed(seed, devices(*trees), dynamics.generators)


class _Seeded:
    """Seed the random numbers for a block, and do not restore their state after it."""

    __slots__ = ("_dynamics", "_seed")

    def __init__(self, seed: int, dynamics: Dynamics) -> None:
        self._seed, self._dynamics = seed, dynamics

    def __enter__(self) -> None:
        torch.default_generator.manual_seed(self._seed)
        for k, generator in enumerate(self._dynamics.generators):
            generator.manual_seed(mix(self._seed, k))

    def __exit__(self, *error: object) -> None:
        pass


@dataclass(frozen=True, repr=False)
class Step:
    """One application of Φ_t that can be repeated: it keeps its arguments and its seed.

    Arguments:
        dynamics: Φ.
        state: s_{t-1}, a pytree of tensors without history.
        hyper: λ.
        t: the step number, from 0.
        seed: seed of the randomness inside Φ_t, so that a second application draws the same graph
            and the same dropout mask; None if Φ_t draws no random numbers from torch.
        met: the inner loss of the first application, after that application.
        restore: whether each application restores the state of the random generators; False only
            inside a run on the CPU that restores it itself.
    """

    dynamics: Dynamics
    state: Tree
    hyper: Tree
    t: int
    seed: int | None
    met: list[Tensor] = field(default_factory=list, compare=False)
    restore: bool = field(default=True, compare=False)

    def __repr__(self) -> str:
        values = {"dynamics": type(self.dynamics).__name__, "t": self.t, "seed": self.seed}
        return summary("Step", values, {"state": self.state, "hyper": self.hyper})

    def run(self) -> tuple[Tree, Tensor | None]:
        """Apply Φ_t; return s_t and the inner loss at s_{t-1}, or None if the dynamics has none."""
        with self._explained(), self.replay(), torch.no_grad(), self._unchanged():
            new, loss = self.dynamics.advance(self.state, self.hyper, self.t)
        found = check_state(new, self.state, self.t)
        if any(leaf.requires_grad for leaf in found):  # a step that turns grad mode on
            new = detach(new)
        self.compare_loss(loss)
        return new, loss

    def replay(self) -> AbstractContextManager[None]:
        """Seed the random numbers for a block that applies this step."""
        if self.seed is not None and not self.restore:
            return _Seeded(self.seed, self.dynamics)
        return _drawing(self.seed, self.dynamics, self.state, self.hyper)

    def vjp(
        self, adjoint: list[Tensor | None], after: Tree | None = None
    ) -> tuple[list[Tensor | None], list[Any]]:
        """Compute (α_t A_t, α_t B_t), leaf by leaf, by applying Φ_t again; None stands for zero.

        Arguments:
            adjoint: α_t, leaf by leaf of the state.
            after: s_t of the first application, with which the second is compared; None compares
                the inner loss alone.

        Raises:
            ReplayError: the second application gives another result than the first.
        """
        state, hyper, new = self.traced()
        if after is not None:
            check_replay(self.state, after, new, self.t)
        with self._explained():
            to_state, to_hyper = vjp(leaves(new), adjoint, [state, hyper])
        return to_state, to_hyper

    def at(self, state: Tree) -> "Step":
        """Make the same step with another copy of its state; the loss it met is shared."""
        step: Step = copy.copy(self)
        object.__setattr__(step, "state", state)  # faster than `replace`, for every step kept
        return step

    def other(self, *, seed: int | None, t: int | None = None) -> "Step":
        """Make a step from the same state with another seed or step number."""
        return replace(self, seed=seed, t=self.t if t is None else t, met=[])

    def traced(self) -> tuple[Traced, Traced, Tree]:
        """Apply Φ_t at traced leaves; return traced s_{t-1} and λ, and s_t with history."""
        state, hyper = Traced(self.state), Traced(self.hyper)
        with self._explained(), self.replay(), torch.enable_grad():
            new, loss = self.dynamics.advance(state.tree, hyper.tree, self.t)
        self.compare_loss(loss)
        return state, hyper, new

    def compare(self, after: Tree) -> None:
        """Apply Φ_t again, and compare the state after it with `after`.

        Raises:
            ReplayError: they differ by more than rounding.
        """
        _, _, new = self.traced()
        check_replay(self.state, after, new, self.t)

    def compare_loss(self, loss: Tensor | None) -> None:
        """Keep the loss of the first application; compare those of later ones with it."""
        if loss is None:
            return
        if self.met:
            check_loss_replay(self.met[0], loss, self.t)
        else:
            self.met.append(loss.detach())

    def tangents(self) -> Tangents:
        """Apply Φ_t, and prepare its products from the right, A_t z + B_t e."""
        with self._explained(), self.replay(), torch.enable_grad(), self._unchanged():
            return self.dynamics.tangents(Traced(self.state).tree, Traced(self.hyper).tree, self.t)

    def _explained(self) -> AbstractContextManager[None]:
        return explained(f"step {self.t} of the dynamics")

    def _unchanged(self) -> AbstractContextManager[None]:
        return unchanged(f"step {self.t} of the dynamics", state=self.state, hyper=self.hyper)


@dataclass(frozen=True, repr=False)
class Start:
    """The application of Φ_0, and its products with B_0 = ∂Φ_0/∂λ."""

    dynamics: Dynamics
    params: Tree
    hyper: Tree
    seed: int

    def __repr__(self) -> str:
        values = {"dynamics": type(self.dynamics).__name__, "seed": self.seed}
        return summary("Start", values, {"params": self.params, "hyper": self.hyper})

    def __post_init__(self) -> None:
        if split(self.hyper)[1]:
            raise ValueError(
                "hyper holds the buffers of a module, which are no hyperparameters; let hyper hold "
                "dict(params), and start=lambda params, hyper: params.replaced(hyper)"
            )

    def run(self) -> Tree:
        """Apply Φ_0, which may take derivatives itself; return s_0 without history."""
        with (
            _drawing(self.seed, self.dynamics, self.params, self.hyper),
            torch.enable_grad(),
            unchanged("the start of the dynamics", params=self.params, hyper=self.hyper),
        ):
            state = self.dynamics.start(self.params, anew(self.hyper))
        return detach(state) if any(map(requires_grad, leaves(state))) else state

    def vjp(self, adjoint: list[Tensor | None]) -> list[Any]:
        """Compute α_0 B_0, leaf by leaf."""
        hyper, state = self.traced()
        return vjp(leaves(state), adjoint, [hyper])[0]

    def traced(self) -> tuple[Traced, Tree]:
        """Apply Φ_0 at traced λ; return both λ and s_0 with history."""
        hyper = Traced(self.hyper)
        drawing = _drawing(self.seed, self.dynamics, self.params, self.hyper)
        with drawing, torch.enable_grad():
            return hyper, self.dynamics.start(self.params, hyper.tree)

    def pushforward(self) -> tuple[Tree, Callable[[Columns, bool], Columns]]:
        """Apply Φ_0; return s_0, and e ↦ B_0 e for tangents e with a tensor a leaf of hyper."""
        hyper, state = self.traced()
        return state, pushforward(leaves(state), leaves(hyper.tree))


@dataclass(frozen=True, repr=False)
class Outer:
    """E at a state, and its partial derivatives (the first line of the sweep in Algorithm 2).

    Attributes:
        value: E(w_T, λ), 0-dim.
        adjoint: α_T = ∂E/∂s_T, leaf by leaf.
        direct: ∂E/∂λ at a constant state, leaf by leaf.
        step: the next step, which is not taken: s_T, λ and Φ of step T.
        objective: E(params, hyper, step).
    """

    value: Tensor
    adjoint: list[Tensor | None]
    direct: list[Any]
    step: Step
    objective: Callable[[Tree, Tree, int], Tensor]

    def __repr__(self) -> str:
        trees = {"adjoint": self.adjoint, "direct": self.direct}
        return summary("Outer", {"value": self.value, "step": self.step.t}, trees)


def evaluate(
    dynamics: Dynamics,
    objective: Callable[[Tree, Tree, int], Tensor],
    state: Tree,
    hyper: Tree,
    t: int,
    seed: int | None,
    *,
    restore: bool = True,
) -> Outer:
    """Differentiate E(params(state), hyper, t) by state and hyperparameters.

    Arguments:
        restore: as for `Step`.
    """
    step = Step(dynamics, state, hyper, t, seed, restore=restore)
    traced_state, traced_hyper = Traced(state), Traced(hyper)
    with (
        explained("the outer objective"),
        step.replay(),
        torch.enable_grad(),
        unchanged("the outer objective", state=traced_state, hyper=traced_hyper),
    ):
        value = objective(dynamics.params(traced_state.tree), traced_hyper.tree, t)
    check_scalar("outer_objective", value)
    with explained("the outer objective"):
        adjoint, direct = vjp([value], [torch.ones_like(value)], [traced_state, traced_hyper])
    return Outer(value.detach(), adjoint, direct, step, objective)


def gradient_tree(hyper: Tree, grads: Sequence[Any]) -> Tree:
    """Make a tree like `hyper` of gradients leaf by leaf, with tensors of zeros for None."""
    filled = [
        torch.zeros_like(leaf) if grad is None and isinstance(leaf, Tensor) else grad
        for leaf, grad in zip(leaves(hyper), grads, strict=True)
    ]
    return rebuild(hyper, filled)
