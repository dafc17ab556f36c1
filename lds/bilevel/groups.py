"""Optimiser settings by groups of parameters, which are given by names."""

import functools
from collections.abc import Mapping
from typing import Any

from lds.bilevel.tensors import Tree, leaves, paths


def by_leaf(name: str, value: Any, params: Tree) -> list[Any]:
    """Return the setting of each leaf of the weights.

    Raises:
        ValueError: a group names no weight, or a weight is in no group.
    """
    if isinstance(value, float) or not isinstance(value, Mapping):
        return [value] * len(leaves(params))
    names = tuple(_dotted(path) for path in paths(params))
    return [value[key] for key in _groups(name, tuple(value), names)]


def _dotted(path: str) -> str:
    """Write a path as torch names parameters: "['net']['0.weight']" is "net.0.weight"."""
    return path.replace("']['", ".").replace("['", "").replace("']", "").strip(".")


@functools.lru_cache(maxsize=256)
def _groups(name: str, keys: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return for each name the longest key that it begins with, by whole parts."""
    found = []
    for leaf in names:
        fits = [key for key in keys if key in ("", leaf) or leaf.startswith(f"{key}.")]
        if not fits:
            raise ValueError(
                f"{name} must have a group for {leaf!r}, got groups {list(keys)}; the group '' "
                "takes all that are in no other"
            )
        found.append(max(fits, key=len))
    unused = [key for key in keys if key not in found and key != ""]
    if unused:
        raise ValueError(
            f"{name} has the group {unused[0]!r}, with which no parameter's name begins; the names "
            f"are {list(names)[:8]}"
        )
    return tuple(found)
