"""Forests of a committee at new rows of a table: their trees read these rows alone."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds.nn.ensemble import LOG_WEIGHTS, Ensemble
from lds.nn.node_forest import NodeForest, forest_of_new_rows
from lds.structure.task import Params, Task


def forests_say(
    task: Task, ensemble: Ensemble, params: Params, rows: Tensor, new: NDArray[np.float32]
) -> Tensor:
    """Add the class probabilities of new rows by all forests, each times its weight.

    Arguments:
        task: of the fit, with the columns that forests read.
        ensemble, params: the committee.
        rows: labelled rows that trained.
        new: columns of the new rows, `(n_new, n_columns)`.

    Returns:
        `(n_new, n_classes)`; each row sums to the weight of all forests.
    """
    assert task.columns is not None
    columns, labels, weights = task.columns, task.labels, task.weights
    found = []
    for k, member in enumerate(ensemble.members):
        if isinstance(member, NodeForest):
            mine, share = ensemble.of_member(params, k), params[LOG_WEIGHTS][k].exp()
            found.append(share * forest_of_new_rows(mine, columns, labels, rows, weights, new))
    return torch.stack(found).sum(0)


def without_forests(task: Task, ensemble: Ensemble, params: Params) -> tuple[Task, Params]:
    """Leave the forests out of a committee; the weights of the others sum to 1."""
    others = [k for k, kind in enumerate(ensemble.members) if not isinstance(kind, NodeForest)]
    log_weights = params[LOG_WEIGHTS][others].log_softmax(0)
    found = ensemble.join([ensemble.of_member(params, k) for k in others], log_weights)
    return replace(task, network=Ensemble([ensemble.members[k] for k in others])), found
