"""Find functions in an inner objective whose second derivatives would silently be 0."""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from lds.bilevel.tensors import dot

ADVICE = (
    "so its part of the hypergradient would silently be 0; write its backward with differentiable "
    "operations of torch and without once_differentiable, or take a method without second "
    "derivatives: FirstOrder(), F2SA(...) or ConjugateGradient(..., differences=True)"
)

SHARE = 1e-3
"""Share of ∇L that may be missing by rounding: that of a sum over some million float32 entries."""

_pending: ContextVar[list[bool] | None] = ContextVar("pending", default=None)


class OnceDifferentiableError(RuntimeError):
    """A function in the inner objective can be differentiated once only."""


class examined:  # noqa: N801 (a context manager, as a class: quick)
    """Examine the first inner objective that is differentiated twice in a block.

    Arguments:
        active: False examines none.
    """

    __slots__ = ("_active", "_token")

    def __init__(self, active: bool) -> None:
        self._active = active

    def __enter__(self) -> None:
        """Begin."""
        self._token = _pending.set([True] if self._active else None)

    def __exit__(self, *error: object) -> None:
        """End."""
        _pending.reset(self._token)


def examine(loss: Tensor, w: Sequence[Tensor], t: int) -> None:
    """Refuse a custom function between w and the loss that is differentiable once only.

    ∇L is linear in the derivative p that it starts from, so p ∂(∇L·g)/∂p = ∇L·g for any g. A
    backward marked with once_differentiable, or one that leaves the graph (numpy, `.data`,
    `.detach()`), breaks this, while torch raises no error where p is a constant. A backward that is
    right in p and wrong in the saved tensors is found by `check` alone.

    Arguments:
        loss: L, with its history.
        w: the weights, leaf by leaf.
        t: the step.

    Raises:
        OnceDifferentiableError: there is such a function.
    """
    pending = _pending.get()
    if not pending:
        return
    pending.clear()
    if not _has_custom_function(loss):
        return
    p = torch.ones_like(loss, requires_grad=True)
    grads = torch.autograd.grad(loss, w, p, create_graph=True, allow_unused=True)
    along = dot(grads, [None if grad is None else grad.detach() for grad in grads])
    whole = float(along.detach())
    slope = None
    if along.requires_grad:
        (slope,) = torch.autograd.grad(along, p, allow_unused=True)
    found = 0.0 if slope is None else float(slope)
    if abs(found - whole) > SHARE * whole:
        raise OnceDifferentiableError(
            f"step {t} of the dynamics: a function in the inner objective can be differentiated "
            f"once only ({1 - found / whole:.0%} of ∇L has no derivative), {ADVICE}"
        )


def _has_custom_function(loss: Tensor) -> bool:
    """Whether a `torch.autograd.Function` of Python is in the history of `loss`."""
    nodes: list[Any] = [] if loss.grad_fn is None else [loss.grad_fn]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if isinstance(node, BackwardCFunction):
            return True
        found = {before for before, _ in node.next_functions if before is not None} - seen
        seen |= found
        nodes += found
    return False
