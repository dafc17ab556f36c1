"""Adam on a few numbers: torch's function without torch's class.

The first object of a class of `torch.optim` imports torch's compiler, which takes two seconds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

BETAS, EPS = (0.9, 0.999), 1e-8
"""Decay rates of the means and the number added to the denominator, as in `torch.optim.Adam`."""


class Adam:
    """Move tensors by their gradients as `torch.optim.Adam` does.

    References:
        Kingma and Ba, 2015, "Adam: a method for stochastic optimization".

    Arguments:
        tensors: leaves, moved in place.
        lr: step size.
    """

    def __init__(self, tensors: Sequence[Tensor], lr: float) -> None:
        self._tensors, self._lr = list(tensors), lr
        self._means = [torch.zeros_like(each) for each in tensors]
        self._squares = [torch.zeros_like(each) for each in tensors]
        self._steps = [torch.zeros((), dtype=torch.float32) for _ in tensors]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for each in self._tensors:
            each.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every tensor by its gradient."""
        gradients = [each.grad for each in self._tensors if each.grad is not None]
        assert len(gradients) == len(self._tensors)
        adam(
            self._tensors,
            gradients,
            self._means,
            self._squares,
            [],
            self._steps,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self._lr,
            weight_decay=0.0,
            eps=EPS,
            maximize=False,
        )

    def state(self) -> dict[str, Any]:
        """Return the means and the number of steps, on the CPU."""
        means, squares = ([each.cpu() for each in one] for one in (self._means, self._squares))
        return {"means": means, "squares": squares, "steps": int(self._steps[0])}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state()`."""
        for mine, theirs in ((self._means, state["means"]), (self._squares, state["squares"])):
            for each, kept in zip(mine, theirs, strict=True):
                each.copy_(kept)
        for each in self._steps:
            each.fill_(state["steps"])
