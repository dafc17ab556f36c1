"""Flags for the options of all methods, from their records."""

import inspect
from collections.abc import Callable
from dataclasses import Field
from typing import Annotated, Any, TypeVar

import typer

from lds.structure.methods.registry import DEFAULT, METHODS, method_of
from lds.structure.options import option_fields

F = TypeVar("F", bound=Callable[..., Any])

ALL_METHODS = "Options of every method"

Method = Annotated[
    str,
    typer.Option(
        help="; ".join(f"{name}: {method.title}" for name, method in METHODS.items()),
        metavar="|".join(METHODS),
    ),
]


def with_method_options(command: F) -> F:
    """Add a flag for every option of every method to a command that takes `**options`.

    A flag that is not given is None; `--help` shows the default of each method.
    """
    signature = inspect.signature(command)
    parameters = [p for p in signature.parameters.values() if p.kind != p.VAR_KEYWORD]
    for name, hint in _flags().items():
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, keyword, default=None, annotation=hint))
        command.__annotations__[name] = hint
    command.__annotations__.pop("options")
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return command


def method_options() -> dict[str, "Field[Any]"]:
    """Collect the options of all methods by name: those of every method first."""
    found: dict[str, Field[Any]] = {}
    for name in sorted(METHODS, key=lambda name: name != DEFAULT):
        found = option_fields(METHODS[name]) | found
    return dict(sorted(found.items(), key=lambda item: -len(_owners(item[0]))))


def chosen_method(name: str, options: dict[str, Any]) -> Any:
    """Make the record of `--method` with the flags that were given.

    Raises:
        TypeError, ValueError: as of `method_of`.
    """
    return method_of(name, **{key: value for key, value in options.items() if value is not None})


def _flags() -> dict[str, Any]:
    found = {}
    for name, each in method_options().items():
        owners = _owners(name)
        of_some = f"Options of --method {' and '.join(owners)}"
        panel = ALL_METHODS if len(owners) == len(METHODS) else of_some
        sentence = each.metadata["help"]
        if sentence[0].isascii():
            sentence = sentence[0].upper() + sentence[1:]
        text = f"{sentence}. {_defaults(name)}"
        hint: Any = Annotated[
            each.type | None,  # type: ignore[operator]
            typer.Option(help=text, rich_help_panel=panel, show_default=False),
        ]
        found[name] = hint
    return found


def _owners(name: str) -> list[str]:
    """Find the methods that have an option."""
    return [method for method, record in METHODS.items() if name in option_fields(record)]


def _defaults(name: str) -> str:
    """Format the default of each method that has an option, for `--help`."""
    values = {method: option_fields(METHODS[method])[name].default for method in _owners(name)}
    if len(set(map(repr, values.values()))) == 1:
        return f"[default: {_shown(next(iter(values.values())))}]"
    others = (f"{method}: {_shown(v)}" for method, v in values.items() if method != DEFAULT)
    return f"[default: {_shown(values[DEFAULT])}; {'; '.join(others)}]"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
