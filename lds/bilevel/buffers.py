"""The buffers of a module as a part of the state, which each step replaces (eq. 5.9).

Two instances of the idea: the running statistics of a batch normalisation, the vectors of the power
iteration of a spectral norm. Plain training writes both into the module. Here `Parameters` holds
them with the weights, so that a step that is applied again gets the same buffers.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.utils import _pytree as pytree

from lds.bilevel.summary import summary
from lds.bilevel.tensors import Tree


class Parameters(dict[str, Tensor]):
    """The trained parameters of a module by name, and its buffers.

    As a dict it holds the parameters alone, such as for a penalty on ``params.values()`` or a
    learned start ``dict(params)``. As a pytree it holds the buffers, too.

    Arguments:
        parameters: trained parameters by name.
        buffers: buffers by name.
    """

    def __init__(self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> None:
        super().__init__(parameters)
        self.buffers = dict(buffers)

    def __repr__(self) -> str:
        return summary("Parameters", {}, {"parameters": dict(self), "buffers": self.buffers})

    def __reduce__(self) -> tuple[Any, ...]:
        return Parameters, (dict(self), self.buffers)

    def replaced(self, parameters: Mapping[str, Tensor]) -> "Parameters":
        """Return other parameters with the same buffers."""
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
    tree.buffers = buffers  # not copied: torch also unflattens placeholders
    return tree


pytree.register_pytree_node(
    Parameters,
    _flatten,
    _unflatten,
    serialized_type_name="lds.bilevel.Parameters",
    flatten_with_keys_fn=_flatten_with_keys,
)
# A checkpoint holds the tree structure of the weights.
torch.serialization.add_safe_globals([Parameters])


def _is_parameters(node: Any) -> bool:
    return isinstance(node, Parameters)


def _is_plain(tree: Tree) -> bool:
    """Return whether a tree is of dicts, lists, tuples and tensors, so that it has no buffers."""
    kind = type(tree)
    if kind is dict:
        return all(map(_is_plain, tree.values()))
    if kind is list or kind is tuple:
        return all(map(_is_plain, tree))
    return kind is Tensor


def split(tree: Tree) -> tuple[Tree, list[dict[str, Tensor]]]:
    """Split a tree into one without buffers, and the buffers of each `Parameters` in it."""
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
    """Put buffers back into a tree: the inverse of `split`."""
    rest = iter(buffers)
    return pytree.tree_map(
        lambda node: Parameters(node, next(rest)) if _is_parameters(node) else node,
        trained,
        is_leaf=_is_parameters,
    )


class Collected:
    """The new buffers of one evaluation of the inner objective.

    Arguments:
        outside: the evaluation that this one is a part of, such as a task under vmap; None if it is
            no part.

    Attributes:
        constant: whether derivatives computed now treat buffers as constants. Training does so in
            ∇L; the derivative of the next state does not.
        outside: as above.
    """

    __slots__ = ("_new", "constant", "outside")

    def __init__(self, outside: "Collected | None" = None) -> None:
        self.constant, self.outside = False, outside
        self._new: dict[int, tuple[Tensor, Tensor]] = {}  # the old one is kept with its id

    @property
    def whole(self) -> "Collected":
        """The evaluation that this one is a part of, or itself."""
        return self if self.outside is None else self.outside.whole

    def current(self, old: Tensor) -> Tensor:
        """Return the latest value of the buffer `old`."""
        return self._new[id(old)][1] if id(old) in self._new else old

    def report(self, old: Tensor, new: Tensor) -> None:
        """Store the new value of the buffer `old`."""
        self._new[id(old)] = (old, new)

    def follow(self, buffers: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Return the latest values of all `buffers`.

        Raises:
            RuntimeError: other buffers than these changed.
        """
        if not self._new and not buffers:
            return []
        known = {id(old) for group in buffers for old in group.values()}
        if not known >= self._new.keys():
            raise RuntimeError(
                "inner_objective changed the buffers of a module whose params are not part of "
                "params: put them there, or use apply.eval(...), which changes no buffers"
            )
        return [{name: self.current(old) for name, old in group.items()} for group in buffers]


class Refused(Collected):
    """Refuses new buffers: in a step of the user's own, where nothing would store them."""

    def report(self, old: Tensor, new: Tensor) -> None:
        """Raise an error that says how to keep them.

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
    """Return the collector of new buffers of the current block; None if they are dropped."""
    return _collected.get()


class collect:  # noqa: N801 (a context manager, as a class: quick)
    """Report the new buffers of a block to `into`."""

    __slots__ = ("_into", "_token")

    def __init__(self, into: Collected) -> None:
        self._into = into

    def __enter__(self) -> Collected:
        """Start to collect; return the collector."""
        self._token = _collected.set(self._into)
        return self._into

    def __exit__(self, *error: object) -> None:
        """Stop to collect."""
        _collected.reset(self._token)


class _Held(torch.autograd.Function):
    """The identity, with a derivative of 0 while `Collected.constant` is True."""

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
    """Make a new value of a buffer constant in ∇L, and differentiable as a part of the state."""
    collected = collecting()
    # A tensor of vmap does not tell whether it requires grad.
    if collected is None or not (value.requires_grad or is_functorch_wrapped_tensor(value)):
        return value
    result: Tensor = _Held.apply(value, collected.whole)  # type: ignore[no-untyped-call]
    return result
