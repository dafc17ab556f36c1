"""Honest controls: what the same labels reach on the starting graph, without learning it.

Labels used for validation are labels too, and many restarts with early stopping help by themselves.
So beside a run stand (a) a GCN on the starting graph with the training labels, (b) the same with
the validation (A) labels added, (c) the run's own schedule with θ never updated.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lds._random import mix
from lds._words import CONTROLS as CONTROLS
from lds.edges.free import FreeEdges
from lds.structure.checks import check_device
from lds.structure.context import RunContext
from lds.structure.learn import learn
from lds.structure.methods.base import Method
from lds.structure.methods.thesis import Thesis
from lds.structure.methods.thesis_run import starting_graph, thesis_task
from lds.structure.predict import predict_proba
from lds.structure.problem import Problem
from lds.structure.seeds import PREDICTION
from lds.structure.surroundings import own_settings
from lds.structure.task import rows_tensor
from lds.structure.training import train

GCN_PATIENCE = 50
"""Training steps of a control GCN without a better early-stopping score that end it."""

GCN_MAX_STEPS = 400
"""Most training steps of a control GCN."""


@dataclass(frozen=True)
class ControlResult:
    """What one control came to.

    Attributes:
        probabilities: `(n_nodes, n_classes)`, chosen by the score on the stopping rows.
        stopping_accuracy: the accuracy there.
        steps: training steps taken in all.
    """

    probabilities: NDArray[np.floating[Any]]
    stopping_accuracy: float
    steps: int


def run_controls(
    problem: Problem,
    method: Method,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> dict[str, ControlResult]:
    """Run all three controls of a run, on its problem and with its seed.

    Arguments:
        problem, method, seed, device, dtype: of the run.
        checkpoint, resume: of the frozen control, as for `learn`.

    Returns:
        A result for each name of `CONTROLS`.

    Raises:
        KeyboardInterrupt: the frozen control was interrupted.
    """
    fixed = learn(
        problem,
        method.frozen(),
        seed=seed,
        device=device,
        dtype=dtype,
        checkpoint=checkpoint,
        resume=resume,
    )
    if fixed.reason == "interrupted":
        raise KeyboardInterrupt
    plain, split = method.control(), problem.split
    where: dict[str, Any] = {"seed": seed, "device": device, "dtype": dtype}
    return {
        "gcn_train": fit_gcn(problem, split.train, plain, **where),
        "gcn_train_validation": fit_gcn(problem, problem.labelled, plain, **where),
        "frozen": ControlResult(
            fixed.probabilities,
            fixed.history[fixed.best].stopping_accuracy,
            sum(record.inner_steps for record in fixed.history),
        ),
    }


@own_settings()
def fit_gcn(
    problem: Problem,
    rows: NDArray[np.int64],
    method: Thesis,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ControlResult:
    """Train one GCN on the starting graph, stopped and chosen on the stopping rows.

    Where starting probabilities are fractions, graphs are drawn from them as in a run.

    Arguments:
        problem: of the run.
        rows: that train.
        method: whose network and starting graph it has.
        seed, device, dtype: of the run.

    Raises:
        ArithmeticError: no loss was finite.
    """
    device = check_device(device)
    task = thesis_task(method, problem, RunContext(device=device, dtype=dtype))
    edges = FreeEdges(starting_graph(method, problem), dtype, device)
    fixed = bool(((edges.probs == 0) | (edges.probs == 1)).all())
    n_draws = 1 if fixed else method.n_draws
    (found,) = train(
        task,
        lambda t: edges,
        rows_tensor(rows, device),
        rows_tensor(problem.split.stopping, device),
        method.inner_lr,
        (seed, 0),
        lambda w, t: predict_proba(task, w, edges, n_draws, mix(seed, t, PREDICTION)).unsqueeze(0),
        max_steps=GCN_MAX_STEPS,
        patience=GCN_PATIENCE,
    )
    if found is None:
        raise ArithmeticError(
            "the loss of the control GCN was never finite; a smaller inner_lr may help"
        )
    return ControlResult(found.probabilities.cpu().numpy(), found.score.accuracy, found.steps)
