"""Adaptive dynamics: Adam, AdamW and RMSprop as maps from state to state.

Their values are those of `torch.optim`. Each divides by a root of a mean of squares, which has an
infinite slope at 0 (a weight without any gradient so far); its derivative is taken as 0 there,
which is the derivative of w_t when the gradient stays 0.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lds.bilevel.dynamics import ObjectiveDynamics, Setting, in_range, setting
from lds.bilevel.tensors import Tree, leaves, rebuild, tree_map


class Adam(ObjectiveDynamics):
    """Adam with bias correction; its values are those of ``torch.optim.Adam``.

    m_t = β1 m + (1-β1) g, v_t = β2 v + (1-β2) g², w_t = w - η m̂_t / (√v̂_t + ε).

    References:
        Kingma and Ba, 2015, Algorithm 1, https://arxiv.org/abs/1412.6980

    Arguments:
        inner_objective: L(params, hyper[, step]) -> scalar tensor.
        lr: η, a number or a function of (hyper[, step]).
        betas: β1 and β2 in [0, 1), each a number or a function of (hyper[, step]).
        eps: ε > 0, added to the root.
        start: Φ_0(params, hyper) -> params; None is the identity.
        generators: random generators that the objectives draw from. Each step seeds them anew, and
            leaves them as they were.

    Raises:
        ValueError: `lr`, `eps` or one of `betas` is a number outside its range.
    """

    def __init__(
        self,
        inner_objective: Callable[..., Tensor],
        lr: Setting = 1e-3,
        betas: tuple[Setting, Setting] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        start: Callable[[Tree, Tree], Tree] | None = None,
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        super().__init__(inner_objective, lr, start, generators)
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

    def update(self, state: Tree, grads: list[Tensor], hyper: Tree, t: int) -> Tree:
        """s_t from s_{t-1} and g = ∇L, leaf by leaf of the weights."""
        lr = self._lr(hyper, t)
        beta1 = self._betas[0](hyper, t)
        beta2 = self._betas[1](hyper, t)
        correction1, root = self._corrections(beta1, beta2, hyper, t)
        params, means, squares = [], [], []
        old = zip(
            leaves(state["params"]),
            leaves(state["mean"]),
            leaves(state["square"]),
            grads,
            strict=True,
        )
        for w, m, v, g in old:
            mean = torch.lerp(m, g, 1 - beta1)
            square = beta2 * v + (1 - beta2) * g * g
            denominator = _root(square) / root + self._eps
            w = self._decayed(w, lr, hyper, t)
            params.append(w - (lr / correction1) * (mean / denominator))
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
        """1 - β1^(t+1) and √(1 - β2^(t+1)): what m and √v are divided by."""
        square = 1 - beta2 ** (t + 1)
        root = square.sqrt() if isinstance(square, Tensor) else math.sqrt(square)
        return 1 - beta1 ** (t + 1), root

    def _decayed(self, w: Tensor, lr: float | Tensor, hyper: Tree, t: int) -> Tensor:
        return w


class AdamW(Adam):
    """Adam with decoupled weight decay; its values are those of ``torch.optim.AdamW``.

    w_t = (1 - ηρ) w - η m̂_t / (√v̂_t + ε). The decay pulls the fixed point of the dynamics away
    from the minimiser of L.

    References:
        Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101

    Arguments:
        inner_objective, lr, betas, eps, start, generators: as for `Adam`.
        weight_decay: ρ > 0, a number or a function of (hyper[, step]).

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
        *,
        start: Callable[[Tree, Tree], Tree] | None = None,
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        super().__init__(inner_objective, lr, betas, eps, start=start, generators=generators)
        self._weight_decay = setting("weight_decay", weight_decay)

    def _decayed(self, w: Tensor, lr: float | Tensor, hyper: Tree, t: int) -> Tensor:
        decayed: Tensor = w * (1 - lr * self._weight_decay(hyper, t))
        return decayed


class RMSprop(ObjectiveDynamics):
    """v_t = αv + (1-α) g², b_t = µb + g / (√v_t + ε), w_t = w - η b_t.

    The values are those of ``torch.optim.RMSprop`` (not centred).

    References:
        Hinton, 2012, https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf

    Arguments:
        inner_objective: L(params, hyper[, step]) -> scalar tensor.
        lr: η, a number or a function of (hyper[, step]).
        alpha: α in [0, 1), likewise.
        eps: ε > 0, added to the root.
        momentum: µ in [0, 1), likewise.
        start: Φ_0(params, hyper) -> params; None is the identity.
        generators: random generators that the objectives draw from. Each step seeds them anew, and
            leaves them as they were.

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
        *,
        start: Callable[[Tree, Tree], Tree] | None = None,
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        super().__init__(inner_objective, lr, start, generators)
        self._alpha = setting("alpha", alpha, below_one=True)
        self._momentum = setting("momentum", momentum, below_one=True)
        self._eps = in_range("eps", eps)

    def _buffers(self, params: Tree) -> dict[str, Tree]:
        return {
            "square": tree_map(torch.zeros_like, params),
            "velocity": tree_map(torch.zeros_like, params),
        }

    def update(self, state: Tree, grads: list[Tensor], hyper: Tree, t: int) -> Tree:
        """s_t from s_{t-1} and g = ∇L, leaf by leaf of the weights."""
        lr, alpha, mu = self._lr(hyper, t), self._alpha(hyper, t), self._momentum(hyper, t)
        buffers = leaves(state["square"]), leaves(state["velocity"])
        new: dict[str, list[Tensor]] = {"params": [], "square": [], "velocity": []}
        for w, v, b, g in zip(leaves(state["params"]), *buffers, grads, strict=True):
            square = alpha * v + (1 - alpha) * g * g
            velocity = mu * b + g / (_root(square) + self._eps)
            new["params"].append(w - lr * velocity)
            new["square"].append(square)
            new["velocity"].append(velocity)
        return {name: rebuild(state["params"], parts) for name, parts in new.items()}


def _root(square: Tensor) -> Tensor:
    """√v with derivative 0 where v = 0."""
    if not square.requires_grad:
        return square.sqrt()
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)
