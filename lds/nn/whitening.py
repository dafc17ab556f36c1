"""A metric for measurements, learned from all nodes: what varies within classes counts less."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._types import Features
from lds.graphs.batch import weighted_graph
from lds.nn.discriminant import WIDE, Discriminant, fit_discriminant, within_classes
from lds.nn.features import DenseFeatures
from lds.nn.inputs import as_array

HOPELESS = 0.9
"""Shrinkage from which on the metric would hardly differ from the one features come with."""


def whitening(
    features: Features, labels: NDArray[np.int64], rows: NDArray[np.int64]
) -> Tensor | None:
    """What makes the spread within classes a ball: (x - centre) Σ^(-1/2), of the same total spread.

    Σ is the covariance within classes under the beliefs of a discriminant that hears no neighbours,
    fitted to all nodes (see `nn.discriminant`), shrunk towards a multiple of I by p / (p + n): p
    numbers of a covariance, n rows that tell them. Distances then are Mahalanobis distances, which
    neighbours, networks and discriminants share.

    References:
        Bar-Hillel, Hertz, Shental and Weinshall, 2005, "Learning a Mahalanobis metric from
        equivalence constraints" (relevant component analysis).

    Arguments:
        features: X, `(n_nodes, n_features)`, measurements as `Inputs` makes them.
        labels: `(n_nodes,)`, read at `rows`.
        rows: labelled nodes.

    Returns:
        float64 `(1 + n_features, n_features)`: the centre, and below it Σ^(-1/2) times a number.
        None where rows are too few for it, and where nothing varies.
    """
    n, d = (int(size) for size in features.shape)
    unknown = d * (d + 1) / 2
    shrinkage = unknown / (unknown + n)
    if d > WIDE or shrinkage > HOPELESS:
        return None
    x = torch.as_tensor(as_array(features), dtype=torch.float64)
    centre = x.mean(0)
    x = x - centre
    spread = x.square().mean().sqrt()
    if not spread > 0:
        return None
    none = torch.zeros(0, dtype=torch.int64)
    alone = weighted_graph(none, none, torch.zeros(0, dtype=torch.float64), n)
    network = Discriminant(d, int(labels[rows].max()) + 1, neighbors=False)
    known, given = torch.as_tensor(rows), torch.as_tensor(labels)
    params = fit_discriminant(network, DenseFeatures(x), given, known, alone)
    within, _ = within_classes(x, params["beliefs"], x.T @ x, shrinkage)
    values, vectors = torch.linalg.eigh(within)
    root = (vectors * values.rsqrt()) @ vectors.T
    root *= spread / (x @ root).square().mean().sqrt()
    return torch.cat([centre.unsqueeze(0), root])


def whitened(features: Features, by: Tensor | None) -> Features:
    """The features of the fit, or of further nodes, under what `whitening` gave; None is none."""
    if by is None:
        return features
    x = as_array(features)
    centre, root = by[0].double().cpu().numpy(), by[1:].double().cpu().numpy()
    return np.asarray((x - centre) @ root, dtype=np.result_type(x.dtype, np.float32))
