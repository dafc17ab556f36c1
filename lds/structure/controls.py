"""Honest controls: what the same labels reach on the starting graph, without learning it.

Labels used for validation are labels too, and restarting the inner run many times with early
stopping helps by itself. So beside LDS stand (a) a GCN on the starting graph with the training
labels, (b) the same with the validation (A) labels added, (c) LDS's own schedule with θ never
updated.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from lds._random import mix
from lds._types import Features, Split
from lds.config import LDSConfig
from lds.edges.free import FreeEdges
from lds.structure.checks import check_device
from lds.structure.learner import Iteration, LDSResult, learn
from lds.structure.predict import predict_proba
from lds.structure.task import nodes_tensor, task_on
from lds.structure.train import train

GCN_PATIENCE = 50
GCN_MAX_STEPS = 400
"""Steps of a control GCN without a better early-stopping score, and steps in all."""

CONTROLS = {
    "gcn_train": "GCN, starting graph, train labels",
    "gcn_train_validation": "GCN, starting graph, train + validation (A) labels",
    "frozen": "LDS's schedule, graph never updated",
}


@dataclass(frozen=True)
class ControlResult:
    """What one control came to.

    Attributes:
        probabilities: `(n_nodes, n_classes)`, chosen by the score on the stopping rows.
        stopping_accuracy: the accuracy there.
        steps: inner steps taken in all.
    """

    probabilities: NDArray[np.floating[Any]]
    stopping_accuracy: float
    steps: int


def run_controls(
    features: Features,
    labels: NDArray[np.int64],
    split: Split,
    start: sp.csr_array,
    config: LDSConfig,
    *,
    frozen: tuple[sp.csr_array | None, LDSConfig] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    on_iteration: Callable[[Iteration], None] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> dict[str, ControlResult]:
    """All three controls with the network, settings, split and seed of an LDS run.

    Arguments:
        features, labels, split, start, config, device, dtype: as for `learn`.
        frozen: start and options of the run whose schedule (c) follows; None: those of (a) and (b).
        on_iteration: called after each outer iteration of the frozen control.
        checkpoint, resume: of the frozen control, as for `learn`.

    Returns:
        A result for each name of `CONTROLS`.
    """
    both = np.concatenate([split.train, split.validation])
    its_start, options = frozen or (start, config)
    options = replace(options, update_edges=False)
    if options.method == "committee":  # without updates one outer iteration says as much as five
        options = replace(options, agreement=0.0, max_iter=1)
    fixed: LDSResult = learn(
        features, labels, split, its_start, options,
        device=device, dtype=dtype, on_iteration=on_iteration, checkpoint=checkpoint, resume=resume,
    )  # fmt: skip
    if fixed.reason == "interrupted":
        raise KeyboardInterrupt
    return {
        "gcn_train": fit_gcn(features, labels, split.train, split.stopping, start, config,
                             device=device, dtype=dtype),
        "gcn_train_validation": fit_gcn(features, labels, both, split.stopping, start, config,
                                        device=device, dtype=dtype),
        "frozen": ControlResult(
            fixed.probabilities,
            fixed.history[fixed.best].stopping_accuracy,
            sum(record.inner_steps for record in fixed.history),
        ),
    }  # fmt: skip


def fit_gcn(
    features: Features,
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    stopping: NDArray[np.int64],
    start: sp.csr_array,
    config: LDSConfig,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ControlResult:
    """One GCN on a fixed graph, trained on `rows`, stopped and chosen on `stopping`.

    Where starting probabilities are fractions, graphs are drawn from them as LDS would.
    """
    device = check_device(device)
    task = task_on(features, labels, config, dtype, device)
    edges = FreeEdges(start, dtype, device)
    fixed = bool(((edges.probs == 0) | (edges.probs == 1)).all())
    n_draws = 1 if fixed else config.n_draws
    found = train(
        task, edges, nodes_tensor(rows, device), nodes_tensor(stopping, device), config.inner_lr,
        (config.seed, 0),
        lambda w, t: predict_proba(task, w, edges, n_draws, mix(config.seed, t, -3)),
        max_steps=GCN_MAX_STEPS, patience=GCN_PATIENCE,
    )  # fmt: skip
    if found is None:
        raise ArithmeticError("the control GCN met no finite loss; a smaller inner_lr may help")
    return ControlResult(found.probabilities.cpu().numpy(), found.score.accuracy, found.steps)
