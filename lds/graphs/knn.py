"""The k-nearest-neighbour graph that starts θ where no graph is given (Alg. 7, line 3)."""

from numbers import Integral

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.neighbors import VALID_METRICS, VALID_METRICS_SPARSE, NearestNeighbors

from lds._types import Features
from lds._words import nearest

# These need more than a name: a matrix, a function, coordinates on a sphere, or missing values.
_NEED_MORE = {
    "haversine",
    "mahalanobis",
    "nan_euclidean",
    "precomputed",
    "pyfunc",
    "seuclidean",
}


def metrics(*, sparse: bool = False) -> list[str]:
    """List the names of the metrics of the neighbour search.

    Arguments:
        sparse: whether to list only those that take sparse features.
    """
    known = VALID_METRICS_SPARSE["brute"] if sparse else set().union(*VALID_METRICS.values())
    return sorted(set(known) - _NEED_MORE)


def check_neighbors(n_nodes: int, n_neighbors: int, metric: str, *, sparse: bool = False) -> None:
    """Refuse a k or a metric that the search cannot use.

    Arguments:
        n_nodes: number of rows.
        n_neighbors: k, from 1 to n_nodes - 1.
        metric: one of `metrics(sparse=sparse)`.
        sparse: whether the features are sparse.

    Raises:
        TypeError: `n_neighbors` is not an integer.
        ValueError: `n_neighbors` is below 1 or not below `n_nodes`, or `metric` is unknown.
    """
    if not isinstance(n_neighbors, Integral) or isinstance(n_neighbors, bool):
        raise TypeError(f"n_neighbors must be an integer, got {n_neighbors!r}")
    if not 1 <= n_neighbors < n_nodes:
        raise ValueError(
            f"n_neighbors must be at least 1 and below the number of rows ({n_nodes}), "
            f"got {n_neighbors}"
        )
    if metric not in metrics():
        near = nearest(str(metric), metrics())
        raise ValueError(f"metric must be one of {', '.join(metrics())}, got {metric!r}{near}")
    if sparse and metric not in metrics(sparse=True):
        raise ValueError(
            f"metric on sparse features must be one of {', '.join(metrics(sparse=True))}, "
            f"got {metric!r}; dense features take it"
        )


def allowed_neighbors(n_neighbors: int, default: int, n_nodes: int) -> int:
    """Cut a default k to the rows there are; a k of the user's own is for `check_neighbors`."""
    return min(n_neighbors, n_nodes - 1) if n_neighbors == default else n_neighbors


def knn_adjacency(features: Features, n_neighbors: int, metric: str = "cosine") -> sp.csr_array:
    """Connect nodes i and j if either is among the other's k nearest.

    Time O(n_nodes² · n_features) at most; distances are computed in blocks. Ties are broken as in
    scikit-learn's neighbour search.

    Arguments:
        features: X, `(n_nodes, n_features)`, dense or scipy CSR, finite.
        n_neighbors: k, from 1 to n_nodes - 1; a node is not its own neighbour.
        metric: a distance by scikit-learn's name, one of `metrics()`.

    Returns:
        Symmetric 0/1 CSR float32 without loops, `(n_nodes, n_nodes)`.

    Raises:
        TypeError: `n_neighbors` is not an integer.
        ValueError: `n_neighbors` or `metric` is refused by `check_neighbors`, or `features` is not
            two-dimensional and finite.

    Examples:
        >>> import numpy as np
        >>> points = np.array([[0.0], [1.0], [5.0]])
        >>> knn_adjacency(points, 1, metric="euclidean").toarray()
        array([[0., 1., 0.],
               [1., 0., 1.],
               [0., 1., 0.]], dtype=float32)
    """
    if features.ndim != 2:
        raise ValueError(f"features must be (n_nodes, n_features), got shape {features.shape}")
    sparse = sp.issparse(features)
    check_neighbors(features.shape[0], n_neighbors, metric, sparse=sparse)
    if not np.isfinite(np.asarray(features.data if sparse else features)).all():
        raise ValueError("features must be finite, got NaN or infinity; impute or drop such rows")
    search = neighbor_search(features, n_neighbors, metric)
    directed = sp.csr_array(search.kneighbors_graph(), dtype=np.float32)  # without loops
    either = sp.csr_array(directed.maximum(directed.T))
    either.sort_indices()
    return either


def neighbor_search(features: Features, n_neighbors: int, metric: str) -> NearestNeighbors:
    """Fit scikit-learn's exact search to the rows of X; `check_neighbors` checks the options."""
    return NearestNeighbors(n_neighbors=int(n_neighbors), metric=metric).fit(features)


def nearest_bridges(
    features: Features, labels: NDArray[np.int64], metric: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each component but the largest, find the nearest pair of a row inside and one outside.

    Time O(n_nodes² · n_features) at most; distances are computed in blocks.

    Arguments:
        features: X, `(n_nodes, n_features)`.
        labels: `(n_nodes,)`, the component of every row, from 0; at least two components.
        metric: a distance by scikit-learn's name.

    Returns:
        Rows inside and rows outside, one pair for each component, the nearest pairs first.
    """
    found = []
    largest = int(np.bincount(labels).argmax())
    for component in np.unique(labels):
        if component == largest:
            continue
        inside, outside = np.flatnonzero(labels == component), np.flatnonzero(labels != component)
        search = neighbor_search(features[outside], 1, metric)
        distance, near = search.kneighbors(features[inside])
        best = int(distance.argmin())
        found.append((float(distance[best, 0]), int(inside[best]), int(outside[near[best, 0]])))
    found.sort()
    pairs = np.array([pair for _, *pair in found], dtype=np.int64)
    return pairs[:, 0], pairs[:, 1]
