"""What a module keeps from call to call outside its buffers: it is no function of its parameters.

Three instances of the idea: a graph convolution that stores the normalised graph of its first call
(``cached=True``); a layer that counts its calls in an integer; a table of values that grows. A step
that is applied again would read what another step left.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from lds.bilevel.tensors import leaves

INTERNAL = frozenset({*vars(nn.Module()), "_flat_weights", "_flat_weight_refs"})
"""Attributes of every module (parameters, buffers, parts, hooks, mode), and the lists of parameters
of torch's recurrent modules, which renew them when a parameter is another."""

PLAIN = (int, float, complex, str, bytes, torch.dtype, torch.device, torch.layout, type(None))
"""Types of values that are compared by ==."""

Place = tuple[nn.Module, str, str, Any]
"""A part of a module, its path, an attribute, and the key in it if that is a dict, else None."""

State = dict[Place, tuple[Any, int]]
"""The values of plain attributes, and how often a tensor has been changed in place."""


class Kept:
    """Compares the plain attributes of a module over its first two calls in each mode.

    An attribute that each call replaces is none that a call reads, such as attention weights that
    are stored to be looked at.

    Arguments:
        module: any module.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._before: State = {}
        self._changed: dict[bool, tuple[State, State]] = {}  # by mode: before and after a call
        self._done: set[bool] = set()

    @property
    def done(self) -> bool:
        """Whether the present mode of the module needs no further calls."""
        return self._module.training in self._done

    def begin(self) -> None:
        """Note the attributes before a call."""
        if self._module.training not in self._changed:
            self._before = self._state()

    def end(self) -> None:
        """Compare the attributes after a call.

        Raises:
            RuntimeError: the module keeps a value between calls. It gets back what it had before.
        """
        mode, now = self._module.training, self._state()
        if mode not in self._changed:
            changed = {
                place: found
                for place, found in now.items()
                if not _same(found, self._before.get(place, (None, 0)))
            }
            before = {place: self._before[place] for place in changed if place in self._before}
            self._changed[mode], self._before = (before, changed), {}
            if not changed:
                self._done.add(mode)
            return
        for place, first in self._changed[mode][1].items():
            if place in now and _is_kept(first, now[place]):
                _, path, name, key = place
                self._put_back(mode)
                full = ".".join(filter(None, (path, name))) + ("" if key is None else f"[{key!r}]")
                raise RuntimeError(
                    f"the module keeps {full!r} between calls, so a step is no function of its "
                    "params and inputs: switch that off (such as by cached=False), or make it a "
                    "buffer; a value that depends on neither params nor hyper is kept rightly if "
                    "the module is called once before bilevel.functional or bilevel.Training"
                )
        self._done.add(mode)
        del self._changed[mode]

    def _put_back(self, mode: bool) -> None:
        """Give the module what it had before its first call, and forget its calls."""
        before, changed = self._changed.pop(mode)
        for place in changed:
            part, _, name, key = place
            held = vars(part) if key is None else vars(part)[name]
            if place in before:
                held[name if key is None else key] = before[place][0]
            else:
                held.pop(name if key is None else key, None)

    def _state(self) -> State:
        found: State = {}
        for path, part in self._module.named_modules():
            for name, value in vars(part).items():
                if name in INTERNAL:
                    continue
                if type(value) is dict:
                    for key, entry in value.items():
                        found[part, path, name, key] = entry, _version(entry)
                else:
                    found[part, path, name, None] = value, _version(value)
        return found


def _version(value: Any) -> int:
    if not isinstance(value, Tensor) or is_functorch_wrapped_tensor(value) or value.is_inference():
        return 0
    return value._version


def _is_plain(value: Any) -> bool:
    """Return whether a value is a number, a text or the like, or a list or tuple of them."""
    return isinstance(value, PLAIN) or all(isinstance(leaf, PLAIN) for leaf in leaves(value))


def _same(left: tuple[Any, int], right: tuple[Any, int]) -> bool:
    """Return whether an attribute is what it was."""
    if left[0] is right[0]:
        return left[1] == right[1]
    if _is_plain(left[0]) and _is_plain(right[0]):
        return bool(left[0] == right[0])
    both = left[0], right[0]
    if all(isinstance(value, list | tuple) for value in both) and len(both[0]) == len(both[1]):
        return all(a is b for a, b in zip(*both, strict=True))
    return False


def _is_kept(first: tuple[Any, int], second: tuple[Any, int]) -> bool:
    """Return whether a value that the first call changed reached the second one."""
    if isinstance(first[0], int | float):  # a count
        return isinstance(second[0], int | float) and first[0] != second[0]
    return first[0] is second[0] and any(map(_is_array, leaves(first[0])))


def _is_array(leaf: Any) -> bool:
    """Return whether a leaf is a tensor, a sparse one of another library, or an array of NumPy."""
    return hasattr(leaf, "requires_grad") or type(leaf).__name__ == "ndarray"
