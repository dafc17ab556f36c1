"""Which of the user's functions take the step number, by their signatures."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch


def with_step(
    function: Callable[..., Any], n_arguments: int, names: Sequence[str] = ("step", "t")
) -> Callable[..., Any]:
    """Make a function accept the step number as a last argument.

    Arguments:
        function: takes `n_arguments` positional arguments, or one more: the step, an int from 0. An
            argument with a default (``lambda w, hyper, X=X: ...``) or by keyword alone counts as
            the step only if its name is in `names`, at whatever place. A bare ``*args`` does not
            get the step, and a step that a `functools.partial` sets stays as it is.
        n_arguments: number of arguments without the step.
        names: names of an argument with a default, or by keyword, that gets the step.

    Returns:
        A function of `n_arguments` + 1 arguments.
    """
    called = function.forward if isinstance(function, torch.nn.Module) else function
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature: no step
        parameters = []
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) > n_arguments:
        last = positional[n_arguments]
        if last.default is last.empty or last.name in names:
            return function
    elif positional and any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return function  # *args after a named argument; alone it is a wrapper's
    known = {p.name for p in positional[:n_arguments]}
    known |= set(function.keywords if isinstance(function, functools.partial) else ())
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    asked = [p.name for p in parameters if p.kind in kinds and p.name in {*names} - known]
    if asked:
        return lambda *args: function(*args[:-1], **{asked[0]: args[-1]})
    return lambda *args: function(*args[:-1])
