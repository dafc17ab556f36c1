"""The outer loop: one inner run and one hypergradient an outer iteration (eq. 5.8)."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from lds._numbers import integer
from lds._random import mix
from lds.bilevel.checks import (
    check_count,
    check_function,
    check_leaves,
    check_mode,
    check_tol,
    kind_of,
)
from lds.bilevel.dynamics import Dynamics
from lds.bilevel.history import Record, Solution
from lds.bilevel.keep import Evaluate, Keep, Keeper
from lds.bilevel.loop import At, Callback, Limits, Run, packed, unpacked
from lds.bilevel.ordering import as_begun
from lds.bilevel.outer import OptimizerFactory, OuterStep, SchedulerFactory, default_optimizer
from lds.bilevel.same_run import Values, of_objectives
from lds.bilevel.settings import described
from lds.bilevel.signatures import with_step
from lds.bilevel.stopping import Rule
from lds.bilevel.tensors import Tree, detach, leaves
from lds.bilevel.unroll import (
    Method,
    Midway,
    check_dynamics,
    check_method,
    differentiate_run,
    last_state,
)

Episode = Callable[[int], tuple[Dynamics, Callable[..., Tensor]]]
"""(outer iteration) to the dynamics and the outer objective of that iteration."""

WarmStart = Literal[False, "params", "state"]
"""From where the next inner run starts: `params`, the last weights, or the whole last state."""


def solve(
    dynamics: Dynamics | Episode,
    outer_objective: Callable[..., Tensor] | None,
    params: Tree,
    hyper: Tree,
    n_steps: int,
    *,
    method: Method = None,
    n_outer: int = 100,
    inner_tol: float = 0.0,
    optimizer: OptimizerFactory = default_optimizer,
    scheduler: SchedulerFactory | None = None,
    projection: Any = None,
    warm_start: WarmStart = False,
    keep: Keep = "best",
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    stopping: Rule | Sequence[Rule] = (),
    callback: Callback | None = None,
    verbose: bool = False,
    time_limit: float | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
) -> Solution:
    """Minimise f_T(λ) = E(w_T(λ), λ) by steps along its hypergradients (eq. 5.8).

    Arguments:
        dynamics: Φ; or a function of the outer iteration (an int from 0) that returns Φ and E, for
            a fresh batch of tasks (Algorithm 5) or one fold at random (Appendix B).
        outer_objective: E(params, hyper[, step]) -> scalar tensor; None if `dynamics` returns it.
        params: first weights of every inner run, a pytree of tensors.
        hyper: first λ, a pytree of tensors; integer leaves do not change.
        n_steps: T, inner steps of a run.
        method: how a hypergradient is computed; None is `Reverse()`, "auto" chooses.
        n_outer: largest number of outer iterations.
        inner_tol: an inner run ends before `n_steps` after a step that moves the weights by at most
            this, relative to their norm; 0 takes all steps. See `hypergradient`.
        optimizer: optimizer(list of tensors) -> `torch.optim.Optimizer`, such as
            ``functools.partial(torch.optim.Adam, lr=1e-2)``.
        scheduler: scheduler(optimizer) -> a scheduler of `torch.optim.lr_scheduler`, which steps
            once an outer iteration; `ReduceLROnPlateau` monitors E. None keeps the learning rate.
        projection: applied to the first λ and after every step, so that every λ that is evaluated
            or returned satisfies it: hyper -> hyper (see `bilevel.projections`), or a tree like
            hyper with such a function, or None, at its leaves.
        warm_start: False starts each inner run from `params`. "state" starts it from the whole
            last state (weights, momentum, the moments of Adam) and continues the step count, as one
            long training: for a few steps an iteration, and for batches by step number. "params"
            starts from the last weights alone, with empty buffers, at step 0: for long inner runs
            whose learning rate is scheduled.
        keep: what is returned: "best" is the iteration with the lowest value of `evaluate`, or of E
            without it; "last" is the last iteration; "averaged" is the mean over iterations, with
            weights that grow. The minimum of a noisy E is biased; a warning says so.
        evaluate: evaluate(params, hyper) -> a number, lower is better, on data of its own; called
            in every iteration for "best", once at the end for "last" and "averaged".
        evaluate_every: for "best", iterations from one evaluation to the next.
        stopping: a rule, or several (see `bilevel.stopping`).
        callback: called with each `Record`; returning True ends the loop.
        verbose: True shows progress on the standard error stream: iterations, the outer loss, and
            an estimate of the time left. A bar in terminals and notebooks; elsewhere a line about
            once a second.
        time_limit: seconds after which no further iteration begins, counted from this call; None
            for no limit. An iteration that has begun is finished.
        checkpoint: folder in which the state of the loop is saved after every outer iteration. A
            folder with the checkpoint of an earlier run is refused unless `resume` is True.
        resume: True continues from the checkpoint, to the same result as without interruption;
            without a checkpoint in the folder, the loop starts from the beginning. A checkpoint of
            another problem is refused, where a difference can be seen: in the options, the first
            weights and λ, the numbers among the settings of the dynamics, the projection, and, up
            to rounding, the losses at the start, for which the first step is taken once more.
        seed: seed of the randomness inside Φ, mixed with the outer iteration and the step.

    Returns:
        λ and w of the iteration kept, with the history, the reason for the end, and the last.

    Raises:
        TypeError, ValueError: an argument does not fit, or the folder holds a checkpoint that may
            not be overwritten, or one of another run.
        NonFiniteError: a value is not finite in the first outer iteration; later, the loop ends
            with the solution so far, and the reason says which value.

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
    check_mode()
    check_method(method)
    n_outer = check_count("n_outer", n_outer, 1)
    n_steps = check_count("n_steps", n_steps, 0)
    seed = integer("seed", seed)
    if warm_start not in (False, "params", "state"):
        raise ValueError(
            "warm_start must be False, 'params' (the last run's weights alone) or 'state' (with "
            f"its momentum, moments and step count), got {warm_start!r}"
        )
    check_tol(inner_tol)
    limits = Limits(stopping, callback, time_limit, verbose, n_outer)
    episode = _episode(dynamics, outer_objective)
    check_leaves("params", params)
    params, hyper = as_begun(checkpoint, resume, params=detach(params), hyper=hyper)
    outer = OuterStep(hyper, optimizer, projection, scheduler)
    keeper = Keeper(keep, evaluate, evaluate_every, seed)
    settings = {
        "loop": "solve",
        "n_steps": n_steps,
        "inner_tol": float(inner_tol),
        "method": repr(method),
        "warm_start": warm_start,
        "seed": seed,
    }
    first: Callable[[], Values] = dict
    if isinstance(dynamics, Dynamics):
        settings |= described(dynamics)
        at_start = params, outer.hyper, n_steps, seed
        first = functools.partial(of_objectives, *episode(0), *at_start)
    run = Run(outer, params, checkpoint, resume, settings, keeper, first=first)
    midway: Midway | None = None
    taken = n_steps  # steps before the last hypergradient
    if run.resumed:
        taken = run.resumed["step"]
        if warm_start == "state":
            midway = Midway(unpacked(run.resumed["state"], None, outer.hyper), taken)
    before: At | None = None
    shapes: list[Any] = []  # of the weights of the last iteration
    notes: dict[str, Any] = {}

    def saved() -> dict[str, Any]:
        return {"step": taken} | ({} if midway is None else {"state": packed(midway.state)})

    run.more = saved

    def iterate() -> Record:
        nonlocal midway, before, taken, shapes
        k, at = run.done, outer.hyper
        phi, objective = episode(k)
        result = differentiate_run(
            phi,
            objective,
            run.params if warm_start else params,
            at,
            n_steps,
            method,
            seed,
            k,
            run.solution,
            check_usage=k == 0,
            midway=midway,
            start_once=warm_start == "state",
            inner_tol=inner_tol,
            notes=notes,
        )
        weights = phi.params(result.state)
        record = Record(k, float(result.value), result.grad_norm, at, result.info)
        of_last, shapes = shapes, [leaf.shape for leaf in leaves(weights)]
        if before is not None and shapes == of_last:  # else of another number of tasks
            keeper.compare(record.value, functools.partial(before, weights, at))
        taken = result.step
        before = At(phi, objective, taken, mix(seed, k, taken))
        record = run.take(record, weights, result.grad, result.solution)
        if warm_start == "state":
            midway = Midway(result.state, taken)
        return record

    def value_at(weights: Tree, at: Tree) -> Tensor:
        k = run.done - 1
        return At(*episode(k), taken, mix(seed, k, taken))(weights, at)

    def trained(at: Tree) -> Tree:
        nonlocal taken
        k = run.done - 1
        phi = episode(k)[0]
        state, taken = last_state(phi, params, at, n_steps, seed, k, inner_tol)
        return phi.params(state)

    reason = run.loop(iterate, lambda: run.done < n_outer, limits, "n_outer")
    return run.solution_of(reason, value_at, None if warm_start else trained)


def _episode(
    dynamics: Dynamics | Episode, outer_objective: Callable[..., Tensor] | None
) -> Episode:
    """Return the dynamics and E of each outer iteration; E takes the step.

    Raises:
        TypeError: an argument is of another kind.
    """
    if isinstance(dynamics, Dynamics):
        if outer_objective is None:
            raise TypeError(
                "outer_objective must be a function of (params, hyper[, step]), got None; only a "
                "function of the outer iteration, in the place of dynamics, brings its own"
            )
        check_function("outer_objective", outer_objective, "(params, hyper[, step])")
        fixed = dynamics, with_step(outer_objective, 2)
        return lambda k: fixed
    if outer_objective is not None or not callable(dynamics) or isinstance(dynamics, type):
        wanted = (
            "or a function of the outer iteration that returns one with its outer objective, where "
            "outer_objective must be None"
        )
        check_dynamics(dynamics, outer_objective, wanted)

    def episode(k: int) -> tuple[Dynamics, Callable[..., Tensor]]:
        found: Any = dynamics(k)
        parts = list(found) if isinstance(found, tuple | list) else [found]
        if len(parts) != 2 or not isinstance(parts[0], Dynamics):
            raise TypeError(
                "dynamics, a function of the outer iteration, must return (a Dynamics, its outer "
                f"objective), got ({', '.join(map(kind_of, parts))})"
            )
        check_function("the outer objective of that function", parts[1], "(params, hyper[, step])")
        return parts[0], with_step(parts[1], 2)

    return episode
