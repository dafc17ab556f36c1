"""The outer loop: one inner run after another, a hypergradient from each (eq. 5.8)."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from lds._random import START, mix
from lds.bilevel.checks import check_count
from lds.bilevel.dynamics import Dynamics, with_step
from lds.bilevel.history import Record, Solution
from lds.bilevel.keep import Evaluate, Keep, Keeper
from lds.bilevel.loop import At, Callback, Run, packed, unpacked
from lds.bilevel.outer import OptimizerFactory, OuterStep, default_optimizer
from lds.bilevel.step import Start, Step
from lds.bilevel.stopping import Rule
from lds.bilevel.tensors import Tree, detach, leaves, norm
from lds.bilevel.unroll import Method, Midway, check_method, differentiate_run

Episode = Callable[[int], tuple[Dynamics, Callable[..., Tensor]]]
"""A function of the outer iteration: the dynamics and the outer objective it is run with."""

WarmStart = Literal[False, "params", "state"]


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
    warm_start: WarmStart = False,
    keep: Keep = "best",
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
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
        warm_start: False starts each inner run from `params`. "state" goes on from all of the last
            run's state (weights, momentum, the moments of Adam) and counts its steps on, as one
            long training: for a few steps an iteration, and for batches by step number. "params"
            starts from the last run's weights alone, with empty buffers, at step 0: for long
            inner runs, whose learning rate is scheduled.
        keep: what is returned: "best" is the iteration of the lowest value, of `evaluate` where it
            is given, else of E; "last" the last one; "averaged" the mean over iterations, of which
            later ones weigh more. The best of a noisy E is a lucky one, which a warning says.
        evaluate: evaluate(params, hyper) -> a number, lower is better, on data of its own; called
            in every iteration for "best", once in the end for "last" and "averaged".
        evaluate_every: for "best", iterations from one evaluation to the next.
        stopping: a rule, or several (see `bilevel.stopping`).
        callback: called with each `Record`; returning True ends the loop.
        checkpoint: folder in which the loop's state is kept after every outer iteration; one that
            holds an earlier run's is refused, unless that is resumed.
        resume: True goes on from it, to the same result as without the interruption; without a
            checkpoint there yet, it begins.
        seed: of the randomness inside Φ, with the outer iteration and the step.

    Returns:
        λ and w of the iteration kept, with the history, the reason for the end, and the last.

    Raises:
        TypeError, ValueError: an argument does not fit, or a checkpoint is in the way or of
            another run.
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
    if warm_start not in (False, "params", "state"):
        raise ValueError(
            "warm_start must be False, 'params' (the last run's weights alone) or 'state' (with "
            f"its momentum, moments and step count), got {warm_start!r}"
        )
    episode = _episode(dynamics, outer_objective)
    params = detach(params)
    keeper = Keeper(keep, evaluate, evaluate_every, seed)
    run = Run(
        OuterStep(hyper, optimizer, projection),
        params,
        checkpoint,
        resume,
        {
            "loop": "solve",
            "n_steps": n_steps,
            "method": repr(method),
            "warm_start": warm_start,
            "seed": seed,
        },
        keeper,
    )
    midway: Midway | None = None
    if run.more:
        kept = unpacked(run.more["state"], None, run.outer.hyper)
        midway = Midway(kept, run.more["step"])
    before: At | None = None

    def iterate(k: int, at: Tree) -> Record:
        nonlocal midway, before
        phi, objective = episode(k)
        objective = with_step(objective, 2)
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
        )
        weights = phi.params(result.state)
        record = Record(k, float(result.value), norm(leaves(result.grad)), at, result.info)
        if before is not None:
            keeper.compare(record.value, functools.partial(before, weights, at))
        before = At(objective, result.step, mix(seed, k, result.step))
        record = run.take(record, weights, result.grad, result.solution)
        if warm_start == "state":
            midway = Midway(result.state, result.step)
            if checkpoint is not None:
                run.more = {"state": packed(result.state), "step": result.step}
        return record

    def value_at(weights: Tree, at: Tree) -> Tensor:
        k = run.done - 1
        step = n_steps if midway is None else midway.step
        return At(with_step(episode(k)[1], 2), step, mix(seed, k, step))(weights, at)

    def trained(at: Tree) -> Tree:
        return _trained(episode(run.done - 1)[0], params, at, n_steps, seed, run.done - 1)

    reason = run.loop(iterate, n_outer, stopping, callback)
    return run.solution_of(reason, value_at, None if warm_start else trained)


def _trained(
    dynamics: Dynamics, params: Tree, hyper: Tree, n_steps: int, seed: int, iteration: int
) -> Tree:
    """w_T(λ) of an outer iteration's run."""
    state = Start(dynamics, params, hyper, mix(seed, iteration, START)).run()
    for t in range(n_steps):
        state, _ = Step(dynamics, state, hyper, t, mix(seed, iteration, t)).run()
    return dynamics.params(state)


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
