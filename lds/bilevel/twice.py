"""Find what in a step would silently have a second derivative of 0."""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode

from lds.bilevel.tensors import Tree, coarsest, dot, leaves, paths

ADVICE = (
    "so its part of the hypergradient would silently be 0; write its backward with differentiable "
    "operations of torch and without once_differentiable, or take a method without second "
    "derivatives: FirstOrder(), F2SA(...) or ConjugateGradient(..., differences=True)"
)

SHARE = 1e-3
"""Share of ∇L that may be missing by rounding: that of a sum over some million float32 entries.
Of coarser dtypes it is four times their eps."""

_pending: ContextVar[set[str] | None] = ContextVar("pending", default=None)
"""What is still to be examined: the "loss", a "step" of the user's own."""


class OnceDifferentiableError(RuntimeError):
    """A function in the inner objective can be differentiated once only."""


class examined:  # noqa: N801 (a context manager, as a class: quick)
    """Examine the first inner objective, and the first step, that are differentiated in a block.

    Arguments:
        active: False examines none.
    """

    __slots__ = ("_active", "_token")

    def __init__(self, active: bool) -> None:
        self._active = active

    def __enter__(self) -> None:
        """Begin."""
        self._token = _pending.set({"loss", "step"} if self._active else None)

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
    if not pending or "loss" not in pending:
        return
    pending.remove("loss")
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
    off = abs(found - whole)
    if off > SHARE * whole and off > 4 * coarsest([loss]) * whole:
        raise OnceDifferentiableError(
            f"step {t} of the dynamics: a function in the inner objective can be differentiated "
            f"once only ({1 - found / whole:.0%} of ∇L has no derivative), {ADVICE}"
        )


def watched(state: Tree, t: int) -> AbstractContextManager[Any]:
    """Warn of gradients in a block, a step of the user's own, that the step takes for constants.

    `Step.run` turns grad mode off, where torch refuses `autograd.grad`; a step that turns it on
    again needs ``create_graph=True``, and weights with their history.

    Arguments:
        state: the traced state that the step gets.
        t: the step.
    """
    pending = _pending.get()
    if not pending or "step" not in pending or not torch.is_grad_enabled():
        return nullcontext()
    pending.remove("step")
    return _Gradients(state, t)


class _Gradients(TorchFunctionMode):
    """Looks at calls of `autograd.grad` and `backward`."""

    def __init__(self, state: Tree, t: int) -> None:
        super().__init__()
        self._state, self._t = state, t

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Warn, and call the function."""
        kwargs = kwargs or {}
        if func is torch.autograd.grad or func is Tensor.backward:
            self._look(args, kwargs, by=args[1] if func is torch.autograd.grad else ())
        return func(*args, **kwargs)

    def _look(self, args: Sequence[Any], kwargs: dict[str, Any], by: Sequence[Tensor]) -> None:
        if not kwargs.get("create_graph"):
            self._warn("is computed without create_graph=True")
            return
        given = leaves(self._state)
        for tensor in by:
            own = any(tensor is leaf for leaf in given) or not isinstance(tensor, Tensor)
            if own or tensor.grad_fn is not None or is_functorch_wrapped_tensor(tensor):
                continue
            for k, leaf in enumerate(given):
                if _is_copy(tensor, leaf):
                    self._warn(f"is that by a detached copy of state{paths(self._state)[k]}")
                    return

    def _warn(self, how: str) -> None:
        warnings.warn(
            f"a gradient in step {self._t} of the dynamics {how}, so the hypergradient leaves its "
            "derivative out; write torch.autograd.grad(loss, weights, create_graph=True) under "
            "torch.enable_grad(), by the weights in the state that the step is given, and compare "
            "bilevel.check",
            UserWarning,
            stacklevel=2,
        )


def _is_copy(tensor: Tensor, leaf: Tensor) -> bool:
    """Return whether a tensor shares the memory of another, or its values, which are not 0."""
    if tensor.dtype != leaf.dtype or tensor.device != leaf.device or tensor.shape != leaf.shape:
        return False
    return tensor.data_ptr() == leaf.data_ptr() or (
        bool(leaf.detach().any()) and torch.equal(tensor, leaf)
    )


def refuse_sparse(params: Tree, grads: Sequence[Tensor | None]) -> None:
    """Refuse sparse gradients, which have no second derivative here.

    Raises:
        TypeError: a gradient is sparse; the message names the leaf.
    """
    for k, grad in enumerate(grads):
        if grad is not None and grad.layout is not torch.strided:
            raise TypeError(
                f"the gradient by params{paths(params)[k]} is sparse, and sparse gradients have no "
                "second derivative here; make the embedding with sparse=False"
            )


def _has_custom_function(loss: Tensor) -> bool:
    """Return whether a `torch.autograd.Function` of Python is in the history of `loss`."""
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
