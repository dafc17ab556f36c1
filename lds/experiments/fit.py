"""One data set, fitted by LDS, with the three controls beside it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from lds._checkpoint import discard
from lds.config import LDSConfig
from lds.datasets.base import NodeDataset
from lds.graphs.knn import knn_adjacency
from lds.structure.checks import check_memory
from lds.structure.controls import ControlResult, run_controls
from lds.structure.learner import Iteration, LDSResult, learn
from lds.structure.metrics import Quality, quality

CONTROLS = "controls"
"""Folder of the controls' checkpoints within that of a run's."""

OnIteration = Callable[[Iteration], None]


@dataclass(frozen=True)
class FitReport:
    """What a fit came to.

    Attributes:
        dataset: what was fitted.
        result: LDS's result.
        controls: by name, see `structure.baselines.CONTROLS`; empty where they were left out.
        seconds: of LDS alone.
    """

    dataset: NodeDataset
    result: LDSResult
    controls: dict[str, ControlResult]
    seconds: float

    @property
    def start(self) -> sp.csr_array:
        """Symmetric CSR of the starting probabilities."""
        return self.result.start

    @property
    def starting_edges(self) -> int:
        """Undirected edges with a starting probability above 0."""
        return int(self.start.nnz) // 2

    @property
    def test_quality(self) -> dict[str, Quality | None]:
        """Accuracy, NLL and ECE on the test rows of "lds" and every control; None without any."""
        found = {"lds": quality_on_test(self.result.probabilities, self.dataset)}
        for name, control in self.controls.items():
            found[name] = quality_on_test(control.probabilities, self.dataset)
        return found

    @property
    def test_accuracy(self) -> dict[str, float | None]:
        """The accuracies of `test_quality`."""
        return {name: q.accuracy if q else None for name, q in self.test_quality.items()}


def fit_dataset(
    dataset: NodeDataset,
    config: LDSConfig,
    *,
    controls: bool = True,
    device: torch.device | str = "cpu",
    on_iteration: OnIteration | None = None,
    on_member: Callable[[int, int], None] | None = None,
    on_learned: Callable[[FitReport], None] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> FitReport:
    """Learn the graph of a data set, then run the controls on the same split and seed.

    Arguments:
        dataset: features, labels, split, and perhaps a graph; without one kNN starts it.
        config: the options.
        controls: False leaves the controls out.
        device: where to compute.
        on_iteration: called after each outer iteration of LDS.
        on_member: called as the members of a committee are trained (see `learn`).
        on_learned: called with the report of LDS alone, before the controls run.
        checkpoint: folder for the checkpoints of LDS, and under `controls` for those of the control
            that runs as long; None keeps none.
        resume: True goes on from those that are there (see `learn`).
    """
    check_memory(dataset.n_nodes, config, device=device)
    given = dataset.adjacency if config.method == "committee" else starting_graph(dataset, config)
    started = time.perf_counter()
    problem = (dataset.features, dataset.labels, dataset.split)
    result = learn(
        *problem, given, config, device=device, on_iteration=on_iteration, on_member=on_member,
        held_out=dataset.held_out, checkpoint=checkpoint, resume=resume,
    )  # fmt: skip
    report = FitReport(dataset, result, {}, time.perf_counter() - started)
    if on_learned is not None:
        on_learned(report)
    if not controls or result.reason == "interrupted":
        return report
    plain = config
    if config.method == "committee":  # the GCNs of (a) and (b) are the thesis's
        plain = LDSConfig(seed=config.seed, support="auto")
    try:
        found = run_controls(
            *problem, starting_graph(dataset, plain), plain, frozen=(given, config),
            device=device, checkpoint=checkpoint and checkpoint / CONTROLS, resume=resume,
        )  # fmt: skip
    except KeyboardInterrupt:  # LDS's own result stands
        return report
    return FitReport(dataset, result, found, report.seconds)


def discard_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of an earlier run in a folder, those of its control too."""
    for one in (folder, folder / CONTROLS):
        discard(one)


def starting_graph(dataset: NodeDataset, config: LDSConfig) -> sp.csr_array:
    """The given graph, or kNN's (Alg. 7, line 3)."""
    if dataset.adjacency is not None:
        return dataset.adjacency
    return knn_adjacency(dataset.features, config.n_neighbors, config.metric)


def quality_on_test(probabilities: NDArray[np.floating], dataset: NodeDataset) -> Quality | None:
    """Accuracy, NLL and ECE on the test rows; None without any."""
    return quality(probabilities, dataset.labels, dataset.split.test)
