"""Gradients through a draw."""

from typing import Any

import torch
from torch import Tensor

from lds.discrete.base import AbstractDiscrete


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probs: Tensor, draw: Tensor) -> Tensor:
        return draw.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0], None


def straight_through(
    distribution: AbstractDiscrete, *, generator: torch.Generator | None = None
) -> Tensor:
    """A draw whose gradient reaches θ unchanged: ∂z/∂θ := I (eqs. 9.11, D.1).

    Exact in expectation where each variable enters linearly (products of distinct variables
    included); biased elsewhere, as on (az - b)²/2 (Appendix D). One evaluation of the outer
    objective an estimate; the objective must be differentiable at 0 and 1, not between them.

    References:
        Bengio, Léonard and Courville, 2013, https://arxiv.org/abs/1308.3432
        Franceschi, 2021, §9.3.2 and Appendix D.

    Arguments:
        distribution: P_θ.
        generator: source of randomness; None is torch's own, which the bilevel core seeds anew
            around every step.

    Returns:
        z, in the shape and dtype of `distribution.probs`, differentiable as often as asked.
    """
    draw = distribution.draw(generator=generator)
    return _StraightThrough.apply(distribution.probs, draw)  # type: ignore[no-any-return, no-untyped-call]
