"""A choice of exactly k of n: the conditional Bernoulli distribution."""

from typing import Self

import torch
from torch import Tensor

from lds._numbers import integer
from lds._projections import capped_simplex
from lds.discrete.base import AbstractDiscrete, clamped, is_mapped, uniform_like
from lds.discrete.checks import (
    check_logits,
    check_outcome,
    check_parameter,
    check_sums,
    outside,
)

_TOLERANCE = 1e-4  # of sums, relative to k: well above float32 rounding
_CERTAIN = 100.0  # logit of a probability of 1: e^-logit is below float64 rounding
_SOLVED = 1e-12  # largest error of solved marginals
_BLIND = 40  # iterations that solve marginals without a look at the error: 3^-25 is below _SOLVED
_FAR = 700.0  # largest relative logit in a sum: e^-700 is near the smallest float64 number


class KSubset(AbstractDiscrete):
    """z ∈ {0, 1}^n with Σ z_i = k and P(z) ∝ exp(Σ_i logits_i z_i): the conditional Bernoulli.

    It is the distribution of n independent Bernoulli variables given that k of them are 1, and has
    the largest entropy of all distributions with its marginals. Draws, log-probabilities, marginals
    and entropy are exact: sums over all k-subsets by dynamic programming on logarithms, O(nk) in
    time and memory. The gradient of the mean is the covariance of z, so `straight_through` is the
    estimator SIMPLE.

    With `from_probs` the parameter is the marginals, on the capped simplex. Derivatives by them
    stay within it: their entries sum to 0.

    References:
        Chen, Dempster and Liu, 1994, https://doi.org/10.1093/biomet/81.3.457
        Ahmed et al., 2023, https://arxiv.org/abs/2210.01941

    Arguments:
        logits: floating point `(..., n)`, finite; other dimensions are independent.
        k: the number of ones, from 1 to n.

    Raises:
        TypeError: `logits` is not a floating point tensor.
        ValueError: a logit is not finite, or `k` is out of range.

    Examples:
        >>> import torch
        >>> from lds.discrete import KSubset
        >>> KSubset(torch.zeros(4), k=2).mean
        tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """

    def __init__(self, logits: Tensor, k: int) -> None:
        check_logits(logits)
        self._set(logits, k, on_logits=True)

    @classmethod
    def from_probs(cls, probs: Tensor, k: int) -> Self:
        """Make one with the marginals P(z_i = 1) = probs_i; gradients are by them.

        The marginals are in [0, 1] up to rounding, 4 eps of float32 or of a coarser dtype
        (`checks.ROUNDING`), and sum to k up to 1e-4 of k. A fixed-point iteration finds the logits
        with these marginals, to 1e-12. First derivatives are exact, by the implicit function
        theorem; there are no higher ones.

        Raises:
            TypeError: `probs` is not a floating point tensor.
            ValueError: a probability is NaN or outside [0, 1], a sum is not k, or `k` is out of
                range.
        """
        check_parameter("probs", probs)
        made = cls.__new__(cls)
        made._set(probs, k, on_logits=False)
        requirement = f"lie in [0, 1] and sum to k = {k} in the last dimension"
        way_out = "a projection onto the capped simplex gives the nearest that do"
        made._rounded = outside(probs, requirement, way_out)
        check_sums(probs, made.k, _TOLERANCE, requirement, way_out)
        return made

    def _set(self, parameter: Tensor, k: int, *, on_logits: bool) -> None:
        n = parameter.shape[-1] if parameter.dim() else 0
        message = f"k must be an integer from 1 to the {n} entries of the last dimension, got {k!r}"
        try:
            k = integer("k", k)
        except TypeError:
            raise ValueError(message) from None
        if not 1 <= k <= n:
            raise ValueError(message)
        self.parameter, self.k, self.on_logits = parameter, k, on_logits
        self._rounded = False
        self._solved: Tensor | None = None

    @property
    def probs(self) -> Tensor:
        """The marginals P(z_i = 1), in the shape of θ, summing to k."""
        theta = self.parameter
        if self.on_logits:
            return _marginals(_near(theta.double(), self.k)[0], self.k).to(theta.dtype)
        theta = clamped(theta) if self._rounded else theta
        shift = theta.mean(-1, keepdim=True)
        return theta - (shift - shift.detach())

    @property
    def mode(self) -> Tensor:
        """A tensor that is 1 at the k largest parameters and 0 elsewhere."""
        theta = self.parameter.detach()
        return torch.zeros_like(theta).scatter_(-1, theta.topk(self.k).indices, 1.0)

    def draw(
        self, n_draws: int | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw k ones each: `(n_draws, *parameter.shape)`, or the shape of the parameter.

        Entries are drawn one after the other, in O(n) small steps. With r ones left to place, entry
        i is 1 with the share of the r-subsets of entries i, ..., n-1 that contain it, weighted by
        their probabilities.
        """
        theta = self.parameter
        logits, _ = _near(self._logits_without_history(), self.k)
        rest = _pad(_sums(logits.flip(-1), self.k), self.k).flip(-2)  # of entries i, ..., n-1
        uniform = uniform_like(theta, n_draws, theta.shape, generator)
        left = torch.full(uniform.shape[:-1], self.k, device=theta.device)
        certain = logits.abs() >= _CERTAIN / 2
        drawn = []
        for i in range(theta.shape[-1]):
            now, after = (
                rest[..., i + j, :].expand(*left.shape, self.k + 1).gather(-1, at.unsqueeze(-1))
                for j, at in ((0, left), (1, (left - 1).clamp(min=0)))
            )
            share = (logits[..., i] + after.squeeze(-1) - now.squeeze(-1)).exp()
            # Certain entries must not depend on the rounding of the share, nor the number of ones.
            share = torch.where(certain[..., i], (logits[..., i] > 0).double(), share)
            one = (uniform[..., i] < share) & (left > 0) | (left == theta.shape[-1] - i)
            drawn.append(one)
            left = left - one.long()
        return torch.stack(drawn, -1).to(theta.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute log P(z) in nats, -∞ unless k are 1, in the shape of `value` without its last.

        Raises:
            TypeError: `value` is no tensor.
            ValueError: its last dimensions are not those of θ, or an entry is neither 0 nor 1.
        """
        one = check_outcome(value, self.parameter.shape, "0 or 1 in every entry")
        logits, beyond = _near(self._logits(), self.k)
        logs = torch.where(one, logits, 0.0).sum(-1) - _log_sum(logits, self.k)
        # The subsets of the sum contain every entry that is far above, and none far below.
        missed = torch.where(one != (beyond > 0), beyond.abs(), 0.0).sum(-1)
        logs = logs - missed
        return torch.where(one.sum(-1) == self.k, logs, -torch.inf).to(self.parameter.dtype)

    def entropy(self) -> Tensor:
        """Compute the entropy of z as a whole, in the shape of θ without its last dimension."""
        logits, _ = _near(self._logits(), self.k)
        values = _log_sum(logits, self.k) - (_marginals(logits, self.k) * logits).sum(-1)
        return values.to(self.parameter.dtype)

    def project(self, parameter: Tensor) -> Tensor:
        """Project onto the capped simplex {0 <= p_i <= 1, Σ p_i = k}, by sorting; logits stay."""
        return parameter if self.on_logits else capped_simplex(parameter, self.k)

    def at(self, parameter: Tensor) -> Self:
        """Make the same distribution with another θ."""
        make = type(self) if self.on_logits else type(self).from_probs
        return make(parameter, self.k)

    def _logits_without_history(self) -> Tensor:
        if self.on_logits:
            return self.parameter.detach().double()
        if self._solved is None:
            self._solved = _solve(self.parameter.detach(), self.k)
        return self._solved

    def _logits(self) -> Tensor:
        """Return the logits in float64, differentiable in θ."""
        if self.on_logits:
            return self.parameter.double()
        logits = self._logits_without_history()
        move = self.probs.double()
        return logits + _implicit(logits, move - move.detach(), self.k)


def _near(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the logits, relative and clamped to ±_FAR, and what lies beyond, or 0.

    They are relative to the middle of the k-th and the next largest, so that an entry is certain to
    be 1 far above 0, and to be 0 far below. A number added to all logits changes no probability,
    but a large one costs digits; so does a large difference, on which no marginal depends.
    """
    ends = logits.detach().topk(min(k + 1, logits.shape[-1])).values[..., k - 1 :]
    moved = logits - (ends / ends.shape[-1]).sum(-1, keepdim=True)
    near = moved.clamp(-_FAR, _FAR)
    return near, moved - near


def _sums(logits: Tensor, k: int) -> list[Tensor]:
    """Compute log e_j(exp logits_1, ..., exp logits_i), j = 0 .. min(i, k), for i = 0 .. n.

    e_j is the elementary symmetric polynomial, the sum over all j-subsets:
    e_j(first i) = e_j(first i-1) + exp(logits_i) e_{j-1}(first i-1).
    """
    sums = [torch.zeros_like(logits[..., :1])]
    for logit in logits.split(1, -1):
        last = sums[-1]
        with_it = last + logit
        both = torch.logaddexp(last[..., 1:], with_it[..., :-1])
        # Impossible sizes are left out: the derivative of log(0 + 0) is NaN.
        top = [with_it[..., -1:]] if last.shape[-1] <= k else []
        sums.append(torch.cat([last[..., :1], both, *top], -1))
    return sums


def _pad(sums: list[Tensor], k: int) -> Tensor:
    """Stack to `(..., n + 1, k + 1)`, with -∞ at impossible sizes."""
    padded = [
        torch.nn.functional.pad(part, (0, k + 1 - part.shape[-1]), value=-torch.inf)
        for part in sums
    ]
    return torch.stack(padded, -2)


def _log_sum(logits: Tensor, k: int) -> Tensor:
    """Return the logarithm of the sum over all k-subsets."""
    return _sums(logits, k)[-1][..., k]


def _marginals(logits: Tensor, k: int) -> Tensor:
    """Compute P(z_i = 1): the share of k-subsets with i, j entries before it and k-1-j after it."""
    before = _sums(logits, k)
    after = _sums(logits.flip(-1), k)
    total = before[-1][..., k].unsqueeze(-1)
    pairs = _pad(before[:-1], k)[..., :k] + _pad(after[:-1], k).flip(-2)[..., :k].flip(-1)
    return (logits + pairs.logsumexp(-1) - total).exp()


def _solve(probs: Tensor, k: int) -> Tensor:
    """Find the logits whose marginals are `probs`; ±_CERTAIN where these are 1 or 0.

    Under `torch.vmap`, where errors cannot be read, it takes `_BLIND` iterations.
    """
    p = capped_simplex(probs.double(), k)
    free = (p > _SOLVED) & (p < 1 - _SOLVED)
    odds = torch.where(free, p, 0.5).logit()
    logits = torch.where(free, odds, torch.where(p > 0.5, _CERTAIN, -_CERTAIN))
    mapped = is_mapped(p)
    for _ in range(_BLIND if mapped else 500):
        found = _marginals(logits, k)
        if not mapped and bool(((found - p).abs() <= _SOLVED).all()):
            return logits
        # The derivative of the log-odds of a marginal by its own logit is 1, by other logits
        # negative; eigenvalues lie about in [1, 2], so two thirds of a step contract by 1/3.
        step = odds - torch.where(free, found, 0.5).logit(eps=1e-15)
        logits = logits + torch.where(free, 2 / 3 * step, 0.0)
    if mapped:
        return logits
    raise ArithmeticError(
        f"KSubset.from_probs: no logits found for these marginals to {_SOLVED:g}; "
        "move them away from 0 and 1, or use logits"
    )


def _implicit(logits: Tensor, move: Tensor, k: int) -> Tensor:
    """Compute ∂logits/∂marginals · move, with the pseudo-inverse of the covariance of z."""
    n = logits.shape[-1]
    flat = logits.reshape(-1, n)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: _marginals(row, k)))
    covariance: Tensor = jacobian(flat)
    free = (flat.abs() < _CERTAIN / 2).double()
    # Adding one number to all free logits changes no marginal. Fill this null direction, and those
    # of the certain logits.
    weight = covariance.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-30)
    ones = free.unsqueeze(-1) * free.unsqueeze(-2) * weight[:, None, None]
    filled = covariance + ones + torch.diag_embed(1 - free)
    solved: Tensor = torch.linalg.solve(filled, (move.reshape(-1, n) * free).unsqueeze(-1))
    return (solved.squeeze(-1) * free).reshape(logits.shape)
