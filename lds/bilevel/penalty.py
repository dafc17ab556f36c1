"""A hypergradient from two penalised inner problems, without second derivatives."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lds._numbers import check_flag
from lds.bilevel.buffers import joined, split
from lds.bilevel.checks import check_count, check_finite, in_range
from lds.bilevel.dynamics import ObjectiveDynamics
from lds.bilevel.explain import explained
from lds.bilevel.implicit import another, refuse_settings
from lds.bilevel.linearized import check_fits
from lds.bilevel.method import AbstractHypergradient, Memory
from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tensors import Traced, Tree, axpy, leaves, rebuild, vjp


@dataclass(frozen=True)
class F2SA(AbstractHypergradient):
    """∂E/∂λ(y) + σ (∂L/∂λ(y) - ∂L/∂λ(w)), with w and y near the minimisers of L and of E/σ + L.

    The gradient of min_y (E + σL) - σ min_w L, which tends to E at the minimiser of L as σ grows:
    biased by O(1/σ). First derivatives alone, so for losses without a second one (flash attention,
    cuDNN's recurrent nets, compiled models). The inner run provides w; y takes `n_iter` steps of
    gradient descent from the y of the previous hypergradient, or from w in the first. Works in
    ``solve(..., warm_start="state")`` with few steps an iteration. Time: a gradient of L and one of
    E for each step of y; memory: the graph of one loss.

    References:
        Kwon et al., 2023, Algorithm 1 (F2SA), https://arxiv.org/abs/2301.10945

    Arguments:
        penalty: σ > 0, with `over_tasks` that of each task. A larger one lowers the bias;
            mini-batch noise and rounding grow with σ.
        lr: step size of y, below 2 over the largest eigenvalue of ∂²L/∂w² + ∂²E/∂w² / σ.
        n_iter: steps of y.
        warm_start: start at the y of the previous hypergradient, which `solve` passes on.

    Raises:
        ValueError: an option is out of range; in use, hyper holds an optimiser setting of the
            dynamics, or a leaf that acts through the start alone.
        TypeError: an option is of another kind; in use, the dynamics is not made of an inner
            objective.
    """

    unrolled: ClassVar[bool] = False

    penalty: float = 10.0
    lr: float = 0.1
    n_iter: int = 10
    warm_start: bool = True

    def __post_init__(self) -> None:
        for name, value in (("penalty", self.penalty), ("lr", self.lr)):
            in_range(f"F2SA({name})", value)
        check_flag("F2SA(warm_start)", self.warm_start)
        object.__setattr__(self, "n_iter", check_count("F2SA(n_iter)", self.n_iter, 1))

    def start(self, start: Start | None, n_steps: int | None = None) -> Memory:
        """Make a memory for y alone."""
        return Memory()

    def observe(self, memory: Memory, step: Step) -> None:
        """Do nothing: the last weights are enough."""

    def gradient(self, memory: Memory, outer: Outer) -> list[Any]:
        """Take steps of y, and compute the gradient of the penalised problems."""
        step, phi = outer.step, outer.step.dynamics
        if not (isinstance(phi, ObjectiveDynamics) and phi.stationary):
            raise TypeError(
                "F2SA needs a dynamics made of an inner objective, such as GradientDescent, "
                "Momentum or Adam, without weight_decay= (put the decay into the objective), "
                f"got {type(phi).__name__}; or use FixedPoint"
            )
        params, buffers = split(phi.params(step.state))
        w: list[Tensor] = leaves(params)
        check_fits(memory.solution, w)
        if memory.solution is None:
            refuse_settings(outer)
        y: list[Any] = w
        if self.warm_start and memory.solution is not None:
            y = memory.solution

        def inner(at: Step, weights: Tree, hyper: Tree) -> Tensor:
            with at.replay(), torch.enable_grad():
                return phi.loss(joined(weights, buffers) if buffers else weights, hyper, at.t)

        def judged(at: Step, weights: Tree, hyper: Tree) -> Tensor:
            with at.replay(), torch.enable_grad():
                weights = joined(weights, buffers) if buffers else weights
                return outer.objective(weights, hyper, at.t)

        for k in range(self.n_iter):
            at, traced = another(step, k), Traced(rebuild(params, y))
            losses = [inner(at, traced.tree, step.hyper), judged(at, traced.tree, step.hyper)]
            sigma = self.penalty / (phi.n_tasks or 1)  # L is a sum over tasks, E a mean
            with explained("a loss of F2SA"):
                slope = vjp(losses, _weights(losses, (1.0, 1 / sigma)), [traced])[0]
            y = axpy(-self.lr, slope, y)
        check_finite("y of F2SA", y, f"after {self.n_iter} steps of size lr={self.lr:g}")
        hyper, at_y = Traced(step.hyper), rebuild(params, y)
        losses = [
            judged(step, at_y, hyper.tree),
            inner(step, at_y, hyper.tree),
            inner(step, params, hyper.tree),  # on the draws of the line above: noise cancels
        ]
        weights = _weights(losses, (1.0, sigma, -sigma))
        memory.solution = y
        memory.info["n_iter"] = self.n_iter
        with explained("a loss of F2SA"):
            grads: list[Any] = vjp(losses, weights, [hyper])[0]
        return grads


def _weights(losses: list[Tensor], numbers: tuple[float, ...]) -> list[Tensor | None]:
    return [torch.full_like(loss, x) for loss, x in zip(losses, numbers, strict=True)]
