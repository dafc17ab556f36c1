"""The k-nearest-neighbour graph that starts θ where no graph is given (Alg. 7, line 3)."""

from importlib.util import find_spec
from numbers import Integral
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.neighbors import VALID_METRICS, VALID_METRICS_SPARSE, NearestNeighbors

from lds._arrays import canonical
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

EXACT_ROWS = 20_000
"""Rows up to which the search in Euclidean distance is exact even where `faiss` is installed."""

RECALL, SAMPLED_ROWS = 0.95, 500
"""Share of the true neighbours, in (0, 1], that an approximate search must find, and the number of
rows on which it is measured."""


EXPONENT = 300
"""Exponent of two, of the largest entry, from which features are scaled before distances: their
squares, and those of entries far smaller, are then float64 numbers."""


class Search(Protocol):
    """A search of nearest rows, in the manner of scikit-learn's `NearestNeighbors`."""

    def kneighbors(self, X: Any = None, n_neighbors: int | None = None) -> Any:
        """Distances and numbers of the nearest rows of each row of X, nearest first.

        None are the rows of the search, each of which is no neighbour of itself.
        """


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
        features: X, `(n_nodes, n_features)`, an array of numbers or a scipy sparse matrix, finite.
            The unit of the numbers does not matter, and under "cosine" that of each row.
        n_neighbors: k, from 1 to n_nodes - 1; a node is not its own neighbour.
        metric: a distance by scikit-learn's name, one of `metrics()`.

    Returns:
        Symmetric 0/1 CSR float32 without loops, `(n_nodes, n_nodes)`.

    Raises:
        TypeError: `n_neighbors` is not an integer, or `features` holds no real numbers.
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
    features = _numbers(features)
    if features.ndim != 2:
        raise ValueError(f"features must be (n_nodes, n_features), got shape {features.shape}")
    sparse = sp.issparse(features)
    check_neighbors(features.shape[0], n_neighbors, metric, sparse=sparse)
    if not np.isfinite(np.asarray(features.data if sparse else features)).all():
        raise ValueError("features must be finite, got NaN or infinity; impute or drop such rows")
    search = neighbor_search(_in_range(features), n_neighbors, metric)
    directed = sp.csr_array(search.kneighbors_graph(), dtype=np.float32)  # without loops
    either = sp.csr_array(directed.maximum(directed.T))
    either.sort_indices()
    return either


def _numbers(features: Any) -> Features:
    """Return features as an array, or as CSR without repeated entries.

    Raises:
        TypeError: they are neither, or their entries are not real numbers.
    """
    if not sp.issparse(features) and not hasattr(features, "__array__"):
        raise TypeError(
            "features must be an array or a scipy sparse matrix, got "
            f"{type(features).__name__}; numpy.array(...) makes one of a list"
        )
    found: Any = features if sp.issparse(features) else np.asarray(features)
    if found.dtype.kind not in "biuf":
        raise TypeError(
            f"features must hold real numbers, got entries of type {found.dtype}; "
            ".astype(float) converts them"
        )
    return canonical(found)


def _exponents(features: Features, axis: int | None) -> Any:
    """Return e with the largest absolute entry in [2^(e-1), 2^e), of each row or of all."""
    given: Any = features
    largest = abs(given).max(axis=axis)
    if hasattr(largest, "toarray"):
        largest = largest.toarray()
    return np.frexp(np.asarray(largest).ravel())[1]


def _times_power(features: Any, power: NDArray[np.int32]) -> Features:
    """Multiply rows by powers of two, which is exact; one power is for all rows."""
    if isinstance(features, np.ndarray):
        return np.asarray(np.ldexp(features, power[:, None]))
    rows = np.broadcast_to(power, features.shape[:1])
    scaled = sp.csr_array(features, copy=True)
    scaled.data = np.ldexp(scaled.data, np.repeat(rows, np.diff(scaled.indptr)))
    return scaled


def _in_range(features: Features) -> Features:
    """Scale all features by one power of two where squares of them would overflow or vanish."""
    if features.dtype.kind != "f" or 0 in features.shape:
        return features
    power = _exponents(features, None)
    return features if abs(int(power[0])) < EXPONENT else _times_power(features, -power)


def unit_size(features: Features) -> Features:
    """Scale each row by a power of two to a largest entry in [1/2, 1)."""
    if features.dtype.kind != "f" or 0 in features.shape:
        return features
    return _times_power(features, -_exponents(features, 1))


class _ByDirection(NearestNeighbors):  # type: ignore[misc]
    """A search in which the length of rows does not matter.

    scikit-learn takes short rows, below about 1e-6 in float32, for rows of zeros.
    """

    def fit(self, X: Any, y: Any = None) -> Any:
        """Fit to rows of the same directions."""
        return super().fit(unit_size(X), y)

    def kneighbors(self, X: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Search the nearest rows of rows of the same directions."""
        return super().kneighbors(None if X is None else unit_size(X), *args, **kwargs)


def neighbor_search(features: Features, n_neighbors: int, metric: str) -> NearestNeighbors:
    """Fit scikit-learn's exact search to the rows of X; `check_neighbors` checks the options."""
    kind = _ByDirection if metric in ("cosine", "correlation") else NearestNeighbors
    return kind(n_neighbors=int(n_neighbors), metric=metric).fit(features)


def euclidean_search(x: NDArray[np.float64]) -> Search:
    """Make the search of the nearest rows of X by Euclidean distance.

    It is exact up to `EXACT_ROWS` rows, and beyond where `faiss` is not installed: scikit-learn's
    time grows with the square of the number of rows.

    Arguments:
        x: `(n_rows, n_columns)`, finite.
    """
    if len(x) > EXACT_ROWS and find_spec("faiss") is not None:
        return _InvertedLists(x)
    exact: Search = neighbor_search(x, 1, "euclidean")
    return exact


class _InvertedLists:
    """faiss: the rows of the cells of a k-means clustering that are nearest to a row.

    As many cells are searched as give a recall of `RECALL` on `SAMPLED_ROWS` rows of the search;
    all cells, where fewer do not, and then it is exact (in float32).
    """

    def __init__(self, x: NDArray[np.float64]) -> None:
        import faiss

        rows = np.ascontiguousarray(x - x.mean(0), dtype=np.float32)
        self._centre, self._rows = x.mean(0), rows
        n_cells = round(len(x) ** 0.5)
        self._cells = faiss.IndexFlatL2(x.shape[1])
        self._index = faiss.IndexIVFFlat(self._cells, x.shape[1], n_cells)
        self._index.train(rows)
        self._index.add(rows)
        self._index.nprobe = max(1, n_cells // 16)
        self._found_enough: int = 0  # neighbours for which the recall has been measured

    def kneighbors(self, X: Any = None, n_neighbors: int | None = None) -> Any:
        """See `Search.kneighbors`."""
        k = int(n_neighbors or 1)
        if k > self._found_enough:
            self._reach(k)
        if X is None:
            return self._others(np.arange(len(self._rows)), k)
        new = np.ascontiguousarray(X - self._centre, dtype=np.float32)
        squares, near = self._index.search(new, k)
        return np.sqrt(squares.clip(0).astype(np.float64)), near

    def _reach(self, k: int) -> None:
        """Search as many cells as the recall asks for."""
        some = np.linspace(0, len(self._rows) - 1, SAMPLED_ROWS).astype(np.int64)
        exact = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(self._rows)
        limit = exact.kneighbors(self._rows[some])[0][:, -1:]
        while self._index.nprobe < self._index.nlist:
            distance, near = self._others(some, k)
            # By distance, as equal rows are equally good; float32 has seven digits.
            if (near >= 0).all() and (distance <= limit * (1 + 1e-4) + 1e-6).mean() >= RECALL:
                break
            self._index.nprobe = min(2 * self._index.nprobe, self._index.nlist)
        self._found_enough = k

    def _others(self, rows: NDArray[np.int64], k: int) -> Any:
        """The nearest other rows of some rows."""
        squares, near = self._index.search(self._rows[rows], k + 1)
        own = near == rows[:, None]
        own[~own.any(1), -1] = True  # more than k equal rows hide it
        keep = ~own
        shape = (len(rows), k)
        return np.sqrt(squares[keep].clip(0).astype(np.float64)).reshape(shape), near[keep].reshape(
            shape
        )


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
