"""The base class of distributions over discrete hyperparameters, as gradient estimators use it."""

import copy
from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_batchedtensor, is_functorch_wrapped_tensor

from lds._numbers import integer


class AbstractDiscrete(ABC):
    """A distribution of discrete tensors, given by probabilities or by logits.

    Three instances of the idea: the edges of a graph (one Bernoulli for each pair), the activation
    of a layer (one Categorical), the choice of k columns of a table (one KSubset). The parameter is
    the hyperparameter that a bilevel program learns. Inside `lds.bilevel.over_tasks`, which is
    `torch.vmap`, values that differ by task cannot be read, so they are not checked.

    Attributes:
        parameter: θ, the tensor that the distribution was made from; derivatives are by it.
        on_logits: whether θ holds logits (any real numbers) and not probabilities.
    """

    parameter: Tensor
    on_logits: bool

    @property
    @abstractmethod
    def probs(self) -> Tensor:
        """P(z_i = 1) of every entry, in [0, 1], differentiable in θ."""

    @property
    def mean(self) -> Tensor:
        """E[z], equal to `probs` because entries are 0 or 1; differentiable in θ."""
        return self.probs

    @property
    @abstractmethod
    def mode(self) -> Tensor:
        """A most probable z, without gradient history."""

    @abstractmethod
    def draw(
        self, n_draws: int | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw independent z ~ P_θ of 0.0 and 1.0, in the dtype of θ, without gradient history.

        Arguments:
            n_draws: None returns one draw in the shape of θ; a number, `(n_draws, *shape of θ)`.
            generator: source of randomness; None is torch's own.
        """

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Compute log P_θ(z) of each independent variable, in nats, differentiable in θ.

        Their sum over all dimensions but that of draws is the log-probability of z.

        Arguments:
            value: outcomes, such as draws: 0s and 1s in the shape of θ, with any dimensions in
                front. A relaxed draw is no outcome.

        Raises:
            TypeError: `value` is no tensor.
            ValueError: `value` is no outcome.
        """

    @abstractmethod
    def entropy(self) -> Tensor:
        """Compute the entropy of each independent variable, in nats, in the layout of `log_prob`.

        It is differentiable in θ. Where θ holds probabilities, the derivative by one of 0 or 1 is
        infinite and is replaced by 0.
        """

    @abstractmethod
    def project(self, parameter: Tensor) -> Tensor:
        """Return the nearest valid parameter in Euclidean distance; logits stay as they are."""

    @abstractmethod
    def at(self, parameter: Tensor) -> Self:
        """Make the same distribution with another parameter."""

    def with_parameter(self, parameter: Tensor) -> Self:
        """Copy with an equal θ that has another dtype, history or leading shape; without checks."""
        made = copy.copy(self)
        made.parameter = parameter
        return made

    @property
    def interior(self) -> bool:
        """Whether every outcome has a positive probability; unbiased estimators require it.

        Under `torch.vmap`, as in `lds.bilevel.over_tasks`, values cannot be read: then True.
        """
        theta = self.parameter.detach()
        return self.on_logits or is_mapped(theta) or bool(((theta > 0) & (theta < 1)).all())


def clamped(probs: Tensor) -> Tensor:
    """Clamp to [0, 1], with the derivatives of `probs` itself."""
    return probs + (probs.clamp(0, 1) - probs).detach()


def entropy_of(probs: Tensor) -> Tensor:
    """Compute -p log p of each entry; at p = 0 the value and the derivative are 0."""
    positive = probs > 0
    return torch.where(positive, -probs * torch.where(positive, probs, 1.0).log(), 0.0)


def held_at_ends(theta: Tensor, probs: Tensor) -> Tensor:
    """Return θ without gradient history where the probabilities `probs` are 0 or 1."""
    return torch.where((probs > 0) & (probs < 1), theta, theta.detach())


def coin_entropy(probs: Tensor) -> Tensor:
    """Compute -p log p - (1-p) log(1-p) of each entry, with derivative 0 at p = 0 and p = 1."""
    probs = held_at_ends(probs, probs)
    return entropy_of(probs) + entropy_of(1 - probs)


def check_draws(n_draws: int) -> int:
    """Return a number of draws as an int.

    Raises:
        TypeError: it is no integer.
        ValueError: it is below 1.
    """
    number = integer("n_draws", n_draws)
    if number < 1:
        raise ValueError(f"n_draws must be at least 1, or None for a single draw, got {number}")
    return number


def check_generator(generator: object) -> None:
    """Raise a TypeError unless `generator` is a `torch.Generator` or None."""
    if not (generator is None or isinstance(generator, torch.Generator)):
        raise TypeError(
            "generator must be a torch.Generator, such as torch.Generator().manual_seed(0), or "
            f"None for torch's own, got {type(generator).__name__}"
        )


def is_mapped(tensor: Tensor) -> bool:
    """Whether a tensor has one value for each task of `torch.vmap`, so that no `bool` tells."""
    while is_functorch_wrapped_tensor(tensor):
        if is_batchedtensor(tensor):
            return True
        tensor = get_unwrapped(tensor)
    return False


def uniform_like(
    theta: Tensor, n_draws: int | None, shape: torch.Size, generator: torch.Generator | None
) -> Tensor:
    """Draw float64 uniforms in [0, 1) on the device of `theta`, `shape` or `(n_draws, *shape)`."""
    check_generator(generator)
    full = shape if n_draws is None else (check_draws(n_draws), *shape)
    return torch.rand(full, dtype=torch.float64, device=theta.device, generator=generator)
