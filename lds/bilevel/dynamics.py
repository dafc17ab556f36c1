"""Dynamics Φ: training as a map from state to state (eq. 5.9).

A dynamics has three functions: Φ_0 makes the first state, Φ_t the next one, and `params` returns
the weights in a state. They change nothing in place, so any step can be applied again and
differentiated.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypedDict

import torch
from torch import Tensor

from lds.bilevel.buffers import Collected, Refused, collect, joined, split
from lds.bilevel.checks import (
    check_function,
    check_leaves,
    check_scalar,
    check_state,
    in_range,
    refuse_options,
)
from lds.bilevel.groups import by_leaf
from lds.bilevel.per_task import counting, limited
from lds.bilevel.settings import Constant, Grouped
from lds.bilevel.signatures import with_step
from lds.bilevel.tensors import (
    Columns,
    Tree,
    detach,
    differentiate,
    leaves,
    pushforward,
    rebuild,
    requires_grad,
)
from lds.bilevel.twice import examine, refuse_sparse, watched

Setting = float | Mapping[str, float] | Callable[..., Any]
"""An optimiser setting: a number, or a function of (hyper[, step]) such as a schedule.

By groups: a dict from the first part of parameter names to a number ("conv" for "conv.weight" and
"conv.bias"; "" for all others), or a function that returns such a dict.
"""


class UndecayedOptions(TypedDict, total=False):
    """`DynamicsOptions` without the weight decay.

    Attributes:
        start: Φ_0(params, hyper) -> params; None (the default) is the identity.
        generators: random generators that the objectives draw from; none by default. Each step
            seeds them and restores their state afterwards.
        max_grad_norm: largest Euclidean norm of the gradient, with `over_tasks` of each task's: a
            longer one is scaled down, before the decay. None (the default) for no limit.
    """

    start: Callable[[Tree, Tree], Tree] | None
    generators: Sequence[torch.Generator]
    max_grad_norm: float | None


class DynamicsOptions(UndecayedOptions, total=False):
    """DynamicsOptions that every dynamics of an inner objective takes by keyword.

    Attributes:
        weight_decay: ρ >= 0, added to the gradient as ρ w, as in `torch.optim`: a number or a
            function of (hyper[, step]), or either by groups; 0 by default.
    """

    weight_decay: Setting


def setting(
    name: str, value: Setting, *, below_one: bool = False, groups: bool = False, zero: bool = False
) -> Callable[[Tree, int], Any]:
    """Make a function of (hyper, step) of an optimiser setting; check numbers.

    Arguments:
        name: name of the setting in errors.
        value: the setting.
        below_one: whether its range is [0, 1) instead of (0, ∞).
        groups: whether it may be a dict by parameter names.
        zero: whether it may be 0.
    """
    wanted = "a number" + (" or a dict of them by parameter names" if groups else "")
    if callable(value):
        function = with_step(value, 1)

        def checked(hyper: Tree, t: int) -> Any:
            got = function(hyper, t)
            if isinstance(got, (Tensor, float, Real)) or (groups and isinstance(got, Mapping)):
                return got
            raise TypeError(
                f"{name}(hyper, step) must return {wanted} or a tensor, got {type(got).__name__}"
            )

        return checked
    if groups and isinstance(value, Mapping):
        parts = {key: setting(f"{name}[{key!r}]", v, zero=zero) for key, v in value.items()}
        return Grouped(parts)
    if not isinstance(value, Real):
        raise TypeError(
            f"{name} must be {wanted}, or a function of (hyper[, step]), "
            f"got {type(value).__name__}; a tensor to be learned belongs into hyper"
        )
    number = float(value)
    if not (zero and number == 0):
        number = in_range(name, number, below_one=below_one)
    return Constant(number)


def moved(x: Tensor, a: float | Tensor, y: Tensor) -> Tensor:
    """Compute x + a y, as one operation if `a` is a number."""
    return x + a * y if isinstance(a, Tensor) else torch.add(x, y, alpha=a)


def as_generators(generators: Sequence[torch.Generator]) -> tuple[torch.Generator, ...]:
    """Return random generators as a tuple; check their types."""
    given = tuple(generators) if isinstance(generators, Iterable) else (generators,)
    for generator in given:
        if not isinstance(generator, torch.Generator):
            raise TypeError(
                f"generators must be torch.Generators, got {type(generator).__name__}; numpy's and "
                "Python's random numbers are drawn again if seeded by the step"
            )
    return given


@dataclass(frozen=True)
class Tangents:
    """A step s_t = Φ_t(s_{t-1}, λ) with its products from the right.

    Attributes:
        state: s_t, without history.
        loss: the inner loss at s_{t-1}, or None.
        push: push(z, e, batched) -> A_t z + B_t e, leaf by leaf: `z` has a tensor for each leaf of
            the state, `e` for each leaf of hyper; with `batched` each has columns in front. None
            stands for zero.
    """

    state: Tree
    loss: Tensor | None
    push: Callable[[Columns, Columns, bool], Columns]


class Dynamics:
    """A user's own dynamics (eq. 5.9): s_0 = Φ_0(λ), s_t = Φ_t(s_{t-1}, λ).

    Arguments:
        start: Φ_0(params, hyper) -> state.
        step: Φ_t(state, hyper, t) -> state, a pytree of the same structure; t counts from 0. It
            must not change its arguments in place, and take gradients by the weights in `state`
            with ``create_graph=True``; others are constants in the hypergradient, with a warning.
        params: params(state) -> the weights w_t on which the outer objective is evaluated.
        generators: random generators that these functions, or the outer objective, draw from. Each
            step seeds them and restores their state afterwards.

    Attributes:
        n_tasks: tasks of `over_tasks` in the last inner loss; None without them.
    """

    generators: Sequence[torch.Generator] = ()
    n_tasks: int | None = None

    def __init__(
        self,
        start: Callable[[Tree, Tree], Tree],
        step: Callable[[Tree, Tree, int], Tree],
        params: Callable[[Tree], Tree],
        *,
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        check_function("start", start, "(params, hyper)")
        check_function("step", step, "(state, hyper, t)")
        check_function("params", params, "(state)")
        self.start = start
        self.step = step
        self.params = params
        self.generators = as_generators(generators)

    def advance(self, state: Tree, hyper: Tree, t: int) -> tuple[Tree, Tensor | None]:
        """Apply Φ_t; return the new state, and the inner loss at `state` if there is one."""
        with collect(Refused()) as collected, watched(state, t):
            collected.constant = True  # in the gradients that the step itself takes
            new = self.step(state, hyper, t)
        collected.constant = False
        return new, None

    def tangents(self, state: Tree, hyper: Tree, t: int) -> Tangents:
        """Apply Φ_t at traced leaves, and prepare its products from the right."""
        new, loss = self.advance(state, hyper, t)
        check_state(new, state, t)
        push = pushforward(leaves(new), [*leaves(state), *leaves(hyper)])
        return Tangents(detach(new), loss, lambda z, e, batched: push([*z, *e], batched))


class ObjectiveDynamics(Dynamics):
    """The base of the dynamics of an inner objective: its gradient, settings and start.

    Arguments:
        inner_objective: L(params, hyper[, step]) -> scalar tensor.
        lr: η, a number or a function of (hyper[, step]), or either by groups (see `Setting`).
        start, generators, weight_decay, max_grad_norm: see `DynamicsOptions`.

    Attributes:
        stationary: whether a point with ∇L = 0 is a fixed point, whatever the settings.
    """

    stationary = True

    def __init__(
        self,
        inner_objective: Callable[..., Tensor],
        lr: Setting,
        *,
        start: Callable[[Tree, Tree], Tree] | None = None,
        generators: Sequence[torch.Generator] = (),
        weight_decay: Setting = 0.0,
        max_grad_norm: float | None = None,
        **unknown: object,
    ) -> None:
        refuse_options(self, unknown, DynamicsOptions.__annotations__)
        check_function("inner_objective", inner_objective, "(params, hyper[, step])")
        if start is not None:
            check_function("start", start, "(params, hyper)")
        self._objective = with_step(inner_objective, 2)
        self._lr = setting("lr", lr, groups=True)
        self._decay = None
        if weight_decay != 0:
            self._decay = setting("weight_decay", weight_decay, groups=True, zero=True)
            self.stationary = False  # its fixed points have ∇L + ρ w = 0
        self._max_norm = None if max_grad_norm is None else in_range("max_grad_norm", max_grad_norm)
        self._initial = start
        self.generators = as_generators(generators)

    def start(self, params: Tree, hyper: Tree) -> Tree:
        """Apply Φ_0: return the first weights, given or learned, with the first buffers."""
        given = params if self._initial is None else self._initial(params, hyper)
        name = "params" if self._initial is None else "what start(params, hyper) returns"
        w, buffers = split(given)
        check_leaves(name, w, trained=True)
        state = {"params": w, **self._buffers(w)}
        return state | {"buffers": buffers} if buffers else state

    def params(self, state: Tree) -> Tree:
        """Return w_t, with the buffers of the module if there are any."""
        if "buffers" in state:
            return joined(state["params"], state["buffers"])
        return state["params"]

    def step(self, state: Tree, hyper: Tree, t: int) -> Tree:
        """Apply Φ_t, with history if grad mode is on and a leaf requires grad."""
        return self.advance(state, hyper, t)[0]

    def advance(self, state: Tree, hyper: Tree, t: int) -> tuple[Tree, Tensor | None]:
        """Apply Φ_t, and compute L(w_{t-1}), 0-dim and without history."""
        buffers = state.get("buffers", [])
        loss, grads, buffers = self.value_and_grad(state["params"], buffers, hyper, t)
        new = self.update(state, grads, hyper, t)
        return new | {"buffers": buffers} if buffers else new, loss.detach()

    def value_and_grad(
        self, params: Tree, buffers: list[dict[str, Tensor]], hyper: Tree, t: int
    ) -> tuple[Tensor, list[Tensor], list[dict[str, Tensor]]]:
        """Compute L, ∇_w L and the new buffers, with history if a leaf requires grad."""
        given = leaves(params)
        traced = [leaf.requires_grad for leaf in given]
        # Keep the history of ∇L only if somebody can differentiate by it.
        differentiable = torch.is_grad_enabled() and (
            any(traced) or any(map(requires_grad, [*leaves(hyper), *leaves(buffers)]))
        )
        if differentiable and all(traced):
            w, at = given, params
        else:
            w = [
                leaf if differentiable and leaf.requires_grad else leaf.detach().requires_grad_()
                for leaf in given
            ]
            at = rebuild(params, w)
        with torch.enable_grad(), collect(Collected()) as collected:
            loss = self.loss(joined(at, buffers) if buffers else at, hyper, t)
            collected.constant = True
            if differentiable:
                examine(loss, w, t)
            found = torch.autograd.grad(loss, w, create_graph=differentiable, allow_unused=True)
            collected.constant = False
        grads = [
            torch.zeros_like(leaf, requires_grad=differentiable) if grad is None else grad
            for leaf, grad in zip(w, found, strict=True)
        ]
        refuse_sparse(params, grads)
        buffers = collected.follow(buffers)
        return loss, grads, buffers if differentiable or not buffers else detach(buffers)

    def gradient(self, params: Tree, hyper: Tree, t: int) -> list[Tensor]:
        """Compute ∇_w L(w, λ), leaf by leaf, with history if a leaf requires grad."""
        return self.value_and_grad(*split(params), hyper, t)[1]

    def tangents(self, state: Tree, hyper: Tree, t: int) -> Tangents:
        """Apply Φ_t at traced leaves, and prepare its products from the right.

        The second derivatives of L are symmetric, so the tangent of ∇_w L is a product from the
        left with the gradient by (w, λ), and all columns share one graph. Buffers of a module break
        the symmetry, for they are constants in ∇L and not in Φ.
        """
        if "buffers" in state:
            return super().tangents(state, hyper, t)
        w, h = leaves(state["params"]), leaves(hyper)
        loss = self.loss(state["params"], hyper, t)
        examine(loss, w, t)
        inputs = [leaf for leaf in [*w, *h] if leaf.requires_grad]
        grads = differentiate([loss], inputs, create_graph=True)
        found = {id(leaf): grad for leaf, grad in zip(inputs, grads, strict=True)}
        joint = [found.get(id(leaf)) for leaf in [*w, *h]]
        refuse_sparse(state["params"], joint[: len(w)])
        g = [
            torch.zeros_like(leaf) if grad is None else grad.detach()
            for leaf, grad in zip(w, joint, strict=False)
        ]
        g = [leaf.requires_grad_() for leaf in g]
        new = self.update(state, g, hyper, t)
        push_update = pushforward(check_state(new, state, t), [*leaves(state), *h, *g])

        def push(z: Columns, e: Columns, batched: bool) -> Columns:
            z_w = leaves(rebuild(state, z)["params"])
            g_dot = differentiate(joint, w, [*z_w, *e], retain_graph=True, batched=batched)
            return push_update([*z, *e, *g_dot], batched)

        return Tangents(detach(new), loss.detach(), push)

    def loss(self, params: Tree, hyper: Tree, t: int) -> Tensor:
        """Compute L(w, λ) at step t.

        Raises:
            TypeError, ValueError: it is no scalar, or no real floating point number.
        """
        with counting() as tasks:
            loss = self._objective(params, hyper, t)
        self.n_tasks = tasks.n
        check_scalar("inner_objective", loss)
        return loss  # type: ignore[no-any-return]

    def _buffers(self, params: Tree) -> dict[str, Tree]:
        return {}

    def update(self, state: Tree, grads: list[Tensor], hyper: Tree, t: int) -> Tree:
        """Compute s_t from s_{t-1} and ∇L: limit the norm, add the decay, move.

        The order is that of `torch.nn.utils.clip_grad_norm_` before an optimiser of `torch.optim`.
        """
        if self._max_norm is not None:
            grads = limited(grads, self._max_norm, self.n_tasks, state["params"])
        if self._decay is not None:
            decays = by_leaf("weight_decay", self._decay(hyper, t), state["params"])
            given = leaves(state["params"])
            grads = [moved(g, d, w) for g, d, w in zip(grads, decays, given, strict=True)]
        return self.move(state, grads, hyper, t)

    def rates(self, state: Tree, hyper: Tree, t: int) -> list[Any]:
        """Compute η of each leaf."""
        return by_leaf("lr", self._lr(hyper, t), state["params"])

    def move(self, state: Tree, grads: list[Tensor], hyper: Tree, t: int) -> Tree:
        """Compute s_t from s_{t-1} and the gradient, leaf by leaf of the weights."""
        raise NotImplementedError
