"""Single-loop methods: weights, linear system and hyperparameters move together, a step each."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lds.bilevel.checks import in_range
from lds.bilevel.dynamics import ObjectiveDynamics
from lds.bilevel.explain import explained
from lds.bilevel.implicit import refuse_settings
from lds.bilevel.linearized import check_fits
from lds.bilevel.method import AbstractHypergradient, Memory
from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tensors import (
    Columns,
    Traced,
    Tree,
    add,
    axpy,
    detach,
    differentiate,
    leaves,
    rebuild,
)


@dataclass
class LastStep(Memory):
    """∇_w L of the last step with history, and the weights and λ it was taken at."""

    params: Traced | None = None
    hyper: Traced | None = None
    grads: list[Tensor] | None = None


@dataclass(frozen=True)
class SOBA(AbstractHypergradient):
    """One stochastic step of each: w ← Φ(w), q ← q - ρ (q ∂²L/∂w² - ∂E/∂w), ∂E/∂λ - q ∂²L/∂w∂λ.

    The three share one graph of ∇_w L on one batch; each outer iteration of `solve` continues with
    the q of the one before. For ``solve(..., n_steps=1, warm_start="state")``, with L and E on
    batches; of several steps the last one counts. Time: an application of Φ, a product with the
    Hessian and ∇E; memory: the graph of one step. Biased while q is far from its solution, as in
    the first iterations. E is evaluated after the step of w, not before it.

    References:
        Dagréou et al., 2022, Algorithm 1 (SOBA), https://arxiv.org/abs/2201.13409

    Arguments:
        lr: ρ, the step size of the linear system, below 2 over the largest eigenvalue of ∂²L/∂w².

    Raises:
        ValueError: `lr` is not positive and finite; in use, there is no step, or hyper holds an
            optimiser setting of the dynamics.
        TypeError: `lr` is no number; in use, the dynamics is not made of an inner objective, or the
            state holds buffers of a module.
    """

    unrolled: ClassVar[bool] = False

    lr: float = 0.1

    def __post_init__(self) -> None:
        in_range(f"{type(self).__name__}(lr)", self.lr)

    def start(self, start: Start | None, n_steps: int | None = None) -> LastStep:
        """Make a memory for q and the last step."""
        return LastStep()

    def observe(self, memory: LastStep, step: Step) -> tuple[Tree, Tensor | None]:
        """Take the step and keep the graph of its gradient."""
        self._differentiate(memory, step)
        return self._move(step, detach(memory.grads)), None

    def gradient(self, memory: LastStep, outer: Outer) -> list[Any]:
        """Compute ∂E/∂λ - q ∂²L/∂w∂λ, and take a step of q."""
        w = self._weights(memory)
        check_fits(memory.solution, w)
        b = leaves(outer.step.dynamics.params(rebuild(outer.step.state, outer.adjoint)))
        q = self._first(w, outer) if memory.solution is None else memory.solution
        # Of -q: to negate q takes less memory than to negate a product of the size of λ.
        by_w, mixed = self._products(memory, w, _negated(q))
        residual = axpy(-1.0, b, _negated(by_w))
        memory.solution = axpy(-self.lr, residual, q)
        return add(outer.direct, mixed)

    def _differentiate(self, memory: LastStep, step: Step) -> None:
        """Keep ∇_w L of a step, with history."""
        name, phi = type(self).__name__, step.dynamics
        if not (isinstance(phi, ObjectiveDynamics) and phi.stationary):
            raise TypeError(
                f"{name} needs a dynamics made of an inner objective, such as GradientDescent, "
                "Momentum or Adam, without weight_decay= (put the decay into the objective), "
                f"got {type(phi).__name__}; or use FixedPoint(1)"
            )
        if "buffers" in step.state:
            raise TypeError(
                f"{name} needs weights alone, and the module has buffers that a step changes "
                "(batch normalisation, spectral norm), which have no linear system of L; use "
                "FixedPoint(1), or a module without buffers"
            )
        memory.params, memory.hyper = Traced(phi.params(step.state)), Traced(step.hyper)
        with explained(f"step {step.t} of the dynamics"), step.replay(), torch.enable_grad():
            memory.grads = phi.gradient(memory.params.tree, memory.hyper.tree, step.t)

    def _move(self, step: Step, grads: list[Tensor]) -> Tree:
        """Compute s_t from a gradient."""
        assert isinstance(step.dynamics, ObjectiveDynamics)
        with torch.no_grad():
            return step.dynamics.update(step.state, grads, step.hyper, step.t)

    def _weights(self, memory: LastStep) -> list[Tensor]:
        """Return the weights, leaf by leaf, at which the step was taken."""
        if memory.params is None:
            raise ValueError(
                f"{type(self).__name__} needs n_steps of at least 1 (one is meant), got 0"
            )
        return memory.params.inputs()

    def _first(self, w: list[Tensor], outer: Outer) -> Columns:
        """Return q of the first iteration, 0."""
        refuse_settings(outer)
        return [torch.zeros_like(leaf) for leaf in w]

    def _products(self, memory: LastStep, w: list[Tensor], q: Columns) -> tuple[Columns, list[Any]]:
        """Compute q ∂²L/∂w² and q ∂²L/∂w∂λ, leaf by leaf, and free the graph."""
        assert memory.grads is not None
        assert memory.hyper is not None
        h = memory.hyper.inputs()
        wanted = [leaf for leaf in h if leaf.requires_grad]
        with explained("the last step of the dynamics"):
            found = differentiate(memory.grads, [*w, *wanted], q)
        rest = iter(found[len(w) :])
        mixed = memory.hyper.gradients([next(rest) if leaf.requires_grad else None for leaf in h])
        memory.grads = None
        return found[: len(w)], mixed


def _negated(columns: Columns) -> Columns:
    return [None if part is None else -part for part in columns]
