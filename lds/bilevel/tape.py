"""The tape of a run: the history of all its steps as one graph, for small problems."""

import functools
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from lds.bilevel.checks import check_state, unchanged
from lds.bilevel.explain import explained
from lds.bilevel.step import Outer, Step
from lds.bilevel.tensors import Traced, Tree, add, leaves, rebuild, vjp


class Tape:
    """The history of consecutive steps, each applied once.

    The numbers are those of `Step.vjp`, which applies Φ_t a second time. Every step gets its own
    copy of λ, so that the gradients are summed in the same order.
    """

    def __init__(self) -> None:
        self._first: Traced | None = None  # the state before the first step
        self._tip: Tree = None  # the state after the last one, with its history
        self._hypers: list[Traced] = []

    def run(self, step: Step) -> tuple[Tree, Tensor | None]:
        """Apply the next step; return s_t and the inner loss at s_{t-1}, both without history."""
        if self._first is None:
            self._first = Traced(step.state)
            self._tip = self._first.tree
        hyper, what = Traced(step.hyper), f"step {step.t} of the dynamics"
        with (
            explained(what),
            step.replay(),
            torch.enable_grad(),
            unchanged(what, state=step.state, hyper=hyper),
        ):
            new, loss = step.dynamics.advance(self._tip, hyper.tree, step.t)
        after = check_state(new, step.state, step.t)
        self._tip = new
        self._hypers.append(hyper)
        step.compare_loss(loss)
        return rebuild(new, [leaf.detach() for leaf in after]), loss

    def sweep(self, outer: Outer) -> tuple[list[Tensor | None], list[Any]]:
        """Compute α before the first step and the hypergradient through all; free the history."""
        assert self._first is not None
        found = vjp(leaves(self._tip), outer.adjoint, [self._first, *self._hypers])
        self._tip, self._hypers = None, []
        g = outer.direct
        for to_hyper in reversed(found[1:]):
            g = add(g, to_hyper)
        return found[0], g

    @property
    def n_bytes(self) -> int:
        """Bytes that the tape of the steps so far keeps, with the data and weights it refers to."""
        hypers = sum(
            leaf.numel() * leaf.element_size() for hyper in self._hypers for leaf in hyper.inputs()
        )
        return saved_bytes(leaves(self._tip)) + hypers


def saved_bytes(outputs: Sequence[Tensor]) -> int:
    """Count the bytes that the operations behind `outputs` keep for their derivatives."""
    sizes: dict[int, int] = {}
    nodes: list[Any] = [out.grad_fn for out in outputs if out.grad_fn is not None]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        kind: Any = type(node)
        kept = [getattr(node, name) for name in _saved(kind)]
        kept += getattr(node, "saved_tensors", ())  # of a function of the user's
        for value in kept:
            for tensor in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(tensor, Tensor) and tensor.layout is torch.strided:
                    storage = tensor.untyped_storage()
                    sizes[storage.data_ptr()] = storage.nbytes()
        found = {before for before, _ in node.next_functions if before is not None} - seen
        seen |= found
        nodes += found
    return sum(sizes.values())


@functools.cache
def _saved(kind: Hashable) -> tuple[str, ...]:
    """List the names under which torch shows what an operation of this kind keeps."""
    return tuple(name for name in dir(kind) if name.startswith("_saved_"))
