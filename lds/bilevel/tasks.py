"""Many inner problems as one: batches of tasks, folds of cross-validation.

Three instances of the idea: tasks of a few-shot learner, which share a representation (Algorithm
5); the K folds of a data set, which share hyperparameters (Appendix B); several starts of one
problem. The weights of all problems are stacked, and vmap evaluates each with its own. The inner
objective is the sum over problems, so its gradient by the weights of one problem is the gradient of
that problem.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lds._jobs import in_processes, one_torch_thread
from lds._numbers import integer
from lds._random import mix
from lds.bilevel.buffers import Collected, collect, collecting, split
from lds.bilevel.checks import check_count, check_function, check_scalar, kind_of
from lds.bilevel.dynamics import Dynamics
from lds.bilevel.per_task import count
from lds.bilevel.signatures import with_step
from lds.bilevel.tensors import Tree, leaves, paths, tree_map
from lds.bilevel.unroll import Method, check_method, hypergradient

Objective = Callable[..., Tensor]

Task = tuple[Dynamics, Objective, Tree]
"""One inner problem: the dynamics, E, and the first weights."""


def over_tasks(
    inner_objective: Objective, outer_objective: Objective, tasks: Tree
) -> tuple[Objective, Objective]:
    """Make the inner and outer objective of a batch of tasks by vmap (Algorithm 5).

    Both take weights from `stacked`. Each task is trained as if it were alone: random draws differ
    from task to task, `max_grad_norm` limits the gradient of each, and `inner_tol` ends a run when
    all tasks rest. Time: one batched evaluation instead of a loop over tasks.

    Arguments:
        inner_objective: L(params, hyper, task[, step]) -> scalar, of one task.
        outer_objective: E(params, hyper, task[, step]) -> scalar, of one task.
        tasks: a pytree of tensors `(n_tasks, ...)`, one slice a task.

    Returns:
        The sum of L and the mean of E over the tasks, as functions of (params, hyper, step).

    Raises:
        TypeError: an objective is no function.
        ValueError: the tensors of `tasks` do not have one length; in use, the weights have another
            one, or an objective returns no scalar.

    Examples:
        >>> import torch
        >>> from lds import bilevel
        >>> inner, outer = bilevel.over_tasks(
        ...     lambda w, lam, goal: 0.5 * (w - goal) ** 2 + 0.5 * lam * w**2,
        ...     lambda w, lam, goal: (w - goal) ** 2,
        ...     torch.tensor([1.0, 3.0]))
        >>> bilevel.hypergradient(
        ...     bilevel.GradientDescent(inner, 0.5), outer,
        ...     bilevel.stacked(torch.tensor(0.0), 2), torch.tensor(1.0), n_steps=50).value
        tensor(1.2500)
    """
    n_tasks = _length(tasks)
    check_function("inner_objective", inner_objective, "(params, hyper, task[, step])")
    check_function("outer_objective", outer_objective, "(params, hyper, task[, step])")
    inner = _scalar("inner_objective", with_step(inner_objective, 3))
    outer = _scalar("outer_objective", with_step(outer_objective, 3))

    def mapped(objective: Objective, params: Tree, hyper: Tree, step: int) -> Tensor:
        _check_stacked(params, n_tasks)
        into = collecting()
        buffers = [] if into is None else split(params)[1]
        if into is None or not buffers:  # an outer objective changes no buffers

            def one(w: Tree, task: Tree) -> Tensor:
                return objective(w, hyper, task, step)

            values: Tensor = torch.vmap(one, randomness="different")(params, tasks)
            return values

        def with_buffers(w: Tree, task: Tree) -> tuple[Tensor, Tree]:
            with collect(Collected(into)) as mine:
                value = objective(w, hyper, task, step)
            return value, mine.follow(split(w)[1])

        values, new = torch.vmap(with_buffers, randomness="different")(params, tasks)
        for old, value in zip(leaves(buffers), leaves(new), strict=True):
            into.report(old, value)
        return values

    def total(params: Tree, hyper: Tree, step: int) -> Tensor:
        count(n_tasks)
        return mapped(inner, params, hyper, step).sum()

    def mean(params: Tree, hyper: Tree, step: int) -> Tensor:
        return mapped(outer, params, hyper, step).mean()

    return total, mean


def _scalar(name: str, objective: Objective) -> Objective:
    """Make an objective of one task that refuses to return anything but a scalar."""

    def checked(params: Tree, hyper: Tree, task: Tree, step: int) -> Tensor:
        value: Tensor = objective(params, hyper, task, step)
        check_scalar(name, value, " for each task")
        return value

    return checked


def separate_tasks(
    episode: Callable[[int], Sequence[Task]],
    n_steps: int,
    *,
    method: Method = None,
    seed: int = 0,
    n_jobs: int | None = None,
) -> Callable[[Tree, int], tuple[Tensor, Tree]]:
    """Make the mean of E over tasks that are trained one by one, in processes (Algorithm 5).

    For tasks that `over_tasks` cannot stack: weights of different shapes, other numbers of rows,
    code that vmap refuses; or for more processor cores. The result is what `solve_black_box` takes
    in the place of an estimate, here exact.

    Arguments:
        episode: outer iteration to the tasks of that iteration, each (dynamics, outer_objective,
            params); called in this process.
        n_steps, method: as for `hypergradient`.
        seed: seed of the randomness inside Φ, mixed with the outer iteration and the task.
        n_jobs: number of processes, as for `joblib.Parallel`, or -1 for one a core. None is that of
            `joblib.parallel_config`, and 1 without one. Results do not depend on it, for a task
            always computes in one thread. With a backend of threads they are wrong: threads share
            torch's random numbers.

    Returns:
        (hyper, outer iteration) to the mean of E and its gradient.

    Raises:
        TypeError, ValueError: an argument does not fit; in use, `episode` returns no task.

    Examples:
        >>> import functools, torch
        >>> from lds import bilevel
        >>> def task(goal):
        ...     inner = bilevel.GradientDescent(
        ...         lambda w, lam: 0.5 * (w - goal) ** 2 + 0.5 * lam * w**2, 0.5)
        ...     return inner, lambda w, lam: (w - goal) ** 2, torch.tensor(0.0)
        >>> mean = bilevel.separate_tasks(lambda k: [task(1.0), task(3.0)], n_steps=50)
        >>> mean(torch.tensor(1.0), 0)
        (tensor(1.2500), tensor(1.2500))
    """
    check_function("episode", episode, "(outer iteration)")
    check_method(method)
    n_steps = check_count("n_steps", n_steps, 0)
    seed = integer("seed", seed)

    def mean(hyper: Tree, k: int) -> tuple[Tensor, Tree]:
        tasks = list(episode(k))
        if not tasks:
            raise ValueError(f"episode must return at least one task, got none at iteration {k}")
        for task in tasks:
            if not isinstance(task, tuple | list) or len(task) != 3:
                raise TypeError(
                    "episode must return tasks (dynamics, outer_objective, params), got "
                    f"{kind_of(task)} at iteration {k}"
                )
        calls = [
            (task, hyper, n_steps, method, mix(seed, k, place)) for place, task in enumerate(tasks)
        ]
        found = in_processes(_one, calls, n_jobs)
        values, grads = zip(*found, strict=True)
        return torch.stack(values).mean(), tree_map(lambda *g: sum(g) / len(g), *grads)

    return mean


def _one(task: Task, hyper: Tree, n_steps: int, method: Method, seed: int) -> tuple[Tensor, Tree]:
    """Compute E of one task and its hypergradient, in one thread."""
    dynamics, outer_objective, params = task
    with one_torch_thread():
        result = hypergradient(dynamics, outer_objective, params, hyper, n_steps, method, seed)
    return result.value, result.grad


def stacked(params: Tree, n: int) -> Tree:
    """Stack `n` copies of every leaf in a new first dimension; differentiable, for use in Φ_0."""
    n = check_count("n", n, 1)
    return tree_map(lambda leaf: leaf.expand(n, *leaf.shape).clone(), params)


def task_at(tasks: Tree, k: int) -> Tree:
    """Return task `k` as a batch of one."""
    n, k = _length(tasks), integer("k", k)
    if not 0 <= k < n:
        raise ValueError(f"k must be in [0, {n}), the number of tasks, got {k}")
    return tree_map(lambda leaf: leaf[k : k + 1], tasks)


def _check_stacked(params: Tree, n: int) -> None:
    """Check that every tensor of the weights has one slice a task."""
    for path, leaf in zip(paths(params), leaves(params), strict=True):
        if not isinstance(leaf, Tensor) or leaf.dim() == 0 or leaf.shape[0] != n:
            got = f"shape {tuple(leaf.shape)}" if isinstance(leaf, Tensor) else kind_of(leaf)
            raise ValueError(
                f"params{path} must have one slice for each of the {n} tasks in its first "
                f"dimension, got {got}; bilevel.stacked(params, {n}) has"
            )


def _length(tasks: Tree) -> int:
    lengths = {
        path: leaf.shape[0] if isinstance(leaf, Tensor) and leaf.dim() else None
        for path, leaf in zip(paths(tasks), leaves(tasks), strict=True)
    }
    found = set(lengths.values())
    if len(found) != 1 or None in found:
        raise ValueError(
            f"tasks must be tensors with one slice a task, all of one length, got {lengths}"
        )
    n = found.pop()
    assert n is not None
    return int(n)


def k_folds(
    n_rows: int, n_folds: int, *, seed: int = 0, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Divide rows at random into K folds whose sizes differ by at most one.

    The K-fold cross-validation error is then a mean over tasks: write both losses as weighted means
    of row losses and pass the folds to `over_tasks`. For one random fold an outer iteration, pass
    `task_at(folds, k)` to it in the function of the outer iteration that `solve` takes.

    Arguments:
        n_rows: rows of the data.
        n_folds: K, in [2, n_rows]; n_rows is leave-one-out.
        seed: seed of the division.
        dtype: dtype of the weights; None is torch's default.

    Returns:
        "train" and "validation", weights `(n_folds, n_rows)`: 1 if the row is a training or
        validation row of the fold, else 0.

    Raises:
        TypeError: a number is no integer.
        ValueError: `n_folds` is out of range.
    """
    n_rows, n_folds = integer("n_rows", n_rows), integer("n_folds", n_folds)
    seed = integer("seed", seed)
    if not 2 <= n_folds <= n_rows:
        raise ValueError(f"n_folds must be in [2, n_rows = {n_rows}], got {n_folds}")
    order = torch.randperm(n_rows, generator=torch.Generator().manual_seed(seed))
    fold = torch.empty(n_rows, dtype=torch.int64)
    fold[order] = torch.arange(n_rows) % n_folds
    validation = torch.nn.functional.one_hot(fold, n_folds).T.to(dtype or torch.get_default_dtype())
    return {"train": 1 - validation, "validation": validation}


def weighted_mean(values: Tensor, weights: Tensor) -> Any:
    """Compute Σ w_i v_i / Σ w_i."""
    return (weights * values).sum() / weights.sum()
