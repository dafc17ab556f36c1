"""The state of an outer loop between hypergradients, and the loop itself."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lds._checkpoint import Checkpoint
from lds._random import replayed
from lds.bilevel.checks import NonFiniteError
from lds.bilevel.history import Last, Record, Solution
from lds.bilevel.keep import Keeper
from lds.bilevel.outer import OuterStep
from lds.bilevel.stopping import Rule
from lds.bilevel.tensors import (
    Columns,
    Tree,
    devices,
    leaves,
    paths,
    rebuild,
    same_structure,
    tree_map,
)

Callback = Callable[[Record], Any]

REMEMBERED = 1000
"""Numbers in hyper up to which every record of the history keeps its values."""


class At:
    """E as one outer iteration evaluates it: its objective, step and draws."""

    def __init__(self, objective: Callable[..., Tensor], step: int, seed: int) -> None:
        self._objective, self._step, self._seed = objective, step, seed

    def __call__(self, params: Tree, hyper: Tree) -> Tensor:
        """E, without history."""
        with replayed(self._seed, devices(params, hyper)), torch.no_grad():
            return self._objective(params, hyper, self._step)


def as_rules(stopping: Rule | Sequence[Rule]) -> list[Rule]:
    """One rule or several, as a list."""
    return [stopping] if callable(stopping) else list(stopping)


def why(stop: BaseException) -> str:
    """An exception that ends a loop, as its reason."""
    return "interrupted" if isinstance(stop, KeyboardInterrupt) else f"non-finite: {stop}"


class Run:
    """The state of an outer loop between hypergradients, which a checkpoint holds.

    Arguments:
        outer: the hyperparameters and their optimiser.
        params: first weights.
        checkpoint: its folder; None keeps none.
        resume: whether to go on from there.
        settings: what must be the same for that.
        keeper: what keeps the hyperparameters and weights to return.
    """

    def __init__(
        self,
        outer: OuterStep,
        params: Tree,
        checkpoint: str | Path | None,
        resume: bool,
        settings: dict[str, Any],
        keeper: Keeper,
    ) -> None:
        self.outer, self.params, self.keeper = outer, params, keeper
        self.history: list[Record] = []
        self.solution: Columns | None = None
        self.more: dict[str, Any] = {}  # what an online loop keeps besides
        self._checkpoint = None
        if checkpoint is None and resume:
            raise ValueError("resume=True needs checkpoint=, the folder to go on from")
        if checkpoint is not None:
            shapes = {
                f"{name}{path}": f"{tuple(leaf.shape)} {leaf.dtype}"
                for name, tree in (("params", params), ("hyper", outer.hyper))
                for path, leaf in zip(paths(tree), leaves(tree), strict=True)
            }
            settings = settings | {"optimizer": outer.description} | keeper.settings | shapes
            self._checkpoint = Checkpoint(checkpoint, settings)
            stored = self._checkpoint.begin(resume)
            if stored is not None:
                self._restore(stored)

    @property
    def done(self) -> int:
        """Outer iterations that ended."""
        return self.history[-1].iteration + 1 if self.history else 0

    def take(
        self, record: Record, params: Tree, grad: Tree, solution: Columns | None = None
    ) -> Record:
        """Take a hypergradient into account, and move along it; its record, evaluated.

        Raises:
            NonFiniteError: the hypergradient, or where it leads, is not finite.
        """
        if not math.isfinite(record.grad_norm):
            raise NonFiniteError(f"the hypergradient is not finite at {record.iteration}")
        record = self.keeper.take(record, params, count=len(self.history) + 1)
        small = sum(leaf.numel() for leaf in leaves(record.hyper)) <= REMEMBERED
        self.history.append(record if small else replace(record, hyper=None))
        self.params, self.solution = params, solution
        self.outer.take(grad)
        return record

    def loop(
        self,
        iterate: Callable[[int, Tree], Record],
        n_outer: int,
        stopping: Rule | Sequence[Rule],
        callback: Callback | None,
    ) -> str:
        """Iterate until something ends it; the reason.

        Arguments:
            iterate: (outer iteration, λ) to its record; it takes its hypergradient itself.
            n_outer, stopping, callback: as for `solve`.
        """
        rules = as_rules(stopping)
        reason = self.ended(rules)
        while reason is None and self.done < n_outer:
            try:
                record = iterate(self.done, self.outer.hyper)
                self.save()
                reason = self.ended(rules)
                if callback is not None and callback(record) is True:
                    reason = reason or "callback"
            except (NonFiniteError, KeyboardInterrupt) as stop:
                if not self.history:
                    raise
                reason = why(stop)
        return reason or "n_outer"

    def ended(self, rules: Sequence[Rule]) -> str | None:
        """Why a rule would end the loop now, or None."""
        if not self.history:
            return None
        found = (rule(self.history) for rule in rules)
        return next((reason for reason in found if reason is not None), None)

    def save(self) -> None:
        """Write the checkpoint, where there is to be one."""
        if self._checkpoint is None:
            return
        keeper = self.keeper
        self._checkpoint.save(
            {
                "hyper": leaves(self.outer.hyper),
                "params": packed(self.params),
                "optimizer": self.outer.optimizer.state_dict(),
                "solution": self.solution,
                "kept": None
                if keeper.hyper is None
                else [keeper.value, keeper.n, leaves(keeper.hyper), packed(keeper.params)],
                "history": [
                    [r.iteration, r.value, r.grad_norm, _values(r.hyper), r.info]
                    for r in self.history
                ],
                "more": self.more,
            }
        )

    def _restore(self, stored: dict[str, Any]) -> None:
        like = self.outer.hyper
        self.outer.load(refill(like, stored["hyper"]))
        self.outer.load_optimizer(stored["optimizer"])
        first = self.params
        self.params = unpacked(stored["params"], first, like)
        self.solution = stored["solution"]
        if stored["kept"] is not None:
            keeper = self.keeper
            keeper.value, keeper.n, hyper, params = stored["kept"]
            keeper.hyper, keeper.params = refill(like, hyper), unpacked(params, first, like)
        self.history = [
            Record(iteration, value, size, None if hyper is None else refill(like, hyper), info)
            for iteration, value, size, hyper, info in stored["history"]
        ]
        self.more = stored["more"]

    def solution_of(
        self,
        reason: str,
        value_at: Callable[[Tree, Tree], Tensor | float],
        trained: Callable[[Tree], Tree] | None = None,
    ) -> Solution:
        """The result.

        Arguments:
            reason: why the loop ended.
            value_at: (params, hyper) to E.
            trained: hyper to the weights that belong to it, where they are not to be averaged.
        """
        keeper = self.keeper
        hyper, params, value = keeper.hyper, keeper.params, keeper.value
        if hyper is None:  # the loop ended before the first evaluation
            hyper, params = self.outer.hyper, self.params
        if keeper.keep == "averaged":
            hyper = self.outer.projected(hyper)
            params = params if trained is None else trained(hyper)
        if keeper.evaluate is not None and (keeper.keep != "best" or keeper.hyper is None):
            value = keeper.judge(params, hyper)
        elif keeper.keep == "averaged":
            value = float(value_at(params, hyper))
        last = Last(self.outer.hyper, self.params)
        return Solution(hyper, params, value, self.history, reason, last, keeper.keep)


def packed(tree: Tree) -> list[Any]:
    """A tree as plain values: its form, and its leaves."""
    return [tree_map(lambda leaf: 0, tree), leaves(tree)]


def unpacked(stored: list[Any], like: Tree, hyper: Tree) -> Tree:
    """The tree of `packed`, on the devices of `like`; if of another form, on that of `hyper`."""
    form, kept = stored
    if not same_structure(form, tree_map(lambda leaf: 0, like)):
        device = leaves(hyper)[0].device
        like = tree_map(lambda leaf: torch.empty(0, device=device), form)
    return refill(like, kept)


def refill(like: Tree, stored: list[Tensor]) -> Tree:
    """A tree of stored leaves, on the devices of `like`."""
    pairs = zip(stored, leaves(like), strict=True)
    return rebuild(like, [leaf.to(mine.device) for leaf, mine in pairs])


def _values(tree: Tree) -> list[Any] | None:
    return None if tree is None else leaves(tree)
