"""Explain errors of torch about functions that cannot be differentiated twice."""

import re
from typing import Any

EXPLANATIONS = (
    (
        "scaled_dot_product",
        "an attention kernel without a second derivative was chosen; compute attention in "
        "`with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)`, which has one",
    ),
    (
        "cudnn",
        "cuDNN's recurrent networks have no second derivative; compute the network in "
        "`with torch.backends.cudnn.flags(enabled=False)`",
    ),
    (
        "nference tensor",
        "tensors made under torch.inference_mode() cannot be differentiated; make the data and the "
        "weights, and call this, outside of it (torch.no_grad() is harmless), or clone() them",
    ),
    (
        "[sS]parse",
        "sparse gradients are not supported; make embeddings with sparse=False, and sparse "
        "matrices constants",
    ),
    (
        "does not require grad",
        "a step under torch.no_grad() was differentiated by torch.autograd.grad or .backward(); in "
        "a step of your own use torch.func.grad, as in "
        "`g = torch.func.grad(loss)(state['w'], hyper)`, or check what cuts the loss off from the "
        "weights (.detach(), .item(), torch.no_grad())",
    ),
    (
        "inplace operation",
        "an operation changed in place a tensor that the derivative needs, such as an in-place "
        "Dropout after nn.ReLU(inplace=True); make the layers with inplace=False, and write "
        "x * 2 for x.mul_(2)",
    ),
    (
        "once_differentiable",
        "a custom autograd function is differentiable once only; write its backward with "
        "differentiable operations and without once_differentiable, or take a method without "
        "second derivatives: FirstOrder(), F2SA(...), ConjugateGradient(..., differences=True)",
    ),
    (
        "erivative for .* is not implemented",
        "an operation has no second derivative; write it with operations that have one, or compare "
        "torch's documentation for another kernel of it",
    ),
)
"""A pattern in error messages of torch, and the explanation; the first match counts."""


class explained:  # noqa: N801 (a context manager, as a class: quick)
    """Add the way out to an error of torch in a block, if it is known.

    Arguments:
        what: name of the block in the message.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        """Raise the explanation, if there is one."""
        if kind is not RuntimeError and kind is not NotImplementedError:
            return
        text = str(error)
        for found, meaning in EXPLANATIONS:
            if re.search(found, text) and meaning not in text:
                first = text.splitlines()[0].split(". ")[0]
                raise RuntimeError(f"{self._what}: {meaning} (torch: {first})") from error
