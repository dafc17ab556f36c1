"""Structure-learning methods by name: one line each. Imports nothing heavy."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from lds._words import nearest
from lds.nn.registry import BACKBONES, GCN_NAME
from lds.structure.methods.base import Implementation, Method
from lds.structure.methods.committee import Committee
from lds.structure.methods.thesis import Thesis
from lds.structure.methods.views import Views

METHODS: dict[str, type[Method]] = {
    Committee.name: Committee,
    Thesis.name: Thesis,
    Views.name: Views,
}

DEFAULT = Committee.name
"""The method where none is named."""


def implementation(method: Method) -> Implementation:
    """Import the functions that learn and predict with a record."""
    return cast(Implementation, import_module(method.home or type(method).__module__))


def method_of(name: str = DEFAULT, **options: Any) -> Method:
    """Make a method by name, with its own defaults for the options that are not given.

    Arguments:
        name: one of `METHODS`.
        options: of that method.

    Raises:
        TypeError: an option that the method does not have, with the method that has it, or one of
            another kind.
        ValueError: an unknown method, or an option outside its range.
    """
    if name not in METHODS:
        known = ", ".join(map(repr, METHODS))
        near = nearest(str(name), METHODS)
        raise ValueError(f"method must be one of {known}, got {name!r}{near}")
    return METHODS[name](**options)


def method_of_settings(settings: Mapping[str, Any]) -> Method:
    """Make the method that the settings of a run folder name, with every option of it.

    Raises:
        ValueError: they are damaged: a setting or an option is missing, unknown or outside its
            range; or the run has a backbone that is not registered here.
    """
    if lacking := [name for name in ("method", "options", "seed") if name not in settings]:
        raise ValueError(f"the settings of the run are damaged (they lack {', '.join(lacking)})")
    options = settings["options"]
    backbone = options.get("backbone", GCN_NAME) if isinstance(options, Mapping) else GCN_NAME
    if isinstance(backbone, str) and backbone not in BACKBONES:
        raise ValueError(
            f"the run has the backbone {backbone!r}, which is not registered here: enter it in "
            "lds.nn.registry.BACKBONES before you load"
        )
    try:
        method = method_of(settings["method"], **settings["options"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"the settings of the run are damaged ({error})") from error
    if lacking := sorted(set(method.to_dict()) - set(settings["options"])):
        raise ValueError(f"the settings of the run are damaged (they lack {', '.join(lacking)})")
    return method
