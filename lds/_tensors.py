"""Operations on flat tensors for which NumPy is faster on a CPU, and tensors under `torch.func`."""

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor


def unwrapped(tensor: Tensor) -> Tensor:
    """Return the tensor inside the wrappers of `torch.vmap` and `torch.func`.

    Its version and its history are those that a derivative from outside sees.
    """
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
    return tensor


def positions(mask: Tensor) -> Tensor:
    """Return the indices at which a flat mask is true.

    On a CPU NumPy's search is several times faster than torch's.
    """
    if mask.device.type == "cpu":
        return torch.from_numpy(mask.numpy().nonzero()[0])
    return mask.nonzero().squeeze(1)


def repeat(values: Tensor, counts: Tensor) -> Tensor:
    """Repeat each value by its count; on a CPU with NumPy, which is several times faster."""
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy().repeat(counts.numpy()))
    return torch.repeat_interleave(values, counts)
