"""Homophily of a weighted graph: how often its edges join nodes of one class."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


def homophily(adjacency: sp.csr_array, labels: NDArray[np.int64]) -> float:
    """Compute Σ_ij a_ij [y_i = y_j] / Σ_ij a_ij: the share of weight within classes, in [0, 1].

    References:
        Zhu et al., 2020, §2 (the edge homophily ratio), https://arxiv.org/abs/2006.11468

    Arguments:
        adjacency: symmetric CSR `(n_nodes, n_nodes)`, weights 0 or more.
        labels: `(n_nodes,)`; edges at a node labelled -1 are left out.

    Returns:
        NaN where no edge is left.
    """
    return _share(adjacency, labels, np.ones(len(labels), dtype=bool))


def class_homophily(
    adjacency: sp.csr_array, labels: NDArray[np.int64], n_classes: int
) -> NDArray[np.float64]:
    """Compute, for each class, the share of weight at its nodes that stays within it.

    See `homophily` for the arguments.

    Returns:
        `(n_classes,)`.
    """
    return np.array([_share(adjacency, labels, labels == c) for c in range(n_classes)])


def adjusted_homophily(adjacency: sp.csr_array, labels: NDArray[np.int64]) -> float:
    """Compute (h - e) / (1 - e): homophily h beyond e, what the degrees of the classes explain.

    0 says that edges join like nodes as often as by chance; 1 is the largest value.

    References:
        Platonov et al., 2023, eq. 2, https://arxiv.org/abs/2209.06177; this is the assortativity
        coefficient of Newman, 2003.

    Arguments:
        adjacency, labels: see `homophily`.

    Returns:
        NaN where no edge is left, or all are at nodes of one class.
    """
    edges = adjacency.tocoo()
    counts = (labels[edges.row] >= 0) & (labels[edges.col] >= 0)
    weight = edges.data[counts].astype(np.float64)
    degree = np.bincount(labels[edges.row[counts]], weight)
    total = float(weight.sum())
    expected = float(np.square(degree / total).sum()) if total else 1.0
    return (homophily(adjacency, labels) - expected) / (1 - expected) if expected < 1 else np.nan


def _share(adjacency: sp.csr_array, labels: NDArray[np.int64], rows: NDArray[np.bool_]) -> float:
    edges = adjacency.tocoo()
    counts = rows[edges.row] & (labels[edges.row] >= 0) & (labels[edges.col] >= 0)
    weight = edges.data[counts].astype(np.float64)
    within = labels[edges.row[counts]] == labels[edges.col[counts]]
    total = float(weight.sum())
    return float(weight[within].sum()) / total if total else float("nan")
