"""What a run needs of its device and its precision."""

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from lds._types import Features
from lds.structure.known_rows import known_rows
from lds.structure.problem import Problem

LOST = 1e-2
"""Rounding error of the networks' precision, as a share of a column's range, from which on the
values of a column cannot be told apart."""

COPIED, MANY_COPIED = 0.1, 0.5
"""Share of the labelled rows that are copies of another, from which on a warning says so: where
unlabelled rows are copies of labelled ones less than half as often, and where all rows are
labelled."""


def warn_of_features(features: Features, dtype: torch.dtype, *, centred: bool) -> None:
    """Warn of features that a network cannot use: equal rows, or values lost by rounding.

    Arguments:
        features: X, `(n_nodes, n_features)`.
        dtype: precision of the networks.
        centred: whether the method subtracts the mean in float64 before.
    """
    if sp.issparse(features):
        return
    x = np.asarray(features)
    x = x.astype(np.float32) if x.dtype.kind == "b" else x
    spread = x.max(0) - x.min(0)
    if not spread.any():
        warnings.warn(
            "features are the same for every row, so that nothing tells rows apart; "
            "learn_structure makes features from a graph",
            UserWarning,
            stacklevel=5,
        )
        return
    lost = (spread > 0) & (np.abs(x).max(0) * torch.finfo(dtype).eps > LOST * spread)
    if lost.any() and not centred:
        column = int(lost.argmax())
        warnings.warn(
            f"column {column} of features lies around {x[:, column].mean():.3g} and varies by "
            f"{spread[column]:.3g}, which {str(dtype).removeprefix('torch.')} cannot tell apart; "
            "subtract the mean, as StandardScaler does, or use the default method, which does",
            UserWarning,
            stacklevel=5,
        )


def warn_of_copies(problem: Problem) -> None:
    """Warn of labelled rows that are copies, one of which trains where another one judges.

    Rows that are drawn independently may be equal, too, but then unlabelled ones are as often equal
    to labelled ones (`COPIED`). On a given graph equal rows are different nodes.

    Arguments:
        problem: of a method that divides the labelled rows itself.
    """
    if problem.graph is not None:
        return
    x: Any = problem.features
    learning = problem.split.learning
    others = np.setdiff1d(np.arange(problem.n_nodes), learning)
    _, equal = known_rows(x[learning[:0]], x[learning])
    if not equal.any():  # nothing tells any two rows apart
        return
    alike = equal * problem.n_classes + problem.labels[learning]
    _, counts = np.unique(alike, return_counts=True)
    n_copies = int(counts[counts > 1].sum())
    share = n_copies / len(learning)
    if share <= (COPIED if others.size else MANY_COPIED):
        return
    if others.size and (known_rows(x[others], x[learning])[0] >= 0).mean() >= share / 2:
        return
    warnings.warn(
        f"{n_copies:,} of {len(learning):,} labelled rows are copies of another, class and all, so "
        "that scores on left-out labels are too high; give each row once, and how often it occurs "
        "as sample_weight=",
        UserWarning,
        stacklevel=5,
    )


def check_device(device: torch.device | str) -> torch.device:
    """Return the device by that name.

    Raises:
        ValueError: torch does not know it, or it is not there.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device must be one torch knows and has, got {str(device)!r} ({reason}); "
            "'cpu' always works"
        ) from error
    return found
