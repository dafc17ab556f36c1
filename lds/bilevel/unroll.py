"""One hypergradient: run the dynamics while a method observes it, then compute the gradient."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lds._memory import keep_freed_pages
from lds._numbers import integer
from lds._random import START, mix, replayed
from lds.bilevel.auto import choose
from lds.bilevel.checks import (
    check_count,
    check_finite,
    check_function,
    check_hyper,
    check_leaves,
    check_mode,
    check_step,
    check_tol,
    check_tuned,
    kind_of,
)
from lds.bilevel.dynamics import Dynamics
from lds.bilevel.method import AbstractHypergradient, Hypergradient, Info, Memory
from lds.bilevel.ordering import matched
from lds.bilevel.per_task import lengths
from lds.bilevel.reverse import Reverse
from lds.bilevel.signatures import with_step
from lds.bilevel.step import Start, Step, evaluate, gradient_tree
from lds.bilevel.tensors import (
    Columns,
    Tree,
    detach,
    devices,
    leaves,
    norm,
    paths,
    same_structure,
)
from lds.bilevel.twice import examined
from lds.bilevel.usage import refuse_cut_off, refuse_unused

Method = AbstractHypergradient | Literal["auto"] | None


@dataclass(frozen=True)
class Midway:
    """The state after `step` steps, from which a run continues."""

    state: Tree
    step: int


def hypergradient(
    dynamics: Dynamics,
    outer_objective: Callable[..., Tensor],
    params: Tree,
    hyper: Tree,
    n_steps: int,
    method: Method = None,
    seed: int = 0,
    *,
    inner_tol: float = 0.0,
    previous: Hypergradient | None = None,
) -> Hypergradient:
    """Compute ∇_λ E(w_T(λ), λ) through `n_steps` of the dynamics (eqs. 5.8, 5.9).

    Arguments:
        dynamics: Φ, from which w_T(λ) comes.
        outer_objective: E(params, hyper[, step]) -> scalar tensor.
        params: first weights, the argument of Φ_0, a pytree of tensors.
        hyper: λ, a pytree of tensors (or of owners, see `lds.bilevel.tensors`).
        n_steps: T >= 0, number of steps.
        method: how the hypergradient is computed; None is `Reverse()`, "auto" chooses by size and
            memory and says why in the result's `info`.
        seed: seed of the randomness inside Φ; torch's random state is restored afterwards.
        inner_tol: the run ends before `n_steps` after a step with ‖w_t - w_{t-1}‖ <= inner_tol
            ‖w_{t-1}‖, for every task of `over_tasks`; 0 takes all steps. The result is that of a
            run of as many steps as were taken (`step` of the result); how their number depends on λ
            is not differentiated.
            `Reverse(truncation)` sweeps over the last steps taken; `Reverse(checkpoint=)` must know
            the number of steps in advance and is refused.
        previous: an earlier result; an implicit method starts its solve from its `solution`.

    Returns:
        The value E, its gradient like `hyper`, and the state s_T.

    Raises:
        TypeError: an argument is of another kind, a leaf is complex, or an objective returns no
            real number.
        ValueError: `n_steps` is negative, `hyper` holds integers alone, an objective is not scalar,
            Φ returns another kind of state, or a hyperparameter has no influence, at any step or on
            the outer objective.
        RuntimeError: Φ changed its arguments in place.
        NonFiniteError: a loss, state or gradient is not finite (an ArithmeticError).
        MemoryError: what the method keeps does not fit.

    Examples:
        >>> import torch
        >>> from lds import bilevel
        >>> inner = bilevel.GradientDescent(lambda w, lam: 0.5 * lam * (w - 2) ** 2, lr=0.5)
        >>> result = bilevel.hypergradient(
        ...     inner, lambda w, lam: w, torch.tensor(0.0), torch.tensor(1.0), n_steps=1)
        >>> result.value, result.grad
        (tensor(1.), tensor(1.))
    """
    check_mode()
    check_dynamics(dynamics, outer_objective)
    check_function("outer_objective", outer_objective, "(params, hyper[, step])")
    check_leaves("params", params)
    check_hyper(hyper)
    check_method(method)
    n_steps = check_count("n_steps", n_steps, 0)
    seed = integer("seed", seed)
    check_tol(inner_tol)
    if not (previous is None or isinstance(previous, Hypergradient)):
        raise TypeError(
            "previous must be an earlier result of hypergradient, or None, got "
            f"{type(previous).__name__}"
        )
    return differentiate_run(
        dynamics,
        with_step(outer_objective, 2),
        detach(params),
        detach(hyper),
        n_steps,
        method,
        seed,
        0,
        previous,
        check_usage=True,
        inner_tol=inner_tol,
    )


def check_dynamics(
    dynamics: Any,
    outer_objective: Any = None,
    wanted: str = "such as GradientDescent(inner_objective, lr=0.1)",
) -> None:
    """Check that `dynamics` is one.

    Arguments:
        dynamics: to be checked.
        outer_objective: the next argument, which may be the dynamics; None if there is none.
        wanted: what may be given, in the message.

    Raises:
        TypeError: it is none.
    """
    if isinstance(dynamics, Dynamics):
        return
    hint = ""
    if isinstance(outer_objective, Dynamics):
        hint = "; the dynamics comes first, the outer objective second"
    elif of_torch(dynamics):
        hint = (
            "; an optimiser of torch.optim changes weights in place, without history: "
            "bilevel.Adam(inner_objective) can be differentiated"
        )
    elif isinstance(dynamics, type):
        hint = f"; did you mean to call it, as in {dynamics.__name__}(inner_objective)?"
    elif isinstance(getattr(dynamics, "dynamics", None), Dynamics):
        hint = "; its attribute dynamics is one"
    raise TypeError(f"dynamics must be a Dynamics, {wanted}, got {kind_of(dynamics)}{hint}")


def of_torch(maker: Any) -> bool:
    """Return whether `maker` is an optimiser of `torch.optim`, or makes one."""
    maker = getattr(maker, "func", maker)  # of a functools.partial
    kind = maker if isinstance(maker, type) else type(maker)
    return issubclass(kind, torch.optim.Optimizer)


def check_method(method: Any) -> None:
    """Check that `method` is None, "auto" or a method.

    Raises:
        TypeError: it is not.
    """
    if not (method is None or method == "auto" or isinstance(method, AbstractHypergradient)):
        hint = "; did you mean to call it?" if isinstance(method, type) else ""
        raise TypeError(
            "method must be a hypergradient method such as Reverse(), 'auto', or None for "
            f"Reverse(), got {method!r}{hint}"
        )


def differentiate_run(
    dynamics: Dynamics,
    objective: Callable[[Tree, Tree, int], Tensor],
    params: Tree,
    hyper: Tree,
    n_steps: int,
    method: Method,
    seed: int,
    iteration: int,
    solution: Any,
    *,
    check_usage: bool,
    midway: Midway | None = None,
    start_once: bool = False,
    inner_tol: float = 0.0,
    notes: dict[str, Any] | None = None,
) -> Hypergradient:
    """Run outer iteration `iteration` and compute its hypergradient; see `hypergradient`.

    Arguments:
        dynamics, objective, params, hyper, n_steps, method, seed, inner_tol: as for
            `hypergradient`.
        iteration: outer iteration, from 0.
        solution: the method's solution of the previous outer iteration, or an earlier result; None
            in the first.
        check_usage: refuse a hyperparameter that nothing uses.
        midway: where to continue, with the step count; None starts with Φ_0.
        start_once: whether later outer iterations continue midway.
        notes: of the method, from earlier outer iterations; added to.
    """
    check_mode()
    check_tuned(hyper)
    if midway is None:
        check_leaves("params", params)
        keep_freed_pages()
    gpus = devices(params, hyper)
    # Restore the random generators once a run instead of once a step.
    with replayed(mix(seed, iteration, START), gpus, dynamics.generators), examined(check_usage):
        start = Start(dynamics, params, hyper, mix(seed, iteration, START))
        state = start.run() if midway is None else midway.state
        first = 0 if midway is None else midway.step
        why: Info = {}
        if method == "auto":
            method, reason = choose(state, hyper, n_steps)
            why = {"method": repr(method), "why": reason}
        method = Reverse() if method is None else method
        memory: Memory = method.start(
            start if midway is None else None, None if inner_tol else n_steps
        )
        if isinstance(solution, Hypergradient):
            solution = _solution_of(solution, dynamics, state, hyper)
        memory.solution = solution
        memory.notes = {} if notes is None else notes

        def step_at(state: Tree, t: int) -> Step:
            seed_of = mix(seed, iteration, t)
            return Step(dynamics, state, hyper, t, seed_of, restore=bool(gpus))

        taken, checked = first, False
        for t in range(first, first + n_steps):
            step = step_at(state, t)
            new = method.observe(memory, step)
            new_state, loss = step.run() if new is None else new
            check_step(loss, state, new_state, t)
            checked = loss is None  # then `check_step` checked the new state
            still = inner_tol > 0 and rests(dynamics, state, new_state, inner_tol)
            state, taken = new_state, t + 1
            if still:
                break
        if not checked:
            check_finite("state", state, f"after step {taken - 1}")
        end = mix(seed, iteration, taken)
        outer = evaluate(dynamics, objective, state, hyper, taken, end, restore=bool(gpus))
        check_finite("the outer value", outer.value, f"after {taken} steps")
        if check_usage:
            refuse_cut_off(hyper, outer)
        grads = method.gradient(memory, outer)
        if check_usage:
            refuse_unused(
                hyper, grads, outer, start, step_at, n_steps, method, start_once=start_once
            )
        tree = gradient_tree(hyper, grads)
        size = norm([leaf for leaf in leaves(tree) if isinstance(leaf, Tensor)])
        if not math.isfinite(size):
            check_finite("the gradient by hyper", tree, f"after {taken} steps")
        info = memory.info | why
        return Hypergradient(outer.value, tree, state, info, memory.solution, taken, size)


def _solution_of(
    previous: Hypergradient, dynamics: Dynamics, state: Tree, hyper: Tree
) -> Columns | None:
    """Return the solution of an earlier result, in the order of trees with keys in another."""
    before, columns = previous.state, previous.solution
    same = same_structure(before, state) and same_structure(previous.grad, hyper)
    if columns is None or same or sorted(paths(before)) != sorted(paths(state)):
        return columns  # where the state is another the method compares shapes
    return matched(columns, *([tree, dynamics.params(tree)] for tree in (before, state)))


def last_state(
    dynamics: Dynamics,
    params: Tree,
    hyper: Tree,
    n_steps: int,
    seed: int,
    iteration: int,
    inner_tol: float,
) -> tuple[Tree, int]:
    """Return the state after the inner run of an outer iteration, and the number of steps taken."""
    state = Start(dynamics, params, hyper, mix(seed, iteration, START)).run()
    for t in range(n_steps):
        new, _ = Step(dynamics, state, hyper, t, mix(seed, iteration, t)).run()
        if inner_tol > 0 and rests(dynamics, state, new, inner_tol):
            return new, t + 1
        state = new
    return state, n_steps


def rests(dynamics: Dynamics, old: Tree, new: Tree, tol: float) -> bool:
    """Return whether a step moved the weights of every task by at most `tol` of their norm."""
    pairs = zip(leaves(dynamics.params(old)), leaves(dynamics.params(new)), strict=True)
    moving = [(a, b) for a, b in pairs if a.is_floating_point() or a.is_complex()]  # no counters
    before, moves = [a for a, _ in moving], [b - a for a, b in moving]
    n = dynamics.n_tasks
    if n is not None and any(leaf.shape[:1] != (n,) for leaf in before):
        n = None
    moved, size = lengths(moves, n), lengths(before, n)
    return bool((moved <= tol * size).all())
