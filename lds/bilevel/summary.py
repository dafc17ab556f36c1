"""Short texts for objects that hold trees of tensors: what is in them, not every number."""

from typing import Any

from torch import Tensor

from lds.bilevel.tensors import Tree, leaves, norm, paths

MAX_LEAVES = 5
"""Leaves of a tree that a summary lists; it counts the others."""

MAX_PATH = 48
"""Characters of a leaf's path that a summary shows."""

MAX_VALUE = 120
"""Characters of another value that a summary shows."""


def summary(name: str, values: dict[str, Any], trees: dict[str, Tree], grads: Tree = None) -> str:
    """Describe an object: its plain values in one line, then each tree by its leaves.

    Arguments:
        name: of the class.
        values: plain values by name.
        trees: trees by name, each in at most `MAX_LEAVES` + 2 lines.
        grads: a tree of gradients like those; its leaves are listed with their norms.
    """
    lines = [f"{name}({fields(values)})" if values else name]
    for tree_name, tree in trees.items():
        lines += _leaves(tree_name, tree, norms=False)
    if grads is not None:
        lines += _leaves("grad", grads, norms=True)
    return "\n".join(lines)


def fields(values: dict[str, Any]) -> str:
    """Write values as in the call of a dataclass, numbers with six digits."""
    return ", ".join(f"{name}={_value(value)}" for name, value in values.items())


def size(tree: Tree) -> str:
    """Write how many numbers a tree holds."""
    if tree is None:
        return "not kept"
    n = sum(leaf.numel() for leaf in leaves(tree) if isinstance(leaf, Tensor))
    return f"{n:,} number{'' if n == 1 else 's'}"


def _value(value: Any) -> str:
    if isinstance(value, Tensor) and value.dim() == 0:
        value = value.item()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return f"{{{fields(value)}}}"
    text = repr(value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def _leaves(name: str, tree: Tree, *, norms: bool) -> list[str]:
    found, where = leaves(tree), paths(tree)
    lines = [f"  {name}: {size(tree)}"]
    for path, leaf in list(zip(where, found, strict=True))[:MAX_LEAVES]:
        short = (
            path if len(path) <= MAX_PATH else f"{path[: MAX_PATH // 2]}…{path[-MAX_PATH // 2 :]}"
        )
        lines.append(f"    {short}{' ' if short else ''}{_leaf(leaf, norms=norms)}")
    if len(found) > MAX_LEAVES:
        n = len(found) - MAX_LEAVES
        lines.append(f"    and {n:,} more lea{'f' if n == 1 else 'ves'}")
    return lines


def _leaf(leaf: Any, *, norms: bool) -> str:
    if leaf is None:
        return "zero"
    if not isinstance(leaf, Tensor):
        return type(leaf).__name__
    dtype = str(leaf.dtype).removeprefix("torch.")
    text = f"{tuple(leaf.shape)} {dtype}"
    if leaf.dim() == 0 and type(leaf) is Tensor:
        text = f"{_value(leaf.detach())} ({dtype})"
    return f"{text}, norm {norm([leaf.detach()]):.6g}" if norms and leaf.dim() else text
