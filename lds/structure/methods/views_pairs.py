"""Pairs of rows that are near in any view, and their similarities in every view."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lds.graphs.views import View

EQUAL = 1e-9
"""Standard deviation of similarities up to which they are equal but for rounding."""


@dataclass(frozen=True)
class Seen:
    """The pairs that are near in any view, and their standardised similarities.

    Each fold has pairs of its own: those of a forest that has read a row's label would tell it.

    Attributes:
        views: by name.
        n_nodes: rows.
        keys: row · n_nodes + col of each pair, row < col, ascending.
        features: a column of ones, and the similarities, `(n_pairs, 1 + n_views)`.
        center, scale: means and deviations of similarities over these pairs.
    """

    views: dict[str, View]
    n_nodes: int
    keys: NDArray[np.int64]
    features: NDArray[np.floating[Any]]
    center: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        views: dict[str, View],
        near: Sequence[NDArray[np.int64]],
        n_nodes: int,
        dtype: np.dtype[Any],
    ) -> "Seen":
        """Compare the pairs of rows that are near in any view.

        Arguments:
            views: by name.
            near: pairs that are near in each, see `View.pairs`.
            n_nodes: rows.
            dtype: of the features.
        """
        keys = distinct(np.concatenate(near))
        row, col = keys // n_nodes, keys % n_nodes
        features = np.ones((len(keys), 1 + len(views)), dtype=dtype)
        center, scale = np.empty((2, len(views)))
        for j, view in enumerate(views.values()):  # one by one: float64 of all is a lot
            similar = view.of_pairs(row, col)
            center[j], deviation = similar.mean(), similar.std()
            scale[j] = deviation if deviation > EQUAL else 1
            features[:, 1 + j] = (similar - center[j]) / scale[j]
        return cls(views, n_nodes, keys, features, center, scale)

    @property
    def row(self) -> NDArray[np.int64]:
        """The first row of each pair."""
        return self.keys // self.n_nodes

    @property
    def col(self) -> NDArray[np.int64]:
        """The second row of each pair."""
        return self.keys % self.n_nodes

    def without_pairs(self) -> "Seen":
        """Return the views with the means and deviations of their similarities."""
        return replace(self, keys=self.keys[:0], features=self.features[:0])

    def standardised(self, similarities: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Standardise similarities over these pairs, and put a column of ones before them."""
        columns = (np.stack(similarities, 1) - self.center) / self.scale
        return np.concatenate([np.ones((len(columns), 1)), columns], 1)


def distinct(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sort numbers in place, and return each once; `numpy.unique` hashes them, which is slower."""
    keys.sort()
    first = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keys[first]
