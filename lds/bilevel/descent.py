"""Gradient descent and momentum as maps from state to state (§5.3.1, eq. 5.10)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lds.bilevel.dynamics import ObjectiveDynamics, Setting, moved, setting
from lds.bilevel.tensors import Tree, leaves, rebuild, tree_map


class GradientDescent(ObjectiveDynamics):
    """w_t = w_{t-1} - η ∇L(w_{t-1}, λ) (§5.3.1).

    Arguments:
        inner_objective: L(params, hyper[, step]) -> scalar tensor.
        lr: η, step size per inner step: a number, a function of (hyper[, step]), or either by
            groups of parameters (see `Setting`).
        start: Φ_0(params, hyper) -> params; None is the identity.
        generators: random generators that the objectives draw from. Each step seeds them anew, and
            leaves them as they were.
        weight_decay: ρ >= 0, added to the gradient as ρ w, as torch.optim does; like `lr`.
        max_grad_norm: Euclidean norm to which a longer gradient is cut, before the decay.

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
        *,
        start: Callable[[Tree, Tree], Tree] | None = None,
        generators: Sequence[torch.Generator] = (),
        weight_decay: Setting = 0.0,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(inner_objective, lr, start, generators, weight_decay, max_grad_norm)

    def move(self, state: Tree, grads: list[Tensor], hyper: Tree, t: int) -> Tree:
        """s_t from s_{t-1} and the gradient to move along, leaf by leaf of the weights."""
        moves = zip(leaves(state["params"]), self.rates(state, hyper, t), grads, strict=True)
        new = [moved(w, -lr, g) for w, lr, g in moves]
        return {"params": rebuild(state["params"], new)}


class Momentum(ObjectiveDynamics):
    """Heavy ball: v_t = µ v_{t-1} + ∇L(w_{t-1}), w_t = w_{t-1} - η v_t (eq. 5.10, its slip mended).

    The values are those of ``torch.optim.SGD(momentum=µ)``; with `nesterov` the step is
    w_t = w_{t-1} - η (∇L + µ v_t), as there.

    Arguments:
        inner_objective: L(params, hyper[, step]) -> scalar tensor.
        lr: η, a number or a function of (hyper[, step]), or either by groups.
        momentum: µ in [0, 1), likewise.
        nesterov: look ahead.
        start: Φ_0(params, hyper) -> params; None is the identity.
        generators: random generators that the objectives draw from. Each step seeds them anew, and
            leaves them as they were.
        weight_decay: ρ >= 0, added to the gradient as ρ w, as torch.optim does; like `lr`.
        max_grad_norm: Euclidean norm to which a longer gradient is cut, before the decay.

    Raises:
        ValueError: `lr` or `momentum` is a number outside its range.
    """

    def __init__(
        self,
        inner_objective: Callable[..., Tensor],
        lr: Setting = 0.1,
        momentum: Setting = 0.9,
        *,
        nesterov: bool = False,
        start: Callable[[Tree, Tree], Tree] | None = None,
        generators: Sequence[torch.Generator] = (),
        weight_decay: Setting = 0.0,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(inner_objective, lr, start, generators, weight_decay, max_grad_norm)
        self._momentum = setting("momentum", momentum, below_one=True)
        self._nesterov = nesterov

    def _buffers(self, params: Tree) -> dict[str, Tree]:
        return {"velocity": tree_map(torch.zeros_like, params)}

    def move(self, state: Tree, grads: list[Tensor], hyper: Tree, t: int) -> Tree:
        """s_t from s_{t-1} and the gradient to move along, leaf by leaf of the weights."""
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
