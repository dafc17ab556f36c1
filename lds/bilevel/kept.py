"""What a module keeps from call to call outside its buffers: it is no function of its parameters.

Two instances of the idea: a graph convolution that stores the normalised graph of its first call
(``cached=True``); a layer that counts its calls in an integer. A step that is applied again would
read what another step left.
"""

import warnings
from collections.abc import Callable, Mapping
from threading import Lock
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

    An attribute that each call replaces is none that a call reads, such as attention weights or the
    input, stored to be looked at. A value that a call makes of the last one and puts in its place
    looks the same, and is not found.

    Arguments:
        module: any module.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._changed: dict[bool, tuple[State, State]] = {}  # by mode: before and after a call
        self._done: set[bool] = set()
        self._one = Lock()

    @property
    def done(self) -> bool:
        """Whether the present mode of the module needs no further calls."""
        return self._module.training in self._done

    def compared(
        self, call: Callable[[], Any], given: Any, parameters: Mapping[str, Tensor]
    ) -> Any:
        """Call the module, and compare its attributes, unless another thread is about it.

        Arguments:
            call: calls the module.
            given: its inputs.
            parameters: trained and frozen ones by name, with which it is called.

        Raises:
            RuntimeError: the module keeps a value between calls, makes a parameter, buffer or part,
                or changes a parameter. It gets back what it had before.
        """
        if not self._one.acquire(blocking=False):
            return call()
        try:
            before, registered = self._state(), self._registered()
            copies = {
                name: (parameter.detach().clone(), _version(parameter))
                for name, parameter in parameters.items()
                if isinstance(parameter, Tensor) and not is_functorch_wrapped_tensor(parameter)
            }
            output = call()
            self._refuse_made(registered)
            _refuse_moved(parameters, copies)
            self._compare(before, given)
        finally:
            self._one.release()
        return output

    def _registered(self) -> dict[tuple[nn.Module, str], tuple[str, bool]]:
        """Return the full names of parameters, buffers and parts, and whether they are there."""
        return {
            (part, key): (".".join(filter(None, (path, key))), value is not None)
            for path, part in self._module.named_modules()
            for held in (part._parameters, part._buffers, part._modules)
            for key, value in held.items()
        }

    def _refuse_made(self, before: dict[tuple[nn.Module, str], tuple[str, bool]]) -> None:
        """Refuse parameters, buffers and parts that a call made, and take them out again."""
        absent = ("", False)
        made = {
            place: name
            for place, (name, there) in self._registered().items()
            if there and not before.get(place, absent)[1]
        }
        for part, key in made:
            if (part, key) in before:  # registered as None
                setattr(part, key, None)
            else:
                delattr(part, key)
        if made:
            name = next(iter(made.values()))
            raise RuntimeError(
                f"the module makes {name!r} when it is called, so params of functional(module) "
                "lack it and no step can train or follow it: call the module once on a batch "
                "before bilevel.functional or bilevel.Training"
            )

    def _compare(self, before: State, given: Any) -> None:
        mode, now = self._module.training, self._state()
        if mode not in self._changed:
            changed = {
                place: found
                for place, found in now.items()
                if not _same(found, before.get(place, (None, 0)))
            }
            old = {place: before[place] for place in changed if place in before}
            self._changed[mode] = old, changed
            if not changed:
                self._done.add(mode)
            return
        old, changed = self._changed[mode]
        written = []
        for place, first in changed.items():
            if place not in now:
                continue
            _, path, name, key = place
            full = ".".join(filter(None, (path, name))) + ("" if key is None else f"[{key!r}]")
            values = (each.get(place, (None, 0))[0] for each in (old, changed, before, now))
            if _is_count(*values) or _is_kept(first, now[place], given):
                self._put_back(mode)
                raise RuntimeError(
                    f"the module keeps {full!r} between calls, so a step is no function of its "
                    "params and inputs: switch that off (such as by cached=False), or make it a "
                    "buffer; a value that depends on neither params nor hyper is kept rightly if "
                    "the module is called once before bilevel.functional or bilevel.Training"
                )
            if _is_number(first[0]) and first[0] != now[place][0]:
                written.append(full)
        self._done.add(mode)
        del self._changed[mode]
        if written:
            warnings.warn(
                f"the module writes a number into {written[0]!r} at each call; if it reads what "
                "another call wrote, hypergradients are wrong: make it a buffer",
                UserWarning,
                stacklevel=5,
            )

    def _put_back(self, mode: bool) -> None:
        """Give the module what it had before its first call, and forget its calls."""
        before, changed = self._changed[mode]
        self._changed.clear()
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
                if isinstance(value, dict):
                    for key, entry in value.items():
                        found[part, path, name, key] = entry, _version(entry)
                else:
                    found[part, path, name, None] = value, _version(value)
        return found


def _refuse_moved(
    parameters: Mapping[str, Tensor], before: Mapping[str, tuple[Tensor, int]]
) -> None:
    """Refuse parameters that a call changed in place, and give them back what they had."""
    moved = [
        name
        for name, (old, version) in before.items()
        # NaN, after a training that diverged, is unlike itself
        if (_version(parameters[name]) != version)
        or bool(((parameters[name] != old) & (old == old)).any())
    ]
    for name in moved:
        parameters[name].detach().copy_(before[name][0])
    if moved:
        raise RuntimeError(
            f"the module changes its parameter {moved[0]!r} when it is called, which no step can "
            "follow: make a buffer of what moves without a gradient (a teacher, an average), and "
            "limit weights by torch.nn.utils.parametrize instead of in place"
        )


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


def _is_number(value: Any) -> bool:
    """Return whether a value is a number and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(before: Any, after: Any, before_second: Any, after_second: Any) -> bool:
    """Return whether a number grew alike in two calls, or a truth value turned in both."""
    if all(isinstance(each, bool) for each in (before, after, before_second, after_second)):
        return bool(before != after and before_second != after_second)
    if not all(map(_is_number, (before, after, before_second, after_second))):
        return False
    return bool(after - before == after_second - before_second != 0)


def _is_kept(first: tuple[Any, int], second: tuple[Any, int], given: Any) -> bool:
    """Return whether an array that a call stored, and was not given, is there after another."""
    if first[0] is not second[0]:
        return False
    inputs = {id(leaf) for leaf in leaves(given)}
    return any(_is_array(leaf) and id(leaf) not in inputs for leaf in leaves(first[0]))


def _is_array(leaf: Any) -> bool:
    """Return whether a leaf is a tensor, a sparse one of another library, or an array of NumPy."""
    return hasattr(leaf, "requires_grad") or type(leaf).__name__ == "ndarray"
