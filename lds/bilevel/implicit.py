"""Implicit differentiation: the hypergradient at a solution, however it was found (§5.4.3).

At a fixed point w = Φ(w, λ) the gradient is ∂E/∂λ + q ∂Φ/∂λ with q (I - ∂Φ/∂w) = ∂E/∂w; at a
minimiser of L it is ∂E/∂λ - q ∂²L/∂w∂λ with q ∂²L/∂w² = ∂E/∂w. Both hold whatever led there.
"""

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from lds.bilevel.dynamics import ObjectiveDynamics
from lds.bilevel.linear import (
    ContractionWarning,
    Solved,
    asymmetry,
    conjugate_gradient,
    fixed_point,
    spectral_radius,
)
from lds.bilevel.method import AbstractHypergradient, Memory
from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tensors import (
    Columns,
    Traced,
    add,
    axpy,
    differentiate,
    leaves,
    paths,
    pushforward,
    rebuild,
    vjp,
)

SYMMETRIC = 1e-3
"""Asymmetry above which a Jacobian is taken for what it looks like: float32 products of a symmetric
one stay far below."""


class Linearized:
    """Φ of a step, applied once, with its products from the left as often as wanted.

    Arguments:
        step: s_T, λ and Φ.
        previous: a solution that is to be gone on from; it must fit.

    Raises:
        ValueError: `previous` is of another problem.
    """

    def __init__(self, step: Step, previous: Columns | None = None) -> None:
        self.state, self.hyper, new = step.traced()
        self.outputs: list[Tensor] = leaves(new)
        self._inputs: list[Tensor] = leaves(self.state.tree)
        _check_fits(previous, self._inputs)
        self._where = [k for k, leaf in enumerate(self._inputs) if leaf.requires_grad]
        self._push: Callable[[Columns, bool], Columns] | None = None

    def left(self, q: Columns) -> Columns:
        """The product qA, leaf by leaf of the state."""
        wanted = [self._inputs[k] for k in self._where]
        found = differentiate(self.outputs, wanted, q, retain_graph=True)
        result: Columns = [None] * len(self._inputs)
        for k, part in zip(self._where, found, strict=True):
            result[k] = part
        return result

    def right(self, z: Columns) -> Columns:
        """The product Az, leaf by leaf of the state."""
        if self._push is None:
            self._push = pushforward(self.outputs, self._inputs)
        return self._push(z, False)

    def to_hyper(self, q: Columns) -> list[Any]:
        """The product qB, leaf by leaf of hyper."""
        inputs = self.hyper.inputs()
        wanted = [leaf for leaf in inputs if leaf.requires_grad]
        found = iter(differentiate(self.outputs, wanted, q))
        return self.hyper.gradients(
            [next(found) if leaf.requires_grad else None for leaf in inputs]
        )


class Stationary(Linearized):
    """∇_w L at a state, with its products from the left: those by the Hessian and ∂²L/∂w∂λ."""

    def __init__(self, step: Step, previous: Columns | None = None) -> None:
        assert isinstance(step.dynamics, ObjectiveDynamics)
        self.state, self.hyper = Traced(step.dynamics.params(step.state)), Traced(step.hyper)
        with step.replay(), torch.enable_grad():
            self.outputs = step.dynamics.gradient(self.state.tree, self.hyper.tree, step.t)
        self._inputs = leaves(self.state.tree)
        _check_fits(previous, self._inputs)
        self._where = list(range(len(self._inputs)))
        self._push = None


@dataclass(frozen=True)
class _Implicit(AbstractHypergradient):
    """What the implicit methods share.

    Arguments:
        n_iter: most products with the Jacobian.
        tol: relative residual at which the solve ends before; 0 takes all.
        warm_start: begin at the solution of the previous hypergradient, where one is handed over
            (`solve` does).
    """

    unrolled: ClassVar[bool] = False

    n_iter: int = 20
    tol: float = 0.0
    warm_start: bool = True

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.n_iter < 1:
            raise ValueError(f"{name}(n_iter) must be at least 1, got {self.n_iter}")
        if not 0 <= self.tol < 1:
            raise ValueError(f"{name}(tol) must be in [0, 1), got {self.tol}")

    def start(self, start: Start | None, n_steps: int | None = None) -> Memory:
        """Nothing is kept but the solution of the previous solve."""
        return Memory()

    def observe(self, memory: Memory, step: Step) -> None:
        """Implicit methods do not look at how a solution was found."""

    def gradient(self, memory: Memory, outer: Outer) -> list[Any]:
        """∂E/∂λ and q times the mixed derivatives."""
        previous = memory.solution if self.warm_start else None
        _refuse_settings(outer)
        solved, indirect = self._solve(outer, previous)
        memory.solution = solved.q
        memory.info |= {"n_iter": solved.n_iter, "residual": solved.residual}
        if solved.contraction is not None:
            memory.info["contraction"] = solved.contraction
        return add(outer.direct, indirect)

    @abstractmethod
    def _solve(self, outer: Outer, previous: Columns | None) -> tuple[Solved, list[Any]]:
        """q, and what it contributes to the gradient."""


@dataclass(frozen=True)
class FixedPoint(_Implicit):
    """Fixed-point-HG: q_k = q_{k-1} ∂Φ/∂w + ∂E/∂w, then ∂E/∂λ + q_K ∂Φ/∂λ (Algorithm 4).

    For a dynamics that is a contraction, at its fixed point; the error is bounded by eq. 6.14.
    Time: `n_iter` products from the left; memory: one step's graph. The step applied is Φ of step
    n_steps, held fixed. Hyperparameters of the optimiser and of the start have no influence on a
    fixed point and so no gradient.

    References:
        Franceschi, 2021, §5.4.3 Algorithm 4, §6.3.2; Grazzi et al., 2020,
        https://arxiv.org/abs/2006.16218

    Arguments:
        n_iter: K, most products with the Jacobian.
        tol: stop once q moves less than this times ‖∂E/∂w‖; 0 takes all `n_iter`.
        warm_start: begin at the solution of the previous hypergradient, where one is handed over
            (`solve` does).

    Raises:
        ValueError: an option is out of range; in use, hyper holds an optimiser setting of a
            built-in dynamics.
    """

    def _solve(self, outer: Outer, previous: Columns | None) -> tuple[Solved, list[Any]]:
        phi = Linearized(outer.step, previous)
        solved = fixed_point(phi.left, outer.adjoint, previous, self.n_iter, self.tol)
        if solved.contraction is not None and solved.contraction >= 1:
            # Or it may stretch before it contracts, where the Jacobian is not normal: look closer.
            generator = torch.Generator().manual_seed(0)
            rho = spectral_radius(phi.left, leaves(outer.step.state), generator, n_iter=60)
            solved = replace(solved, contraction=rho)
            if rho >= 1:
                warnings.warn(
                    f"the dynamics is not a contraction at step {outer.step.t}: the fixed-point "
                    f"iteration grows by {rho:.3f} a step, where less than 1 is needed; use "
                    "Reverse, a smaller step size, or a dynamics whose Jacobian is projected",
                    ContractionWarning,
                    stacklevel=2,
                )
        return solved, phi.to_hyper(solved.q)


@dataclass(frozen=True)
class ConjugateGradient(_Implicit):
    """q by conjugate gradient, then ∂E/∂λ plus q times the mixed derivatives (§5.4.3).

    For a dynamics made of an inner objective the system is q ∂²L/∂w² = ∂E/∂w (eq. 5.27), whatever
    the optimiser; for a dynamics of your own (and AdamW) it is q (I - ∂Φ/∂s) = ∂E/∂s (eq. 5.29),
    solved through the normal equations where the Jacobian is not symmetric (§6.3.4). Converges at a
    rate set by the condition number, and exactly within as many steps as there are weights. Time: a
    product a step, two with normal equations; memory: one step's graph.

    References:
        Franceschi, 2021, §5.4.3, §6.3.4; Pedregosa, 2016, https://arxiv.org/abs/1602.02355

    Arguments:
        n_iter: K, most steps.
        tol: relative residual at which the solve ends before; 0 takes all `n_iter`.
        warm_start: begin at the solution of the previous hypergradient, where one is handed over
            (`solve` does).
        normal_equations: True or False forces them or leaves them out; None looks whether the
            Jacobian is symmetric, by two products.

    Raises:
        ValueError: an option is out of range; in use, hyper holds an optimiser setting of a
            built-in dynamics.
    """

    normal_equations: bool | None = None

    def _solve(self, outer: Outer, previous: Columns | None) -> tuple[Solved, list[Any]]:
        dynamics, step = outer.step.dynamics, outer.step
        if isinstance(dynamics, ObjectiveDynamics) and dynamics.stationary:
            system = Stationary(step, previous)
            # Only the weights enter; E does not see the buffers.
            b = leaves(dynamics.params(rebuild(step.state, outer.adjoint)))
            # A Hessian is symmetric: no normal equations unless they are forced.
            solved = self._conjugate_gradient(
                system.left, system.right, b, previous, bool(self.normal_equations)
            )
            minus = [None if part is None else -part for part in solved.q]
            return solved, system.to_hyper(minus)
        phi = Linearized(step, previous)

        def left(q: Columns) -> Columns:
            return axpy(-1.0, phi.left(q), q)

        def right(z: Columns) -> Columns:
            return axpy(-1.0, phi.right(z), z)

        normal = self.normal_equations
        if normal is None:
            generator = torch.Generator().manual_seed(0)
            normal = asymmetry(left, leaves(step.state), generator) > SYMMETRIC
        solved = self._conjugate_gradient(left, right, outer.adjoint, previous, normal)
        return solved, phi.to_hyper(solved.q)

    def _conjugate_gradient(
        self,
        left: Callable[[Columns], Columns],
        right: Callable[[Columns], Columns],
        b: Columns,
        previous: Columns | None,
        normal: bool,
    ) -> Solved:
        if not normal:
            return conjugate_gradient(left, b, previous, self.n_iter, self.tol)
        # q M = b becomes q (M Mᵀ) = b Mᵀ, and x Mᵀ is M x.
        return conjugate_gradient(
            lambda q: right(left(q)), right(b), previous, self.n_iter, self.tol
        )


def _check_fits(previous: Columns | None, inputs: list[Tensor]) -> None:
    """Refuse a solution of another problem, by its shapes."""
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


def _refuse_settings(outer: Outer) -> None:
    """Refuse a leaf of hyper that an optimiser setting depends on and nothing else does."""
    dynamics, step = outer.step.dynamics, outer.step
    if not isinstance(dynamics, ObjectiveDynamics) or not dynamics.stationary:
        return
    hyper = Traced(step.hyper)
    with step.replay(), torch.enable_grad():
        zeros = [torch.zeros_like(w) for w in leaves(dynamics.params(step.state))]
        new = leaves(dynamics.update(step.state, zeros, hyper.tree, step.t))
    by_setting = vjp(new, [torch.ones_like(leaf) for leaf in new], [hyper])[0]
    suspects = [
        k
        for k, (setting, direct) in enumerate(zip(by_setting, outer.direct, strict=True))
        if setting is not None and direct is None
    ]
    if not suspects:
        return
    by_loss = Stationary(step)
    through_loss = by_loss.to_hyper([torch.ones_like(g) for g in by_loss.outputs])
    for k in suspects:
        if through_loss[k] is None:
            raise ValueError(
                f"hyper{paths(step.hyper)[k]} is a setting of the optimiser: it changes how the "
                "inner solution is reached, not where it lies, so an implicit method has no "
                "gradient for it; use Reverse or Forward"
            )
