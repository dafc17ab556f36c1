"""A device that is not the CPU, on the CPU: torch's `meta`, with numbers behind its tensors.

Code for a GPU runs here too, and an operation on tensors of two devices is refused as a GPU would
refuse it. The stand-in has neither a GPU's kernels nor its random numbers: it draws what a CPU
draws.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class There(Tensor):
    """A tensor that says it is on `DEVICE`; `here` has its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "There":
        """A shell without numbers; it says of a sparse matrix that it is not one."""
        place = {}
        if here.layout == torch.strided:
            place = {"strides": here.stride(), "storage_offset": here.storage_offset()}
        return Tensor._make_wrapper_subclass(
            cls, here.size(), dtype=here.dtype, device=DEVICE, **place
        )

    def __init__(self, here: Tensor) -> None:
        self.here = here

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation on the CPU."""
        return _do(func, args, kwargs or {})


class _Everywhere(TorchDispatchMode):
    """Runs operations that make tensors without taking any."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _do(func, args, kwargs or {})


def _here(leaf: Any) -> Any:
    return leaf.here if isinstance(leaf, There) else leaf


def _there(leaf: Any) -> Any:
    return There(leaf) if isinstance(leaf, Tensor) and not isinstance(leaf, There) else leaf


def _do(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    theirs = [leaf for leaf in given if isinstance(leaf, There)]
    mine = [leaf for leaf in given if not isinstance(leaf, There) and leaf.dim()]
    if theirs and mine and func not in COPIES:
        raise RuntimeError(f"{func} got tensors on {DEVICE} and on {mine[0].device}")
    wanted = kwargs.get("device")
    results_there = bool(theirs) if wanted is None else torch.device(wanted) == DEVICE
    if wanted is not None and results_there:
        kwargs = kwargs | {"device": torch.device("cpu")}
    results = func(*tree_map(_here, args), **tree_map(_here, kwargs))
    if func._schema.is_mutable:  # what came in, changed
        own = {id(leaf.here): leaf for leaf in theirs}
        return tree_map(lambda leaf: own.get(id(leaf), leaf), results)
    return tree_map(_there, results) if results_there else results


class _Kind(type):
    """Generators of torch are those of the class in its place."""

    def __instancecheck__(cls, other: object) -> bool:
        return isinstance(other, _Generator.real)


class _Generator(metaclass=_Kind):
    """In the place of `torch.Generator`: one for a device it does not know is a CPU's."""

    real = torch.Generator

    def __new__(cls, device: torch.device | str = "cpu") -> Any:
        return cls.real("cpu" if torch.device(device) == DEVICE else device)


def _moved(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Torch makes a tensor of data without a dispatch; on its own `meta`, without the data."""

    def made(*args: Any, device: Any = None, **options: Any) -> Tensor:
        tensor = make(*args, **options)
        return tensor if device is None else tensor.to(device)

    return made


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """In this block `device="meta"` is a device with numbers."""
    tensor, tolist, to_dense = torch.tensor, Tensor.tolist, Tensor.to_dense

    def new_tensor(self: Tensor, data: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
        return tensor(data, dtype=dtype or self.dtype).to(device or self.device)

    with pytest.MonkeyPatch.context() as patch, _Everywhere():
        patch.setattr(torch, "Generator", _Generator)
        patch.setattr(torch, "tensor", _moved(tensor))
        patch.setattr(torch, "as_tensor", _moved(torch.as_tensor))
        patch.setattr(Tensor, "new_tensor", new_tensor)
        patch.setattr(Tensor, "tolist", lambda self: tolist(self.cpu()))
        patch.setattr(Tensor, "to_dense", lambda self: _there_if(self, to_dense(_here(self))))
        yield


def _there_if(like: Tensor, tensor: Tensor) -> Tensor:
    return There(tensor) if isinstance(like, There) else tensor
