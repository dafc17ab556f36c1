"""The loop that `solve`, `solve_online` and `solve_black_box` share, and its saved state."""

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from lds._checkpoint import Checkpoint
from lds._numbers import check_flag, real
from lds._progress import Shown
from lds._random import replayed
from lds.bilevel.checks import NonFiniteError, check_leaves, is_maker, kind_of
from lds.bilevel.dynamics import Dynamics
from lds.bilevel.history import Last, Record, Solution
from lds.bilevel.keep import Keeper, number_of
from lds.bilevel.outer import OuterStep
from lds.bilevel.same_run import Values, measured, refuse_others, starts
from lds.bilevel.stopping import Rule
from lds.bilevel.tensors import (
    Columns,
    Traced,
    Tree,
    devices,
    leaves,
    rebuild,
    same_structure,
    tree_map,
)

Callback = Callable[[Record], Any]

MAX_REMEMBERED = 1000
"""Largest number of hyperparameters of which every record of the history keeps the values."""


class At:
    """E with the step and the random draws of one outer iteration.

    Arguments:
        dynamics: whose generators E may draw from.
        objective: E(params, hyper, step).
        step, seed: of the iteration.
    """

    def __init__(
        self, dynamics: Dynamics, objective: Callable[..., Tensor], step: int, seed: int
    ) -> None:
        self._objective, self._step, self._seed = objective, step, seed
        self._generators = dynamics.generators

    def __call__(self, params: Tree, hyper: Tree) -> Tensor:
        """Evaluate E, which may take derivatives itself; return it without history."""
        where, traced = devices(params, hyper), [Traced(tree).tree for tree in (params, hyper)]
        with replayed(self._seed, where, self._generators), torch.enable_grad():
            return self._objective(*traced, self._step).detach()


@dataclass(frozen=True)
class Limits:
    """What ends a loop, and who is called on the way.

    Arguments:
        stopping: one rule or several, asked after each record.
        callback: called with each record; returning True, also of NumPy or torch, ends the loop.
        time_limit: seconds since the start of this call after which no iteration begins; None for
            no limit.
        verbose: whether to show progress.
        total: largest number of records.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: `time_limit` is not positive.
    """

    stopping: Rule | Sequence[Rule]
    callback: Callback | None
    time_limit: float | None
    verbose: bool
    total: int

    def __post_init__(self) -> None:
        check_flag("verbose", self.verbose)
        rules = self._rules if isinstance(self._rules, tuple | list) else [self._rules]
        for rule in rules:
            maker = is_maker(rule, "stopping")
            if maker or not callable(rule):
                raise TypeError(
                    "stopping must be a rule such as stopping.patience(10), or a tuple of rules, "
                    f"() for none, got {kind_of(rule)}"
                    + ("; did you mean to call it?" if maker else "")
                )
        if not (self.callback is None or callable(self.callback)):
            raise TypeError(
                f"callback must be a function of a Record, or None, got {kind_of(self.callback)}"
            )
        wanted = "a positive number of seconds, or None"
        if self.time_limit is not None and not real("time_limit", self.time_limit, wanted) > 0:
            raise ValueError(
                f"time_limit must be a positive number of seconds or None, got {self.time_limit}"
            )

    def shown(self, done: int) -> Shown | nullcontext[None]:
        """Return the progress of a loop that has made `done` records; None if it is not shown."""
        return Shown(self.total, done) if self.verbose else nullcontext()

    def rule_of(self, history: Sequence[Record]) -> str | None:
        """Return the reason to stop that a rule gives, or None."""
        if not history:
            return None
        for rule in self._rules:
            reason = rule(history)
            if not (reason is None or isinstance(reason, str)):
                raise TypeError(
                    "a rule of stopping must return the reason to stop as text, or None, got "
                    f"{reason!r}"
                )
            if reason is not None:
                return reason
        return None

    @property
    def _rules(self) -> Sequence[Rule]:
        return [self.stopping] if callable(self.stopping) else self.stopping


class Run:
    """The state of a loop, which a checkpoint holds, and the loop itself.

    Arguments:
        outer: the hyperparameters and their optimiser.
        params: first weights.
        checkpoint: folder of the checkpoint; None for none.
        resume: whether to start from that checkpoint.
        settings: what must equal the settings of the run that is resumed, by name.
        keeper: selects the hyperparameters and weights to return.
        save_every: records from one checkpoint to the next.
        first: computes numbers that a resumed run must share up to rounding, by name.

    Attributes:
        resumed: what `more` returned when the checkpoint was written; empty in a new run.
        more: returns what the checkpoint holds besides: tensors and plain values by name.
    """

    def __init__(
        self,
        outer: OuterStep,
        params: Tree,
        checkpoint: str | Path | None,
        resume: bool,
        settings: dict[str, Any],
        keeper: Keeper,
        save_every: int = 1,
        first: Callable[[], Values] = dict,
    ) -> None:
        self.outer, self.params, self.keeper = outer, params, keeper
        self.history: list[Record] = []
        self.solution: Columns | None = None
        self.resumed: dict[str, Any] = {}
        self.more: Callable[[], dict[str, Any]] = dict
        self._save_every = save_every
        self._checkpoint = None
        self._first: Values = {}
        check_flag("resume", resume)
        if not (checkpoint is None or isinstance(checkpoint, str | Path)):
            raise TypeError(
                "checkpoint must be the path of a folder as text or pathlib.Path, or None, got "
                f"{checkpoint!r}"
            )
        if checkpoint is None and resume:
            raise ValueError(
                "resume=True needs checkpoint=: give the folder of the run to continue"
            )
        if checkpoint is not None:
            check_leaves("params", params)
            begun = starts({"params": params, "hyper": outer.hyper})
            settings = settings | {"optimizer": outer.description} | keeper.settings | begun
            self._checkpoint = Checkpoint(checkpoint, settings)
            stored = self._checkpoint.begin(resume)
            self._first = measured(first, outer)
            if stored is not None:
                again = functools.partial(measured, first, outer)
                refuse_others(checkpoint, stored["first"], self._first, again)
                self._restore(stored)

    @property
    def done(self) -> int:
        """Number of hypergradients so far."""
        return len(self.history)

    def take(
        self, record: Record, params: Tree, grad: Tree, solution: Columns | None = None
    ) -> Record:
        """Move the hyperparameters along a hypergradient; add `evaluate` to its record.

        Raises:
            NonFiniteError: the hypergradient, or the hyperparameters after the step, are not
                finite.
        """
        if not math.isfinite(record.grad_norm):
            raise NonFiniteError(f"the hypergradient is not finite at {record.iteration}")
        record = self.keeper.take(record, params, count=self.done + 1)
        small = sum(leaf.numel() for leaf in leaves(record.hyper)) <= MAX_REMEMBERED
        self.history.append(record if small else replace(record, hyper=None))
        self.params, self.solution = params, solution
        self.outer.take(grad, record.value)
        return record

    def loop(
        self,
        iterate: Callable[[], Record | None],
        unfinished: Callable[[], bool],
        limits: Limits,
        finished: str,
    ) -> str:
        """Iterate until something ends the loop, and return the reason.

        Arguments:
            iterate: makes one hypergradient and calls `take`; returns the record, or None if the
                run ended before the next hypergradient.
            unfinished: whether there is another iteration to make.
            limits: what else ends the loop.
            finished: the reason when `unfinished` returns False.
        """
        with limits.shown(self.done) as shown:
            return self._loop(iterate, unfinished, limits, shown) or finished

    def _loop(
        self,
        iterate: Callable[[], Record | None],
        unfinished: Callable[[], bool],
        limits: Limits,
        shown: Shown | None,
    ) -> str | None:
        start, reason = monotonic(), limits.rule_of(self.history)
        while reason is None and unfinished():
            try:
                record = iterate()
                if record is None:
                    continue
                if self.done % self._save_every == 0:
                    self.save()
                if shown is not None:
                    shown.update(self.done, _described(record, self.keeper))
                reason = limits.rule_of(self.history)
                if limits.callback is not None and _is_true(limits.callback(record)):
                    reason = reason or "callback"
                del record  # it holds hyperparameters that the next iteration replaces
            except KeyboardInterrupt:
                if not self.history:
                    raise
                reason = "interrupted"
            except NonFiniteError as error:
                if not self.history:
                    raise
                reason = f"non-finite: {error}"
            late = limits.time_limit is not None and monotonic() - start >= limits.time_limit
            if late and reason is None and unfinished():
                reason = "time_limit"
        return reason

    def save(self) -> None:
        """Write the checkpoint, if there is to be one."""
        if self._checkpoint is None:
            return
        keeper = self.keeper
        kept = None
        if keeper.hyper is not None:
            kept = [keeper.value, keeper.n, leaves(keeper.hyper), packed(keeper.params)]
        history = [
            [
                r.iteration,
                r.value,
                r.grad_norm,
                None if r.hyper is None else leaves(r.hyper),
                r.info,
            ]
            for r in self.history
        ]
        state = {
            "hyper": leaves(self.outer.hyper),
            "params": packed(self.params),
            "optimizer": self.outer.state(),
            "solution": self.solution,
            "kept": kept,
            "history": history,
            "more": self.more(),
            "first": self._first,
        }
        self._checkpoint.save(state)

    def _restore(self, stored: dict[str, Any]) -> None:
        like = self.outer.hyper
        self.outer.load(refill(like, stored["hyper"]))
        self.outer.load_state(stored["optimizer"])
        first = self.params
        self.params = unpacked(stored["params"], first, like)
        self.solution = moved_to(leaves(like)[0].device, stored["solution"])
        if stored["kept"] is not None:
            keeper = self.keeper
            keeper.value, keeper.n, hyper, params = stored["kept"]
            keeper.hyper, keeper.params = refill(like, hyper), unpacked(params, first, like)
        self.history = [
            Record(iteration, value, size, None if hyper is None else refill(like, hyper), info)
            for iteration, value, size, hyper, info in stored["history"]
        ]
        self.resumed = stored["more"]

    def solution_of(
        self,
        reason: str,
        value_at: Callable[[Tree, Tree], Tensor | float],
        trained: Callable[[Tree], Tree] | None = None,
    ) -> Solution:
        """Return what the loop found; its value is NaN, with a warning, if that cannot be computed.

        Arguments:
            reason: why the loop ended.
            value_at: (params, hyper) to E.
            trained: hyper to the weights trained with it, for keep="averaged"; None returns the
                averaged weights.
        """
        keeper = self.keeper
        hyper, params, value = keeper.hyper, keeper.params, keeper.value
        if hyper is None:  # the loop ended before the first evaluation
            hyper, params = self.outer.hyper, self.params
        try:
            if keeper.keep == "averaged":
                hyper = self.outer.projected(hyper)
                params = params if trained is None else trained(hyper)
            at = [tree_map(torch.clone, tree) for tree in (params, hyper)]  # they stay as they are
            if keeper.evaluate is not None and (keeper.keep != "best" or keeper.hyper is None):
                value = keeper.judge(*at)
            elif keeper.keep == "averaged":
                value = number_of(value_at(*at))
        except Exception as error:  # the user's; what the loop found must not be lost by it
            value = math.nan
            warnings.warn(
                f"the value of the solution is NaN, for its evaluation after the loop failed: "
                f"{type(error).__name__}: {error}",
                UserWarning,
                stacklevel=3,
            )
        last = Last(self.outer.hyper, self.params)
        return Solution(hyper, params, value, self.history, reason, last, keeper.keep)


def _is_true(value: Any) -> bool:
    """Return whether a value is True, or a single True of NumPy or torch."""
    if str(getattr(value, "dtype", "")) in ("bool", "torch.bool"):
        return getattr(value, "shape", None) == () and bool(value)
    return value is True


def _described(record: Record, keeper: Keeper) -> str:
    """Describe a record: E, the value of `evaluate`, and the lowest of them so far."""
    value = f"outer loss {record.value:.4g}"
    if "evaluate" in record.info:
        value += f", evaluated {record.info['evaluate']:.4g}"
    return f"{value} (best {keeper.value:.4g})" if keeper.keep == "best" else value


def packed(tree: Tree) -> list[Any]:
    """Write a tree as plain values: its structure, and its leaves."""
    return [tree_map(lambda leaf: 0, tree), leaves(tree)]


def unpacked(stored: list[Any], like: Tree, hyper: Tree) -> Tree:
    """Rebuild the tree that `packed` stored, on the devices of `like`, else of `hyper`."""
    form, kept = stored
    if not same_structure(form, tree_map(lambda leaf: 0, like)):
        device = leaves(hyper)[0].device
        like = tree_map(lambda leaf: torch.empty(0, device=device), form)
    return refill(like, kept)


def moved_to(device: torch.device, stored: Any) -> Any:
    """Move the floating tensors of nested lists to a device; counters stay where they are."""
    if isinstance(stored, list | tuple):
        return [moved_to(device, each) for each in stored]
    floats = isinstance(stored, Tensor) and stored.is_floating_point()
    return stored.to(device) if floats else stored


def refill(like: Tree, stored: list[Tensor]) -> Tree:
    """Make a tree like `like` with the stored leaves, on the devices of `like`."""
    pairs = zip(stored, leaves(like), strict=True)
    return rebuild(like, [leaf.to(mine.device) for leaf, mine in pairs])
