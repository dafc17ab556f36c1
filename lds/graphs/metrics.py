"""What a weighted graph says of classes: homophily."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


def homophily(adjacency: sp.csr_array, labels: NDArray[np.int64]) -> float:
    """Σ_ij a_ij [y_i = y_j] / Σ_ij a_ij: the weight of edges within a class, in [0, 1].

    References:
        Zhu et al., 2020, §2 (the edge homophily ratio), https://arxiv.org/abs/2006.11468

    Arguments:
        adjacency: symmetric CSR `(n_nodes, n_nodes)`, weights 0 or more.
        labels: `(n_nodes,)`; edges at a node labelled -1 do not count.

    Returns:
        NaN where no edge counts.
    """
    return _share(adjacency, labels, np.ones(len(labels), dtype=bool))


def class_homophily(
    adjacency: sp.csr_array, labels: NDArray[np.int64], n_classes: int
) -> NDArray[np.float64]:
    """The share of the edges' weight at nodes of each class that stays within it, `(n_classes,)`.

    See `homophily` for the arguments.
    """
    return np.array([_share(adjacency, labels, labels == c) for c in range(n_classes)])


def _share(adjacency: sp.csr_array, labels: NDArray[np.int64], rows: NDArray[np.bool_]) -> float:
    edges = adjacency.tocoo()
    counts = rows[edges.row] & (labels[edges.row] >= 0) & (labels[edges.col] >= 0)
    weight = edges.data[counts].astype(np.float64)
    within = labels[edges.row[counts]] == labels[edges.col[counts]]
    total = float(weight.sum())
    return float(weight[within].sum()) / total if total else float("nan")
