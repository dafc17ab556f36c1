"""Independent Bernoulli variables."""

import torch
from torch import Tensor

from lds.discrete.base import AbstractDiscrete


class Bernoulli(AbstractDiscrete):
    """z_i ∈ {0, 1} with P(z_i = 1) = θ_i, independent.

    Arguments:
        probs: θ, floating point of any shape, in [0, 1].

    Raises:
        TypeError: `probs` is not a floating point tensor.
        ValueError: a probability is NaN or outside [0, 1].

    Example:
        >>> import torch
        >>> from lds.discrete import Bernoulli
        >>> Bernoulli(torch.tensor([0.0, 1.0])).draw(2)
        tensor([[0., 1.],
                [0., 1.]])
    """

    def __init__(self, probs: Tensor) -> None:
        if not isinstance(probs, Tensor) or not probs.is_floating_point():
            got = probs.dtype if isinstance(probs, Tensor) else type(probs).__name__
            raise TypeError(f"probs must be a floating point tensor, got {got}")
        values = probs.detach()
        if not bool(((values >= 0) & (values <= 1)).all()):
            raise ValueError(
                f"probs must lie in [0, 1], got values from {values.min():g} to {values.max():g}; "
                "Bernoulli.project clips them"
            )
        self.probs = probs

    def draw(
        self, n_draws: int | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws of 0.0 and 1.0 in the dtype of `probs`: `(n_draws, *probs.shape)`, or its shape."""
        theta = self.probs.detach()
        shape = theta.shape if n_draws is None else (n_draws, *theta.shape)
        uniform = torch.rand(shape, dtype=torch.float64, device=theta.device, generator=generator)
        return (uniform < theta).to(theta.dtype)

    @property
    def mean(self) -> Tensor:
        """θ."""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """1 where θ > 1/2."""
        return (self.probs.detach() > 0.5).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log of θ where z = 1, of 1 - θ where z = 0, in nats; same shape as `value`."""
        one = value > 0.5
        # Each logarithm meets 1 where the other counts: at θ = 0 or 1 its slope would be 0 · ∞.
        return torch.where(one, self.probs, 1.0).log() + torch.log1p(
            -torch.where(one, 0.0, self.probs)
        )

    @staticmethod
    def project(probs: Tensor) -> Tensor:
        """Onto the box [0, 1]."""
        return probs.clamp(0, 1)
