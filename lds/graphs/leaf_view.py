"""The view of a forest: rows are alike that fall into the same leaves."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lds.graphs.views import CHUNK, Later, NearestView, Rows

COLUMNS = 1 << 12
"""Rows of the fit whose leaves are compared at once."""

LISTED_ROWS, FEW_SHARED = 8_000, 0.01
"""Rows from which on, and the share of leaves that two rows share below which, counting the rows in
the leaves of a row is faster than comparing all leaves."""

BLOCK = 1 << 18
"""Counts of shared leaves held at once."""

MOST_SUMMED = 255
"""Trees whose equal leaves are counted in one byte."""


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
        shared, n = self._shared, len(self._leaves)
        size = max(1, BLOCK // n)
        found = np.empty((len(leaves), n_neighbors), dtype=np.int64)
        for first in range(0, len(leaves), size):
            count = np.stack([shared(row) for row in leaves[first : first + size]])
            count += 1
            if itself:
                each = np.arange(len(count))
                count[each, first + each] = 0
            found[first : first + size] = _largest(count, n_neighbors)
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


def _largest(count: NDArray[np.unsignedinteger[Any]], k: int) -> Rows:
    """Positions of the k largest whole numbers of each row, `(n_rows, n)`; ties by position."""
    n = count.shape[1]
    order = np.arange(n - 1, -1, -1, dtype=np.min_scalar_type(-n * (int(count.max()) + 1)))
    each = count * order.dtype.type(n) + order  # no two of a row are equal
    top = np.sort(np.partition(each, n - k, axis=1)[:, n - k :], axis=1)
    found: Rows = n - 1 - top[:, ::-1].astype(np.int64) % n
    return found


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
