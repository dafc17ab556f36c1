"""Arithmetic on pytrees of tensors, and the tracing of hyperparameters.

Parameters, states and hyperparameters are nested dicts, lists and tuples of tensors
(``torch.utils._pytree``). A leaf of the hyperparameters may also be an *owner*: an object that is
not a tensor and accumulates its own gradient, because a dense tensor of it would be too large.
Three instances of the idea:

- a tensor ``lr``: the dynamics gets a leaf that requires grad; its gradient is a tensor like it;
- edge probabilities on all pairs of nodes: the dynamics gets a recorder, to which every product
  with a drawn graph adds a thin pair of factors; the gradient is their concatenation;
- a table of embeddings of which a step uses few rows: the gradient is a list of (row, value).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Tree = Any
"""A nested dict, list or tuple of tensors (of tensors and owners for hyperparameters)."""


class Recorder(Protocol):
    """What a dynamics gets instead of an owner while a step is differentiated."""

    def inputs(self) -> Sequence[Tensor]:
        """Return the tensors created during the step, by which its result is differentiated."""

    def gradient(self, grads: Sequence[Tensor | None]) -> Any:
        """Make the owner's gradient, which supports ``+``, from those of `inputs()`."""


class Owner(Protocol):
    """A hyperparameter leaf that is no tensor and defines the form of its gradient."""

    def record(self) -> Recorder:
        """Make a recorder that replaces this leaf in one application of Φ_t or E."""


Columns = list[Tensor | None]
"""Tangents or cotangents leaf by leaf; None stands for zero."""


def leaves(tree: Tree) -> list[Any]:
    """Return the leaves of `tree`, in the order of `rebuild`."""
    if type(tree) is Tensor:
        return [tree]
    found: list[Any] = []
    _collect(tree, found)
    return found


def _collect(tree: Tree, found: list[Any]) -> None:
    kind = type(tree)
    if kind is dict:  # the usual containers by hand: several times faster than the registry
        children: Any = tree.values()
    elif kind is list or kind is tuple:
        children = tree
    else:
        found.extend([tree] if kind is Tensor else pytree.tree_leaves(tree))
        return
    for child in children:
        if type(child) is Tensor:
            found.append(child)
        else:
            _collect(child, found)


def rebuild(tree: Tree, new_leaves: Sequence[Any]) -> Tree:
    """Make a tree of the structure of `tree` with other leaves."""
    if type(tree) is Tensor and len(new_leaves) == 1:
        return new_leaves[0]
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
        return {
            name: next(rest) if type(child) is Tensor else _fill(child, rest)
            for name, child in tree.items()
        }
    if kind is list or kind is tuple:  # a generator would hide the end
        filled = [next(rest) if type(child) is Tensor else _fill(child, rest) for child in tree]
        return filled if kind is list else tuple(filled)
    spec = pytree.tree_structure(tree)
    return pytree.tree_unflatten([next(rest) for _ in range(spec.num_leaves)], spec)


def requires_grad(leaf: Any) -> bool:
    """Return whether a leaf is a tensor that requires grad."""
    return isinstance(leaf, Tensor) and leaf.requires_grad


def tree_map(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply `function` leaf by leaf to trees of one structure."""
    if not others:
        return rebuild(tree, [function(leaf) for leaf in leaves(tree)])
    return pytree.tree_map(function, tree, *others)


def detach(tree: Tree) -> Tree:
    """Detach every tensor; owners stay as they are."""
    return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, tree)


def anew(tree: Tree) -> Tree:
    """Cut every tensor from its history; real ones begin another. Owners stay as they are."""

    def begun(leaf: Any) -> Any:
        is_real = isinstance(leaf, Tensor) and leaf.is_floating_point()
        return leaf.detach().requires_grad_() if is_real else leaf

    return tree_map(begun, tree)


def add(left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
    """Add two lists of gradients; None stands for zero."""
    return [b if a is None else a if b is None else a + b for a, b in zip(left, right, strict=True)]


def dot(left: Sequence[Any], right: Sequence[Any]) -> Tensor:
    """Sum the inner products over leaves; None stands for zero."""
    terms = [
        torch.dot(a.reshape(-1), b.reshape(-1))
        for a, b in zip(left, right, strict=True)
        if a is not None and b is not None
    ]
    return torch.stack(terms).sum() if terms else torch.zeros(())


def norm(tensors: Sequence[Any]) -> float:
    """Compute the Euclidean norm of all leaves together; None and integers count as 0."""
    formed = [tensor for tensor in tensors if tensor is not None and tensor.is_floating_point()]
    if not formed:
        return 0.0
    if len(formed) == 1:  # faster, and frequent in small problems
        return float(torch.linalg.vector_norm(formed[0].detach()))
    return float(torch.nn.utils.get_total_norm(formed))


def axpy(a: Tensor | float, x: Sequence[Any], y: Sequence[Any]) -> list[Any]:
    """Compute a x + y, leaf by leaf; None stands for zero."""
    return [
        q if p is None else a * p if q is None else a * p + q for p, q in zip(x, y, strict=True)
    ]


def paths(tree: Tree) -> list[str]:
    """Return the path of each leaf as an index: "['lr']", "[0]['weight']", "" for the root."""
    return [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(tree)[0]]


def same_structure(left: Tree, right: Tree) -> bool:
    """Return whether two trees differ at most in their leaves."""
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
    """Return the CUDA devices of the tensors of `trees`, each once."""
    if not torch.cuda.is_available():
        return []
    found = {leaf.device for leaf in leaves(trees) if isinstance(leaf, Tensor)}
    return sorted((d for d in found if d.type == "cuda"), key=lambda d: d.index or 0)


class Traced:
    """A copy of a tree to differentiate by: tensors require grad, recorders replace owners.

    Arguments:
        tree: hyperparameters (λ) or a state.

    Attributes:
        tree: the argument for Φ_t or E: the same structure with new leaves.
    """

    def __init__(self, tree: Tree) -> None:
        self._leaves = [self._fresh(leaf) for leaf in leaves(tree)]
        self._plain = all(isinstance(leaf, Tensor) for leaf in self._leaves)
        self.tree: Tree = rebuild(tree, self._leaves)

    @property
    def given(self) -> list[Any]:
        """The leaves of `tree`; a tensor shares its memory and version with the one given."""
        return self._leaves

    @staticmethod
    def _fresh(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            real = leaf.is_floating_point()
            if not real and leaf.is_complex():
                raise TypeError(
                    f"every leaf of hyper and of a state must be real, got {leaf.dtype}; "
                    "torch.view_as_real(leaf) makes one with real and imaginary parts, and "
                    "torch.view_as_complex turns it back inside the functions"
                )
            return leaf.detach().requires_grad_(real)
        if not hasattr(leaf, "record"):
            raise TypeError(
                "every leaf of hyper and of a state must be a tensor (or, in hyper, own its "
                f"gradient through record()), got {type(leaf).__name__}"
            )
        return leaf.record()

    def inputs(self) -> list[Tensor]:
        """Return all tensors to differentiate by; complete after the function has been applied."""
        if self._plain:
            return self._leaves
        found: list[Tensor] = []
        for leaf in self._leaves:
            found += [leaf] if isinstance(leaf, Tensor) else leaf.inputs()
        return found

    def gradients(self, grads: Sequence[Tensor | None]) -> list[Any]:
        """Make one gradient a leaf from those of `inputs()`; None for a leaf without influence."""
        if self._plain:
            return list(grads)
        result, rest = [], list(grads)
        for leaf in self._leaves:
            n = 1 if isinstance(leaf, Tensor) else len(leaf.inputs())
            mine, rest = rest[:n], rest[n:]
            result.append(mine[0] if isinstance(leaf, Tensor) else leaf.gradient(mine))
        return result


def vjp(
    outputs: Sequence[Tensor], cotangents: Sequence[Tensor | None], traced: Sequence[Traced]
) -> list[list[Any]]:
    """Multiply the Jacobian of `outputs` from the left; return the gradients of each traced tree.

    Outputs without a cotangent or without history contribute nothing.
    """
    pairs = [
        (out, cot)
        for out, cot in zip(outputs, cotangents, strict=True)
        if cot is not None and out.requires_grad
    ]
    inputs = [tree.inputs() for tree in traced]
    wanted = [tensor for group in inputs for tensor in group if tensor.requires_grad]
    grads: Sequence[Tensor | None] = [None] * len(wanted)
    if pairs and wanted:
        grads = torch.autograd.grad(
            [out for out, _ in pairs], wanted, [cot for _, cot in pairs], allow_unused=True
        )
    rest = iter(grads)
    return [
        tree.gradients([next(rest) if tensor.requires_grad else None for tensor in group])
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
    """Call `torch.autograd.grad`; outputs without history or cotangent contribute nothing.

    Arguments:
        outputs: tensors; None contributes nothing.
        inputs: tensors that require grad.
        cotangents: one an output, None contributes nothing; no list at all for scalar outputs.
        create_graph, retain_graph: as for `torch.autograd.grad`.
        batched: whether cotangents, and so the gradients, have columns in front.

    Returns:
        One gradient an input; None if nothing depends on it.
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
    """Prepare products of a Jacobian from the right, by reverse differentiation alone.

    u ↦ uJ is linear; its reverse derivative, at any u, is z ↦ Jz. This works for every function
    that can be differentiated twice, custom autograd functions included, and all columns share one
    graph.

    Arguments:
        outputs: tensors with history.
        inputs: leaves, one for each entry of z; those that do not require grad contribute nothing.

    Returns:
        push(z, batched) -> Jz, one tensor an output; None stands for zero.
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


def coarsest(outputs: Sequence[Tensor]) -> float:
    """Return the largest eps of a dtype in the history of `outputs`; autocast has coarser ones."""
    kinds = {out.dtype for out in outputs}
    nodes: list[Any] = [out.grad_fn for out in outputs if out.grad_fn is not None]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        kinds |= {of.dtype for of in node._input_metadata}
        found = {before for before, _ in node.next_functions if before is not None} - seen
        seen |= found
        nodes += found
    return max(torch.finfo(kind).eps for kind in kinds if kind.is_floating_point)
