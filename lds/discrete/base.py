"""What a distribution over discrete hyperparameters offers to the estimators."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class AbstractDiscrete(ABC):
    """A distribution of discrete tensors whose parameters are probabilities.

    Three instances of the idea: edges of a graph (one Bernoulli a pair), a mask over features (one
    Bernoulli a column), the activation of a layer (one Categorical). The parameters are the
    hyperparameters that a bilevel program learns.

    Attributes:
        probs: the parameters θ, each in [0, 1].
    """

    probs: Tensor

    @abstractmethod
    def draw(
        self, n_draws: int | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Independent z ~ P_θ, without history: shape of `probs`, behind `n_draws` if given."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """E[z], differentiable in θ."""

    @property
    @abstractmethod
    def mode(self) -> Tensor:
        """A most likely z."""

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """The log of P_θ(z) of each variable, differentiable in θ, in nats."""

    @staticmethod
    @abstractmethod
    def project(probs: Tensor) -> Tensor:
        """The nearest parameters that are a distribution (Euclidean projection)."""
