"""Normalisations whose derivatives are right: of buffers, and of a weight norm.

Torch writes running statistics and the vectors of a spectral norm without history. Here they keep
their history, so the hypergradient includes it. Torch's second derivative of a weight norm is
wrong; here it follows from plain operations. The values are those of torch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode

from lds.bilevel.buffers import held
from lds.bilevel.lost import Watch


class Differentiable(TorchFunctionMode):
    """In a block, normalisations have right derivatives.

    Arguments:
        watch: is shown every other function that is called.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace three functions of torch."""
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return _batch_norm(*args, **kwargs)
        if func is F.instance_norm:
            return _instance_norm(*args, **kwargs)
        if func is torch._weight_norm:
            return _weight_norm(*args, **kwargs)
        result = func(*args, **kwargs)
        self._watch.saw(func, args, kwargs, result)
        return result


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training and running_mean is not None and running_var is not None:
        return _by_running(input, running_mean, running_var, weight, bias, eps)
    out = F.batch_norm(input, None, None, weight, bias, training, momentum, eps)
    if running_mean is not None and running_var is not None:
        values = input.to(running_mean.dtype)
        axes = [0, *range(2, input.dim())]
        _follow(running_mean, values.mean(axes), momentum)
        _follow(running_var, values.var(axes), momentum)
    return out


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not use_input_stats and running_mean is not None and running_var is not None:
        return _by_running(input, running_mean, running_var, weight, bias, eps)
    out = F.instance_norm(input, None, None, weight, bias, use_input_stats, momentum, eps)
    if running_mean is not None and running_var is not None:
        values = input.to(running_mean.dtype)
        axes = list(range(2, input.dim()))
        _follow(running_mean, values.mean(axes).mean(0), momentum)
        _follow(running_var, values.var(axes).mean(0), momentum)
    return out


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    result: Tensor = v * (g / torch.norm_except_dim(v, 2, dim))
    return result


def _follow(running: Tensor, value: Tensor, momentum: float) -> None:
    running.copy_(held(running * (1 - momentum) + value * momentum))


def _by_running(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """Normalise as in evaluation mode, for which torch has no derivative by the statistics."""
    shape = [1, -1, *[1] * (input.dim() - 2)]
    scale = torch.rsqrt(var + eps) if weight is None else weight * torch.rsqrt(var + eps)
    out = (input - mean.view(shape)) * scale.view(shape)
    return (out if bias is None else out + bias.view(shape)).to(input.dtype)


def has_weight_norm(module: nn.Module) -> bool:
    """Return whether a part of a module has a weight norm, in the newer or in the older form."""
    return any(
        isinstance(part, parametrizations._WeightNorm)
        or any(isinstance(hook, WeightNorm) for hook in part._forward_pre_hooks.values())
        for part in module.modules()
    )


@contextmanager
def differentiable(module: nn.Module, watch: Watch) -> Iterator[None]:
    """Give the normalisations of a module right derivatives in a block.

    Arguments:
        module: any module.
        watch: is shown the functions that are called.
    """
    changed: list[tuple[dict[str, Any], str, Any]] = []  # (namespace, name, old value)

    def put(owner: Any, name: str, value: Any) -> None:
        changed.append((owner.__dict__, name, owner.__dict__.get(name, changed)))
        owner.__dict__[name] = value

    for part in module.modules():
        if isinstance(part, parametrizations._SpectralNorm):
            put(part, "_power_method", partial(_power_method, part))
        for hook in part._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):  # the older form; it writes into the module
                put(hook, "compute_weight", partial(_compute_weight, hook))
                put(part, hook.name, part.__dict__[hook.name])
            if isinstance(hook, WeightNorm):
                put(part, hook.name, part.__dict__[hook.name])
    try:
        with Differentiable(watch):
            yield
    finally:
        for place, name, value in reversed(changed):
            if value is changed:
                del place[name]
            else:
                place[name] = value


def _power_method(norm: Any, weight: Tensor, n_iter: int) -> None:
    _iterate(weight, norm._u, norm._v, n_iter, norm.eps)


def _compute_weight(hook: Any, part: nn.Module, do_power_iteration: bool) -> Tensor:
    weight, u, v = (getattr(part, hook.name + end) for end in ("_orig", "_u", "_v"))
    matrix = hook.reshape_weight_to_matrix(weight)
    if do_power_iteration:
        _iterate(matrix.H, v, u, hook.n_power_iterations, hook.eps)
    sigma = torch.dot(u.clone(), torch.mv(matrix, v.clone()))
    result: Tensor = weight / sigma
    return result


def _iterate(weight: Tensor, old_u: Tensor, old_v: Tensor, n_iter: int, eps: float) -> None:
    """Take a step of power iteration: u from v, then v from u."""
    u, v = old_u.clone(), old_v.clone()
    for _ in range(n_iter):
        u = F.normalize(torch.mv(weight, v), dim=0, eps=eps)
        v = F.normalize(torch.mv(weight.H, u), dim=0, eps=eps)
    old_u.copy_(held(u))
    old_v.copy_(held(v))
