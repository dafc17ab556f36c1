"""What a run needs of its input, checked in one place before any work or allocation."""

import warnings

import numpy as np
import psutil
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from lds._labels import check_trains
from lds._types import Features, Split
from lds.config import LDSConfig
from lds.graphs.adjacency import check_adjacency
from lds.graphs.candidates import AllPairs
from lds.nn.registry import GCN_NAME, check_backbone

COPIES_OF_PROBS = 2
"""θ and the best θ so far."""

LISTED_BYTES = 3 * 8
"""A pair of a list: its row, its column and its key, int64."""

MESSAGES = 8
"""Numbers a pair, a hidden channel and a step that a network on edges keeps at least."""

LOST = 1e-2
"""Rounding of the networks' precision, as a share of a column's range, from which on its values run
together."""

AUTO_SHARE = 0.25
"""Of the memory available, what `support="auto"` gives to them before it goes sparse."""


def check_problem(
    features: Features,
    labels: NDArray[np.int64],
    split: Split,
    start: sp.csr_array | None,
    config: LDSConfig,
    dtype: torch.dtype,
    device: torch.device,
) -> sp.csr_array | None:
    """Refuse what cannot be learned from, in one sentence; see `learn` for the arguments.

    Returns:
        `start` as symmetric CSR without diagonal; None where a committee is given none.

    Raises:
        ValueError: features that are not two-dimensional or finite, labels of another length, rows
            without a label, a role without rows, one class only, a start of another shape,
            asymmetric or outside [0, 1], or more memory needed than there is.
    """
    if features.ndim != 2:
        raise ValueError(f"features must be (n_nodes, n_features), got shape {features.shape}")
    n_nodes = int(features.shape[0])
    values = features.data if sp.issparse(features) else features
    if not np.isfinite(np.asarray(values)).all():
        raise ValueError("features must be finite, got NaN or infinity; impute or drop such rows")
    if labels.shape != (n_nodes,):
        raise ValueError(
            f"labels must have one entry a row of features, ({n_nodes},), got {labels.shape}"
        )
    _check_roles(labels, split, n_nodes)
    check_backbone(config.backbone, config.connected)
    if config.metric_rank >= min(features.shape):
        raise ValueError(
            f"metric_rank must be below the numbers of rows and of features, {features.shape}, got "
            f"{config.metric_rank}"
        )
    check_memory(n_nodes, config, dtype, device)
    if start is None and config.method == "lds":
        raise ValueError(
            "start must be a starting graph with method='lds', got None; see knn_adjacency"
        )
    if config.method == "lds" or start is None:
        _warn_of_features(features, dtype, centred=config.method != "lds")
    return None if start is None else check_adjacency(start, n_nodes)


def _warn_of_features(features: Features, dtype: torch.dtype, *, centred: bool) -> None:
    """Say what a network cannot see: rows that are all the same, or lost by rounding."""
    if sp.issparse(features):
        return
    x = np.asarray(features)
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


def _check_roles(labels: NDArray[np.int64], split: Split, n_nodes: int) -> None:
    for role in ("train", "validation", "stopping"):
        rows = getattr(split, role)
        if rows.size == 0:
            raise ValueError(f"split.{role} must have at least one row, got none")
        if int(rows.max()) >= n_nodes:
            raise ValueError(
                f"split.{role} must index the {n_nodes} rows of features, got {int(rows.max())}"
            )
        if int(labels[rows].min()) < 0:
            row = int(rows[labels[rows] < 0][0])
            raise ValueError(
                f"split.{role} must hold labelled rows only, got row {row} without one"
            )
    check_trains(labels, split.train, "split.train")


def check_memory(
    n_nodes: int,
    config: LDSConfig,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> None:
    """Refuse all pairs of `n_nodes` where θ and the best θ so far would not fit.

    `learn` checks this; who searches for neighbours before it checks it before that.

    Raises:
        ValueError: with the bytes needed and there, and the option that avoids them.
    """
    if config.support != "all":
        return
    device = check_device(device)
    needed, there = all_pairs_bytes(n_nodes, config, dtype, device)
    if needed > there:
        raise ValueError(
            f"support='all' keeps a probability for every pair of {n_nodes} nodes and needs "
            f"{needed:,} bytes, but {there:,} are available on {device}; support='sparse' needs "
            "memory for its candidate pairs only"
        )


def keeps_all_pairs(
    n_nodes: int, config: LDSConfig, dtype: torch.dtype, device: torch.device
) -> bool:
    """Whether a run is on all pairs: as told, or as memory allows where told "auto"."""
    if config.support != "auto":
        return config.support == "all"
    needed, there = all_pairs_bytes(n_nodes, config, dtype, device)
    return needed <= AUTO_SHARE * there


def all_pairs_bytes(
    n_nodes: int, config: LDSConfig, dtype: torch.dtype, device: torch.device
) -> tuple[int, int]:
    """Bytes that all pairs need, and bytes available."""
    copies = COPIES_OF_PROBS
    if config.backbone != GCN_NAME:
        copies += MESSAGES * config.hidden_channels * (1 + config.truncation)
    needed = copies * AllPairs.bytes_needed(n_nodes, dtype.itemsize)
    if device.type == "cuda":
        return needed, torch.cuda.mem_get_info(device)[0]
    return needed, psutil.virtual_memory().available


def sparse_bytes(n_nodes: int, config: LDSConfig, dtype: torch.dtype) -> int:
    """Bytes of a sparse support once it is full: θ, the best θ so far, and three numbers a pair."""
    pairs = min(config.pairs_per_node * n_nodes, n_nodes * (n_nodes - 1) // 2)
    return pairs * (COPIES_OF_PROBS * dtype.itemsize + LISTED_BYTES)


def check_device(device: torch.device | str) -> torch.device:
    """The device by that name.

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
