"""How alike nodes are, as a number in [0, 1] for each pair of near neighbours.

Two instances of the idea: the cosine of tf-idf weighted words, for counts; a kernel whose width
follows the density around each row, for measurements.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._types import Features
from lds.graphs.knn import check_neighbors, neighbor_search

AUTO = "auto"
"""A metric by what the features are: words or measurements."""

LOCAL_SCALE = 7
"""The neighbour whose distance is a row's own scale (Zelnik-Manor and Perona, 2004)."""


SAME = 1e-6
"""Share of the largest distance to a neighbour up to which a difference of distances is rounding:
they come from squares in float64, and so have half of its digits."""

WORDS_BELOW = 0.15
"""Share of non-zero entries below which features that are never negative are words."""


def are_words(features: Features) -> bool:
    """Whether features look like counts or weights of words: few are not 0, and none is negative.

    What they are stored as, sparse or dense, does not matter.
    """
    values = np.asarray(features.data if sp.issparse(features) else features)
    n_entries = max(1, features.shape[0] * features.shape[1])
    few = 0 < np.count_nonzero(values) < WORDS_BELOW * n_entries
    return bool(few) and float(values.min()) >= 0


def unit_rows(features: sp.csr_array) -> sp.csr_array:
    """Rows of Euclidean length 1; rows of zeros stay. Integers become floats."""
    features = features.astype(np.result_type(features.dtype, np.float32))
    length = np.sqrt(np.asarray(features.multiply(features).sum(axis=1)).ravel())
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    return sp.csr_array(sp.diags_array(scale) @ features, dtype=features.dtype)


def idf(features: sp.csr_array) -> NDArray[np.float64]:
    """log((1 + n) / (1 + rows that have it)) + 1 of each column, as scikit-learn weighs words."""
    n_rows = features.shape[0]
    count = np.bincount(features.indices, minlength=features.shape[1])
    return np.asarray(np.log((1 + n_rows) / (1 + count)) + 1)


class Similarity:
    """Likeness of rows, and who is near whom.

    Under "auto" and "cosine" on words it is the cosine of tf-idf weighted rows. Under "cosine" on
    other features it is the cosine, negative ones as 0. Under any other metric d (Euclidean for
    "auto") it is exp(-d_ij² / (σ_i σ_j)) with σ_i the distance to the `LOCAL_SCALE`-th neighbour:
    in dense and in thin regions alike, near ones are similar and far ones are not.

    References:
        Zelnik-Manor and Perona, 2004, "Self-tuning spectral clustering".

    Arguments:
        features: X, `(n_nodes, n_features)`.
        metric: "auto", or a distance by scikit-learn's name.
        n_neighbors: k.
    """

    def __init__(self, features: Features, metric: str, n_neighbors: int) -> None:
        words = are_words(features)
        self.n_nodes, self.n_neighbors = int(features.shape[0]), n_neighbors
        self.cosine = metric == "cosine" or (metric == AUTO and words)
        self._idf = None
        if self.cosine and words:
            features = sp.csr_array(features)
            self._idf = idf(features)
        distance = metric if metric != AUTO else "cosine" if words else "euclidean"
        check_neighbors(self.n_nodes, n_neighbors, distance, sparse=sp.issparse(features))
        self._search = neighbor_search(self._weighed(features), n_neighbors, distance)
        further = min(n_neighbors + 1, self.n_nodes - 1)
        found, near = self._search.kneighbors(n_neighbors=further)
        self._rounding = SAME * float(found.max())
        found = np.where(found > self._rounding, found, 0)
        self._distance, self._near = found[:, :n_neighbors], near[:, :n_neighbors]
        self._next = found[:, n_neighbors:]
        scale = self._local_scale(self._distance)
        positive = scale[scale > 0]
        self._least = float(positive.min()) if positive.size else 1.0
        self._scale = np.maximum(scale, self._least)

    def matrix(self, *, ties: bool = True) -> sp.csr_array:
        """Similarity of every row and each of its k nearest, symmetric CSR `(n_nodes, n_nodes)`.

        Pairs of similarity 0 are stored all the same: they are candidates.

        Arguments:
            ties: False leaves out neighbours that features do not tell from other rows: those as
                far as the first row that is no neighbour, which the search took by their number,
                and those equal to a row that has `LOCAL_SCALE` or more of them.
        """
        n, k = self._near.shape
        value = self._of(self._distance, self._near, self._scale).ravel()
        row, col = np.repeat(np.arange(n), k), self._near.ravel()
        if not ties:
            told = self._distance > 0
            told[self._local_scale(self._distance) > 0] = True
            if self._next.size:
                told &= self._next - self._distance > self._rounding
            row, col, value = row[told.ravel()], col[told.ravel()], value[told.ravel()]
        low, high = np.minimum(row, col), np.maximum(row, col)
        key, first = np.unique(low.astype(np.int64) * n + high, return_index=True)
        low, high, value = key // n, key % n, value[first]
        both = (np.concatenate([low, high]), np.concatenate([high, low]))
        return sp.csr_array(sp.coo_array((np.concatenate([value, value]), both), shape=(n, n)))

    def of_new(self, new: Features) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The k nearest rows of each new row and how similar they are, `(n_new, k)` each."""
        distance, near = self._search.kneighbors(self._weighed(new))
        distance = np.where(distance > self._rounding, distance, 0)
        scale = np.maximum(self._local_scale(distance), self._least)
        return near.astype(np.int64), self._of(distance, near, scale)

    def _weighed(self, features: Features) -> Features:
        if self._idf is None:
            return features
        return unit_rows(sp.csr_array(sp.csr_array(features) @ sp.diags_array(self._idf)))

    def _local_scale(self, distance: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        return np.asarray(distance[:, min(LOCAL_SCALE, self.n_neighbors) - 1])

    def _of(
        self,
        distance: NDArray[np.floating[Any]],
        near: NDArray[np.int64],
        scale: NDArray[np.floating[Any]],
    ) -> NDArray[np.float64]:
        """Similarities of rows of scale `scale` to their neighbours."""
        if self.cosine:
            return np.asarray(np.clip(1 - distance, 0, 1), dtype=np.float64)
        squares = distance.astype(np.float64) ** 2
        return np.asarray(np.exp(-squares / (scale[:, None] * self._scale[near])))
