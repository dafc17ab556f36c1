"""Views of likeness: each says who is near whom, and how similar the rows of any pair are.

Four instances of the idea: a kernel whose width follows the density around each row; the share of
the trees of a forest in which two rows fall into the same leaf; the cosine of word weights; the
edges of a given graph.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
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

COLUMNS = 1 << 12
"""Rows of the fit whose leaves are compared at once."""

LISTED_ROWS, FEW_SHARED = 8_000, 0.01
"""Rows from which on, and the share of leaves that two rows share below which, counting the rows in
the leaves of a row is faster than comparing all leaves."""

MOST_SUMMED = 255
"""Trees whose equal leaves are counted in one byte."""

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
        """The nearest rows of the fit of each later row, `(n_later, n_neighbors)`."""

    @abstractmethod
    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        """Similarities of later rows `row` and rows of the fit `col`, `(n_pairs,)`."""


class NearestView(View):
    """A view in which each row has as many near rows as are asked for."""

    @abstractmethod
    def near(self, n_neighbors: int) -> Rows:
        """The nearest rows of each row, itself excluded, `(n_rows, n_neighbors)`."""

    def pairs(self, n_neighbors: int) -> Rows:
        """See `View.pairs`."""
        near = self.near(n_neighbors)
        mine = np.arange(len(near))[:, None]
        keys: Rows = np.minimum(mine, near) * len(near) + np.maximum(mine, near)
        return keys.ravel()


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


class LeafView(NearestView):
    """The share of trees in which two rows fall into the same leaf.

    References:
        Breiman, 2001, "Random forests", on proximities.

    Arguments:
        leaves: the leaf of each row in each tree, int `(n_rows, n_trees)`.
    """

    def __init__(self, leaves: NDArray[np.integer[Any]]) -> None:
        known = [np.unique(tree, return_inverse=True) for tree in np.asarray(leaves).T]
        self._names = [names for names, _ in known]
        most = max(len(names) for names in self._names)  # the number of no leaf
        self._dtype = np.min_scalar_type(most)
        self._leaves = np.stack([number for _, number in known], 1).astype(self._dtype)

    def near(self, n_neighbors: int) -> Rows:
        """See `NearestView.near`."""
        return self.nearest(self._leaves, n_neighbors, itself=True)

    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        """See `View.of_pairs`."""
        return self.shares(self._leaves, row, col)

    def of_later(self, later: NDArray[np.integer[Any]]) -> "Later":
        """See `View.of_later`; `later` are leaves, `(n_later, n_trees)`."""
        return _LaterByLeaves(self, self.numbers(np.asarray(later)))

    def numbers(self, leaves: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """Leaves of later rows by the numbers of those of the fit; others have a number apart."""
        found = np.empty(leaves.shape, dtype=self._dtype)
        for tree, names in enumerate(self._names):
            number = np.searchsorted(names, leaves[:, tree]).clip(max=len(names) - 1)
            known = names[number] == leaves[:, tree]
            found[:, tree] = np.where(known, number, np.iinfo(self._dtype).max)
        return found

    def shares(self, leaves: NDArray[Any], row: Rows, col: Rows) -> NDArray[np.float64]:
        """Shares of equal leaves of rows of `leaves` and rows of the fit."""
        found = np.empty(len(row))
        size = max(1, CHUNK // leaves.shape[1])
        for first in range(0, len(row), size):
            part = slice(first, first + size)
            found[part] = (leaves[row[part]] == self._leaves[col[part]]).mean(1)
        return found

    def nearest(self, leaves: NDArray[Any], n_neighbors: int, *, itself: bool = False) -> Rows:
        """The rows of the fit that share most leaves with each row; ties by their number.

        Time O(n_rows · n), times the mean number of leaves that two rows share if there are many
        rows and few such leaves (the rows in the leaves of a row are counted), else times the
        number of trees (all leaves are compared).

        Arguments:
            leaves: `(n_rows, n_trees)`, by their numbers in the fit.
            n_neighbors: how many.
            itself: whether row i is row i of the fit, which is left out.
        """
        shared, least = self._shared, 1
        found = np.empty((len(leaves), n_neighbors), dtype=np.int64)
        for i, row in enumerate(leaves):
            count = shared(row)
            count += 1
            if itself:
                count[i] = 0
            found[i], least = _largest(count, n_neighbors, least)
        return found

    @cached_property
    def _shared(self) -> Callable[[NDArray[Any]], NDArray[Any]]:
        """Count the leaves of each row of the fit that are those of one row."""
        n, of_fit = len(self._leaves), np.ascontiguousarray(self._leaves.T)
        sizes = [np.bincount(tree) for tree in of_fit]
        same = sum(float(np.square(each, dtype=float).sum()) for each in sizes)
        few = n >= LISTED_ROWS and same < FEW_SHARED * len(of_fit) * n**2
        return _counted(of_fit, sizes) if few else _compared(of_fit)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what counts."""
        return {name: value for name, value in vars(self).items() if name != "_shared"}


def _largest(count: NDArray[Any], k: int, least: int) -> tuple[Rows, int]:
    """Positions of the k largest numbers, ties by position, and the least of these numbers.

    Few numbers are large, so counting those above a limit is faster than a partition.

    Arguments:
        count: whole numbers; at least k are 1 or more.
        k: how many.
        least: a guess, from 1.
    """
    while np.count_nonzero(count >= least) < k:
        least -= 1
    while np.count_nonzero(count > least) >= k:
        least += 1
    rows = np.flatnonzero(count >= least)
    order = np.argsort(-count[rows].astype(np.int32), kind="stable")
    return rows[order[:k]], least


def _counted(
    of_fit: NDArray[Any], sizes: list[NDArray[np.int64]]
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Make the function that counts shared leaves by lists of the rows in each leaf.

    Arguments:
        of_fit: `(n_trees, n)`.
        sizes: rows in each leaf of each tree.
    """
    n_trees, n = of_fit.shape
    lists = np.argsort(of_fit, axis=1, kind="stable").ravel()
    most = max(len(each) for each in sizes)
    ends = np.stack([np.pad(np.cumsum(each), (0, most - len(each)), "edge") for each in sizes])
    ends = np.pad(ends, ((0, 0), (1, 1)), "edge")  # leaf `most` and all beyond have no rows
    ends[:, 0] = 0
    ends += n * np.arange(n_trees)[:, None]
    tree, dtype = np.arange(n_trees), np.min_scalar_type(n_trees + 1)

    def counted(row: NDArray[Any]) -> NDArray[Any]:
        leaf = np.minimum(row.astype(np.int64), most)
        bounds = zip(ends[tree, leaf].tolist(), ends[tree, leaf + 1].tolist(), strict=True)
        rows = np.concatenate([lists[a:b] for a, b in bounds])
        return np.bincount(rows, minlength=n).astype(dtype)

    return counted


def _compared(of_fit: NDArray[Any]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Make the function that counts shared leaves by comparing all leaves, `(n_trees, n)`."""
    n_trees, n = of_fit.shape
    dtype = np.min_scalar_type(n_trees + 1)

    def compared(row: NDArray[Any]) -> NDArray[Any]:
        equal = np.empty((min(n_trees, MOST_SUMMED), min(n, COLUMNS)), dtype=bool)  # of one thread
        found = np.zeros(n, dtype=dtype)
        for start in range(0, n_trees, MOST_SUMMED):
            trees = slice(start, start + MOST_SUMMED)
            for first in range(0, n, COLUMNS):
                part = of_fit[trees, first : first + COLUMNS]
                same = equal[: part.shape[0], : part.shape[1]]
                np.equal(part, row[trees, None], out=same)
                found[first : first + COLUMNS] += same.view(np.uint8).sum(0, dtype=np.uint8)
        return found

    return compared


class _LaterByLeaves(Later):
    def __init__(self, view: LeafView, leaves: NDArray[Any]) -> None:
        self._view, self._leaves = view, leaves

    def near(self, n_neighbors: int) -> Rows:
        return self._view.nearest(self._leaves, n_neighbors)

    def of_pairs(self, row: Rows, col: Rows) -> NDArray[np.float64]:
        return self._view.shares(self._leaves, row, col)


class WordView(NearestView):
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
        return weigh_words(counts, self._idf)

    def near(self, n_neighbors: int) -> Rows:
        """See `NearestView.near`."""
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
