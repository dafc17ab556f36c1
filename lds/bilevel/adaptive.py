"""Adaptive dynamics: Adam, AdamW and RMSprop as maps from state to state.

Their values are those of `torch.optim`. Each divides by the root of a mean of squares. The slope of
the root is infinite at 0 (a weight whose gradients were all 0); its derivative is set to 0 there,
which is the derivative of w_t if the gradient stays 0.
"""

import math
from collections.abc import Callable
from typing import Any, Unpack

import torch
from torch import Tensor

from lds.bilevel.checks import in_range
from lds.bilevel.dynamics import (
    DynamicsOptions,
    ObjectiveDynamics,
    Setting,
    UndecayedOptions,
    setting,
)
from lds.bilevel.groups import by_leaf
from lds.bilevel.tensors import Tree, leaves, rebuild, tree_map


class Adam(ObjectiveDynamics):
    """Adam with bias correction; its values are those of ``torch.optim.Adam``.

    m_t = β1 m + (1-β1) g, v_t = β2 v + (1-β2) g², w_t = w - η m̂_t / (√v̂_t + ε).

    References:
        Kingma and Ba, 2015, Algorithm 1, https://arxiv.org/abs/1412.6980

    Arguments:
        inner_objective: L(params, hyper[, step]) -> scalar tensor.
        lr: η, a number or a function of (hyper[, step]), or either by groups.
        betas: β1 and β2 in [0, 1), each a number or a function of (hyper[, step]).
        eps: ε > 0, added to the root.
        options: `start`, `generators`, `max_grad_norm` and `weight_decay` (see `DynamicsOptions`).

    Raises:
        TypeError: a setting is of another kind.
        ValueError: `lr`, `eps` or one of `betas` is a number outside its range.
    """

    def __init__(
        self,
        inner_objective: Callable[..., Tensor],
        lr: Setting = 1e-3,
        betas: tuple[Setting, Setting] = (0.9, 0.999),
        eps: float = 1e-8,
        **options: Unpack[DynamicsOptions],
    ) -> None:
        super().__init__(inner_objective, lr, **options)
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise TypeError(f"betas must be two settings, such as (0.9, 0.999), got {betas!r}")
        self._betas = (
            setting("betas[0]", betas[0], below_one=True),
            setting("betas[1]", betas[1], below_one=True),
        )
        self._eps = in_range("eps", eps)

    def _buffers(self, params: Tree) -> dict[str, Tree]:
        return {
            "mean": tree_map(torch.zeros_like, params),
            "square": tree_map(torch.zeros_like, params),
        }

    def move(self, state: Tree, grads: list[Tensor], hyper: Tree, t: int) -> Tree:
        """Compute s_t from s_{t-1} and the gradient, leaf by leaf of the weights."""
        beta1 = self._betas[0](hyper, t)
        beta2 = self._betas[1](hyper, t)
        correction1, root = self._corrections(beta1, beta2, hyper, t)
        params, means, squares = [], [], []
        old = zip(
            leaves(state["params"]),
            leaves(state["mean"]),
            leaves(state["square"]),
            grads,
            self.rates(state, hyper, t),
            self._decays(state, hyper, t),
            strict=True,
        )
        for w, m, v, g, lr, decay in old:
            mean = torch.lerp(m, g, 1 - beta1)
            square = _plus_product(beta2 * v, 1 - beta2, g)
            # η m̂ / (√v̂ + ε), with both corrections in the rate: a pass over the weights less.
            denominator = _root(square) + self._eps * root
            if decay is not None:
                w = w * (1 - lr * decay)
            params.append(_plus_ratio(w, -lr * root / correction1, mean, denominator))
            means.append(mean)
            squares.append(square)
        return {
            "params": rebuild(state["params"], params),
            "mean": rebuild(state["params"], means),
            "square": rebuild(state["params"], squares),
        }

    def _corrections(
        self, beta1: float | Tensor, beta2: float | Tensor, hyper: Tree, t: int
    ) -> tuple[float | Tensor, float | Tensor]:
        """Return the divisors of m and √v: 1 - β1^(t+1) and √(1 - β2^(t+1))."""
        square = 1 - beta2 ** (t + 1)
        root = square.sqrt() if isinstance(square, Tensor) else math.sqrt(square)
        return 1 - beta1 ** (t + 1), root

    def _decays(self, state: Tree, hyper: Tree, t: int) -> list[Any]:
        """Compute ρ of each weight in w ← (1 - ηρ) w; None for no decay."""
        return [None] * len(leaves(state["params"]))


class AdamW(Adam):
    """Adam with decoupled weight decay; its values are those of ``torch.optim.AdamW``.

    w_t = (1 - ηρ) w - η m̂_t / (√v̂_t + ε). The decay pulls the fixed point of the dynamics away
    from the minimiser of L.

    References:
        Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101

    Arguments:
        inner_objective, lr, betas, eps: as for `Adam`.
        weight_decay: ρ >= 0, a number or a function of (hyper[, step]), or either by groups.
        options: `start`, `generators` and `max_grad_norm` (see `DynamicsOptions`).

    Raises:
        ValueError: a setting is a number outside its range.
    """

    stationary = False

    def __init__(
        self,
        inner_objective: Callable[..., Tensor],
        lr: Setting = 1e-3,
        betas: tuple[Setting, Setting] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: Setting = 1e-2,
        **options: Unpack[UndecayedOptions],
    ) -> None:
        super().__init__(inner_objective, lr, betas, eps, **options)
        self._decoupled = setting("weight_decay", weight_decay, groups=True, zero=True)

    def _decays(self, state: Tree, hyper: Tree, t: int) -> list[Any]:
        return by_leaf("weight_decay", self._decoupled(hyper, t), state["params"])


class RMSprop(ObjectiveDynamics):
    """v_t = αv + (1-α) g², b_t = µb + g / (√v_t + ε), w_t = w - η b_t.

    The values are those of ``torch.optim.RMSprop`` (not centred).

    References:
        Hinton, 2012, https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf

    Arguments:
        inner_objective: L(params, hyper[, step]) -> scalar tensor.
        lr: η, a number or a function of (hyper[, step]), or either by groups.
        alpha: α in [0, 1), a number or a function of (hyper[, step]).
        eps: ε > 0, added to the root.
        momentum: µ in [0, 1), a number or a function of (hyper[, step]).
        options: `start`, `generators`, `max_grad_norm` and `weight_decay` (see `DynamicsOptions`).

    Raises:
        ValueError: a setting is a number outside its range.
    """

    def __init__(
        self,
        inner_objective: Callable[..., Tensor],
        lr: Setting = 1e-2,
        alpha: Setting = 0.99,
        eps: float = 1e-8,
        momentum: Setting = 0.0,
        **options: Unpack[DynamicsOptions],
    ) -> None:
        super().__init__(inner_objective, lr, **options)
        self._alpha = setting("alpha", alpha, below_one=True)
        self._momentum = setting("momentum", momentum, below_one=True)
        self._eps = in_range("eps", eps)

    def _buffers(self, params: Tree) -> dict[str, Tree]:
        return {
            "square": tree_map(torch.zeros_like, params),
            "velocity": tree_map(torch.zeros_like, params),
        }

    def move(self, state: Tree, grads: list[Tensor], hyper: Tree, t: int) -> Tree:
        """Compute s_t from s_{t-1} and the gradient, leaf by leaf of the weights."""
        alpha, mu = self._alpha(hyper, t), self._momentum(hyper, t)
        buffers = leaves(state["square"]), leaves(state["velocity"])
        new: dict[str, list[Tensor]] = {"params": [], "square": [], "velocity": []}
        rates = self.rates(state, hyper, t)
        for w, v, b, g, lr in zip(leaves(state["params"]), *buffers, grads, rates, strict=True):
            square = _plus_product(alpha * v, 1 - alpha, g)
            velocity = mu * b + g / (_root(square) + self._eps)
            new["params"].append(w - lr * velocity)
            new["square"].append(square)
            new["velocity"].append(velocity)
        return {name: rebuild(state["params"], parts) for name, parts in new.items()}


def _root(square: Tensor) -> Tensor:
    """Compute √v with derivative 0 where v = 0."""
    if not square.requires_grad:
        return square.sqrt()
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def _plus_product(x: Tensor, a: float | Tensor, y: Tensor) -> Tensor:
    """Add a y² to x, in one pass where a is a number."""
    return x + a * y * y if isinstance(a, Tensor) else torch.addcmul(x, y, y, value=a)


def _plus_ratio(x: Tensor, a: float | Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Add a y / z to x, in one pass where a is a number."""
    return x + a * (y / z) if isinstance(a, Tensor) else torch.addcdiv(x, y, z, value=a)
