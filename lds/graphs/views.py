"""Views of likeness: each says who is near whom, and how similar the rows of any pair are.

Four of them: a kernel whose width follows the density around each row; the cosine of words; the
edges of a given graph; and, in `leaf_view`, the share of the trees of a forest that put two rows
into one leaf.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._types import Features
from lds.graphs.knn import Search, euclidean_search, neighbor_search
from lds.graphs.similarity import LOCAL_SCALE, idf, positive_scales, weigh_words

CHUNK = 1 << 16
"""Numbers held at once where pairs are compared: they stay in a core's cache."""

Rows = NDArray[np.int64]


class View(ABC):
    """Similarities in [0, 1] of the rows of a fit, and of later rows to them."""

    @abstractmethod
    def pairs(self, n_neighbors: int) -> Rows:
        """Pairs of rows that are near, each once or more: row · n_rows + col, row < col."""

    @abstractmethod
    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        """Similarities of pairs of rows of the fit, `(n_pairs,)`."""

    @abstractmethod
    def of_later(self, later: Any) -> "Later":
        """Later rows, seen in this view."""


class Later(ABC):
    """Later rows beside those of the fit."""

    @abstractmethod
    def near(self, n_neighbors: int) -> Rows:
        """Rows of the fit nearest to each later row, `(n_later, n_neighbors)`; -1: no more are."""

    @abstractmethod
    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        """Similarities of later rows `row` and rows of the fit `col`, `(n_pairs,)`."""


class NearestView(View):
    """A view in which each row has as many near rows as are asked for, if so many are alike."""

    @abstractmethod
    def near(self, n_neighbors: int) -> Rows:
        """The nearest rows of each row, itself excluded, `(n_rows, n_neighbors)`; -1: no more."""

    def pairs(self, n_neighbors: int) -> Rows:
        """See `View.pairs`."""
        near = self.near(n_neighbors)
        mine = np.arange(len(near))[:, None]
        keys: Rows = np.minimum(mine, near) * len(near) + np.maximum(mine, near)
        return keys[near >= 0]


class KernelView(NearestView):
    """exp(-d_ij² / (σ_i σ_j)), σ_i the distance of row i to its `LOCAL_SCALE`-th neighbour.

    It is pickled without the index of its search, which is made again when it is needed.

    References:
        Zelnik-Manor and Perona, 2004, "Self-tuning spectral clustering".

    Arguments:
        coordinates: `(n_rows, n_columns)`; distances are Euclidean.
        n_neighbors: as many as `near` will be asked for, so that rows are searched once.
    """

    def __init__(self, coordinates: NDArray[np.floating[Any]], n_neighbors: int = 1) -> None:
        self._x = np.asarray(coordinates, dtype=np.float64)
        self._k = min(LOCAL_SCALE, len(self._x) - 1)
        distance, self._near = self._search.kneighbors(n_neighbors=max(n_neighbors, self._k))
        self._scale, self._least = positive_scales(np.ascontiguousarray(distance[:, self._k - 1]))

    @cached_property
    def _search(self) -> Search:
        return euclidean_search(self._x)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the index out."""
        return {name: value for name, value in vars(self).items() if name != "_search"}

    def near(self, n_neighbors: int) -> Rows:
        """See `NearestView.near`."""
        if n_neighbors > self._near.shape[1]:
            self._near = self._search.kneighbors(n_neighbors=n_neighbors)[1]
        found: Rows = self._near[:, :n_neighbors]
        return found

    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        """See `View.of_pairs`."""
        return self.kernel(self._x, self._scale, row, col)

    def of_later(self, later: NDArray[np.floating[Any]]) -> "Later":
        """See `View.of_later`; `later` are coordinates, `(n_later, n_columns)`."""
        return _LaterByKernel(self, np.asarray(later, dtype=np.float64))

    def kernel(
        self, x: NDArray[np.float64], scale: NDArray[np.float64], row: Rows, col: Rows
    ) -> NDArray[np.float64]:
        """Similarities of rows of `x`, of local scale `scale`, to rows of the fit."""
        squares = np.empty(len(row))
        size = max(1, CHUNK // max(1, x.shape[1]))
        for first in range(0, len(row), size):
            part = slice(first, first + size)
            apart = x[row[part]]
            apart -= self._x[col[part]]
            squares[part] = np.square(apart, out=apart).sum(1)
        found: NDArray[np.float64] = np.exp(-squares / (scale[row] * self._scale[col]))
        return found

    def nearest(self, x: NDArray[np.float64], n_neighbors: int) -> tuple[Rows, NDArray[np.float64]]:
        """The nearest rows of the fit of each row of `x`, and the local scales of these rows."""
        distance, near = self._search.kneighbors(x, max(n_neighbors, self._k))
        return near[:, :n_neighbors], np.maximum(distance[:, self._k - 1], self._least)


class _LaterByKernel(Later):
    def __init__(self, view: KernelView, x: NDArray[np.float64]) -> None:
        self._view, self._x = view, x
        self._scale: NDArray[np.float64] | None = None

    def near(self, n_neighbors: int) -> Rows:
        near, self._scale = self._view.nearest(self._x, n_neighbors)
        return near

    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        if self._scale is None:
            self._scale = self._view.nearest(self._x, 1)[1]
        return self._view.kernel(self._x, self._scale, row, col)


class WordView(NearestView):
    """The cosine of tf-idf weighted words; rows without a common word are not near.

    Arguments:
        counts: `(n_rows, n_words)`, 0 or more.
    """

    def __init__(self, counts: Features) -> None:
        words = sp.csr_array(counts)
        self._idf = idf(words)
        self._rows = self.weighted(words)

    def weighted(self, counts: Features) -> sp.csr_array:
        """Rows of length 1 with the weights of the fit."""
        return weigh_words(counts, self._idf)

    def near(self, n_neighbors: int) -> Rows:
        """See `NearestView.near`."""
        return self.nearest(None, n_neighbors)

    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        """See `View.of_pairs`."""
        return self.cosines(self._rows, row, col)

    def of_later(self, later: Features) -> "Later":
        """See `View.of_later`; `later` are counts, `(n_later, n_words)`."""
        return _LaterByWords(self, self.weighted(later))

    def cosines(self, rows: sp.csr_array, row: Rows, col: Rows) -> NDArray[np.float64]:
        """Cosines of rows of `rows` and rows of the fit, at least 0."""
        products: Any = rows[row].multiply(self._rows[col])
        return np.asarray(products.sum(axis=1), dtype=np.float64).ravel().clip(0, 1)

    def nearest(self, rows: sp.csr_array | None, n_neighbors: int) -> Rows:
        """The rows of the fit nearest to each row; None: to each of its own, itself excluded."""
        distance, near = neighbor_search(self._rows, n_neighbors, "cosine").kneighbors(rows)
        return np.where(distance < 1, near, -1)


class _LaterByWords(Later):
    def __init__(self, view: WordView, rows: sp.csr_array) -> None:
        self._view, self._rows = view, rows

    def near(self, n_neighbors: int) -> Rows:
        return self._view.nearest(self._rows, n_neighbors)

    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        return self._view.cosines(self._rows, row, col)


class EdgeView(View):
    """The weights of a given graph; two rows without an edge have none. Later rows have no edges.

    Arguments:
        graph: symmetric `(n_rows, n_rows)`, weights in [0, 1].
    """

    def __init__(self, graph: sp.csr_array) -> None:
        self._graph = graph

    def pairs(self, n_neighbors: int) -> Rows:
        """All edges; see `View.pairs`."""
        upper = sp.coo_array(sp.triu(self._graph, k=1))
        return upper.row.astype(np.int64) * self._graph.shape[0] + upper.col

    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        """See `View.of_pairs`."""
        return np.asarray(self._graph[row, col], dtype=np.float64).ravel()

    def of_later(self, later: Features) -> "Later":
        """See `View.of_later`; `later` has a row for each."""
        return _LaterWithoutEdges(later.shape[0])


class _LaterWithoutEdges(Later):
    def __init__(self, n_later: int) -> None:
        self._n = n_later

    def near(self, n_neighbors: int) -> Rows:
        return np.zeros((self._n, 0), dtype=np.int64)

    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        return np.zeros(len(row))
