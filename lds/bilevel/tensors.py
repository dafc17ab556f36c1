"""Arithmetic on pytrees of tensors, and the tracing of hyperparameters.

Parameters, states and hyperparameters are nested dicts, lists and tuples of tensors
(``torch.utils._pytree``). A leaf of the hyperparameters may also be an *owner*: an object that is
not a tensor and accumulates its own gradient, because a dense tensor for it would be too large.
Three instances of the idea:

- a tensor ``lr``: the dynamics meets a leaf that requires grad; its gradient is a tensor like it;
- edge probabilities on all pairs of nodes: the dynamics meets a recorder; every product with a
  drawn graph leaves one thin pair of factors, and the gradient is their concatenation;
- a table of embeddings of which a step touches few rows: the gradient is a list of (row, value).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Tree = Any
"""A nested dict, list or tuple of tensors (of tensors and owners for hyperparameters)."""


class Recorder(Protocol):
    """What a dynamics meets in the place of an owner while a step is being differentiated."""

    def inputs(self) -> Sequence[Tensor]:
        """Tensors created while the step ran, to differentiate its result against."""

    def gradient(self, grads: Sequence[Tensor | None]) -> Any:
        """The owner's gradient from those of `inputs()`; supports ``+``."""


class Owner(Protocol):
    """A hyperparameter leaf that is no tensor and says itself how its gradient is kept."""

    def record(self) -> Recorder:
        """A fresh recorder, to stand in for this leaf during one application of Φ_t or E."""


Columns = list[Tensor | None]
"""Tangents or cotangents leaf by leaf; None is a zero that was never formed."""


def leaves(tree: Tree) -> list[Any]:
    """The leaves of `tree`, in the order of `rebuild`."""
    found: list[Any] = []
    _collect(tree, found)
    return found


def _collect(tree: Tree, found: list[Any]) -> None:
    kind = type(tree)
    if kind is Tensor:
        found.append(tree)
    elif kind is dict:  # the usual containers by hand: several times faster than the registry
        for child in tree.values():
            _collect(child, found)
    elif kind is list or kind is tuple:
        for child in tree:
            _collect(child, found)
    else:
        found.extend(pytree.tree_leaves(tree))


def rebuild(tree: Tree, new_leaves: Sequence[Any]) -> Tree:
    """A tree of the structure of `tree` with other leaves."""
    rest = iter(new_leaves)
    try:
        rebuilt = _fill(tree, rest)
    except StopIteration:
        rebuilt = None
    if rebuilt is None or next(rest, rest) is not rest:
        raise ValueError(
            f"a tree of {len(leaves(tree))} leaves cannot be rebuilt from {len(new_leaves)}"
        )
    return rebuilt


def _fill(tree: Tree, rest: Iterator[Any]) -> Tree:
    kind = type(tree)
    if kind is Tensor:
        return next(rest)
    if kind is dict:
        return {name: _fill(child, rest) for name, child in tree.items()}
    if kind is list:
        return [_fill(child, rest) for child in tree]
    if kind is tuple:
        return tuple([_fill(child, rest) for child in tree])  # a generator would hide the end
    spec = pytree.tree_structure(tree)
    return pytree.tree_unflatten([next(rest) for _ in range(spec.num_leaves)], spec)


def tree_map(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply `function` leaf by leaf to trees of one structure."""
    if not others:
        return rebuild(tree, [function(leaf) for leaf in leaves(tree)])
    return pytree.tree_map(function, tree, *others)


def detach(tree: Tree) -> Tree:
    """The same values without history; owners stay as they are."""
    return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, tree)


def add(left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
    """Sum of two lists of gradients, where None stands for a zero that was never formed."""
    return [b if a is None else a if b is None else a + b for a, b in zip(left, right, strict=True)]


def dot(left: Sequence[Any], right: Sequence[Any]) -> Tensor:
    """Σ over leaves of the inner products; 0 where either is None."""
    terms = [
        torch.dot(a.reshape(-1), b.reshape(-1))
        for a, b in zip(left, right, strict=True)
        if a is not None and b is not None
    ]
    return torch.stack(terms).sum() if terms else torch.zeros(())


def norm(tensors: Sequence[Any]) -> float:
    """Euclidean norm of all leaves together; None and integers count as 0."""
    formed = [tensor for tensor in tensors if tensor is not None and tensor.is_floating_point()]
    if not formed:
        return 0.0
    if len(formed) == 1:  # the usual case of small problems, where every call counts
        return float(torch.linalg.vector_norm(formed[0].detach()))
    return float(torch.nn.utils.get_total_norm(formed))


def axpy(a: Tensor | float, x: Sequence[Any], y: Sequence[Any]) -> list[Any]:
    """A x + y, leaf by leaf, where None stands for a zero that was never formed."""
    return [
        q if p is None else a * p if q is None else a * p + q for p, q in zip(x, y, strict=True)
    ]


def paths(tree: Tree) -> list[str]:
    """Where each leaf lies, as one would write it: "['lr']", "[0]['weight']", "" for the root."""
    return [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(tree)[0]]


def same_structure(left: Tree, right: Tree) -> bool:
    """Whether two trees differ in their leaves only."""
    kind = type(left)
    if kind is not type(right):
        return pytree.tree_structure(left) == pytree.tree_structure(right)
    if kind is Tensor:
        return True
    if kind is dict:
        return list(left) == list(right) and all(same_structure(left[k], right[k]) for k in left)
    if kind is list or kind is tuple:
        return len(left) == len(right) and all(map(same_structure, left, right))
    return bool(pytree.tree_structure(left) == pytree.tree_structure(right))


def devices(*trees: Tree) -> list[torch.device]:
    """The CUDA devices on which tensors of `trees` lie, each once."""
    if not torch.cuda.is_available():
        return []
    found = {leaf.device for leaf in leaves(trees) if isinstance(leaf, Tensor)}
    return sorted((d for d in found if d.type == "cuda"), key=lambda d: d.index or 0)


class Traced:
    """A tree whose leaves can be differentiated against: tensors require grad, owners record.

    Arguments:
        tree: hyperparameters (λ) or a state.

    Attributes:
        tree: the same structure with fresh leaves, to be handed to Φ_t or E.
    """

    def __init__(self, tree: Tree) -> None:
        self._leaves = [self._fresh(leaf) for leaf in leaves(tree)]
        self.tree: Tree = rebuild(tree, self._leaves)

    @staticmethod
    def _fresh(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.detach().requires_grad_(leaf.is_floating_point())
        if not hasattr(leaf, "record"):
            raise TypeError(
                "every leaf of hyper and of a state must be a tensor (or, in hyper, own its "
                f"gradient through record()), got {type(leaf).__name__}"
            )
        return leaf.record()

    def inputs(self) -> list[Tensor]:
        """All tensors to differentiate against; complete once the function has been applied."""
        found: list[Tensor] = []
        for leaf in self._leaves:
            found += [leaf] if isinstance(leaf, Tensor) else leaf.inputs()
        return found

    def gradients(self, grads: Sequence[Tensor | None]) -> list[Any]:
        """One gradient a leaf (None: no dependence) from those of `inputs()`."""
        result, rest = [], list(grads)
        for leaf in self._leaves:
            n = 1 if isinstance(leaf, Tensor) else len(leaf.inputs())
            mine, rest = rest[:n], rest[n:]
            result.append(mine[0] if isinstance(leaf, Tensor) else leaf.gradient(mine))
        return result


def vjp(
    outputs: Sequence[Tensor], cotangents: Sequence[Tensor | None], traced: Sequence[Traced]
) -> list[list[Any]]:
    """Contract the Jacobian of `outputs` from the left; one list of gradients a traced tree.

    Outputs without a cotangent or without history contribute nothing.
    """
    pairs = [
        (out, cot)
        for out, cot in zip(outputs, cotangents, strict=True)
        if cot is not None and out.requires_grad
    ]
    inputs = [tree.inputs() for tree in traced]
    flat = [tensor for group in inputs for tensor in group]
    wanted = [tensor for tensor in flat if tensor.requires_grad]
    found: dict[int, Tensor | None] = {}
    if pairs and wanted:
        grads = torch.autograd.grad(
            [out for out, _ in pairs], wanted, [cot for _, cot in pairs], allow_unused=True
        )
        found = {id(tensor): grad for tensor, grad in zip(wanted, grads, strict=True)}
    return [
        tree.gradients([found.get(id(tensor)) for tensor in group])
        for tree, group in zip(traced, inputs, strict=True)
    ]


def differentiate(
    outputs: Sequence[Tensor | None],
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor | None] | None = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    batched: bool = False,
) -> Columns:
    """`torch.autograd.grad` where an output without history or cotangent contributes nothing.

    Arguments:
        outputs: tensors; None contributes nothing.
        inputs: tensors that require grad.
        cotangents: one an output, None contributes nothing; without any, outputs are scalars.
        create_graph, retain_graph: as there.
        batched: cotangents, and so the gradients, have columns in front.

    Returns:
        One gradient an input; None where nothing depends on it.
    """
    given = [None] * len(outputs) if cotangents is None else cotangents
    pairs = [
        (out, cot)
        for out, cot in zip(outputs, given, strict=True)
        if out is not None and out.requires_grad and (cotangents is None or cot is not None)
    ]
    if not pairs or not inputs:
        return [None] * len(inputs)
    return list(
        torch.autograd.grad(
            [out for out, _ in pairs],
            list(inputs),
            None if cotangents is None else [cot for _, cot in pairs],
            create_graph=create_graph,
            retain_graph=retain_graph,
            allow_unused=True,
            is_grads_batched=batched,
        )
    )


def pushforward(
    outputs: Sequence[Tensor], inputs: Sequence[Any]
) -> Callable[[Columns, bool], Columns]:
    """Products of a Jacobian from the right, by reverse differentiation alone.

    u ↦ uJ is linear; its own reverse derivative, taken at any u, is z ↦ Jz. So every function that
    can be differentiated twice is served, custom autograd functions included, and all columns
    share one graph.

    Arguments:
        outputs: with history.
        inputs: what z is aligned with; those that do not require grad have no column.

    Returns:
        push(z, batched) -> Jz, one tensor an output, None where it is 0.
    """
    where = [k for k, leaf in enumerate(inputs) if isinstance(leaf, Tensor) and leaf.requires_grad]
    moved = [k for k, out in enumerate(outputs) if out.requires_grad]
    probes = [torch.zeros_like(outputs[k], requires_grad=True) for k in moved]
    pulled = differentiate(
        [outputs[k] for k in moved], [inputs[k] for k in where], probes, create_graph=True
    )

    def push(z: Columns, batched: bool) -> Columns:
        mine = [z[k] for k in where]
        found = differentiate(pulled, probes, mine, retain_graph=True, batched=batched)
        result: Columns = [None] * len(outputs)
        for k, tangent in zip(moved, found, strict=True):
            result[k] = tangent
        return result

    return push
