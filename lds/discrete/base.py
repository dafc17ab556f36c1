"""What a distribution over discrete hyperparameters offers to the estimators."""

import copy
from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor


class AbstractDiscrete(ABC):
    """A distribution of discrete tensors, given by probabilities or by logits.

    Three instances of the idea: edges of a graph (one Bernoulli a pair), the activation of a layer
    (one Categorical), which k columns of a table are read (one KSubset). The parameter is the
    hyperparameter that a bilevel program learns.

    Attributes:
        parameter: θ, the tensor the distribution was made from; all derivatives are by it.
        on_logits: whether θ are logits (any real number) rather than probabilities.
    """

    parameter: Tensor
    on_logits: bool

    @property
    @abstractmethod
    def probs(self) -> Tensor:
        """P(z_i = 1) of every entry, in [0, 1], differentiable in θ."""

    @property
    def mean(self) -> Tensor:
        """E[z], which is `probs` as entries are 0 or 1; differentiable in θ."""
        return self.probs

    @property
    @abstractmethod
    def mode(self) -> Tensor:
        """A most likely z, without history."""

    @abstractmethod
    def draw(
        self, n_draws: int | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Independent z ~ P_θ of 0.0 and 1.0, without history, in the dtype of θ.

        Arguments:
            n_draws: None for one draw, in the shape of θ; else `(n_draws, *parameter.shape)`.
            generator: source of randomness; None is torch's own.
        """

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """The log of P_θ(z) of each independent variable, differentiable in θ, in nats.

        The sum over all but draws is the log-probability of the whole.
        """

    @abstractmethod
    def entropy(self) -> Tensor:
        """The entropy of each independent variable in nats, laid out as `log_prob`, differentiable.

        Its slope at a probability of 0 or 1 is infinite and taken as 0.
        """

    @abstractmethod
    def project(self, parameter: Tensor) -> Tensor:
        """The nearest parameter of such a distribution (Euclidean); logits stay as they are."""

    @abstractmethod
    def at(self, parameter: Tensor) -> Self:
        """The same distribution with another parameter."""

    def with_parameter(self, parameter: Tensor) -> Self:
        """The same with an equal θ of another dtype, leaf or shape in front; nothing is checked."""
        made = copy.copy(self)
        made.parameter = parameter
        return made

    @property
    def interior(self) -> bool:
        """Whether every outcome has a positive probability, as unbiased estimators need."""
        theta = self.parameter.detach()
        return self.on_logits or bool(((theta > 0) & (theta < 1)).all())


def clamped(probs: Tensor) -> Tensor:
    """Within [0, 1], with the derivatives of `probs` itself."""
    return probs + (probs.clamp(0, 1) - probs).detach()


def entropy_of(probs: Tensor) -> Tensor:
    """-p log p, entry by entry, 0 with slope 0 at p = 0."""
    positive = probs > 0
    return torch.where(positive, -probs * torch.where(positive, probs, 1.0).log(), 0.0)


def uniform_like(
    theta: Tensor, n_draws: int | None, shape: torch.Size, generator: torch.Generator | None
) -> Tensor:
    """float64 uniforms in [0, 1) on the device of `theta`, `shape` behind `n_draws` if given."""
    if n_draws is not None and n_draws < 1:
        raise ValueError(f"n_draws must be at least 1, or None for a single draw, got {n_draws}")
    full = shape if n_draws is None else (n_draws, *shape)
    return torch.rand(full, dtype=torch.float64, device=theta.device, generator=generator)
