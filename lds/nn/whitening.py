"""Learn a metric for measurements: directions of large variance within classes count less."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._types import Features
from lds.graphs.batch import weighted_graph
from lds.nn.discriminant import (
    MAX_COVARIANCE_FEATURES,
    Discriminant,
    fit_discriminant,
    within_classes,
)
from lds.nn.features import DenseFeatures
from lds.nn.preparation import as_array

MAX_SHRINKAGE = 0.9
"""Shrinkage above which no metric is learned: it would hardly differ from the Euclidean one."""


def enough_rows(n_rows: int, n_features: int) -> bool:
    """Whether rows are enough for a metric of so many features, see `whitening`."""
    return n_features <= MAX_COVARIANCE_FEATURES and _shrinkage(n_rows, n_features) <= MAX_SHRINKAGE


def _shrinkage(n_rows: int, n_features: int) -> float:
    n_entries = n_features * (n_features + 1) / 2  # of a covariance
    return n_entries / (n_entries + n_rows)


def whitening(
    features: Features, labels: NDArray[np.int64], rows: NDArray[np.int64]
) -> Tensor | None:
    """Learn the map (x - centre) Σ^(-1/2) that makes the covariance within classes a multiple of I.

    Σ is the covariance within classes under the beliefs of a discriminant without neighbours,
    fitted to all nodes (see `nn.discriminant`). It is shrunk towards a multiple of I by
    p / (p + n), with p the number of entries of a covariance and n the number of rows. The map
    keeps the total variance. Distances between mapped rows are Mahalanobis distances.

    References:
        Bar-Hillel, Hertz, Shental and Weinshall, 2005, "Learning a Mahalanobis metric from
        equivalence constraints" (relevant component analysis).

    Arguments:
        features: X, `(n_nodes, n_features)`, measurements prepared by `FeaturePreparation`.
        labels: `(n_nodes,)`, read at `rows`.
        rows: labelled nodes.

    Returns:
        float64 `(1 + n_features, n_features)`: the centre, and below it Σ^(-1/2) times a number.
        None where there are too few rows for the number of features, or more features than
        `MAX_COVARIANCE_FEATURES`, or where no feature varies.
    """
    n, d = (int(size) for size in features.shape)
    if not enough_rows(n, d):
        return None
    x = torch.as_tensor(as_array(features), dtype=torch.float64)
    centre = x.mean(0)
    x = x - centre
    spread = x.square().mean().sqrt()
    if not spread > 0:
        return None
    none = torch.zeros(0, dtype=torch.int64)
    no_edges = weighted_graph(none, none, torch.zeros(0, dtype=torch.float64), n)
    network = Discriminant(d, int(labels[rows].max()) + 1, neighbors=False)
    params = fit_discriminant(
        network, DenseFeatures(x), torch.as_tensor(labels), torch.as_tensor(rows), no_edges
    )
    within, _ = within_classes(x, params["beliefs"], x.T @ x, _shrinkage(n, d))
    values, vectors = torch.linalg.eigh(within)
    root = (vectors * values.rsqrt()) @ vectors.T
    root *= spread / (x @ root).square().mean().sqrt()
    return torch.cat([centre.unsqueeze(0), root])


def whitened(features: Features, metric: Tensor | None) -> Features:
    """Apply a learned map to the features of the fit or of later rows.

    Arguments:
        features: `(n_rows, n_features)`.
        metric: from `whitening`; None leaves the features as they are.
    """
    if metric is None:
        return features
    x = as_array(features)
    centre, root = metric[0].double().cpu().numpy(), metric[1:].double().cpu().numpy()
    return np.asarray((x - centre) @ root, dtype=np.result_type(x.dtype, np.float32))
