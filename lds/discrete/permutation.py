"""Random permutations by Gumbel-Sinkhorn, discrete or relaxed to doubly stochastic matrices.

Three instances of the idea: the order of a list; the matching of the columns of two tables; the
matching of the nodes of two graphs. The logit at (i, j) is the score of assigning row i to place j.
"""

import math
import warnings
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lds._numbers import check_flag, real
from lds.discrete.base import is_mapped, uniform_like
from lds.discrete.checks import check_logits, check_temperature
from lds.discrete.gradient_estimators import with_slope

TOLERANCE = 1e-9
"""Largest difference of row and column sums of a relaxed permutation from 1, in float64."""

_MAX_STEPS = 200  # of Newton's method; about 10 are usual
_LENGTHS = (math.inf, 64.0, 16.0, 4.0, 1.0)  # limits of a Newton step, in logits, that are tried
_DUAL_ROUNDING = 1e-10  # above the rounding of the dual, by which a length is chosen
_RIDGE = 1e-13  # above the rounding of an eigenvalue in [0, 1]: makes a singular matrix invertible


def matching(scores: Tensor) -> Tensor:
    """Find the permutation matrix P of largest Σ_ij P_ij scores_ij, by scipy's assignment solver.

    Arguments:
        scores: floating point `(..., n, n)`, finite; other dimensions are independent.

    Returns:
        0.0 and 1.0 in the shape and dtype of `scores`, without gradient history; row i has its 1 in
        the column assigned to it. The cost is O(n³), on the CPU.

    Raises:
        TypeError: `scores` is not a floating point tensor, or differs by task of `over_tasks`.
        ValueError: they are not finite, or not square matrices.

    Examples:
        >>> import torch
        >>> from lds.discrete import matching
        >>> matching(torch.tensor([[3.0, 2.0], [2.0, 0.0]]))
        tensor([[0., 1.],
                [1., 0.]])
    """
    _check_square(scores, "scores")
    n = scores.shape[-1]
    found = torch.zeros(scores.shape, dtype=scores.dtype)
    if not scores.numel():
        return found.to(scores.device)
    rows = scores.detach().double().cpu().reshape(-1, n, n).numpy()
    for one, row in zip(found.view(-1, n, n), rows, strict=True):
        one[linear_sum_assignment(row, maximize=True)] = 1.0
    return found.to(scores.device)


def sinkhorn(logits: Tensor) -> Tensor:
    """Compute the doubly stochastic P = exp(logits + f 1ᵀ + 1 gᵀ) of largest entropy + Σ P logits.

    Row and column sums are 1 to `TOLERANCE` in float64, however large the logits. The iteration
    works on log P, starts from the potentials of the best permutation, and takes Newton steps, with
    one Sinkhorn sweep after each. The gradient is that of the implicit function theorem, so no
    sweep is stored. O(n³) time and O(n²) memory for each matrix.

    References:
        Sinkhorn, 1964; Cuturi, 2013, https://arxiv.org/abs/1306.0895; Newton's method: Brauer,
        Clason, Lorenz and Wirth, 2017, https://arxiv.org/abs/1710.06635

    Arguments:
        logits: floating point `(..., n, n)`, finite; other dimensions are independent.

    Returns:
        P in the shape and dtype of `logits`, differentiable twice.

    Raises:
        TypeError: `logits` is not a floating point tensor, or differs by task of `over_tasks`.
        ValueError: they are not finite, or not square matrices.

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
    """Draw a random permutation relaxed to sinkhorn((logits + Gumbel noise) / temperature).

    Soft: h must be defined for doubly stochastic matrices; the gradient is exact for the relaxed
    E[h]. Hard: the value is the permutation `matching(logits + noise)`, and the gradient is that of
    the relaxation, which is biased. An estimate costs one evaluation of h and its gradient.

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
        TypeError: `logits` is not a floating point tensor, or differs by task of `over_tasks`.
        ValueError: they are not finite, or not square matrices; the temperature or the noise is out
            of range; (logits + noise) / temperature overflows float64; or its derivative overflows
            the dtype of `logits`.
    """
    _check_square(logits)
    check_flag("hard", hard)
    level = check_temperature(temperature, logits.device)
    if not 0 <= real("noise", noise, "a finite number of 0 or more") < math.inf:
        raise ValueError(f"noise must be a finite number of 0 or more, got {noise!r}")
    if 0.25 / float(level.detach()) > torch.finfo(logits.dtype).max:
        raise ValueError(
            f"gumbel_sinkhorn: the derivative of a draw by its logits may reach "
            f"{0.25 / float(level.detach()):.3g}, and {logits.dtype} ends at "
            f"{torch.finfo(logits.dtype).max:.3g}; use a higher temperature, or a wider dtype"
        )
    uniform = uniform_like(logits, None, logits.shape, generator)
    _refuse_mapped("logits + noise", uniform)
    # Less what is common to a row or a column, which changes no permutation: beside a large number
    # rounding would lose the noise.
    scores = logits.double()
    for dim in (-1, -2) if scores.numel() else ():
        scores = scores - scores.detach().amax(dim, keepdim=True)
    scores = scores - noise * (-uniform.clamp(min=1e-300).log()).log()
    scaled = scores * level.reciprocal()
    if not bool(scaled.detach().isfinite().all()):
        raise ValueError(
            f"gumbel_sinkhorn: logits / temperature must be finite in float64, got a temperature "
            f"of {float(level.detach()):.3g} beside logits of up to {logits.abs().max():.3g}"
        )
    soft = sinkhorn(scaled).to(logits.dtype)
    return with_slope(matching(scores).to(logits.dtype), soft) if hard else soft


class _Sinkhorn(torch.autograd.Function):
    """P as a function of the logits, with the derivative of the implicit function theorem."""

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
    """Compute P of float64 logits by Newton's method, from the potentials of the best permutation.

    x is log P.
    """
    x = _sweep(_centred(logits))
    for _ in range(_MAX_STEPS):
        p = x.exp()
        rows = p.sum(-1, keepdim=True)
        error = float((rows - 1).abs().max())
        # Rows sum to `rows`, columns to 1. The step is one of the columns' potentials.
        step = _solve(p / rows.sqrt(), p.mT @ (1 - 1 / rows)).mT
        longest = step.abs().amax(-1, keepdim=True)
        steps = [step * (limit / longest).clamp(max=1) for limit in _LENGTHS]
        x = _sweep(x + _best(x, torch.stack([*steps, torch.zeros_like(step)])))
        if error <= TOLERANCE:  # of the P before the step; a step about squares it
            return x.exp()
    warnings.warn(
        f"sinkhorn: sums of rows differ from 1 by {error:.1e} after {_MAX_STEPS} steps; "
        "use a higher temperature",
        stacklevel=4,
    )
    return x.exp()


def _best(x: Tensor, steps: Tensor) -> Tensor:
    """Choose the step g of largest dual Σ g - Σ log Σ exp(x + g); of equal ones, the first."""
    dual = steps.sum((-2, -1)) - (x + steps).logsumexp(-1).sum(-1)
    order = torch.arange(len(steps), device=x.device).view(-1, *[1] * (dual.dim() - 1))
    index = (dual - _DUAL_ROUNDING * order).argmax(0, keepdim=True)[..., None, None]
    return steps.gather(0, index.expand(1, *steps.shape[1:])).squeeze(0)


def _centred(logits: Tensor) -> Tensor:
    """Add potentials f 1ᵀ + 1 gᵀ after which the best permutation has entries 0, others at most 0.

    Many potentials do so. These are an average of extreme ones, after which only entries of a best
    permutation are 0. From other potentials, at a low temperature, the error after k sweeps is
    about 1 / k.
    """
    n = logits.shape[-1]
    best = matching(logits).argmax(-1, keepdim=True)  # the place of each row
    columns = best.mT.expand(logits.shape)
    ordered = logits.gather(-1, columns)  # so that the best permutation is the diagonal
    cost = ordered - ordered.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
    # Longest paths. Cycles have length at most 0, as no permutation is better than the best one.
    longest = cost
    for k in range(n):
        longest = torch.maximum(longest, longest[..., :, k, None] + longest[..., None, k, :])
        longest.diagonal(dim1=-2, dim2=-1).zero_()
    g = (longest.mean(-1) - longest.mean(-2)) / 2  # each of the 2 n averaged is feasible
    reduced = cost - g.unsqueeze(-1) + g.unsqueeze(-2)
    return torch.empty_like(logits).scatter_(-1, columns, reduced)


def _sweep(x: Tensor) -> Tensor:
    """Apply one Sinkhorn sweep to log P: scale rows, then columns, to sum to 1."""
    return x.log_softmax(-1).log_softmax(-2)


def _solve(p: Tensor, right: Tensor) -> Tensor:
    """Compute (I - PᵀP)⁺ right; the constant vector spans the null space."""
    n = p.shape[-1]
    eye = torch.eye(n, dtype=p.dtype, device=p.device)
    found: Tensor = torch.linalg.solve((1 + _RIDGE) * eye - p.mT @ p + 1 / n, right)
    return found


def _check_square(logits: Tensor, name: str = "logits") -> None:
    if isinstance(logits, Tensor):
        _refuse_mapped(name, logits)
    check_logits(logits, name, "a finite number far below the others rules an assignment out")
    if logits.dim() < 2 or logits.shape[-1] != logits.shape[-2]:
        raise ValueError(f"{name} must be square matrices (..., n, n), got {tuple(logits.shape)}")


def _refuse_mapped(name: str, scores: Tensor) -> None:
    """Refuse scores that differ by task of `over_tasks`, as the assignment solver reads values."""
    if is_mapped(scores):
        raise TypeError(
            f"{name} must be the same for all tasks of over_tasks, as the assignment solver reads "
            "values, got some that differ by task (random noise does); use separate_tasks, or draw "
            "the permutations before"
        )
