"""Implicit differentiation: the hypergradient at a solution of the inner problem (§5.4.3).

At a fixed point w = Φ(w, λ) the gradient is ∂E/∂λ + q ∂Φ/∂λ with q (I - ∂Φ/∂w) = ∂E/∂w; at a
minimiser of L it is ∂E/∂λ - q ∂²L/∂w∂λ with q ∂²L/∂w² = ∂E/∂w. Both hold however the solution was
found.
"""

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from lds._numbers import check_flag, integer, real
from lds._random import ANOTHER_DRAW, mix
from lds.bilevel.adaptive import Adam, RMSprop
from lds.bilevel.checks import NonFiniteError, check_count, in_range
from lds.bilevel.dynamics import ObjectiveDynamics
from lds.bilevel.explain import explained
from lds.bilevel.linear import (
    ContractionWarning,
    Solved,
    asymmetry,
    conjugate_gradient,
    fixed_point,
    spectral_radius,
)
from lds.bilevel.linearized import Differenced, Linearized, Stationary
from lds.bilevel.method import AbstractHypergradient, Memory
from lds.bilevel.nystrom import nystrom
from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tensors import (
    Columns,
    Traced,
    Tree,
    add,
    axpy,
    leaves,
    norm,
    paths,
    rebuild,
    vjp,
)

NOISE = 1e-5
"""Relative difference of two calls of a loss, or of Φ, above which it is random. Differences by
rounding are smaller."""

SYMMETRIC = 1e-3
"""Value of `asymmetry` above which a Jacobian is not symmetric. Float32 products of a symmetric
Jacobian stay far below."""


@dataclass(frozen=True)
class _Implicit(AbstractHypergradient):
    """The base of the implicit methods.

    Arguments:
        n_iter: largest number of products with the Jacobian.
        tol: relative residual at which the solve stops; 0 takes all products.
        warm_start: start at the solution of the previous hypergradient, which `solve` passes on.
        ridge: ρ, added to the diagonal of the system's matrix.
    """

    unrolled: ClassVar[bool] = False

    n_iter: int = 20
    tol: float = 0.0
    warm_start: bool = True
    ridge: float = 0.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        object.__setattr__(self, "n_iter", check_count(f"{name}(n_iter)", self.n_iter, 1))
        in_range(f"{name}(tol)", self.tol, below_one=True)
        check_flag(f"{name}(warm_start)", self.warm_start)
        if not 0 <= real(f"{name}(ridge)", self.ridge) < math.inf:
            raise ValueError(f"{name}(ridge) must be 0 or more, got {self.ridge}")

    def start(self, start: Start | None, n_steps: int | None = None) -> Memory:
        """Make a memory for the solution of the linear system alone."""
        return Memory()

    def observe(self, memory: Memory, step: Step) -> None:
        """Do nothing: an implicit method needs the solution alone."""

    def gradient(self, memory: Memory, outer: Outer) -> list[Any]:
        """Solve the linear system, and add q times the mixed derivatives to ∂E/∂λ."""
        previous = memory.solution if self.warm_start else None
        with explained(f"step {outer.step.t} of the dynamics"):
            refuse_settings(outer)
            if memory.solution is None and not self._draws_anew:
                _notice_noise(outer.step, type(self).__name__)
            solved, indirect = self._solve(outer, previous)
        memory.solution = solved.q
        memory.info["n_iter"] = solved.n_iter
        if solved.residual is not None:
            memory.info["residual"] = solved.residual
        if solved.contraction is not None:
            memory.info["contraction"] = solved.contraction
        return add(outer.direct, indirect)

    @property
    def _draws_anew(self) -> bool:
        """Whether every product uses a new draw of Φ."""
        return False

    @abstractmethod
    def _solve(self, outer: Outer, previous: Columns | None) -> tuple[Solved, list[Any]]:
        """Solve for q; return it, and its term of the hypergradient."""


@dataclass(frozen=True)
class FixedPoint(_Implicit):
    """Fixed-point-HG: q_k = q_{k-1} ∂Φ/∂w + ∂E/∂w, then ∂E/∂λ + q_K ∂Φ/∂λ (Algorithm 4).

    For a dynamics that is a contraction, at its fixed point; eq. 6.14 bounds the error. Time:
    `n_iter` products from the left; memory: the graph of one step. All products use Φ of step
    n_steps. Hyperparameters of the optimiser and of the start do not move a fixed point and have no
    gradient.

    If the inner loss draws batches, `stochastic` applies Φ again for every product, with another
    seed and the next step number: a Neumann series over independent batches, whose mean over seeds
    is that of the full batch. Time: one more application of Φ a product.

    References:
        Franceschi, 2021, §5.4.3 Algorithm 4, §6.3.2; Grazzi et al., 2020,
        https://arxiv.org/abs/2006.16218; stochastic: Ji et al., 2021, Algorithm 2 (stocBiO),
        https://arxiv.org/abs/2010.07962

    Arguments:
        n_iter: K, largest number of products with the Jacobian.
        tol: stop when q moves by less than this times ‖∂E/∂w‖; 0 takes all `n_iter`.
        warm_start: start at the solution of the previous hypergradient, which `solve` passes on.
        ridge: ρ, to solve q (I - ∂Φ/∂w + ρI) = ∂E/∂w: damping, in the units of I - ∂Φ/∂w, for a Φ
            that contracts slowly or not at all.
        stochastic: use a new draw for every product; `tol` must then be 0.

    Raises:
        TypeError: a number of iterations or the rank is no integer.
        ValueError: an option is out of range; in use, hyper holds an optimiser setting of a
            built-in dynamics, or a leaf that acts through the start alone.
    """

    stochastic: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("FixedPoint(stochastic)", self.stochastic)
        if self.stochastic and self.tol:
            raise ValueError(
                f"FixedPoint(tol) must be 0 with stochastic=True, got {self.tol}: a series of "
                "draws does not settle; n_iter says how many"
            )

    @property
    def _draws_anew(self) -> bool:
        return self.stochastic

    def _solve(self, outer: Outer, previous: Columns | None) -> tuple[Solved, list[Any]]:
        if self.stochastic:
            return self._stochastic(outer, previous)
        phi = Linearized(outer.step, previous)
        solved = fixed_point(phi.left, outer.adjoint, previous, self.n_iter, self.tol, self.ridge)
        overflowed = not math.isfinite(norm(solved.q))
        if overflowed or (solved.contraction is not None and not solved.contraction < 1):
            # A Jacobian that is not normal may expand q before it contracts it: estimate ρ itself.
            generator = torch.Generator().manual_seed(0)
            rho = spectral_radius(phi.left, leaves(outer.step.state), generator, n_iter=60)
            rho /= 1 + self.ridge
            solved = replace(solved, contraction=rho)
            if overflowed or not rho < 1:
                said = (
                    f"the dynamics is not a contraction at step {outer.step.t}: the fixed-point "
                    f"iteration grows by {rho:.3g} a step, where less than 1 is needed; "
                    f"{_way_out(outer.step)}"
                )
                if overflowed:
                    raise NonFiniteError(said)
                warnings.warn(said, ContractionWarning, stacklevel=2)
        return solved, phi.to_hyper(solved.q)

    def _stochastic(self, outer: Outer, previous: Columns | None) -> tuple[Solved, list[Any]]:
        """Solve with a new draw for every product, and one more for ∂Φ/∂λ, independent of q."""
        q: Columns = [None] * len(outer.adjoint) if previous is None else previous
        for k in range(self.n_iter):
            new = outer.adjoint
            if any(part is not None for part in q):
                new = add(new, Linearized(another(outer.step, k), q).left(q))
            q = [part if part is None else part / (1 + self.ridge) for part in new]
        return Solved(q, self.n_iter, None), Linearized(another(outer.step, self.n_iter)).to_hyper(
            q
        )


def _way_out(step: Step) -> str:
    """Return the advice for a Φ that does not contract."""
    if isinstance(step.dynamics, (Adam, RMSprop)) and step.dynamics.stationary:
        return (
            f"{type(step.dynamics).__name__} divides by the root of its mean of squared gradients, "
            "which is near 0 at a solution, so no step size helps; use ConjugateGradient, whose "
            "system is that of the inner objective whatever the optimiser, or Reverse"
        )
    return "use Reverse, a smaller step size, or a dynamics whose Jacobian is projected"


def another(step: Step, k: int) -> Step:
    """Return the `k`-th step after `step`, at the same state and with other draws."""
    seed = None if step.seed is None else mix(step.seed, ANOTHER_DRAW, k)
    return step.other(t=step.t + k, seed=seed)


@dataclass(frozen=True)
class ConjugateGradient(_Implicit):
    """q by conjugate gradient, then ∂E/∂λ plus q times the mixed derivatives (§5.4.3).

    For a dynamics made of an inner objective the system is q ∂²L/∂w² = ∂E/∂w (eq. 5.27), whatever
    the optimiser; for a dynamics of your own (and AdamW) it is q (I - ∂Φ/∂s) = ∂E/∂s (eq. 5.29),
    solved by the normal equations if the Jacobian is not symmetric (§6.3.4). The condition number
    sets the rate of convergence; as many steps as there are weights give the exact solution. Time:
    a product a step, two with normal equations; memory: the graph of one step.

    References:
        Franceschi, 2021, §5.4.3, §6.3.4; Pedregosa, 2016, https://arxiv.org/abs/1602.02355

    Arguments:
        n_iter: K, largest number of steps.
        tol: relative residual at which the solve stops; 0 takes all `n_iter`.
        warm_start: start at the solution of the previous hypergradient, which `solve` passes on.
        ridge: ρ, added to the diagonal of the system's matrix: damping, for a ∂²L/∂w² with
            eigenvalues near 0 or below.
        normal_equations: whether to solve the normal equations; None tests the symmetry of the
            Jacobian by two products.
        rank: rank of a randomised Nyström preconditioner (Frangella et al., 2023,
            https://arxiv.org/abs/2110.02820), which removes the largest eigenvalues from the
            condition number; it takes as many products before the first step. 0 for none.
        differences: form products by central differences of first derivatives, for losses without
            a second one (flash attention, cuDNN's recurrent nets, compiled models): two gradients a
            product, with an error of about 1e-4 in float32 and 1e-10 in float64. For a dynamics
            made of an inner objective.

    Raises:
        TypeError: a number of iterations or the rank is no integer.
        ValueError: an option is out of range; in use, hyper holds an optimiser setting of a
            built-in dynamics, or a leaf that acts through the start alone.
    """

    normal_equations: bool | None = None
    rank: int = 0
    differences: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rank", integer("ConjugateGradient(rank)", self.rank))
        check_flag("ConjugateGradient(normal_equations)", self.normal_equations, none=True)
        check_flag("ConjugateGradient(differences)", self.differences)
        if self.rank < 0:
            raise ValueError(
                f"ConjugateGradient(rank) must be 0 (no preconditioner) or more, got {self.rank}"
            )

    def _solve(self, outer: Outer, previous: Columns | None) -> tuple[Solved, list[Any]]:
        dynamics, step = outer.step.dynamics, outer.step
        if isinstance(dynamics, ObjectiveDynamics) and _rests(dynamics, step.state):
            system = (Differenced if self.differences else Stationary)(step, previous)
            # E depends on the weights alone, not on the buffers of the optimiser.
            b = leaves(dynamics.params(rebuild(step.state, outer.adjoint)))
            # A Hessian is symmetric: no normal equations unless the user asks for them.
            like = leaves(dynamics.params(step.state))
            solved = self._conjugate_gradient(
                system.left, system.right, b, like, previous, bool(self.normal_equations)
            )
            minus = [None if part is None else -part for part in solved.q]
            return solved, system.to_hyper(minus)
        if self.differences:
            raise TypeError(
                "ConjugateGradient(differences=True) needs a dynamics made of an inner objective "
                f"L, such as GradientDescent or Adam, at a point with ∇L = 0, got {_why(step)}"
            )
        phi = Linearized(step, previous)

        def left(q: Columns) -> Columns:
            return axpy(-1.0, phi.left(q), q)

        def right(z: Columns) -> Columns:
            return axpy(-1.0, phi.right(z), z)

        normal = self.normal_equations
        if normal is None:
            generator = torch.Generator().manual_seed(0)
            normal = asymmetry(left, right, leaves(step.state), generator) > SYMMETRIC
        solved = self._conjugate_gradient(
            left, right, outer.adjoint, leaves(step.state), previous, normal
        )
        return solved, phi.to_hyper(solved.q)

    def _conjugate_gradient(
        self,
        left: Callable[[Columns], Columns],
        right: Callable[[Columns], Columns],
        b: Columns,
        like: list[Tensor],
        previous: Columns | None,
        normal: bool,
    ) -> Solved:
        product = left
        if normal:  # q M = b becomes q (M Mᵀ) = b Mᵀ, and x Mᵀ is M x
            product, b = (lambda q: right(left(q))), right(b)
        damped = product
        if self.ridge:
            damped = lambda q: axpy(self.ridge, q, product(q))  # noqa: E731
        precondition = None
        if self.rank:
            generator = torch.Generator().manual_seed(0)
            precondition = nystrom(product, like, self.rank, generator).preconditioner(self.ridge)
        return conjugate_gradient(damped, b, previous, self.n_iter, self.tol, precondition)


def _notice_noise(step: Step, name: str) -> None:
    """Warn if Φ, or its loss, differs from call to call: a solve with one call is biased."""
    state, loss = step.run()
    draws, other = step.other(seed=mix(step.seed or 0, ANOTHER_DRAW)).run()
    if loss is None or other is None:
        before, after = norm(leaves(state)), norm(axpy(-1.0, leaves(state), leaves(draws)))
        noisy = after > NOISE * before
    else:
        losses = [float(loss), float(other)]
        with suppress(IndexError, KeyError):  # there may be no batch of that step
            losses.append(float(step.other(t=abs(step.t - 1), seed=step.seed).run()[1] or 0.0))
        noisy = max(losses) - min(losses) > NOISE * max(map(abs, losses))
    if noisy:
        warnings.warn(
            f"the inner loss changes from call to call (batches, dropout), and {name} solves with "
            "the Hessian of one call, which is biased; use FixedPoint(n_iter, stochastic=True), "
            "which draws anew for every product, or a loss on all rows without dropout",
            UserWarning,
            stacklevel=2,
        )


def _rests(dynamics: ObjectiveDynamics, state: Tree) -> bool:
    """Return whether ∇L = 0 defines the solution: not for buffers, which have another law."""
    return dynamics.stationary and "buffers" not in state


def _why(step: Step) -> str:
    """Say why a solution is not given by ∇L = 0 alone."""
    dynamics = step.dynamics
    if not isinstance(dynamics, ObjectiveDynamics):
        return type(dynamics).__name__
    if not dynamics.stationary:
        return "weight_decay=; put the decay into the objective"
    return "a module with buffers (batch normalisation, spectral norm); use differences=False"


def refuse_settings(outer: Outer) -> None:
    """Refuse a leaf of hyper on which only an optimiser setting depends."""
    dynamics, step = outer.step.dynamics, outer.step
    if not isinstance(dynamics, ObjectiveDynamics) or not dynamics.stationary:
        return
    hyper = Traced(step.hyper)
    with step.replay(), torch.enable_grad():
        zeros = [torch.zeros_like(w) for w in leaves(step.state["params"])]
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
