"""Independent Bernoulli variables."""

from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from lds._numbers import check_flag
from lds._projections import box
from lds.discrete.base import AbstractDiscrete, clamped, coin_entropy, uniform_like
from lds.discrete.checks import NEAREST, check_logits, check_outcome, check_parameter, outside


class Bernoulli(AbstractDiscrete):
    """z_i ∈ {0, 1} with P(z_i = 1) = θ_i, independent.

    A symmetric Bernoulli has one variable for each {i, j}, loops i = j included, and z_ij = z_ji.
    Its probability is the mean of θ_ij and θ_ji, so that gradients and projections stay symmetric.
    `log_prob` and `entropy` have its value at i <= j, and 0 below the diagonal.

    Arguments:
        probs: θ, floating point of any shape, in [0, 1]. Entries outside by no more than rounding,
            4 eps of float32 or of a coarser dtype (`checks.ROUNDING`), are clamped.
        symmetric: whether the last two dimensions, which must be equal, are mirrored.

    Raises:
        TypeError: `probs` is not a floating point tensor.
        ValueError: a probability is NaN or outside [0, 1], or `symmetric` is true and `probs` is
            not square.

    Examples:
        >>> import torch
        >>> from lds.discrete import Bernoulli
        >>> Bernoulli(torch.tensor([0.0, 1.0])).draw(2)
        tensor([[0., 1.],
                [0., 1.]])
    """

    def __init__(self, probs: Tensor, *, symmetric: bool = False) -> None:
        check_parameter("probs", probs)
        self._set(probs, symmetric, on_logits=False)
        self._rounded = outside(probs, "lie in [0, 1]", NEAREST)

    @classmethod
    def from_logits(cls, logits: Tensor, *, symmetric: bool = False) -> Self:
        """Make one with P(z_i = 1) = σ(logits_i); gradients are by the logits.

        Raises:
            TypeError: `logits` is not a floating point tensor.
            ValueError: a logit is not finite, or `symmetric` is true and they are not square.
        """
        check_logits(logits)
        made = cls.__new__(cls)
        made._set(logits, symmetric, on_logits=True)
        return made

    def _set(self, parameter: Tensor, symmetric: bool, *, on_logits: bool) -> None:
        check_flag("symmetric", symmetric)
        shape = parameter.shape
        if symmetric and (len(shape) < 2 or shape[-1] != shape[-2]):
            raise ValueError(
                f"a symmetric Bernoulli needs square last dimensions, got {tuple(shape)}"
            )
        self.parameter, self.on_logits, self.symmetric = parameter, on_logits, symmetric
        self._rounded = False

    @property
    def _theta(self) -> Tensor:
        """The parameter of each variable, in the shape of θ."""
        theta = _mirrored(self.parameter) if self.symmetric else self.parameter
        return clamped(theta) if self._rounded else theta

    @property
    def probs(self) -> Tensor:
        """P(z_i = 1); θ itself unless on logits, symmetric or clamped."""
        return self._theta.sigmoid() if self.on_logits else self._theta

    @property
    def logits(self) -> Tensor:
        """The log-odds of each variable, infinite at probabilities of 0 and 1."""
        return self._theta if self.on_logits else self._theta.log() - torch.log1p(-self._theta)

    @property
    def mode(self) -> Tensor:
        """1 where P(z_i = 1) > 1/2."""
        return (self.probs.detach() > 0.5).to(self.parameter.dtype)

    def draw(
        self, n_draws: int | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw 0.0 and 1.0: `(n_draws, *parameter.shape)`, or the shape of the parameter."""
        return self.at_uniform(self.uniform(n_draws, generator=generator))

    def uniform(
        self, n_draws: int | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw the float64 uniforms ε of `n_draws` draws, mirrored if symmetric."""
        u = uniform_like(self.parameter, n_draws, self.parameter.shape, generator)
        return u.triu() + u.triu(1).mT if self.symmetric else u

    def at_uniform(self, uniform: Tensor) -> Tensor:
        """Return the draw 1[ε < θ] for uniforms ε (Appendix D, footnote 1)."""
        return (uniform < self.probs.detach()).to(self.parameter.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute log P(z_i = value_i) in nats, in the shape of `value`.

        Raises:
            TypeError: `value` is no tensor.
            ValueError: its last dimensions are not those of θ, an entry is neither 0 nor 1, or the
                distribution is symmetric and `value` is not.
        """
        one, theta = (
            check_outcome(value, self.parameter.shape, "0 or 1 in every entry"),
            self._theta,
        )
        if self.symmetric and not torch.equal(one, one.mT):
            raise ValueError(
                "value must be symmetric, as the distribution is: got one with "
                f"{int((one & ~one.mT).sum())} entries that differ from their mirror image"
            )
        if self.on_logits:
            logs = logsigmoid(torch.where(one, theta, -theta))
        else:
            # Where a logarithm is not used its argument is 1: at θ = 0 or 1 its derivative would
            # be 0 · ∞.
            logs = torch.where(one, theta, 1.0).log() + torch.log1p(-torch.where(one, 0.0, theta))
        return logs.triu() if self.symmetric else logs

    def entropy(self) -> Tensor:
        """Compute -θ log θ - (1-θ) log(1-θ), in the shape of θ."""
        theta = self._theta
        if self.on_logits:
            one, zero = theta.sigmoid(), (-theta).sigmoid()
            values = one * softplus(-theta) + zero * softplus(theta)  # without cancellation
        else:
            values = coin_entropy(theta)
        return values.triu() if self.symmetric else values

    def project(self, parameter: Tensor) -> Tensor:
        """Project onto [0, 1], and onto symmetric matrices if symmetric."""
        if self.symmetric:
            parameter = _mirrored(parameter)
        return parameter if self.on_logits else box(parameter)

    def at(self, parameter: Tensor) -> Self:
        """Make the same distribution with another θ."""
        make = type(self).from_logits if self.on_logits else type(self)
        return make(parameter, symmetric=self.symmetric)


def _mirrored(theta: Tensor) -> Tensor:
    """Return the mean of θ and its transpose; halved first, for their sum may overflow."""
    return theta / 2 + theta.mT / 2
