"""Project tensors onto convex sets of probabilities, in Euclidean distance.

Three instances of the idea: edge probabilities onto the box, the weights of k choices onto the
simplex, the inclusion probabilities of a k-subset onto the capped simplex. The box projects each
entry, the others each row (the last dimension). All keep shape, dtype and device; a NaN makes its
row NaN.
"""

import torch
from torch import Tensor


def box(x: Tensor, lower: float | Tensor = 0.0, upper: float | Tensor = 1.0) -> Tensor:
    """Project onto {p: lower <= p_i <= upper}.

    Arguments:
        x: floating point, any shape.
        lower, upper: numbers, or tensors that broadcast to the shape of `x`.

    Raises:
        ValueError: a lower bound is above its upper bound.
    """
    low = torch.as_tensor(lower, dtype=x.dtype, device=x.device)
    high = torch.as_tensor(upper, dtype=x.dtype, device=x.device)
    if bool((low > high).any()):
        raise ValueError("box: lower must nowhere be above upper")
    return torch.minimum(torch.maximum(x, low), high)


def simplex(x: Tensor, total: float = 1.0) -> Tensor:
    """Project onto {p: p_i >= 0, Σ_i p_i = total} in the last dimension: p_i = max(x_i - τ, 0).

    Sorting finds τ, in O(n log n) and float64.

    References:
        Held, Wolfe and Crowder, 1974; Duchi et al., 2008, Figure 1,
        https://dl.acm.org/doi/10.1145/1390156.1390191

    Arguments:
        x: floating point `(..., n)`, n >= 1.
        total: sum of the projected entries, positive and finite.

    Raises:
        ValueError: `x` has no last dimension or an empty one, or `total` is out of range.
    """
    n = _last(x, "simplex")
    if not 0 < total < float("inf"):
        raise ValueError(f"simplex: total must be positive and finite, got {total:g}")
    values = x.double()
    values = values - values.amax(-1, keepdim=True)  # a shift changes the rounding only
    ordered = values.sort(-1, descending=True).values
    excess = ordered.cumsum(-1) - total
    count = torch.arange(1, n + 1, dtype=torch.float64, device=x.device)
    kept = (ordered * count > excess).sum(-1, keepdim=True).clamp(min=1)
    tau = excess.gather(-1, kept - 1) / kept
    return (values - tau).clamp(min=0).to(x.dtype)


def capped_simplex(x: Tensor, total: float) -> Tensor:
    """Project onto {p: 0 <= p_i <= 1, Σ_i p_i = total} in the last dimension.

    p_i = clip(x_i - τ, 0, 1). The sum Σ_i clip(x_i - τ, 0, 1) is piecewise linear in τ with kinks
    at x_i - 1 and x_i. Sorting the kinks gives the sum at each of them, and τ lies on the segment
    that crosses `total`: O(n log n).

    References:
        Wang and Lu, 2015, https://arxiv.org/abs/1503.01002

    Arguments:
        x: floating point `(..., n)`, n >= 1.
        total: sum of the projected entries, in [0, n].

    Raises:
        ValueError: `x` has no last dimension or an empty one, or `total` is out of range.
    """
    n = _last(x, "capped_simplex")
    if not 0 <= total <= n:
        raise ValueError(
            f"capped_simplex: total must lie in [0, {n}], the number of entries, got {total:g}"
        )
    values = x.double()
    values = values - values.amax(-1, keepdim=True)
    kinks, order = torch.cat([values - 1, values], -1).sort(-1)
    # Entry i falls with slope 1 between x_i - 1 and x_i, then stays at 0.
    slope = torch.where(order < n, -1.0, 1.0).to(torch.float64).cumsum(-1)
    falls = torch.nn.functional.pad(kinks.diff(dim=-1) * slope[..., :-1], (1, 0))
    sums = n + falls.cumsum(-1)
    left = (sums >= total).sum(-1, keepdim=True).clamp(min=1) - 1
    rate = slope.gather(-1, left)
    rest = sums.gather(-1, left) - total
    # On a level segment every τ gives the same sum; use its left end.
    tau = kinks.gather(-1, left) + torch.where(rate < 0, rest / -rate.clamp(max=-1), 0.0)
    return (values - tau).clamp(0, 1).to(x.dtype)


def _last(x: Tensor, name: str) -> int:
    """Return the size of the last dimension, or refuse a tensor without entries in it."""
    if x.dim() == 0 or x.shape[-1] == 0:
        raise ValueError(f"{name}: x must have a last dimension of 1 or more, got {tuple(x.shape)}")
    return x.shape[-1]
