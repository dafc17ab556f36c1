"""The buffers of a module as state: each step reads them and hands on new ones (eq. 5.9).

Two instances of the idea: the running statistics of a batch normalisation, the power iteration of
a spectral norm. Plain training writes both into the module. Here the weights travel as
`Parameters`, with the buffers beside them, so that a step that is applied again meets the buffers
it met before.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lds.bilevel.summary import summary
from lds.bilevel.tensors import Tree


class Parameters(dict[str, Tensor]):
    """The trained parameters of a module by name, with its buffers beside them.

    As a dict it holds the parameters alone: ``params.values()`` is what a penalty runs over and
    ``dict(params)`` what a learned start is. As a pytree it holds the buffers, too.

    Arguments:
        parameters: by name.
        buffers: by name.
    """

    def __init__(self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> None:
        super().__init__(parameters)
        self.buffers = dict(buffers)

    def __repr__(self) -> str:
        return summary("Parameters", {}, {"parameters": dict(self), "buffers": self.buffers})

    def __reduce__(self) -> tuple[Any, ...]:
        return Parameters, (dict(self), self.buffers)

    def replaced(self, parameters: Mapping[str, Tensor]) -> "Parameters":
        """Other parameters beside the same buffers."""
        return Parameters(parameters, self.buffers)


def _flatten(tree: Parameters) -> tuple[list[Any], list[str]]:
    return [*tree.values(), tree.buffers], list(tree)


def _flatten_with_keys(tree: Parameters) -> tuple[list[tuple[Any, Any]], list[str]]:
    children, names = _flatten(tree)
    keys = [*map(pytree.MappingKey, names), pytree.GetAttrKey("buffers")]
    return list(zip(keys, children, strict=True)), names


def _unflatten(children: Any, names: list[str]) -> Parameters:
    *values, buffers = children
    tree = Parameters(dict(zip(names, values, strict=True)), {})
    tree.buffers = buffers  # as it comes: torch also unflattens placeholders
    return tree


pytree.register_pytree_node(
    Parameters,
    _flatten,
    _unflatten,
    serialized_type_name="lds.bilevel.Parameters",
    flatten_with_keys_fn=_flatten_with_keys,
)
torch.serialization.add_safe_globals([Parameters])  # a checkpoint holds the form of the weights


def _is_parameters(node: Any) -> bool:
    return isinstance(node, Parameters)


def _is_plain(tree: Tree) -> bool:
    """Whether a tree consists of dicts, lists, tuples and tensors, so that it has no buffers."""
    kind = type(tree)
    if kind is dict:
        return all(map(_is_plain, tree.values()))
    if kind is list or kind is tuple:
        return all(map(_is_plain, tree))
    return kind is Tensor


def split(tree: Tree) -> tuple[Tree, list[dict[str, Tensor]]]:
    """A tree without its buffers, and the buffers of each `Parameters` in it."""
    if _is_plain(tree):
        return tree, []
    found: list[dict[str, Tensor]] = []

    def part(node: Any) -> Any:
        if not _is_parameters(node):
            return node
        found.append(node.buffers)
        return Parameters(node, {})

    trained = pytree.tree_map(part, tree, is_leaf=_is_parameters)
    return (trained, found) if any(found) else (tree, [])


def joined(trained: Tree, buffers: Sequence[Mapping[str, Tensor]]) -> Tree:
    """The inverse of `split`."""
    rest = iter(buffers)
    return pytree.tree_map(
        lambda node: Parameters(node, next(rest)) if _is_parameters(node) else node,
        trained,
        is_leaf=_is_parameters,
    )


class Collected:
    """The new buffers of one evaluation of the inner objective.

    Arguments:
        outside: where this evaluation is a part of another one (a task under vmap), that one.

    Attributes:
        constant: whether buffers are constants for the derivatives taken now. Training holds them
            constant in ∇L, yet the next state depends on how they came about.
        whole: the evaluation that this is a part of, or itself.
    """

    def __init__(self, outside: "Collected | None" = None) -> None:
        self.constant = False
        self.whole: Collected = self if outside is None else outside.whole
        self._new: dict[int, tuple[Tensor, Tensor]] = {}  # the old one is kept with its id

    def current(self, old: Tensor) -> Tensor:
        """What has become of the buffer `old` so far."""
        return self._new[id(old)][1] if id(old) in self._new else old

    def report(self, old: Tensor, new: Tensor) -> None:
        """Take the buffer that follows on `old`."""
        self._new[id(old)] = (old, new)

    def follow(self, buffers: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
        """What has become of all of `buffers`.

        Raises:
            RuntimeError: buffers changed that are not among them.
        """
        known = {id(old) for group in buffers for old in group.values()}
        if not known >= self._new.keys():
            raise RuntimeError(
                "inner_objective changed the buffers of a module whose params are not part of "
                "params: put them there, or use apply.eval(...), which changes no buffers"
            )
        return [{name: self.current(old) for name, old in group.items()} for group in buffers]


class Refused(Collected):
    """Where nothing takes up new buffers: a step of the user's own."""

    def report(self, old: Tensor, new: Tensor) -> None:
        """Say what takes them up.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(
            "a step of Dynamics called apply(params, ...), which changes buffers of its module and "
            "would lose them: use outputs, params = apply.updated(params, ...) and put the new "
            "params into the state, or apply.eval(...), which changes no buffers"
        )


_collected: ContextVar[Collected | None] = ContextVar("collected", default=None)


def collecting() -> Collected | None:
    """Where new buffers are to be reported; None where they are dropped."""
    return _collected.get()


class collect:  # noqa: N801 (a context manager, as a class: quick)
    """Report the new buffers of a block to `into`."""

    __slots__ = ("_into", "_token")

    def __init__(self, into: Collected) -> None:
        self._into = into

    def __enter__(self) -> Collected:
        """Begin, and hand out what is reported to."""
        self._token = _collected.set(self._into)
        return self._into

    def __exit__(self, *error: object) -> None:
        """End, whatever happened."""
        _collected.reset(self._token)


class _Held(torch.autograd.Function):
    """The identity, whose derivative is 0 while `Collected.constant`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, collected: Collected) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Collected], output: Tensor) -> None:
        ctx.collected = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None]:
        return (None if ctx.collected.constant else grad), None


def held(value: Tensor) -> Tensor:
    """A new value of a buffer, constant in ∇L and differentiable as a part of the state."""
    collected = collecting()
    if collected is None or not value.requires_grad:
        return value
    result: Tensor = _Held.apply(value, collected.whole)  # type: ignore[no-untyped-call]
    return result
