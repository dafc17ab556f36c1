"""A choice of one of k."""

from typing import Self

import torch
from torch import Tensor

from lds._projections import simplex
from lds.discrete.base import (
    AbstractDiscrete,
    clamped,
    entropy_of,
    held_at_ends,
    is_mapped,
    uniform_like,
)
from lds.discrete.checks import (
    check_logits,
    check_outcome,
    check_parameter,
    check_sums,
    outside,
)

_TOLERANCE = 1e-4  # of sums: well above float32 rounding after a projection
_REQUIREMENT = "be 0 or more and sum to 1 in the last dimension"
_WAY_OUT = "lds.bilevel.projections.simplex() gives the nearest that do"


class Categorical(AbstractDiscrete):
    """z one-hot in the last dimension with P(z = e_i) = θ_i; other dimensions are independent.

    Derivatives are those of θ / Σθ, which are 0 in the direction of θ: the simplex does not extend
    in it.

    Arguments:
        probs: θ, floating point `(..., k)`, in [0, 1] up to rounding, 4 eps of float32 or of a
            coarser dtype (`checks.ROUNDING`); sums to 1 in the last dimension up to 1e-4.

    Raises:
        TypeError: `probs` is not a floating point tensor.
        ValueError: a probability is NaN or negative, a sum is not 1, or k is 0.

    Examples:
        >>> import torch
        >>> from lds.discrete import Categorical
        >>> Categorical(torch.tensor([0.0, 1.0, 0.0])).draw(2)
        tensor([[0., 1., 0.],
                [0., 1., 0.]])
    """

    def __init__(self, probs: Tensor) -> None:
        check_parameter("probs", probs)
        _check_choices("probs", probs)
        self._rounded = outside(probs, _REQUIREMENT, _WAY_OUT)
        check_sums(probs, 1, _TOLERANCE, _REQUIREMENT, _WAY_OUT)
        self.parameter, self.on_logits = probs, False

    @classmethod
    def from_logits(cls, logits: Tensor) -> Self:
        """Make one with probabilities softmax(logits), last dimension; gradients are by the logits.

        Raises:
            TypeError: `logits` is not a floating point tensor.
            ValueError: a logit is not finite, or k is 0.
        """
        check_logits(logits)
        _check_choices("logits", logits)
        made = cls.__new__(cls)
        made.parameter, made.on_logits, made._rounded = logits, True, False
        return made

    @property
    def _theta(self) -> Tensor:
        return clamped(self.parameter) if self._rounded else self.parameter

    @property
    def probs(self) -> Tensor:
        """P(z = e_i), summing to 1: θ / Σθ or softmax(θ)."""
        theta = self._theta
        return theta.softmax(-1) if self.on_logits else theta / theta.sum(-1, keepdim=True)

    @property
    def logits(self) -> Tensor:
        """The logarithm of θ up to a constant, minus infinity at 0."""
        return self.parameter if self.on_logits else self.probs.log()

    @property
    def mode(self) -> Tensor:
        """One-hot at the first of the largest probabilities."""
        theta = self.parameter.detach()
        return _one_hot(theta.argmax(-1, keepdim=True), theta)

    def draw(
        self, n_draws: int | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw one-hot vectors: `(n_draws, *parameter.shape)`, or the shape of the parameter."""
        theta = self.probs.detach()
        cumulative = theta.double().cumsum(-1)
        total = cumulative[..., -1:]
        uniform = uniform_like(theta, n_draws, theta.shape[:-1], generator).unsqueeze(-1)
        # Strictly below the total, so that the drawn outcome has a positive probability.
        target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
        return _one_hot((cumulative <= target).sum(-1, keepdim=True), theta)

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute log P(z = value) in nats, one number for each one-hot vector.

        Raises:
            TypeError: `value` is no tensor.
            ValueError: it is not one-hot in its last dimension, or its last dimensions are not
                those of θ.
        """
        k = self.parameter.shape[-1]
        wanted = f"one-hot in the last dimension ({k} entries, one of them 1, the others 0)"
        way_out = f"torch.nn.functional.one_hot(index, {k}) makes it of an index"
        one = check_outcome(value, self.parameter.shape, wanted, way_out, ones=1)
        theta = self._theta
        if self.on_logits:
            return torch.where(one, theta.log_softmax(-1), 0.0).sum(-1)
        # Sum first: the logarithm of an outcome of probability 0 has no derivative.
        return torch.where(one, theta, 0.0).sum(-1).log() - theta.sum(-1).log()

    def entropy(self) -> Tensor:
        """Compute -Σ θ log θ, in the shape of θ without its last dimension."""
        probs = self.probs
        if not self.on_logits:
            theta = held_at_ends(self._theta, probs)
            probs = theta / theta.sum(-1, keepdim=True)
        return entropy_of(probs).sum(-1)

    def project(self, parameter: Tensor) -> Tensor:
        """Project onto the simplex, by sorting."""
        return parameter if self.on_logits else simplex(parameter)

    def at(self, parameter: Tensor) -> Self:
        """Make the same distribution with another θ."""
        return type(self).from_logits(parameter) if self.on_logits else type(self)(parameter)

    @property
    def interior(self) -> bool:
        """Whether every choice has a positive probability."""
        theta = self.parameter.detach()
        return self.on_logits or is_mapped(theta) or bool((theta > 0).all())


def _check_choices(name: str, parameter: Tensor) -> None:
    if parameter.dim() == 0 or parameter.shape[-1] == 0:
        raise ValueError(
            f"{name} must have a last dimension with the choices, got {tuple(parameter.shape)}"
        )


def _one_hot(index: Tensor, like: Tensor) -> Tensor:
    shape = (*index.shape[:-1], like.shape[-1])
    return torch.zeros(shape, dtype=like.dtype, device=like.device).scatter(-1, index, 1.0)
