"""Norms of each task alone, where the weights of many tasks are stacked in one state.

Two instances of the idea: the limit of the gradient's norm, and the length of a step that ends a
run. Tasks are trained as if each were alone, so neither may depend on the others.
"""

from collections.abc import Sequence
from contextvars import ContextVar

import torch
from torch import Tensor

from lds.bilevel.tensors import Tree, paths

_counting: ContextVar["counting | None"] = ContextVar("counting", default=None)


class counting:  # noqa: N801 (a context manager, as a class: quick)
    """Note in a block how many tasks an objective evaluates at once.

    Attributes:
        n: number of tasks; None without tasks.
    """

    __slots__ = ("_token", "n")

    def __enter__(self) -> "counting":
        """Begin; return where the number is noted."""
        self.n: int | None = None
        self._token = _counting.set(self)
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        _counting.reset(self._token)


def count(n: int) -> None:
    """Note that an objective evaluates `n` tasks at once."""
    into = _counting.get()
    if into is not None:
        into.n = n


def lengths(tensors: Sequence[Tensor], n: int | None) -> Tensor:
    """Compute the Euclidean norm of all tensors together: 0-dim, or `(n,)` with one a task."""
    if n is None:
        parts = [part.norm() for part in tensors]
    else:
        parts = [part.reshape(n, -1).norm(dim=1) for part in tensors]
    total: Tensor = torch.linalg.vector_norm(torch.stack(parts), dim=0)
    return total


def limited(grads: list[Tensor], largest: float, n: int | None, params: Tree) -> list[Tensor]:
    """Scale a gradient down to the norm `largest`, that of each task alone.

    Arguments:
        grads: the gradient, leaf by leaf of `params`.
        largest: as for `torch.nn.utils.clip_grad_norm_`.
        n: number of tasks; None without tasks.
        params: the weights, for messages.

    Raises:
        ValueError: a leaf of the weights has no slice a task.
    """
    for k, grad in enumerate(grads):
        if n is not None and grad.shape[:1] != (n,):
            raise ValueError(
                "max_grad_norm limits the gradient of each task alone, so params"
                f"{paths(params)[k]} must have {n} slices, one a task, got {tuple(grad.shape)}; "
                "train weights that tasks share without max_grad_norm"
            )
    factor = (largest / (lengths(grads, n) + 1e-6)).clamp(max=1.0)
    if n is None:
        return [grad * factor for grad in grads]
    # In the dtype of each gradient, which a factor of several entries would widen.
    return [grad * factor.to(grad.dtype).view(n, *[1] * (grad.dim() - 1)) for grad in grads]
