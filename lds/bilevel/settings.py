"""Numbers as optimiser settings, and the settings of a dynamics as plain values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lds.bilevel.tensors import Tree


@dataclass(frozen=True)
class Constant:
    """A number as a function of (hyper, step)."""

    value: float

    def __call__(self, hyper: Tree, t: int) -> float:
        """Return the number."""
        return self.value


@dataclass(frozen=True)
class Grouped:
    """Settings by groups of parameters as one function of (hyper, step)."""

    parts: Mapping[str, Callable[[Tree, int], Any]]

    def __call__(self, hyper: Tree, t: int) -> dict[str, Any]:
        """Return the setting of each group."""
        return {key: part(hyper, t) for key, part in self.parts.items()}


def described(dynamics: object) -> dict[str, Any]:
    """Return the class of a dynamics, and its settings that are numbers or flags, by name.

    Integers are left out: in a class of a user they may count calls.
    """
    found: dict[str, Any] = {"dynamics": type(dynamics).__name__}
    for name, value in vars(dynamics).items():
        plain = _plain(value)
        if plain is not None:
            found[f"dynamics {name.lstrip('_')}"] = plain
    return found


def _plain(value: Any) -> Any:
    """Return a setting as plain values; None for what cannot be compared, such as a function."""
    if isinstance(value, Constant):
        return value.value
    if isinstance(value, Grouped):
        return {key: _plain(part) for key, part in value.parts.items()}
    if isinstance(value, tuple):
        parts = [_plain(part) for part in value]
        return None if all(part is None for part in parts) else parts
    if isinstance(value, float):
        return float(value)  # of NumPy's, too
    return value if isinstance(value, bool) else None
