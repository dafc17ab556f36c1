"""Trees with the same keys in another order: dicts are matched by key, not by position."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lds._checkpoint import saved_fingerprint
from lds.bilevel.buffers import Parameters
from lds.bilevel.tensors import Columns, Tree, leaves, paths, rebuild


def ordered(tree: Tree, wanted: Sequence[str]) -> Tree:
    """Return `tree` with the keys of its dicts in the order in which `wanted` has its paths.

    Arguments:
        tree: not changed; one with other paths is returned as it is.
        wanted: paths of leaves, as `lds.bilevel.tensors.paths` returns them.
    """
    found = paths(tree)
    if found == list(wanted) or sorted(found) != sorted(wanted):
        return tree
    places = {path: k for k, path in enumerate(wanted)}
    return _sorted(tree, rebuild(tree, [places[path] for path in found]))


def _sorted(tree: Tree, places: Tree) -> Tree:
    """Sort the keys of dicts by the place of their first leaf."""
    kind = type(tree)
    if kind in (dict, OrderedDict, Parameters):
        keys = sorted(tree, key=lambda key: min(leaves(places[key]), default=math.inf))
        pairs = {key: _sorted(tree[key], places[key]) for key in keys}
        if kind is Parameters:
            return Parameters(pairs, _sorted(tree.buffers, places.buffers))
        return kind(pairs)
    if kind is list or kind is tuple:
        return kind(_sorted(*pair) for pair in zip(tree, places, strict=True))
    return tree


def as_begun(checkpoint: str | Path | None, resume: bool, **trees: Tree) -> list[Tree]:
    """Return trees with their keys in the order of the run that is resumed.

    The state of the optimiser and of a method goes by position.

    Arguments:
        checkpoint, resume: as for `solve`; without resuming the trees are returned as they are.
        trees: by their names in the settings of the checkpoint.

    Raises:
        ValueError: the keys of containers other than dicts are in another order.
    """
    if not (isinstance(checkpoint, str | Path) and resume is True):
        return list(trees.values())
    settings = saved_fingerprint(checkpoint)
    result = []
    for name, tree in trees.items():
        begun = [key.removeprefix(name) for key in settings if key.startswith(name)]
        found = ordered(tree, begun)
        if paths(found) != begun and sorted(paths(found)) == sorted(begun):
            raise ValueError(
                f"{name} must have its leaves in the order of the run that is resumed, {begun}, "
                f"got {paths(found)}"
            )
        result.append(found)
    return result


def matched(solution: Columns, before: Sequence[Tree], now: Sequence[Tree]) -> Columns:
    """Return a solution that has a column a leaf of an earlier tree in the order of that of now.

    Arguments:
        solution: of an implicit method.
        before, now: the trees that its columns may belong to, in earlier and in present order; the
            first that has as many leaves counts.

    Raises:
        ValueError: the solution has another number of columns.
    """
    for old, new in zip(before, now, strict=True):
        earlier, present = paths(old), paths(new)
        if len(earlier) == len(solution) and sorted(earlier) == sorted(present):
            return [solution[earlier.index(path)] for path in present]
    raise ValueError(
        "previous must be a result for params and hyper with the same keys in the same order: its "
        "method keeps tables that go by position"
    )


def like(tree: Any, wanted: Tree) -> Tree:
    """Return `tree` with its keys in the order of those of another tree."""
    return ordered(tree, paths(wanted))
