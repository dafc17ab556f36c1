"""The outer loop: one inner run after another, a hypergradient from each (eq. 5.8)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lds.bilevel.checks import NonFiniteError, check_count
from lds.bilevel.dynamics import Dynamics, with_step
from lds.bilevel.history import Best, Last, Record, Solution
from lds.bilevel.outer import OptimizerFactory, OuterStep, default_optimizer
from lds.bilevel.resume import Checkpoint
from lds.bilevel.stopping import Rule
from lds.bilevel.tensors import (
    Columns,
    Tree,
    detach,
    leaves,
    norm,
    paths,
    rebuild,
    same_structure,
    tree_map,
)
from lds.bilevel.unroll import Method, check_method, differentiate_run

Episode = Callable[[int], tuple[Dynamics, Callable[..., Tensor]]]
"""A function of the outer iteration: the dynamics and the outer objective it is run with."""

Callback = Callable[[Record], Any]

REMEMBERED = 1000
"""Numbers in hyper up to which every record of the history keeps its values."""


def solve(
    dynamics: Dynamics | Episode,
    outer_objective: Callable[..., Tensor] | None,
    params: Tree,
    hyper: Tree,
    n_steps: int,
    *,
    method: Method = None,
    n_outer: int = 100,
    optimizer: OptimizerFactory = default_optimizer,
    projection: Any = None,
    warm_start: bool = False,
    stopping: Rule | Sequence[Rule] = (),
    callback: Callback | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
) -> Solution:
    """Minimise f_T(λ) = E(w_T(λ), λ) by steps along its hypergradients (eq. 5.8).

    Arguments:
        dynamics: Φ; or a function of the outer iteration (an int from 0) that returns Φ and E: a
            fresh batch of tasks (Algorithm 5), one fold at random (Appendix B).
        outer_objective: E(params, hyper[, step]) -> scalar tensor; None where `dynamics` brings it.
        params: what every inner run starts from, a pytree of tensors.
        hyper: λ to start from, a pytree of tensors; integer leaves stay.
        n_steps: T, inner steps of a run.
        method: how a hypergradient is computed; None is `Reverse()`, "auto" chooses.
        n_outer: most outer iterations.
        optimizer: optimizer(list of tensors) -> `torch.optim.Optimizer`, such as
            ``functools.partial(torch.optim.Adam, lr=1e-2)``.
        projection: applied after every step: hyper -> hyper (see `bilevel.projections`), or a tree
            like hyper with such a function, or None, at its leaves.
        warm_start: True starts each inner run from the last one's weights instead of `params`.
        stopping: a rule, or several (see `bilevel.stopping`).
        callback: called with each `Record`; returning True ends the loop.
        checkpoint: folder in which the loop's state is kept after every outer iteration.
        resume: True goes on from it, to the same result as without the interruption; without a
            checkpoint there yet, it begins.
        seed: of the randomness inside Φ, with the outer iteration and the step.

    Returns:
        λ and w of the lowest E met, with the history, the reason for the end, and the last.

    Raises:
        TypeError, ValueError: an argument does not fit, or a checkpoint is of another run.
        NonFiniteError: a value is not finite in the first outer iteration; later, the loop ends
            with what it has, and says so as the reason.

    Examples:
        >>> import functools, torch
        >>> from lds import bilevel
        >>> inner = bilevel.GradientDescent(lambda w, lam: 0.5 * (w - lam) ** 2, lr=0.5)
        >>> solution = bilevel.solve(
        ...     inner, lambda w, lam: (w - 3) ** 2, torch.tensor(0.0), torch.tensor(0.0), 20,
        ...     n_outer=50, optimizer=functools.partial(torch.optim.SGD, lr=0.25))
        >>> solution.hyper, solution.reason
        (tensor(3.0000), 'n_outer')
    """
    check_method(method)
    check_count("n_outer", n_outer, 1)
    check_count("n_steps", n_steps, 0)
    episode = _episode(dynamics, outer_objective)
    params = detach(params)
    run = Run(OuterStep(hyper, optimizer, projection), params, checkpoint, resume, {
        "loop": "solve", "n_steps": n_steps, "method": repr(method), "warm_start": warm_start,
        "seed": seed,
    })  # fmt: skip

    def iterate(k: int, at: Tree) -> Record:
        phi, objective = episode(k)
        result = differentiate_run(
            phi, with_step(objective, 2), run.params if warm_start else params, at, n_steps,
            method, seed, k, run.solution, check_usage=k == 0,
        )  # fmt: skip
        record = Record(k, float(result.value), norm(leaves(result.grad)), at, result.info)
        run.take(record, phi.params(result.state), result.grad, result.solution)
        return record

    return run.loop(iterate, n_outer, stopping, callback)


def _episode(
    dynamics: Dynamics | Episode, outer_objective: Callable[..., Tensor] | None
) -> Episode:
    if isinstance(dynamics, Dynamics):
        if outer_objective is None:
            raise TypeError(
                "outer_objective must be a function of (params, hyper[, step]), got None; only a "
                "function of the outer iteration, in the place of dynamics, brings its own"
            )
        return lambda k: (dynamics, outer_objective)
    if not callable(dynamics):
        raise TypeError(
            "dynamics must be a Dynamics, or a function of the outer iteration that returns one "
            f"with its outer objective, got {type(dynamics).__name__}"
        )
    if outer_objective is not None:
        raise TypeError(
            "outer_objective must be None where dynamics is a function of the outer iteration, "
            "which returns both"
        )
    return dynamics


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
    """

    def __init__(
        self,
        outer: OuterStep,
        params: Tree,
        checkpoint: str | Path | None,
        resume: bool,
        settings: dict[str, Any],
    ) -> None:
        self.outer, self.params, self._like = outer, params, params
        self.history: list[Record] = []
        self.best = Best()
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
            settings = settings | {"optimizer": outer.description} | shapes
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
    ) -> None:
        """Take a hypergradient into account, and move along it.

        Raises:
            NonFiniteError: the hypergradient, or where it leads, is not finite.
        """
        if not math.isfinite(record.grad_norm):
            raise NonFiniteError(f"the hypergradient is not finite at {record.iteration}")
        small = sum(leaf.numel() for leaf in leaves(record.hyper)) <= REMEMBERED
        self.history.append(record if small else replace(record, hyper=None))
        self.best.take(record.value, record.hyper, params)
        self.params, self.solution = params, solution
        self.outer.take(grad)

    def loop(
        self,
        iterate: Callable[[int, Tree], Record],
        n_outer: int,
        stopping: Rule | Sequence[Rule],
        callback: Callback | None,
    ) -> Solution:
        """Iterate until something ends it.

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
        return self.solution_of(reason or "n_outer")

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
        self._checkpoint.save({
            "hyper": leaves(self.outer.hyper),
            "params": leaves(self.params),
            "form": tree_map(lambda leaf: 0, self.params),  # Φ_0 may return another than params
            "optimizer": self.outer.optimizer.state_dict(),
            "solution": self.solution,
            "best": [self.best.value, leaves(self.best.hyper), leaves(self.best.params)],
            "history": [
                [r.iteration, r.value, r.grad_norm, _values(r.hyper), r.info]
                for r in self.history
            ],
            "more": self.more,
        })  # fmt: skip

    def _restore(self, stored: dict[str, Any]) -> None:
        like = self.outer.hyper
        self.outer.load(refill(like, stored["hyper"]))
        self.outer.load_optimizer(stored["optimizer"])
        if not same_structure(stored["form"], tree_map(lambda leaf: 0, self._like)):
            device = leaves(like)[0].device
            self._like = tree_map(lambda leaf: torch.empty(0, device=device), stored["form"])
        self.params = refill(self._like, stored["params"])
        self.solution = stored["solution"]
        value, hyper, params = stored["best"]
        self.best = Best(value, refill(like, hyper), refill(self._like, params))
        self.history = [
            Record(iteration, value, size, None if hyper is None else refill(like, hyper), info)
            for iteration, value, size, hyper, info in stored["history"]
        ]
        self.more = stored["more"]

    def solution_of(self, reason: str) -> Solution:
        """The result."""
        return Solution(
            self.best.hyper, self.best.params, self.best.value, self.history, reason,
            Last(self.outer.hyper, self.params),
        )  # fmt: skip


def refill(like: Tree, stored: list[Tensor]) -> Tree:
    """A tree of stored leaves, on the devices of `like`."""
    pairs = zip(stored, leaves(like), strict=True)
    return rebuild(like, [leaf.to(mine.device) for leaf, mine in pairs])


def _values(tree: Tree) -> list[Any] | None:
    return None if tree is None else leaves(tree)
