"""Permutations by Gumbel-Sinkhorn: orders and one-to-one matchings, relaxed and drawn.

Three instances of the idea: the order of a list, which column of one table is which of another,
which node of one graph is which of another. n rows of logits say how well row i goes with place j.
"""

import math
import warnings
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lds.discrete.base import uniform_like
from lds.discrete.checks import check_logits, check_temperature
from lds.discrete.gradient_estimators import with_slope

TOLERANCE = 1e-9
"""By how much sums of rows and columns of a relaxed permutation may differ from 1, in float64."""

_MOST = 200  # Newton steps; 10 are many
_LENGTHS = (math.inf, 64.0, 16.0, 4.0, 1.0)  # of them, as exponentials are flat far off
_DUAL = 1e-10  # above the rounding of the dual, which decides between lengths
_RIDGE = 1e-13  # above the rounding of an eigenvalue in [0, 1], so that a null space does no harm


def matching(scores: Tensor) -> Tensor:
    """The permutation matrix P of largest Σ_ij P_ij scores_ij, by scipy's assignment solver.

    Arguments:
        scores: floating point `(..., n, n)`, finite; other dimensions are independent.

    Returns:
        0.0 and 1.0 in the shape and dtype of `scores`, without history; row i has its 1 in the
        place of i. O(n³), on the CPU.

    Raises:
        TypeError: `scores` is not a floating point tensor.
        ValueError: they are not finite, or no square matrices.

    Examples:
        >>> import torch
        >>> from lds.discrete import matching
        >>> matching(torch.tensor([[3.0, 2.0], [2.0, 0.0]]))
        tensor([[0., 1.],
                [1., 0.]])
    """
    _check_square(scores)
    n = scores.shape[-1]
    found = torch.zeros(scores.shape, dtype=scores.dtype)
    if not scores.numel():
        return found.to(scores.device)
    rows = scores.detach().double().cpu().reshape(-1, n, n).numpy()
    for one, row in zip(found.view(-1, n, n), rows, strict=True):
        one[linear_sum_assignment(row, maximize=True)] = 1.0
    return found.to(scores.device)


def sinkhorn(logits: Tensor) -> Tensor:
    """The doubly stochastic P = exp(logits + f 1ᵀ + 1 gᵀ), of largest entropy + Σ P logits.

    Row and column sums are 1 to `TOLERANCE` in float64, however large the logits: in the log
    domain, from the potentials of the best permutation, by Newton steps, a sweep after each. The
    gradient is by the implicit function theorem, so that no sweep is kept: O(n³) time and O(n²)
    memory for a matrix.

    References:
        Sinkhorn, 1964; Cuturi, 2013, https://arxiv.org/abs/1306.0895; Newton's method: Brauer,
        Clason, Lorenz and Wirth, 2017, https://arxiv.org/abs/1710.06635

    Arguments:
        logits: floating point `(..., n, n)`, finite; other dimensions are independent.

    Returns:
        P in the shape and dtype of `logits`, differentiable twice.

    Raises:
        TypeError: `logits` is not a floating point tensor.
        ValueError: they are not finite, or no square matrices.

    Warns:
        UserWarning: sums differ from 1 by more than `TOLERANCE`.
    """
    _check_square(logits)
    if not logits.numel():
        return logits.clone()
    found: Tensor = _Sinkhorn.apply(logits.double())  # type: ignore[no-untyped-call]
    return found.to(logits.dtype)


def gumbel_sinkhorn(
    logits: Tensor,
    *,
    temperature: float | Tensor,
    hard: bool = False,
    noise: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A random permutation, relaxed to sinkhorn((logits + Gumbel noise) / temperature).

    Soft: h must be defined for doubly stochastic matrices; the gradient is exact for the relaxed
    E[h]. Hard: the value is the permutation `matching(logits + noise)`, only the gradient is the
    relaxed one's, and biased. One evaluation of h and its gradient an estimate.

    References:
        Mena, Belanger, Linderman and Snoek, 2018, §3 and §4, https://arxiv.org/abs/1802.08665

    Arguments:
        logits: floating point `(..., n, n)`, finite; other dimensions are independent.
        temperature: positive, 1e-100 to 1e100; a tensor of shape () gets a gradient.
        hard: whether the value is a permutation.
        noise: scale of the Gumbel noise, 0 or more; 0 is the mode.
        generator: source of randomness; None is torch's own.

    Returns:
        Doubly stochastic matrices in the shape and dtype of `logits`, or permutations if `hard`.

    Raises:
        TypeError: `logits` is not a floating point tensor.
        ValueError: they are not finite, or no square matrices; the temperature or the noise is out
            of range; or (logits + noise) / temperature is no float64 number, or its derivative
            none of the dtype of `logits`.
    """
    _check_square(logits)
    level = check_temperature(temperature, logits.device)
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise must be a finite number of 0 or more, got {noise!r}")
    if 0.25 / float(level.detach()) > torch.finfo(logits.dtype).max:
        raise ValueError(
            f"gumbel_sinkhorn: the derivative of a draw by its logits may reach "
            f"{0.25 / float(level.detach()):.3g}, and {logits.dtype} ends at "
            f"{torch.finfo(logits.dtype).max:.3g}; use a higher temperature, or a wider dtype"
        )
    uniform = uniform_like(logits, None, logits.shape, generator)
    scores = logits.double() - noise * (-uniform.clamp(min=1e-300).log()).log()
    scaled = scores * level.reciprocal()
    if not bool(scaled.detach().isfinite().all()):
        raise ValueError(
            f"gumbel_sinkhorn: logits / temperature must be finite in float64, got a temperature "
            f"of {float(level.detach()):.3g} beside logits of up to {logits.abs().max():.3g}"
        )
    soft = sinkhorn(scaled).to(logits.dtype)
    return with_slope(matching(scores).to(logits.dtype), soft) if hard else soft


class _Sinkhorn(torch.autograd.Function):
    """Logits to P; ∂P is P times what rows and columns leave of the move of the logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        p = _scaled(logits)
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (p,), grad = ctx.saved_tensors, grads[0]
        # P ∘ (grad - a 1ᵀ - 1 bᵀ), with a and b such that its rows and columns sum to 0.
        weighted = p * grad
        rows, columns = weighted.sum(-1, keepdim=True), weighted.sum(-2).unsqueeze(-1)
        b = _solve(p, columns - p.mT @ rows)
        found: Tensor = weighted - p * (rows - p @ b) - p * b.mT
        return found


def _scaled(logits: Tensor) -> Tensor:
    """P of float64 logits: from the potentials of the best permutation, by Newton's method.

    x is log P throughout.
    """
    x = _sweep(_centred(logits))
    for _ in range(_MOST):
        p = x.exp()
        rows = p.sum(-1, keepdim=True)
        error = float((rows - 1).abs().max())
        # From rows that sum to r and columns that sum to 1, by the potentials of the columns.
        step = _solve(p / rows.sqrt(), p.mT @ (1 - 1 / rows)).mT
        longest = step.abs().amax(-1, keepdim=True)
        steps = [step * (limit / longest).clamp(max=1) for limit in _LENGTHS]
        x = _sweep(x + _best(x, torch.stack([*steps, torch.zeros_like(step)])))
        if error <= TOLERANCE:  # before the step, whose error is about the square of that
            return x.exp()
    warnings.warn(
        f"sinkhorn: sums of rows differ from 1 by {error:.1e} after {_MOST} steps; use a higher "
        "temperature",
        stacklevel=4,
    )
    return x.exp()


def _best(x: Tensor, steps: Tensor) -> Tensor:
    """The step g of largest Σ g - Σ log Σ exp(x + g), the concave dual; the first of equals."""
    dual = steps.sum((-2, -1)) - (x + steps).logsumexp(-1).sum(-1)
    order = torch.arange(len(steps), device=x.device).view(-1, *[1] * (dual.dim() - 1))
    index = (dual - _DUAL * order).argmax(0, keepdim=True)[..., None, None]
    return steps.gather(0, index.expand(1, *steps.shape[1:])).squeeze(0)


def _centred(logits: Tensor) -> Tensor:
    """Add potentials f 1ᵀ + 1 gᵀ that leave 0 at the best permutation, and nothing above 0.

    Among such potentials they are an average, which leaves 0 only where a best permutation has its
    ones. From others, at a low temperature, the error after k sweeps is about 1 / k.
    """
    n = logits.shape[-1]
    best = matching(logits).argmax(-1, keepdim=True)  # the place of each row
    columns = best.mT.expand(logits.shape)
    ordered = logits.gather(-1, columns)  # so that the best permutation is the diagonal
    cost = ordered - ordered.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
    # Longest paths; around a circle they are at most 0, as nothing beats the best permutation.
    longest = cost
    for k in range(n):
        longest = torch.maximum(longest, longest[..., :, k, None] + longest[..., None, k, :])
        longest.diagonal(dim1=-2, dim2=-1).zero_()
    g = (longest.mean(-1) - longest.mean(-2)) / 2  # each of the 2 n averaged is feasible
    reduced = cost - g.unsqueeze(-1) + g.unsqueeze(-2)
    return torch.empty_like(logits).scatter_(-1, columns, reduced)


def _sweep(x: Tensor) -> Tensor:
    """One of Sinkhorn's sweeps over log P: rows, then columns, made to sum to 1."""
    return x.log_softmax(-1).log_softmax(-2)


def _solve(p: Tensor, right: Tensor) -> Tensor:
    """(I - PᵀP)⁺ right, across the constant vector, which moves nothing."""
    n = p.shape[-1]
    eye = torch.eye(n, dtype=p.dtype, device=p.device)
    found: Tensor = torch.linalg.solve((1 + _RIDGE) * eye - p.mT @ p + 1 / n, right)
    return found


def _check_square(logits: Tensor) -> None:
    check_logits(logits)
    if logits.dim() < 2 or logits.shape[-1] != logits.shape[-2]:
        raise ValueError(f"logits must be square matrices (..., n, n), got {tuple(logits.shape)}")
