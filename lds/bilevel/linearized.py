"""Φ, or ∇L, at a state: one application, and products with its derivatives."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lds.bilevel.dynamics import ObjectiveDynamics
from lds.bilevel.step import Step
from lds.bilevel.tensors import (
    Columns,
    Traced,
    axpy,
    differentiate,
    leaves,
    norm,
    pushforward,
    rebuild,
    vjp,
)


class Linearized:
    """One application of Φ, with any number of products with its derivatives.

    Arguments:
        step: s_T, λ and Φ.
        previous: an earlier solution from which a solve will start; its shapes are checked.

    Raises:
        ValueError: `previous` has other shapes.
    """

    def __init__(self, step: Step, previous: Columns | None = None) -> None:
        self.state, self.hyper, new = step.traced()
        self.outputs: list[Tensor] = leaves(new)
        self._inputs: list[Tensor] = leaves(self.state.tree)
        check_fits(previous, self._inputs)
        self._where = [k for k, leaf in enumerate(self._inputs) if leaf.requires_grad]
        self._push: Callable[[Columns, bool], Columns] | None = None

    def left(self, q: Columns) -> Columns:
        """Compute the product qA, leaf by leaf of the state."""
        wanted = [self._inputs[k] for k in self._where]
        found = differentiate(self.outputs, wanted, q, retain_graph=True)
        result: Columns = [None] * len(self._inputs)
        for k, part in zip(self._where, found, strict=True):
            result[k] = part
        return result

    def right(self, z: Columns) -> Columns:
        """Compute the product Az, leaf by leaf of the state."""
        if self._push is None:
            self._push = pushforward(self.outputs, self._inputs)
        return self._push(z, False)

    def to_hyper(self, q: Columns) -> list[Any]:
        """Compute the product qB, leaf by leaf of hyper."""
        inputs = self.hyper.inputs()
        wanted = [leaf for leaf in inputs if leaf.requires_grad]
        found = iter(differentiate(self.outputs, wanted, q))
        return self.hyper.gradients(
            [next(found) if leaf.requires_grad else None for leaf in inputs]
        )


class Stationary(Linearized):
    """∇_w L at a state, with products from the left with the Hessian and with ∂²L/∂w∂λ."""

    def __init__(self, step: Step, previous: Columns | None = None) -> None:
        assert isinstance(step.dynamics, ObjectiveDynamics)
        self.state, self.hyper = Traced(step.dynamics.params(step.state)), Traced(step.hyper)
        with step.replay(), torch.enable_grad():
            self.outputs = step.dynamics.gradient(self.state.tree, self.hyper.tree, step.t)
        self._inputs = leaves(self.state.tree)
        check_fits(previous, self._inputs)
        self._where = list(range(len(self._inputs)))
        self._push = None


class Differenced:
    """The products of `Stationary` from first derivatives alone, by central differences.

    q ∂²L/∂w∂x ≈ (∂L/∂x(w + εq) - ∂L/∂x(w - εq)) / 2ε for x = w and x = λ, with the same draws; the
    error is of the order of ε², with ε about the cube root of the machine precision.

    References:
        Liu et al., 2019, eq. 8 (DARTS), https://arxiv.org/abs/1806.09055
    """

    def __init__(self, step: Step, previous: Columns | None = None) -> None:
        assert isinstance(step.dynamics, ObjectiveDynamics)
        self._step, self._dynamics = step, step.dynamics
        self._w: list[Tensor] = leaves(step.dynamics.params(step.state))
        check_fits(previous, self._w)

    def left(self, q: Columns) -> Columns:
        """Compute the product by ∂²L/∂w²."""
        return self._difference(q, by_hyper=False)

    right = left

    def to_hyper(self, q: Columns) -> list[Any]:
        """Compute the product by ∂²L/∂w∂λ, leaf by leaf of hyper."""
        return self._difference(q, by_hyper=True)

    def _difference(self, q: Columns, *, by_hyper: bool) -> list[Any]:
        size = norm(q)
        if size == 0:
            return [None] * len(leaves(self._step.hyper) if by_hyper else self._w)
        precision = max(torch.finfo(leaf.dtype).eps for leaf in self._w)
        far = precision ** (1 / 3) * (1 + norm(self._w)) / size
        ahead, behind = (self._slopes(axpy(e, q, self._w), by_hyper) for e in (far, -far))
        return [None if part is None else part / (2 * far) for part in axpy(-1.0, behind, ahead)]

    def _slopes(self, w: list[Tensor], by_hyper: bool) -> list[Any]:
        tree = rebuild(self._dynamics.params(self._step.state), w)
        params, hyper = Traced(tree), Traced(self._step.hyper)
        with self._step.replay(), torch.enable_grad():
            loss = self._dynamics.loss(params.tree, hyper.tree, self._step.t)
        return vjp([loss], [torch.ones_like(loss)], [hyper if by_hyper else params])[0]


def check_fits(previous: Columns | None, inputs: list[Tensor]) -> None:
    """Refuse a solution of other shapes."""
    if previous is None:
        return
    theirs = [None if part is None else tuple(part.shape) for part in previous]
    needed = [tuple(leaf.shape) for leaf in inputs]
    if len(theirs) != len(needed) or any(
        a not in (None, b) for a, b in zip(theirs, needed, strict=True)
    ):
        raise ValueError(
            "previous must be a result for weights of the same shape, by the same method; its "
            f"solution has the shapes {theirs}, needed are {needed}"
        )
