"""Find what a module writes into its buffers without history, where torch keeps no account of it.

Three instances of the idea: ``self.n.data.add_(1)``, which no version counter counts; a mean that
is computed under ``torch.no_grad()`` and added outside; an average of ``h.detach()``, whose history
leads to the average before and not to the weights.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from lds._tensors import unwrapped

_data: Any = vars(torch._C.TensorBase)["data"]

UNCOUNTED = frozenset({_data.__get__, _data.__set__, Tensor.numpy})
"""Functions that share or replace the memory of a tensor without its version counter."""

CUTS = frozenset({_data.__get__, Tensor.detach, torch.detach})
"""Functions whose result has no history."""


class Watch:
    """What the functions that a module calls do with its tensors.

    Arguments:
        following: whether to follow values that have lost their history.
    """

    def __init__(self, following: bool) -> None:
        self._following = following
        self._shared: list[Tensor] = []
        self._cut: dict[int, Tensor] = {}  # the tensor is kept with its id

    def saw(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        """Take a call of a function of torch into account."""
        if func in UNCOUNTED:
            self._shared.append(args[0])
        if not self._following:
            return
        cuts = func in CUTS or not torch.is_grad_enabled()
        if not cuts and not self._cut:
            return
        given = [unwrapped(t) for t in _tensors([*args, *kwargs.values()])]
        if not any(id(t) in self._cut or (cuts and t.requires_grad) for t in given):
            return
        written = [args[0]] if func is Tensor.__setitem__ else []
        for tensor in map(unwrapped, _tensors([result, *written])):
            if tensor.is_floating_point():  # an index is constant anyway
                self._cut[id(tensor)] = tensor
                if tensor._base is not None:
                    self._cut[id(tensor._base)] = tensor._base

    def changed(self, tensor: Tensor, before: Tensor) -> bool:
        """Return whether the memory of `tensor` was shared, and its values differ from `before`."""
        return any(shared is tensor for shared in self._shared) and not torch.equal(tensor, before)

    def is_cut(self, new: Tensor, params: Iterable[Tensor], buffers: Iterable[Tensor]) -> bool:
        """Return whether `new` has values without history, and no history that leads to `params`.

        Arguments:
            new: a new buffer with history.
            params: the trained parameters.
            buffers: the buffers before; their own history is not searched.
        """
        new = unwrapped(new)
        if id(new) not in self._cut:
            return False
        goals = {get_gradient_edge(p).node for p in map(unwrapped, params) if p.requires_grad}
        seen = {get_gradient_edge(b).node for b in map(unwrapped, buffers) if b.requires_grad}
        nodes: list[Any] = [new.grad_fn]
        while nodes:
            node = nodes.pop()
            if node in goals:
                return False
            found = {before for before, _ in node.next_functions if before is not None} - seen
            seen |= found
            nodes += found
        return True


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Return the tensors among values, and in lists and tuples of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
