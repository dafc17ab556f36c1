"""A `torch.nn.Module` as what the core works with: a function of parameters, and the parameters."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


def functional(module: nn.Module) -> tuple[Callable[..., Any], dict[str, Tensor]]:
    """A module as a pure function of its parameters.

    Buffers stay the module's own and constant; the module itself is left as it is. Its mode
    (`train()`, `eval()`) is the one it has when the function is called.

    Arguments:
        module: any module.

    Returns:
        apply(params, *args, **kwargs), the module's output with other parameters; and its
        parameters by name, detached copies.

    Examples:
        >>> import torch
        >>> from lds import bilevel
        >>> apply, params = bilevel.functional(torch.nn.Linear(2, 1, bias=False))
        >>> apply({"weight": torch.tensor([[1.0, 2.0]])}, torch.tensor([3.0, 4.0]))
        tensor([11.])
    """

    def apply(params: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        return functional_call(module, params, args, kwargs)

    return apply, {name: p.detach().clone() for name, p in module.named_parameters()}
