"""Online hypergradients: hyperparameters move while the inner training runs (Algorithm 6)."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lds._memory import keep_freed_pages
from lds._random import ONLINE_OUTER, START, mix
from lds.bilevel.checks import (
    NonFiniteError,
    check_count,
    check_finite,
    check_leaves,
    check_step,
)
from lds.bilevel.dynamics import Dynamics, with_step
from lds.bilevel.forward import Forward
from lds.bilevel.history import Record, Solution
from lds.bilevel.keep import Evaluate, Keep, Keeper
from lds.bilevel.loop import At, Callback, Run, as_rules, refill, why
from lds.bilevel.outer import OptimizerFactory, OuterStep, default_optimizer
from lds.bilevel.step import Start, Step, gradient_tree
from lds.bilevel.step import evaluate as evaluate_outer
from lds.bilevel.stopping import Rule
from lds.bilevel.tensors import Tree, detach, leaves, norm
from lds.bilevel.usage import refuse_unused


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
    projection: Any = None,
    keep: Keep = "best",
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    stopping: Rule | Sequence[Rule] = (),
    callback: Callback | None = None,
    checkpoint: str | Path | None = None,
    save_every: int = 100,
    resume: bool = False,
    seed: int = 0,
) -> Solution:
    """MARTHE: Z_{t+1} = μ A_t Z_t + B_t, and λ moves along ∂E/∂λ + ∂E/∂s Z as training goes on.

    One inner run. With `discount` 1 it is real-time hyperparameter optimisation (RTHO), with 0
    hypergradient descent (HD). Every `interval` steps E is evaluated at the current weights, and
    the optimiser moves λ; as in Algorithm 6 the first step is taken with λ as given. Time and
    memory are those of `Forward`: about two applications of ∇L and one state for each number in
    hyper.

    References:
        Donini et al., 2020, https://arxiv.org/abs/1910.08525; Franceschi, 2021, §8.3 Algorithm 6,
        §5.4.2.1; HD: Baydin et al., 2018, https://arxiv.org/abs/1703.04782

    Arguments:
        dynamics: Φ.
        outer_objective: E(params, hyper[, step]) -> scalar tensor; step counts the steps taken.
        params: what Φ_0 starts from.
        hyper: λ to start from.
        n_steps: T, steps of the inner training.
        discount: μ in [0, 1], how long the past counts.
        interval: Δ >= 1, steps between updates of λ.
        method: `Forward` with its options; None is `Forward()`.
        optimizer: optimizer(list of tensors) -> `torch.optim.Optimizer`; Algorithm 6 is
            ``functools.partial(torch.optim.SGD, lr=β)``.
        projection: as for `solve`; `projections.non_negative()` is the max of Algorithm 6, which
            lets a learning rate reach 0 (`stopping.at_zero()` then ends the run).
        keep, evaluate, evaluate_every: as for `solve`, an update being an outer iteration.
        stopping: a rule, or several, asked after each update.
        callback: called with each `Record`; returning True ends the run.
        checkpoint: folder in which the run's state is kept every `save_every` updates.
        save_every: updates between checkpoints.
        resume: True goes on from the last one, to the same result.
        seed: of the randomness inside Φ.

    Returns:
        λ and w of the update kept, with the history (one record an update, `iteration` being the
        number of steps taken) and the last, which is where training ended.

    Raises:
        TypeError, ValueError: an argument does not fit, a checkpoint is of another run, or a
            hyperparameter has no influence at any step.
        NonFiniteError: a value is not finite before the first update; later, the run ends with what
            it has, and says so as the reason.
    """
    check_count("n_steps", n_steps, 1)
    check_count("interval", interval, 1)
    check_count("save_every", save_every, 1)
    if not 0 <= discount <= 1:
        raise ValueError(f"discount must be in [0, 1], got {discount}; 1 is RTHO, 0 is HD")
    method = Forward() if method is None else method
    if not isinstance(method, Forward):
        raise TypeError(
            "method must be None or Forward(): online hypergradients go forward, "
            f"got {type(method).__name__}"
        )
    rules = as_rules(stopping)
    params = detach(params)
    check_leaves("params", params)
    objective = with_step(outer_objective, 2)
    outer = OuterStep(hyper, optimizer, projection)
    keeper = Keeper(keep, evaluate, evaluate_every, seed)
    run = Run(
        outer,
        params,
        checkpoint,
        resume,
        {
            "loop": "solve_online",
            "discount": discount,
            "interval": interval,
            "seed": seed,
            "method": repr(method),
        },
        keeper,
    )
    keep_freed_pages()
    at = outer.hyper
    start = Start(dynamics, params, at, mix(seed, 0, START))
    state = start.run()
    memory = method.start(start)
    t = 0
    if run.more:
        t, state = run.more["t"], refill(state, run.more["state"])
        memory.tangents = run.more["tangents"]

    def step_at(state: Tree, t: int) -> Step:
        return Step(dynamics, state, at, t, mix(seed, 0, t))

    before: At | None = None
    reason = run.ended(rules)
    while reason is None and t < n_steps:
        try:
            new, loss = method.carry(memory, step_at(state, t), discount)
            check_step(loss, state, new, t)
            state, t = new, t + 1
            if t % interval:
                continue
            check_finite("state", state, f"after step {t - 1}")
            end = mix(seed, 0, t, ONLINE_OUTER)
            point = evaluate_outer(dynamics, objective, state, at, t, end)
            check_finite("the outer value", point.value, f"after {t} steps")
            grads = method.gradient(memory, point)
            if not run.history:
                refuse_unused(at, grads, point, start, step_at, n_steps, method)
            grad = gradient_tree(at, grads)
            check_finite("the gradient by hyper", grad, f"after {t} steps")
            record = Record(t, float(point.value), norm(leaves(grad)), at)
            weights = dynamics.params(state)
            if before is not None:
                keeper.compare(record.value, functools.partial(before, weights, at))
            before = At(objective, t, end)
            record = run.take(record, weights, grad)
            at = outer.hyper
            if (t // interval) % save_every == 0:
                run.more = {"t": t, "state": leaves(state), "tangents": memory.tangents}
                run.save()
            reason = run.ended(rules)
            if callback is not None and callback(record) is True:
                reason = reason or "callback"
        except (NonFiniteError, KeyboardInterrupt) as stop:
            if not run.history:
                raise
            reason = why(stop)
    if not reason or not reason.startswith("non-finite"):
        run.params = dynamics.params(state)
    return run.solution_of(reason or "n_steps", At(objective, t, mix(seed, 0, t, ONLINE_OUTER)))
