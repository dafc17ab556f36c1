"""Runs that share their data, side by side in one batch: the seeds and settings of a grid.

One run of LDS on a small graph is thousands of small operations, which a GPU starts more slowly
than it does them. R runs are one problem on R disjoint copies of the nodes: weights, learning
rates and dropout have a dimension in front, the drawn graphs are one block diagonal, the inner loss
is the sum of theirs, and so every run's gradient is its own.

Runs need different numbers of inner steps. A window of τ steps is taken by all of them; what each
met is looked at once, when the window has ended. A run that ended within it waits for the window to
end, at most τ - 1 steps, and then begins its next outer iteration at once; where all of it has
ended, the next run in line takes its place.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from lds._types import Features, Split
from lds.bilevel.checks import NonFiniteError
from lds.config import LDSConfig
from lds.nn.registry import build
from lds.structure.checks import (
    AUTO_SHARE,
    COPIES_OF_PROBS,
    all_pairs_bytes,
    check_device,
    check_problem,
)
from lds.structure.learner import Iteration, LDSResult, Learner, Params
from lds.structure.side_by_side.batch import NEEDED, Batch, Slot, unknown
from lds.structure.task import Task, task_on

ALIKE = ("hidden_channels", "truncation", "update_edges")
"""Options in which runs of one batch do not differ; others get a batch of their own."""


@dataclass(frozen=True)
class Run:
    """What differs from run to run: see `learn` for each."""

    split: Split
    start: sp.csr_array
    config: LDSConfig
    held_out: sp.csr_array | None = None


def learn_replicates(
    features: Features,
    labels: NDArray[np.int64],
    runs: Sequence[Run],
    *,
    batch: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    on_iteration: Callable[[int, Iteration], None] | None = None,
) -> list[LDSResult | NonFiniteError]:
    """Learn θ and w of several runs on the same nodes together, each as `learn` would.

    A run draws what it would draw alone, from its own seed, whatever runs beside it: its
    hypergradients are those of `learn` to rounding. (A whole run multiplies what rounding does,
    so that in float32 it ends elsewhere, as it would on another machine.)

    Memory: that of `learn` for each run of a batch, and the best θ of each run.

    Arguments:
        features: X, `(n_nodes, n_features)`.
        labels: `(n_nodes,)`, classes from 0; read at train, validation and stopping rows only.
        runs: splits, starting graphs and options. Runs that differ in `hidden_channels`,
            `truncation` (τ), `update_edges` or the kind of support are batched apart.
        batch: runs side by side at most; None is all. The others wait for a place.
        device, dtype: where and in what precision.
        on_iteration: called with the number of the run after each of its outer iterations.

    Returns:
        The result of each run; in its place, where a loss was not finite before the first outer
        iteration ended, the error that `learn` would raise.

    Raises:
        ValueError: an input cannot be learned from (see `checks.check_problem`), an option has a
            value that only `learn` knows, or more memory is needed than there is.
    """
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1 run, or None for all, got {batch}")
    device = check_device(device)
    checked = [_checked(features, labels, run, dtype, device) for run in runs]
    groups: dict[tuple[Any, ...], list[int]] = {}
    n_beside = min(len(runs), batch or len(runs))
    for index, run in enumerate(checked):
        config = _with_support(run.config, len(labels), n_beside, dtype, device)
        checked[index] = replace(run, config=config)
        groups.setdefault((config.support, *alike(config)), []).append(index)
    results: dict[int, LDSResult | NonFiniteError] = {}
    for members in groups.values():
        n_places = min(len(members), n_beside)
        config = checked[members[0]].config
        _check_memory(config, len(labels), n_places, len(members), dtype, device)
        task = task_on(features, labels, config, dtype, device)

        def slots(members: list[int] = members, task: Task = task) -> Iterator[Slot]:
            for index in members:
                run = checked[index]
                learner = Learner(
                    features, labels, run.split, run.start, run.config, device, dtype,
                    run.held_out, _task(task, run.config),
                )  # fmt: skip
                learner.config = runs[index].config  # "auto" where it was told so
                yield Slot(index, learner, run.split)

        results |= _learn(slots(), n_places, on_iteration)
    return [results[index] for index in range(len(runs))]


def alike(config: LDSConfig) -> tuple[Any, ...]:
    """What runs that share a batch agree in, besides the support.

    Raises:
        ValueError: an option has a value that only `learn` knows.
    """
    for name in unknown(config):
        raise ValueError(
            f"{name} must be {NEEDED[name]!r} for runs in one batch, got "
            f"{getattr(config, name)!r}; `learn` takes it, one run at a time"
        )
    return tuple(getattr(config, name) for name in ALIKE)


def _learn(
    waiting: Iterator[Slot], n_places: int, on_iteration: Callable[[int, Iteration], None] | None
) -> dict[int, LDSResult | NonFiniteError]:
    """Results of runs that can share a batch, by their number."""
    results: dict[int, LDSResult | NonFiniteError] = {}
    batch = Batch(list(itertools.islice(waiting, n_places)))
    while True:
        left: set[int] = set()
        for place, params in batch.window().items():
            slot = batch.slots[place]
            result = _result(slot, params, on_iteration)
            if result is None:
                batch.begin(place)
                continue
            results[slot.index] = result
            following = next(waiting, None)
            if following is None:
                left.add(place)
            else:
                batch.place(place, following)
        if left:
            staying = [place for place in range(len(batch.slots)) if place not in left]
            if not staying:
                return results
            batch.keep(staying)


def _result(
    slot: Slot, params: Params, on_iteration: Callable[[int, Iteration], None] | None
) -> LDSResult | NonFiniteError | None:
    """What a run came to whose inner run has ended with `params`; None where it goes on."""
    learner, error = slot.learner, slot.error
    if error is None:
        try:
            ended = (params, slot.inner_loss, slot.outer_loss, slot.t)
            record = learner.judge(slot.iteration, *ended)
        except NonFiniteError as met:
            error = met
        else:
            if on_iteration is not None:
                on_iteration(slot.index, record)
            reason = learner.ended()
            return None if reason is None else learner.result(reason)
    return learner.result(f"non-finite: {error}") if learner.history else error


def _checked(
    features: Features,
    labels: NDArray[np.int64],
    run: Run,
    dtype: torch.dtype,
    device: torch.device,
) -> Run:
    """A run with its start as `Learner` takes it; refuses what `learn` would, and more."""
    alike(run.config)
    start = check_problem(features, labels, run.split, run.start, run.config, dtype, device)
    assert start is not None  # one was given
    return replace(run, start=start)


def _with_support(
    config: LDSConfig, n_nodes: int, n_beside: int, dtype: torch.dtype, device: torch.device
) -> LDSConfig:
    """The options with "auto" decided, once, for all places of a batch."""
    if config.support != "auto":
        return config
    needed, there = all_pairs_bytes(n_nodes, config, dtype, device)
    fits = n_beside * needed <= AUTO_SHARE * there
    return replace(config, support="all" if fits else "sparse")


def _check_memory(
    config: LDSConfig, n_nodes: int, n_places: int, n_runs: int, dtype: torch.dtype,
    device: torch.device,
) -> None:  # fmt: skip
    """Refuse all pairs where θ of a batch, and the best θ of every run, would not fit."""
    if config.support != "all":
        return
    per_run, there = all_pairs_bytes(n_nodes, config, dtype, device)
    needed = (n_places + n_runs) * per_run // COPIES_OF_PROBS
    if needed > there:
        raise ValueError(
            f"support='all' keeps a probability for every pair of {n_nodes} nodes, for each of "
            f"{n_places} runs side by side and of {n_runs} results, and needs {needed:,} bytes, "
            f"but {there:,} are available on {device}; batch=, fewer runs at once, or "
            "support='sparse' needs less"
        )


def _task(like: Task, config: LDSConfig) -> Task:
    """The task of another run on the same features and labels."""
    n_features, n_classes = like.features.shape[1], int(like.labels.max()) + 1
    network = build(config.backbone, n_features, config.hidden_channels, n_classes, config.dropout)
    return replace(like, network=network, weight_decay=config.weight_decay)
