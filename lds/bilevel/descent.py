"""Gradient descent and momentum as maps from state to state (§5.3.1, eq. 5.10)."""

from collections.abc import Callable
from typing import Unpack

import torch
from torch import Tensor

from lds._numbers import check_flag
from lds.bilevel.dynamics import DynamicsOptions, ObjectiveDynamics, Setting, moved, setting
from lds.bilevel.tensors import Tree, leaves, rebuild, tree_map


class GradientDescent(ObjectiveDynamics):
    """w_t = w_{t-1} - η ∇L(w_{t-1}, λ) (§5.3.1).

    Arguments:
        inner_objective: L(params, hyper[, step]) -> scalar tensor.
        lr: η, step size per inner step: a number, a function of (hyper[, step]), or either by
            groups of parameters (see `Setting`).
        options: `start`, `generators`, `max_grad_norm` and `weight_decay` (see `DynamicsOptions`).

    Raises:
        ValueError: `lr` is a number that is not positive and finite.

    Examples:
        >>> import torch
        >>> from lds import bilevel
        >>> descent = bilevel.GradientDescent(lambda w, lam: 0.5 * (w - lam) ** 2, lr=0.5)
        >>> state = descent.start(torch.tensor(0.0), torch.tensor(1.0))
        >>> descent.step(state, torch.tensor(1.0), 0)["params"]
        tensor(0.5000)
    """

    def __init__(
        self,
        inner_objective: Callable[..., Tensor],
        lr: Setting = 0.1,
        **options: Unpack[DynamicsOptions],
    ) -> None:
        super().__init__(inner_objective, lr, **options)

    def move(self, state: Tree, grads: list[Tensor], hyper: Tree, t: int) -> Tree:
        """Compute s_t from s_{t-1} and the gradient, leaf by leaf of the weights."""
        moves = zip(leaves(state["params"]), self.rates(state, hyper, t), grads, strict=True)
        new = [moved(w, -lr, g) for w, lr, g in moves]
        return {"params": rebuild(state["params"], new)}


class Momentum(ObjectiveDynamics):
    """Heavy ball: v_t = µ v_{t-1} + ∇L(w_{t-1}), w_t = w_{t-1} - η v_t (eq. 5.10, corrected).

    The values are those of ``torch.optim.SGD(momentum=µ)``; with `nesterov` the step is
    w_t = w_{t-1} - η (∇L + µ v_t), as there.

    Arguments:
        inner_objective: L(params, hyper[, step]) -> scalar tensor.
        lr: η, a number or a function of (hyper[, step]), or either by groups.
        momentum: µ in [0, 1), a number or a function of (hyper[, step]).
        nesterov: use the step of Nesterov.
        options: `start`, `generators`, `max_grad_norm` and `weight_decay` (see `DynamicsOptions`).

    Raises:
        TypeError: an option is of another kind.
        ValueError: `lr` or `momentum` is a number outside its range.
    """

    def __init__(
        self,
        inner_objective: Callable[..., Tensor],
        lr: Setting = 0.1,
        momentum: Setting = 0.9,
        *,
        nesterov: bool = False,
        **options: Unpack[DynamicsOptions],
    ) -> None:
        super().__init__(inner_objective, lr, **options)
        self._momentum = setting("momentum", momentum, below_one=True)
        check_flag("nesterov", nesterov)
        self._nesterov = nesterov

    def _buffers(self, params: Tree) -> dict[str, Tree]:
        return {"velocity": tree_map(torch.zeros_like, params)}

    def move(self, state: Tree, grads: list[Tensor], hyper: Tree, t: int) -> Tree:
        """Compute s_t from s_{t-1} and the gradient, leaf by leaf of the weights."""
        mu = self._momentum(hyper, t)
        velocity = [moved(g, mu, v) for v, g in zip(leaves(state["velocity"]), grads, strict=True)]
        if self._nesterov:
            move = [moved(g, mu, v) for v, g in zip(velocity, grads, strict=True)]
        else:
            move = velocity
        moves = zip(leaves(state["params"]), self.rates(state, hyper, t), move, strict=True)
        new = [moved(w, -lr, m) for w, lr, m in moves]
        return {
            "params": rebuild(state["params"], new),
            "velocity": rebuild(state["params"], velocity),
        }
