"""A stand-in for a CUDA graph on any device: record operations once, repeat them in place.

As there, Python does not run again: a replay computes from the tensors it was recorded
with. What a graph could not hold is refused.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten

FORBIDDEN = {
    aten._local_scalar_dense.default, aten.item.default, aten.nonzero.default,
    aten.masked_select.default, aten.bincount.default, aten._unique2.default,
    aten.repeat_interleave.Tensor, aten.equal.default, aten.is_nonzero.default,
    aten.rand.default, aten.rand.generator, aten.uniform_.default, aten.randint.low,
    aten.poisson.default, aten.bernoulli.default, aten.native_dropout.default,
    aten._to_copy.default, aten.lift_fresh.default,
}  # fmt: skip
"""Operations a CUDA graph cannot hold: they read numbers off the device, make sizes of numbers,
draw random numbers, or copy from another device."""

ASSEMBLED = {aten.sparse_compressed_tensor.comp_plain_value_size}
"""Operations whose results share the memory of their arguments."""


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in FORBIDDEN and not (func is aten._to_copy.default and _same_device(args, kwargs)):
            raise RuntimeError(f"{func} cannot be captured")
        results = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, results))
        return results


def _same_device(args: Any, kwargs: Any) -> bool:
    return kwargs.get("device") in (None, args[0].device)


def capture(function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """As `side_by_side.captured.Capture`; the results hold no numbers before the first replay."""
    function()  # what is made once and kept is made before
    recorder = _Recorder()
    with recorder:
        results = function()
    made = [
        t
        for func, _, _, out in recorder.done
        if not (func.is_view or func in ASSEMBLED or func._schema.is_mutable)
        for t in tree_leaves(out)
        if isinstance(t, Tensor)
    ]
    for tensor in made:  # a capture computes nothing
        if tensor.is_floating_point():
            tensor.fill_(torch.nan)

    @torch.no_grad()
    def replay() -> None:
        for func, args, kwargs, out in recorder.done:
            if func.is_view or func in ASSEMBLED:
                continue  # looks at memory that is filled anew
            again = func(*args, **kwargs)
            if not func._schema.is_mutable:
                for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor):
                        old.copy_(new)

    return replay, results
