"""Runs of the thesis's method that share their data, side by side in one batch.

One run on a small graph is thousands of small operations, which a GPU executes faster than a
program starts them. R runs are one problem on R disjoint copies of the nodes: weights, step sizes
and dropout have a dimension in front, the drawn graphs are one block diagonal, the inner loss is
the sum of the runs' losses, and so every run's gradient is its own.

Runs need different numbers of inner steps. All of them take a window of τ steps, and their losses
are read once, when it has ended. A run whose inner run ended within the window waits for its end,
at most τ - 1 steps, and then begins its next outer iteration at once. Where a whole run has ended,
the next run in line takes its place.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from lds.bilevel.checks import NonFiniteError
from lds.edges.memory import AUTO_SHARE, COPIES_OF_PROBS, all_pairs_bytes, check_all_pairs_fit
from lds.nn.registry import build
from lds.structure.checks import check_device
from lds.structure.context import RunContext
from lds.structure.iteration import Iteration
from lds.structure.methods.thesis import BATCH_ALIKE, BATCH_NEEDS, Thesis
from lds.structure.methods.thesis_run import (
    restarts_of,
    result_of,
    starting_graph,
    thesis_task,
)
from lds.structure.options import check_seed
from lds.structure.problem import Problem
from lds.structure.restarts import Restarts
from lds.structure.result import Learned
from lds.structure.side_by_side.batch import Batch, BatchedRun
from lds.structure.surroundings import own_settings
from lds.structure.task import Params, Task

OnIteration = Callable[[int, Iteration], None]


@dataclass(frozen=True)
class Run:
    """One run of several.

    Attributes:
        problem: with the same features, labels and weights as the other runs.
        method: options.
        seed: of the run.
    """

    problem: Problem
    method: Thesis
    seed: int = 0


@dataclass
class _Waiting:
    """A run that is in a batch or waits for a place in one."""

    restarts: Restarts
    batched: BatchedRun


@own_settings()
def learn_many(
    runs: Sequence[Run],
    *,
    batch: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    on_iteration: OnIteration | None = None,
) -> list[Learned | NonFiniteError]:
    """Learn θ and w of several runs on the same nodes together, each as `learn` would.

    A run draws what it would draw alone, from its own seed, whatever other runs are in its batch:
    its hypergradients are those of `learn` to rounding. (A whole run multiplies rounding errors, so
    in float32 it ends elsewhere, as it would on another machine.)

    Memory: that of `learn` for each run of a batch, and the best θ of each run.

    Arguments:
        runs: problems on the same features, labels and weights, options, seeds. Runs that differ in
            `hidden_channels`, `truncation` (τ), `update_edges` or the kind of support are batched
            apart.
        batch: most runs side by side; None is all. The others wait for a place.
        device, dtype: where and in what precision.
        on_iteration: called with the number of the run after each of its outer iterations.

    Returns:
        The result of each run; in its place, where a loss was not finite before the first outer
        iteration ended, the error that `learn` would raise.

    Raises:
        ValueError: runs differ in features, labels or weights, an option has a value that only
            `learn` supports, or more memory is needed than there is.
    """
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1 run, or None for all, got {batch}")
    device = check_device(device)
    for run in runs:
        check_seed(run.seed)
        _check_run(run, runs[0], dtype, device)
    groups: dict[tuple[Any, ...], list[int]] = {}
    n_beside = min(len(runs), batch or len(runs))
    for index, run in enumerate(runs):
        all_pairs = _has_all_pairs(run, n_beside, dtype, device)
        groups.setdefault((all_pairs, *_alike(run.method)), []).append(index)
    results: dict[int, Learned | NonFiniteError] = {}
    for (all_pairs, *_), members in groups.items():
        n_places = min(len(members), n_beside)
        first = runs[members[0]]
        if all_pairs:
            _check_batch_fits(first.problem.n_nodes, n_places, len(members), dtype, device)
        context = RunContext(device=device, dtype=dtype)
        task = thesis_task(first.method, first.problem, context)
        waiting = _waiting(runs, members, task, all_pairs, context)
        results |= _learn(waiting, n_places, on_iteration)
    return [results[index] for index in range(len(runs))]


def _alike(method: Thesis) -> tuple[Any, ...]:
    """Return the options in which runs of one batch agree, besides the support."""
    return tuple(getattr(method, name) for name in BATCH_ALIKE)


def _waiting(
    runs: Sequence[Run],
    members: Sequence[int],
    task: Task,
    all_pairs: bool,
    context: RunContext,
) -> Iterator[_Waiting]:
    """Make the runs of a group, each when a place is free for it."""
    for index in members:
        run = runs[index]
        problem, method = run.problem, run.method
        start = starting_graph(method, problem)
        mine = _task_of(task, method)
        mine_context = replace(context, seed=run.seed)
        restarts = restarts_of(method, problem, start, mine_context, task=mine, all_pairs=all_pairs)
        split = problem.split
        batched = BatchedRun(
            index, mine, restarts.variables, method, run.seed, split.train, split.validation
        )
        yield _Waiting(restarts, batched)


def _learn(
    waiting: Iterator[_Waiting], n_places: int, on_iteration: OnIteration | None
) -> dict[int, Learned | NonFiniteError]:
    """Learn runs that can share a batch; return results by their number."""
    results: dict[int, Learned | NonFiniteError] = {}
    placed = list(itertools.islice(waiting, n_places))
    batch = Batch([each.batched for each in placed])
    while True:
        left: set[int] = set()
        for place, params in batch.window().items():
            each = placed[place]
            result = _result(each, params, on_iteration)
            if result is None:
                each.batched.iteration += 1
                batch.begin(place)
                continue
            results[each.batched.index] = result
            following = next(waiting, None)
            if following is None:
                left.add(place)
            else:
                placed[place] = following
                batch.replace(place, following.batched)
        if left:
            staying = [place for place in range(len(placed)) if place not in left]
            if not staying:
                return results
            placed = [placed[place] for place in staying]
            batch.keep(staying)


def _result(
    each: _Waiting, params: Params, on_iteration: OnIteration | None
) -> Learned | NonFiniteError | None:
    """Return the result of a run whose inner run ended with `params`; None where it goes on."""
    restarts, run = each.restarts, each.batched
    error = run.error
    reason = f"non-finite: {error}"
    if error is None:
        try:
            record = restarts.judge(replace(run.result, params=params))
        except NonFiniteError as met:
            error, reason = met, f"non-finite: {met}"
        else:
            if on_iteration is not None:
                on_iteration(run.index, record)
            ended = restarts.ended()
            if ended is None:
                return None
            reason = ended
    if not restarts.history:
        return error
    return result_of(run.method, restarts, reason)


def _check_run(run: Run, first: Run, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse a run that `learn` would refuse, or that cannot share the data of the first."""
    for name in run.method.batch_misfits():
        raise ValueError(
            f"{name} must be {BATCH_NEEDS[name]!r} for runs in one batch, got "
            f"{getattr(run.method, name)!r}; `learn` takes it, one run at a time"
        )
    mine, others = run.problem, first.problem
    for name in ("features", "labels", "weights"):
        if not _is_shared(getattr(mine, name), getattr(others, name)):
            raise ValueError(f"runs must share {name}, the same array in every problem")
    check_all_pairs_fit(run.method.support, mine.n_nodes, dtype, device)


def _is_shared(one: Any, other: Any) -> bool:
    """Say whether two runs read one array, or sparse ones of equal content."""
    if not isinstance(one, sp.csr_array) or not isinstance(other, sp.csr_array):
        return one is other
    parts = ("data", "indices", "indptr", "shape")
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in parts)


def _has_all_pairs(run: Run, n_beside: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Say whether a run is on all pairs; "auto" is decided once for all places of a batch."""
    if run.method.support != "auto":
        return run.method.support == "all"
    needed, there = all_pairs_bytes(run.problem.n_nodes, dtype, device)
    return n_beside * needed <= AUTO_SHARE * there


def _check_batch_fits(
    n_nodes: int, n_places: int, n_runs: int, dtype: torch.dtype, device: torch.device
) -> None:
    """Refuse all pairs where θ of a batch, and the best θ of every run, would not fit."""
    per_run, there = all_pairs_bytes(n_nodes, dtype, device)
    needed = (n_places + n_runs) * per_run // COPIES_OF_PROBS
    if needed > there:
        raise ValueError(
            f"support='all' keeps a probability for every pair of {n_nodes} nodes, for each of "
            f"{n_places} runs side by side and of {n_runs} results, and needs {needed:,} bytes, "
            f"but {there:,} are available on {device}; batch=, fewer runs at once, or "
            "support='sparse' needs less"
        )


def _task_of(like: Task, method: Thesis) -> Task:
    """Return the task of another run on the same features and labels."""
    n_features, n_classes = like.features.shape[1], int(like.labels.max()) + 1
    network = build(method.backbone, n_features, method.hidden_channels, n_classes, method.dropout)
    return replace(like, network=network, weight_decay=method.weight_decay)
