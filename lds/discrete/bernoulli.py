"""Independent Bernoulli variables."""

from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from lds._projections import box
from lds.discrete.base import AbstractDiscrete, clamped, entropy_of, uniform_like
from lds.discrete.checks import NEAREST, check_logits, check_parameter, outside


class Bernoulli(AbstractDiscrete):
    """z_i ∈ {0, 1} with P(z_i = 1) = θ_i, independent.

    A symmetric one has one variable for each {i, j}, loops i = j included, mirrored in z: the mean
    of θ_ij and θ_ji is its parameter, so that gradients and projections stay symmetric. Its
    `log_prob` and `entropy` stand at i <= j, with 0 below the diagonal.

    Arguments:
        probs: θ, floating point of any shape, in [0, 1]; clamped where outside by no more than
            rounding, 4 eps of float32 or of a coarser dtype (`checks.ROUNDING`).
        symmetric: mirror the last two dimensions, which must be equal.

    Raises:
        TypeError: `probs` is not a floating point tensor.
        ValueError: a probability is NaN or outside [0, 1], or `probs` is not square where
            `symmetric`.

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
        """With θ_i = σ(logits_i); gradients are by the logits.

        Raises:
            TypeError: `logits` is not a floating point tensor.
            ValueError: a logit is not finite, or they are not square where `symmetric`.
        """
        check_logits(logits)
        made = cls.__new__(cls)
        made._set(logits, symmetric, on_logits=True)
        return made

    def _set(self, parameter: Tensor, symmetric: bool, *, on_logits: bool) -> None:
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
        theta = (self.parameter + self.parameter.mT) / 2 if self.symmetric else self.parameter
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
        """Draws of 0.0 and 1.0: `(n_draws, *parameter.shape)`, or its shape."""
        return self.at_uniform(self.uniform(n_draws, generator=generator))

    def uniform(
        self, n_draws: int | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """The float64 uniforms ε of `n_draws` draws, mirrored if symmetric."""
        u = uniform_like(self.parameter, n_draws, self.parameter.shape, generator)
        return u.triu() + u.triu(1).mT if self.symmetric else u

    def at_uniform(self, uniform: Tensor) -> Tensor:
        """The draw 1[ε < θ] that uniforms ε stand for (Appendix D, footnote 1)."""
        return (uniform < self.probs.detach()).to(self.parameter.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log of P(1) where z = 1, of P(0) where z = 0, in nats; same shape as `value`."""
        one, theta = value > 0.5, self._theta
        if self.on_logits:
            logs = logsigmoid(torch.where(one, theta, -theta))
        else:
            # Each logarithm meets 1 where the other counts: at θ = 0 or 1 its slope would be 0 · ∞.
            logs = torch.where(one, theta, 1.0).log() + torch.log1p(-torch.where(one, 0.0, theta))
        return logs.triu() if self.symmetric else logs

    def entropy(self) -> Tensor:
        """-θ log θ - (1-θ) log(1-θ), in the shape of θ."""
        theta = self._theta
        if self.on_logits:
            one, zero = theta.sigmoid(), (-theta).sigmoid()
            values = one * softplus(-theta) + zero * softplus(theta)  # no difference of large terms
        else:
            values = entropy_of(theta) + entropy_of(1 - theta)
        return values.triu() if self.symmetric else values

    def project(self, parameter: Tensor) -> Tensor:
        """Onto the box [0, 1], and onto symmetric ones if symmetric."""
        if self.symmetric:
            parameter = (parameter + parameter.mT) / 2
        return parameter if self.on_logits else box(parameter)

    def at(self, parameter: Tensor) -> Self:
        """The same distribution with another θ."""
        make = type(self).from_logits if self.on_logits else type(self)
        return make(parameter, symmetric=self.symmetric)
