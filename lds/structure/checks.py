"""What a run needs of its device and its precision."""

import warnings

import numpy as np
import scipy.sparse as sp
import torch

from lds._types import Features

LOST = 1e-2
"""Rounding error of the networks' precision, as a share of a column's range, from which on the
values of a column cannot be told apart."""


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
            stacklevel=6,
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
            stacklevel=6,
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
