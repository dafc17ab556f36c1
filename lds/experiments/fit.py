"""One data set, fitted with the three controls beside it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lds._checkpoint import saved_iterations
from lds._run_files import CONTROLS
from lds.datasets.base import NodeDataset
from lds.estimators.weights import ClassWeight, weigh_rows
from lds.experiments.labels import only_labels
from lds.graphs.interop import unless_empty
from lds.structure.context import OnIteration, OnMember
from lds.structure.controls import ControlResult, run_controls
from lds.structure.learn import learn
from lds.structure.methods.base import Method
from lds.structure.metrics import Quality, quality
from lds.structure.problem import Problem
from lds.structure.result import Learned


@dataclass(frozen=True)
class FitReport:
    """What a fit came to.

    Attributes:
        dataset: what was fitted.
        result: what was learned.
        controls: by name, see `structure.controls.CONTROLS`; empty where they were left out.
        seconds: of the method alone; None: the run went on from a checkpoint.
    """

    dataset: NodeDataset
    result: Learned
    controls: dict[str, ControlResult]
    seconds: float | None

    @property
    def test_quality(self) -> dict[str, Quality | None]:
        """The quality on the test rows of "lds" and every control; None without any."""
        found = {"lds": self.result.test_quality}
        for name, control in self.controls.items():
            found[name] = quality_on_test(control.probabilities, self.dataset)
        return found

    @property
    def test_accuracy(self) -> dict[str, float | None]:
        """The accuracies of `test_quality`."""
        return {name: q.accuracy if q else None for name, q in self.test_quality.items()}


def problem_of(dataset: NodeDataset, class_weight: ClassWeight = None) -> Problem:
    """Make the problem that a data set poses.

    Arguments:
        dataset: features, labels, split, and perhaps a graph.
        class_weight: what labelled rows of each class count, test rows apart.

    Raises:
        ValueError: a weight is not above 0, or of a class that no row has that learns.
    """
    split, weights = dataset.split, None
    if class_weight is not None:
        codes = only_labels(dataset.labels, split.learning)
        seen, codes[codes >= 0] = np.unique(codes[codes >= 0], return_inverse=True)
        _, _, weights = weigh_rows(codes, np.array(dataset.classes)[seen], None, class_weight)
    graph = unless_empty(dataset.adjacency, f"the graph given with {dataset.name}", stacklevel=3)
    return Problem(dataset.features, dataset.labels, split, graph, dataset.held_out, weights)


def fit_dataset(
    dataset: NodeDataset,
    method: Method,
    *,
    seed: int = 0,
    class_weight: ClassWeight = None,
    controls: bool = True,
    device: torch.device | str = "cpu",
    on_iteration: OnIteration | None = None,
    on_member: OnMember | None = None,
    on_learned: Callable[[FitReport], None] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    n_jobs: int | None = None,
) -> FitReport:
    """Learn the graph of a data set, then run the controls on the same split and seed.

    Arguments:
        dataset: features, labels, split, and perhaps a graph.
        method: with its options.
        seed: of everything random.
        class_weight: as of `problem_of`.
        controls: False leaves the controls out.
        device: where to compute.
        on_iteration, on_member: as for `learn`.
        on_learned: called with the report of the method alone, before the controls run.
        checkpoint: folder for the checkpoints of the run, and under `controls` for those of the
            control that runs as long; None keeps none.
        resume: True goes on from those that are there (see `learn`).
        n_jobs: processes, as for `learn`.
    """
    begun = resume and checkpoint is not None and saved_iterations(checkpoint) > 0
    started = time.perf_counter()
    problem = problem_of(dataset, class_weight)
    result = learn(
        problem,
        method,
        seed=seed,
        device=device,
        on_iteration=on_iteration,
        on_member=on_member,
        checkpoint=checkpoint,
        resume=resume,
        n_jobs=n_jobs,
    )
    seconds = None if begun else time.perf_counter() - started
    report = FitReport(dataset, result, {}, seconds)
    if on_learned is not None:
        on_learned(report)
    if not controls or result.reason == "interrupted":
        return report
    try:
        found = run_controls(
            problem,
            method,
            seed=seed,
            device=device,
            checkpoint=checkpoint and checkpoint / CONTROLS,
            resume=resume,
        )
    except KeyboardInterrupt:  # what was learned stands
        return report
    return FitReport(dataset, result, found, seconds)


def quality_on_test(probabilities: NDArray[np.floating], dataset: NodeDataset) -> Quality | None:
    """The quality on the test rows; None without any."""
    return quality(probabilities, dataset.labels, dataset.split.test)
