"""Views of likeness: each says who is near whom, and how similar the rows of any pair are.

Three instances of the idea: a kernel whose width follows the density around each row; the share of
the trees of a forest in which two rows fall into the same leaf; the cosine of word weights.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._types import Features
from lds.graphs.knn import neighbor_search
from lds.graphs.similarity import LOCAL_SCALE, idf, unit_rows

CHUNK = 1 << 22
"""Numbers held at once where pairs are compared."""

Rows = NDArray[np.int64]


class View(ABC):
    """Similarities in [0, 1] of the rows of a fit, and of later rows to them."""

    @abstractmethod
    def near(self, n_neighbors: int) -> Rows:
        """The nearest rows of each row, itself excluded, `(n_rows, n_neighbors)`."""

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
        """The nearest rows of the fit of each later row, `(n_later, n_neighbors)`."""

    @abstractmethod
    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        """Similarities of later rows `row` and rows of the fit `col`, `(n_pairs,)`."""


class KernelView(View):
    """exp(-d_ij² / (σ_i σ_j)), σ_i the distance of row i to its `LOCAL_SCALE`-th neighbour.

    References:
        Zelnik-Manor and Perona, 2004, "Self-tuning spectral clustering".

    Arguments:
        coordinates: `(n_rows, n_columns)`; distances are Euclidean.
    """

    def __init__(self, coordinates: NDArray[np.floating[Any]]) -> None:
        self._x = np.asarray(coordinates, dtype=np.float64)
        self._k = min(LOCAL_SCALE, len(self._x) - 1)
        self._search = neighbor_search(self._x, self._k, "euclidean")
        scale = self._search.kneighbors()[0][:, -1]
        positive = scale[scale > 0]
        self._least = float(positive.min()) if positive.size else 1.0
        self._scale = np.maximum(scale, self._least)

    def near(self, n_neighbors: int) -> Rows:
        """See `View.near`."""
        found: Rows = self._search.kneighbors(n_neighbors=n_neighbors, return_distance=False)
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
            squares[part] = np.square(x[row[part]] - self._x[col[part]]).sum(1)
        found: NDArray[np.float64] = np.exp(-squares / (scale[row] * self._scale[col]))
        return found

    def nearest(self, x: NDArray[np.float64], n_neighbors: int) -> Rows:
        """The nearest rows of the fit of each row of `x`."""
        found: Rows = self._search.kneighbors(x, n_neighbors, return_distance=False)
        return found

    def scale_of(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Local scales of later rows."""
        distance = self._search.kneighbors(x, self._k)[0][:, -1]
        found: NDArray[np.float64] = np.maximum(distance, self._least)
        return found


class _LaterByKernel(Later):
    def __init__(self, view: KernelView, x: NDArray[np.float64]) -> None:
        self._view, self._x, self._scale = view, x, view.scale_of(x)

    def near(self, n_neighbors: int) -> Rows:
        return self._view.nearest(self._x, n_neighbors)

    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        return self._view.kernel(self._x, self._scale, row, col)


class LeafView(View):
    """The share of trees in which two rows fall into the same leaf.

    References:
        Breiman, 2001, "Random forests", on proximities.

    Arguments:
        leaves: the leaf of each row in each tree, int `(n_rows, n_trees)`.
    """

    def __init__(self, leaves: NDArray[np.integer[Any]]) -> None:
        self._leaves = np.asarray(leaves)
        self._columns = [np.unique(tree, return_inverse=True) for tree in self._leaves.T]
        self._first = np.cumsum([0, *(len(known) for known, _ in self._columns)])
        place = np.stack([inverse for _, inverse in self._columns], 1) + self._first[:-1]
        self._one_hot = self.matrix(place, np.ones(place.shape, dtype=bool))

    def near(self, n_neighbors: int) -> Rows:
        """See `View.near`."""
        return self.nearest(self._one_hot, n_neighbors, itself=True)

    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        """See `View.of_pairs`."""
        return self.shares(self._leaves, row, col)

    def of_later(self, later: NDArray[np.integer[Any]]) -> "Later":
        """See `View.of_later`; `later` are leaves, `(n_later, n_trees)`."""
        return _LaterByLeaves(self, np.asarray(later))

    def shares(self, leaves: NDArray[Any], row: Rows, col: Rows) -> NDArray[np.float64]:
        """Shares of equal leaves of rows of `leaves` and rows of the fit."""
        found = np.empty(len(row))
        size = max(1, CHUNK // leaves.shape[1])
        for first in range(0, len(row), size):
            part = slice(first, first + size)
            found[part] = (leaves[row[part]] == self._leaves[col[part]]).mean(1)
        return found

    def nearest(self, one_hot: sp.csr_array, n_neighbors: int, *, itself: bool = False) -> Rows:
        """The rows of the fit that share most leaves with each row; ties by their number."""
        n_rows, n = one_hot.shape[0], self._one_hot.shape[0]
        found = np.empty((n_rows, n_neighbors), dtype=np.int64)
        size = max(1, CHUNK // n)
        for first in range(0, n_rows, size):
            shared: Any = one_hot[first : first + size] @ self._one_hot.T
            counts = shared.toarray().astype(np.float64)
            if itself:
                counts[np.arange(len(counts)), np.arange(first, first + len(counts))] = -1
            counts -= np.arange(n) / (2 * n)  # ties
            order = np.argpartition(-counts, n_neighbors - 1, axis=1)[:, :n_neighbors]
            found[first : first + size] = order
        return found

    def one_hot(self, leaves: NDArray[Any]) -> sp.csr_array:
        """Leaves of later rows in the columns of those of the fit."""
        place = np.empty(leaves.shape, dtype=np.int64)
        known = np.empty(leaves.shape, dtype=bool)
        for tree, (names, _) in enumerate(self._columns):
            index = np.searchsorted(names, leaves[:, tree]).clip(max=len(names) - 1)
            place[:, tree] = index + self._first[tree]
            known[:, tree] = names[index] == leaves[:, tree]
        return self.matrix(place, known)

    def matrix(self, place: NDArray[np.int64], known: NDArray[np.bool_]) -> sp.csr_array:
        """One row a row of `place`, 1 in the columns that it names and that are known."""
        n_rows, n_trees = place.shape
        row = np.repeat(np.arange(n_rows), n_trees)[known.ravel()]
        entries = (np.ones(len(row), dtype=np.float32), (row, place.ravel()[known.ravel()]))
        return sp.csr_array(sp.coo_array(entries, shape=(n_rows, int(self._first[-1]))))


class _LaterByLeaves(Later):
    def __init__(self, view: LeafView, leaves: NDArray[Any]) -> None:
        self._view, self._leaves = view, leaves

    def near(self, n_neighbors: int) -> Rows:
        return self._view.nearest(self._view.one_hot(self._leaves), n_neighbors)

    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        return self._view.shares(self._leaves, row, col)


class WordView(View):
    """The cosine of tf-idf weighted words.

    Arguments:
        counts: `(n_rows, n_words)`, 0 or more.
    """

    def __init__(self, counts: Features) -> None:
        words = sp.csr_array(counts)
        self._idf = idf(words)
        self._rows = self.weighted(words)

    def weighted(self, counts: Features) -> sp.csr_array:
        """Rows of length 1 with the weights of the fit."""
        return unit_rows(sp.csr_array(sp.csr_array(counts) @ sp.diags_array(self._idf)))

    def near(self, n_neighbors: int) -> Rows:
        """See `View.near`."""
        search = neighbor_search(self._rows, n_neighbors, "cosine")
        found: Rows = search.kneighbors(return_distance=False)
        return found

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

    def nearest(self, rows: sp.csr_array, n_neighbors: int) -> Rows:
        """The rows of the fit nearest to each row."""
        search = neighbor_search(self._rows, n_neighbors, "cosine")
        found: Rows = search.kneighbors(rows, return_distance=False)
        return found


class _LaterByWords(Later):
    def __init__(self, view: WordView, rows: sp.csr_array) -> None:
        self._view, self._rows = view, rows

    def near(self, n_neighbors: int) -> Rows:
        return self._view.nearest(self._rows, n_neighbors)

    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        return self._view.cosines(self._rows, row, col)
