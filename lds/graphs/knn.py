"""The k-nearest-neighbour graph that starts θ where no graph is given (Alg. 7, line 3)."""

import numpy as np
import scipy.sparse as sp
from sklearn.metrics import pairwise
from sklearn.neighbors import NearestNeighbors

from lds._types import Features


def metrics() -> list[str]:
    """Names of the metrics the neighbour search knows."""
    names = set(pairwise.PAIRWISE_DISTANCE_FUNCTIONS) | set(pairwise._VALID_METRICS)
    return sorted(names - {"precomputed", "haversine", "mahalanobis", "seuclidean", "nan_euclidean"})


def check_neighbors(n_nodes: int, n_neighbors: int, metric: str) -> None:
    """Refuse a k or a metric the search cannot use.

    Raises:
        ValueError: `n_neighbors` is below 1 or not below `n_nodes`, or `metric` is unknown.
    """
    if not 1 <= n_neighbors < n_nodes:
        raise ValueError(
            f"n_neighbors must be at least 1 and below the number of rows ({n_nodes}), "
            f"got {n_neighbors}"
        )
    if metric not in metrics():
        raise ValueError(f"metric must be one of {', '.join(metrics())}, got {metric!r}")


def knn_adjacency(
    features: Features, n_neighbors: int, metric: str = "cosine"
) -> sp.csr_array:
    """Nodes i and j are joined if either is among the other's k nearest.

    Arguments:
        features: X, `(n_nodes, n_features)`, dense or scipy CSR.
        n_neighbors: k, from 1 to n_nodes - 1; a node is not its own neighbour.
        metric: any metric of scikit-learn's neighbour search.

    Returns:
        Symmetric 0/1 CSR float32 without loops, `(n_nodes, n_nodes)`.

    Raises:
        ValueError: as `check_neighbors`, or a metric that cannot take sparse features.
    """
    check_neighbors(features.shape[0], n_neighbors, metric)
    try:
        search = NearestNeighbors(n_neighbors=n_neighbors, metric=metric).fit(features)
        directed = sp.csr_array(search.kneighbors_graph())
    except (TypeError, ValueError) as error:
        if sp.issparse(features):
            raise ValueError(
                f"metric {metric!r} cannot search sparse features ({error}); "
                "cosine, euclidean and manhattan can"
            ) from error
        raise
    either = sp.csr_array(directed.maximum(directed.T), dtype=np.float32)
    either.sort_indices()
    return either
