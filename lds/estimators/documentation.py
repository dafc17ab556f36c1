"""Add the options of a method to the docstring of its classifier."""

import textwrap
from collections.abc import Callable
from typing import Any, TypeVar

from lds.structure.options import Options, option_fields

T = TypeVar("T", bound=type[Any])

WIDTH = 100
"""Width of a line, in characters."""


def documented(method: type[Options]) -> Callable[[T], T]:
    """Make a decorator that inserts the options of a method in the docstring of a class."""

    def decorate(cls: T) -> T:
        head, arguments, rest = (cls.__doc__ or "").partition("    Arguments:\n")
        cls.__doc__ = head + arguments + _lines(method) + rest
        return cls

    return decorate


def _lines(method: type[Options]) -> str:
    found = []
    for name, field in option_fields(method).items():
        known = field.metadata
        within = f" ({known['within'].words})" if known["within"] is not None else ""
        text = f"{name}: {known['help']}{within}."
        found.append(textwrap.fill(text, WIDTH, initial_indent=8 * " ", subsequent_indent=12 * " "))
    return "\n".join(found) + "\n"
