"""Online hypergradients: λ moves while the inner training runs (Algorithm 6)."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lds._memory import keep_freed_pages
from lds._numbers import integer, real
from lds._random import ONLINE_OUTER, START, mix
from lds.bilevel.checks import (
    check_count,
    check_finite,
    check_function,
    check_leaves,
    check_mode,
    check_step,
)
from lds.bilevel.dynamics import Dynamics
from lds.bilevel.forward import Forward
from lds.bilevel.history import Record, Solution
from lds.bilevel.keep import Evaluate, Keep, Keeper
from lds.bilevel.loop import At, Callback, Limits, Run, moved_to, refill
from lds.bilevel.ordering import as_begun
from lds.bilevel.outer import OptimizerFactory, OuterStep, SchedulerFactory, default_optimizer
from lds.bilevel.same_run import of_objectives
from lds.bilevel.settings import described
from lds.bilevel.signatures import with_step
from lds.bilevel.step import Start, Step, gradient_tree
from lds.bilevel.step import evaluate as evaluate_outer
from lds.bilevel.stopping import Rule
from lds.bilevel.tensors import Tree, detach, leaves, norm
from lds.bilevel.twice import examined
from lds.bilevel.unroll import check_dynamics
from lds.bilevel.usage import refuse_cut_off, refuse_unused


def solve_online(
    dynamics: Dynamics,
    outer_objective: Callable[..., Tensor],
    params: Tree,
    hyper: Tree,
    n_steps: int,
    *,
    discount: float = 0.99,
    interval: int = 1,
    method: Forward | None = None,
    optimizer: OptimizerFactory = default_optimizer,
    scheduler: SchedulerFactory | None = None,
    projection: Any = None,
    keep: Keep = "best",
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    stopping: Rule | Sequence[Rule] = (),
    callback: Callback | None = None,
    verbose: bool = False,
    time_limit: float | None = None,
    checkpoint: str | Path | None = None,
    save_every: int = 100,
    resume: bool = False,
    seed: int = 0,
) -> Solution:
    """Move λ along ∂E/∂λ + ∂E/∂s Z during one training, with Z_{t+1} = μ A_t Z_t + B_t (MARTHE).

    With `discount` 1 this is real-time hyperparameter optimisation (RTHO), with 0 hypergradient
    descent (HD). Every `interval` steps E is evaluated at the current weights, and the optimiser
    moves λ; as in Algorithm 6 the first step uses the first λ. Time and memory are those of
    `Forward`: about 1 + 1.5 m applications of ∇L a step and m states for the m numbers in hyper.

    References:
        Donini et al., 2020, https://arxiv.org/abs/1910.08525; Franceschi, 2021, §8.3 Algorithm 6,
        §5.4.2.1; HD: Baydin et al., 2018, https://arxiv.org/abs/1703.04782

    Arguments:
        dynamics: Φ.
        outer_objective: E(params, hyper[, step]) -> scalar tensor; `step` is the number of steps
            taken.
        params: first weights, the argument of Φ_0.
        hyper: first λ.
        n_steps: T, steps of the inner training.
        discount: μ in [0, 1], weight of the tangent of the step before.
        interval: Δ in [1, n_steps], steps between updates of λ.
        method: `Forward` with its options; None is `Forward()`.
        optimizer: optimizer(list of tensors) -> `torch.optim.Optimizer`; Algorithm 6 is
            ``functools.partial(torch.optim.SGD, lr=β)``.
        projection: as for `solve`; `projections.non_negative()` is the max of Algorithm 6, which
            lets a learning rate reach 0 (`stopping.at_zero()` then ends the run).
        scheduler, keep, evaluate, evaluate_every, stopping, callback, verbose, time_limit: as for
            `solve`; an update of λ is an outer iteration.
        checkpoint: folder in which the state of the run is saved every `save_every` updates.
        save_every: updates from one checkpoint to the next.
        resume: True continues from the last checkpoint, to the same result.
        seed: seed of the randomness inside Φ.

    Returns:
        λ and w of the update kept, with the history (one record an update; its `iteration` is the
        number of steps taken) and the last, where training ended.

    Raises:
        TypeError, ValueError: an argument does not fit, a checkpoint is of another run, or a
            hyperparameter has no influence at any step.
        NonFiniteError: a value is not finite before the first update; later, the run ends with the
            solution so far, and the reason says which value.
    """
    check_mode()
    check_dynamics(dynamics, outer_objective)
    check_function("outer_objective", outer_objective, "(params, hyper[, step])")
    check_leaves("params", params)
    n_steps = check_count("n_steps", n_steps, 1)
    interval = check_count("interval", interval, 1)
    save_every = check_count("save_every", save_every, 1)
    seed = integer("seed", seed)
    if not 0 <= real("discount", discount, "a number in [0, 1]") <= 1:
        raise ValueError(f"discount must be in [0, 1], got {discount}; 1 is RTHO, 0 is HD")
    method = Forward() if method is None else method
    if not isinstance(method, Forward):
        raise TypeError(
            "method must be None or Forward(): online hypergradients go forward, "
            f"got {type(method).__name__}"
        )
    if interval > n_steps:
        raise ValueError(
            f"interval must be at most n_steps={n_steps}, got {interval}; hyper would never move"
        )
    limits = Limits(stopping, callback, time_limit, verbose, n_steps // interval)
    params, hyper = as_begun(checkpoint, resume, params=detach(params), hyper=hyper)
    objective = with_step(outer_objective, 2)
    outer = OuterStep(hyper, optimizer, projection, scheduler)
    keeper = Keeper(keep, evaluate, evaluate_every, seed)
    settings = {
        "loop": "solve_online",
        "discount": float(discount),
        "interval": interval,
        "seed": seed,
        "method": repr(method),
    }
    settings |= described(dynamics)
    first = functools.partial(
        of_objectives, dynamics, objective, params, outer.hyper, interval, seed
    )
    run = Run(outer, params, checkpoint, resume, settings, keeper, save_every, first)
    keep_freed_pages()
    at = outer.hyper
    start = Start(dynamics, params, at, mix(seed, 0, START))
    state = start.run()
    memory = method.start(start)
    t = 0
    if run.resumed:
        t, state = run.resumed["t"], refill(state, run.resumed["state"])
        memory.tangents = moved_to(leaves(at)[0].device, run.resumed["tangents"])
        memory.sizes = run.resumed["sizes"]
    run.more = lambda: {
        "t": t,
        "state": leaves(state),
        "tangents": memory.tangents,
        "sizes": memory.sizes,
    }
    before: At | None = None

    def step_at(state: Tree, t: int) -> Step:
        return Step(dynamics, state, at, t, mix(seed, 0, t))

    def advance() -> None:
        nonlocal t, state
        with examined(t == 0):
            new, loss = method.carry(memory, step_at(state, t), discount)
        check_step(loss, state, new, t)
        state, t = new, t + 1

    def iterate() -> Record | None:
        nonlocal at, before
        advance()
        while t % interval:
            if t == n_steps:
                return None
            advance()
        check_finite("state", state, f"after step {t - 1}")
        end = mix(seed, 0, t, ONLINE_OUTER)
        point = evaluate_outer(dynamics, objective, state, at, t, end)
        check_finite("the outer value", point.value, f"after {t} steps")
        if not run.history:
            refuse_cut_off(at, point)
        grads = method.gradient(memory, point)
        if not run.history:
            refuse_unused(at, grads, point, start, step_at, n_steps, method)
        grad = gradient_tree(at, grads)
        check_finite("the gradient by hyper", grad, f"after {t} steps")
        record = Record(t, float(point.value), norm(leaves(grad)), at)
        weights = dynamics.params(state)
        if before is not None:
            keeper.compare(record.value, functools.partial(before, weights, at))
        before = At(dynamics, objective, t, end)
        record = run.take(record, weights, grad)
        at = outer.hyper
        return record

    reason = run.loop(iterate, lambda: t < n_steps, limits, "n_steps")
    if not reason.startswith("non-finite"):
        run.params = dynamics.params(state)
    return run.solution_of(reason, At(dynamics, objective, t, mix(seed, 0, t, ONLINE_OUTER)))
