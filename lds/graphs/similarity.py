"""Similarity of rows, a number in [0, 1] for each pair of near neighbours.

Two instances of the idea: the cosine of tf-idf weighted words, for counts; a Gaussian kernel whose
width follows the density around each row, for measurements.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._arrays import canonical
from lds._types import Features
from lds.graphs.knn import check_neighbors, neighbor_search, unit_size

AUTO = "auto"
"""Name of the metric that depends on the features: cosine for words, Euclidean for measurements."""

LOCAL_SCALE = 7
"""The distance of a row to this neighbour is the row's scale (Zelnik-Manor and Perona, 2004)."""

ROUNDING = 1e-6
"""Rounding error of distances, as a share of the largest distance to a neighbour. Distances are
roots of differences of float64 squares, so half of their digits are lost at worst."""

WORDS_BELOW = 0.15
"""Share of non-zero entries, in [0, 1], below which non-negative features are words."""


def are_words(features: Features) -> bool:
    """Return whether features are like counts or weights of words: few non-zero, none negative.

    It does not depend on whether they are stored as sparse or dense.
    """
    features = canonical(features)
    values = np.asarray(features.data if sp.issparse(features) else features)
    n_entries = max(1, features.shape[0] * features.shape[1])
    few = 0 < np.count_nonzero(values) < WORDS_BELOW * n_entries
    return bool(few) and float(values.min()) >= 0


def unit_rows(features: sp.csr_array) -> sp.csr_array:
    """Scale rows to Euclidean length 1; rows of zeros stay. Integers become floats."""
    given: Any = canonical(features)
    rows: Any = unit_size(given.astype(np.result_type(given.dtype, np.float32)))
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    return sp.csr_array(sp.diags_array(scale) @ rows, dtype=rows.dtype)


def idf(features: sp.csr_array) -> NDArray[np.float64]:
    """Compute log((1 + n) / (1 + rows with a non-zero entry)) + 1 of each column.

    This is the smoothed inverse document frequency of scikit-learn's `TfidfTransformer`.
    """
    found: Any = canonical(features)
    n_rows = features.shape[0]
    count = np.bincount(found.indices, minlength=features.shape[1])
    return np.asarray(np.log((1 + n_rows) / (1 + count)) + 1)


def weigh_words(counts: Features, weights: NDArray[np.float64]) -> sp.csr_array:
    """Multiply each word by its weight, see `idf`, and scale rows to length 1."""
    return unit_rows(sp.csr_array(sp.csr_array(counts) @ sp.diags_array(weights)))


def positive_scales(scales: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Raise local scales of 0 to the smallest one above 0, 1 if there is none; return both."""
    positive = scales[scales > 0]
    least = float(positive.min()) if positive.size else 1.0
    return np.maximum(scales, least), least


class Similarity:
    """Similarities of rows to their nearest neighbours.

    Under "auto" and "cosine" on words, the similarity is the cosine of tf-idf weighted rows. Under
    "cosine" on other features it is the cosine, negative values set to 0. Under any other metric d
    (Euclidean for "auto") it is exp(-d_ij² / (σ_i σ_j)) with σ_i the distance of row i to its
    `LOCAL_SCALE`-th neighbour, so that it adapts to dense and sparse regions.

    References:
        Zelnik-Manor and Perona, 2004, "Self-tuning spectral clustering".

    Arguments:
        features: X, `(n_nodes, n_features)`.
        metric: "auto", or a distance by scikit-learn's name.
        n_neighbors: k.

    Attributes:
        cosine: whether similarities are cosines.
    """

    def __init__(self, features: Features, metric: str, n_neighbors: int) -> None:
        features = canonical(features)
        words = are_words(features)
        self.n_nodes, self.n_neighbors = int(features.shape[0]), n_neighbors
        self.cosine = metric == "cosine" or (metric == AUTO and words)
        self._idf = None
        if self.cosine and words:
            features = sp.csr_array(features)
            self._idf = idf(features)
        self._metric = metric if metric != AUTO else "cosine" if words else "euclidean"
        check_neighbors(self.n_nodes, n_neighbors, self._metric, sparse=sp.issparse(features))
        self._search = neighbor_search(self._weighted(features), n_neighbors, self._metric)
        one_more = min(n_neighbors + 1, self.n_nodes - 1)
        found, near = self._search.kneighbors(n_neighbors=one_more)
        self._rounding = ROUNDING * float(found.max())
        found = np.where(found > self._rounding, found, 0)
        self._distance, self._near = found[:, :n_neighbors], near[:, :n_neighbors]
        self._next_distance = found[:, n_neighbors:]
        self._scale, self._min_scale = positive_scales(self._local_scale(self._distance))

    def matrix(self, *, ties: bool = True) -> sp.csr_array:
        """Return the similarity of every row to its k nearest, symmetric CSR `(n_nodes, n_nodes)`.

        Pairs that are not `related` are not stored.

        Arguments:
            ties: False leaves out neighbours that the search chose among equals by row number:
                those as far away as the (k + 1)-th neighbour, and those equal to a row that has
                `LOCAL_SCALE` or more equal rows.
        """
        n, k = self._near.shape
        value = self._similarity(self._distance, self._near, self._scale).ravel()
        row, col = np.repeat(np.arange(n), k), self._near.ravel()
        if not ties:
            distinct = self._distance > 0
            distinct[self._local_scale(self._distance) > 0] = True
            if self._next_distance.size:
                distinct &= self._next_distance - self._distance > self._rounding
            row, col, value = row[distinct.ravel()], col[distinct.ravel()], value[distinct.ravel()]
        there = self.related(value)
        row, col, value = row[there], col[there], value[there]
        low, high = np.minimum(row, col), np.maximum(row, col)
        key, first = np.unique(low.astype(np.int64) * n + high, return_index=True)
        low, high, value = key // n, key % n, value[first]
        both = (np.concatenate([low, high]), np.concatenate([high, low]))
        return sp.csr_array(sp.coo_array((np.concatenate([value, value]), both), shape=(n, n)))

    def of_new(self, new: Features) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the k nearest rows of each new row and their similarities, `(n_new, k)` each."""
        distance, near = self._search.kneighbors(self._weighted(new))
        distance = np.where(distance > self._rounding, distance, 0)
        scale = np.maximum(self._local_scale(distance), self._min_scale)
        return near.astype(np.int64), self._similarity(distance, near, scale)

    def related(self, similarity: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether pairs may have an edge: not where their cosine is 0 or less.

        Such rows have no word in common, and the search finds any of them alike.
        """
        return similarity > 0 if self.cosine else np.ones(similarity.shape, dtype=bool)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted state without the features as arrays by name, for `from_arrays`."""
        arrays = {
            "metric": np.array(self._metric),
            "cosine": np.array(self.cosine),
            "n_neighbors": np.array(self.n_neighbors),
            "rounding": np.array(self._rounding),
            "distance": self._distance,
            "near": self._near,
            "next_distance": self._next_distance,
            "scale": self._scale,
            "min_scale": np.array(self._min_scale),
        }
        return arrays if self._idf is None else arrays | {"idf": self._idf}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], features: Features) -> Self:
        """Make the similarity that `to_arrays` was called on, without a search among its rows.

        Arguments:
            arrays: from `to_arrays`.
            features: X that it was made from. The search for new rows is built from it.
        """
        made = cls.__new__(cls)
        made.n_nodes, made.n_neighbors = int(features.shape[0]), int(arrays["n_neighbors"])
        made.cosine, made._metric = bool(arrays["cosine"]), str(arrays["metric"])
        made._idf = arrays.get("idf")
        made._search = neighbor_search(made._weighted(features), made.n_neighbors, made._metric)
        made._rounding, made._min_scale = float(arrays["rounding"]), float(arrays["min_scale"])
        made._distance, made._near = arrays["distance"], arrays["near"]
        made._next_distance, made._scale = arrays["next_distance"], arrays["scale"]
        return made

    def _weighted(self, features: Features) -> Features:
        """Weight words by idf and scale rows to length 1; other features stay as they are."""
        features = canonical(features)
        if self._idf is None:
            return features
        return weigh_words(features, self._idf)

    def _local_scale(self, distance: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        return np.asarray(distance[:, min(LOCAL_SCALE, self.n_neighbors) - 1])

    def _similarity(
        self,
        distance: NDArray[np.floating[Any]],
        near: NDArray[np.int64],
        scale: NDArray[np.floating[Any]],
    ) -> NDArray[np.float64]:
        """Return the similarities of rows of scale `scale` to their neighbours."""
        if self.cosine:
            return np.asarray(np.clip(1 - distance, 0, 1), dtype=np.float64)
        squares = distance.astype(np.float64) ** 2
        return np.asarray(np.exp(-squares / (scale[:, None] * self._scale[near])))
