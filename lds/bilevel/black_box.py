"""The outer loop around a black box, with a hypergradient that the caller estimates."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lds._numbers import real
from lds.bilevel.checks import check_count, check_finite, check_function, kind_of, unchanged
from lds.bilevel.history import Record, Solution
from lds.bilevel.keep import Keep, Keeper
from lds.bilevel.loop import Callback, Limits, Run
from lds.bilevel.ordering import as_begun, like
from lds.bilevel.outer import OptimizerFactory, OuterStep, SchedulerFactory, default_optimizer
from lds.bilevel.stopping import Rule
from lds.bilevel.tensors import Tree, detach, leaves, norm, paths, same_structure

Estimate = Callable[[Tree, int], tuple[Tensor | float, Tree]]
"""(hyper, outer iteration) to a value of E and an estimate of its gradient, a tree like hyper."""


def solve_black_box(
    estimate: Estimate,
    hyper: Tree,
    *,
    n_outer: int = 100,
    optimizer: OptimizerFactory = default_optimizer,
    scheduler: SchedulerFactory | None = None,
    projection: object = None,
    keep: Keep = "best",
    evaluate: Callable[[Tree], Tensor | float] | None = None,
    evaluate_every: int = 1,
    stopping: Rule | Sequence[Rule] = (),
    callback: Callback | None = None,
    verbose: bool = False,
    time_limit: float | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> Solution:
    """Minimise f(λ) by steps along estimates of its gradient that need no derivative of a training.

    The loop of `solve` around any inner run, such as a fit of scikit-learn, with the gradient from
    values alone: that of `discrete.score_function` or `discrete.disarm`, of finite differences.

    Arguments:
        estimate: (hyper, outer iteration) to a value of E and a gradient like hyper. What it draws
            should follow from the iteration, so that a run can be repeated and resumed.
        hyper: λ to start from, a pytree of tensors.
        evaluate: evaluate(hyper) -> a number, lower is better; None judges by the value that
            `estimate` returns.
        n_outer, optimizer, scheduler, projection, keep, evaluate_every, stopping, callback,
            verbose, time_limit, checkpoint, resume: as for `solve`. The second iteration calls
            `estimate` twice, to see whether its value is noisy.

    Returns:
        λ of the iteration kept, with the history, the reason for the end, and the last; `params`
        are empty.

    Raises:
        TypeError, ValueError: an argument does not fit, `estimate` returns another kind of tree, or
            a checkpoint is of another run.
        NonFiniteError: an estimate is not finite in the first outer iteration; later, the loop ends
            with what it has, and says so as the reason.

    Examples:
        >>> import functools, torch
        >>> from lds import bilevel, discrete
        >>> def estimate(probs, k):  # which of two coins costs less
        ...     cost = lambda z: z @ torch.tensor([1.0, -1.0])
        ...     coins, g = discrete.Bernoulli(probs), torch.Generator().manual_seed(k)
        ...     return cost(coins.mean), discrete.disarm(coins, cost, n_draws=8, generator=g)
        >>> solution = bilevel.solve_black_box(
        ...     estimate, torch.tensor([0.5, 0.5]), n_outer=20,
        ...     optimizer=functools.partial(torch.optim.SGD, lr=0.1),
        ...     projection=bilevel.projections.box(0.01, 0.99))
        >>> solution.last.hyper
        tensor([0.0100, 0.9900])
    """
    check_function("estimate", estimate, "(hyper, outer iteration)")
    n_outer = check_count("n_outer", n_outer, 1)
    judge = None if evaluate is None else lambda params, at: evaluate(at)
    keeper = Keeper(keep, judge, evaluate_every, seed=0)
    limits = Limits(stopping, callback, time_limit, verbose, n_outer)
    (hyper,) = as_begun(checkpoint, resume, hyper=hyper)
    outer = OuterStep(hyper, optimizer, projection, scheduler)
    run = Run(outer, {}, checkpoint, resume, {"loop": "solve_black_box"}, keeper)

    def estimated(at: Tree, k: int) -> tuple[float, Tree]:
        with unchanged("estimate", hyper=at), torch.enable_grad():
            return _checked(estimate(detach(at), k), at)

    def iterate() -> Record:
        k, at = run.done, outer.hyper
        value, grad = estimated(at, k)
        check_finite(
            "the outer value", torch.tensor(value, dtype=torch.float64), f"at outer iteration {k}"
        )
        if k > 0:
            keeper.compare(value, lambda: estimated(at, k - 1)[0])
        return run.take(Record(k, value, norm(leaves(grad)), at), {}, grad)

    reason = run.loop(iterate, lambda: run.done < n_outer, limits, "n_outer")
    return run.solution_of(reason, lambda params, at: estimated(at, run.done - 1)[0])


def _checked(found: Any, hyper: Tree) -> tuple[float, Tree]:
    """Return the value and the gradient of an estimate.

    Raises:
        TypeError, ValueError: it is no pair of a number and a gradient like `hyper`.
    """
    if not isinstance(found, tuple | list) or len(found) != 2:
        got: Any = f"{len(found)} things" if isinstance(found, tuple | list) else kind_of(found)
        raise TypeError(f"estimate must return (value, gradient), got {got}")
    value, grad = found
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(f"estimate must return one number as its value, got {tuple(value.shape)}")
    value = real(
        "the value that estimate returns", value.item() if isinstance(value, Tensor) else value
    )
    grad = like(grad, hyper)
    if not same_structure(grad, hyper):
        raise ValueError(
            f"estimate must return a gradient like hyper, {paths(hyper)}, got {paths(grad)}"
        )
    for path, g, leaf in zip(paths(hyper), leaves(grad), leaves(hyper), strict=True):
        if not isinstance(g, Tensor) or g.shape != leaf.shape:
            got = tuple(g.shape) if isinstance(g, Tensor) else type(g).__name__
            raise ValueError(
                f"estimate must return a gradient of shape {tuple(leaf.shape)} for hyper{path}, "
                f"got {got}"
            )
        if leaf.is_floating_point() and (g.dtype, g.device) != (leaf.dtype, leaf.device):
            raise TypeError(
                f"estimate must return a gradient of {leaf.dtype} on {leaf.device} for "
                f"hyper{path}, got {g.dtype} on {g.device}; .to(hyper{path}) converts it"
            )
    return value, detach(grad)
