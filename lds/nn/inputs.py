"""Features in the form in which a network and a neighbour search can use them as they come."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import PowerTransformer

from lds._types import Features
from lds.graphs.similarity import WORDS_BELOW, are_words, unit_rows

UNITS = 10.0
"""Columns are in different units where the largest deviation is so many times the median one."""


TIES = 0.1
"""Share of rows with one and the same value from which on a column is no continuous quantity."""


FARTHEST = 10.0
"""Deviations at which a value ends: later rows may lie far outside what was bent."""


class Inputs:
    """What is done to features, learned from those of the fit.

    Words (see `similarity.are_words`) become rows of length 1. Of measurements, columns of
    continuous quantities are bent towards a normal distribution (Yeo and Johnson, 2000): a few
    large values of a skewed one would decide who is near whom. Where columns are in different units
    each is standardised; otherwise all keep their spread. Where a column begins does not matter:
    continuous ones are centred, the others begin at 0. Measurements stored sparse become dense
    where a sixth of them is not 0.

    Arguments:
        features: of the fit, `(n_nodes, n_features)`.

    Attributes:
        measured: whether they are measurements, and dense.
    """

    def __init__(self, features: Features) -> None:
        self._words = are_words(features)
        self.measured = not self._words and (
            not sp.issparse(features) or features.nnz >= WORDS_BELOW * np.prod(features.shape)
        )
        if not self.measured:
            return
        x = np.asarray(as_array(features), dtype=np.float64)
        self._mean, deviation = x.mean(0), x.std(0)
        varying = deviation[deviation > 0]
        self._deviation = np.where(deviation > 0, deviation, 1)
        self._units = bool(varying.size and varying.max() > UNITS * np.median(varying))
        self._bent = np.flatnonzero([_most_common(column) < TIES * len(x) for column in x.T])
        self._origin = x.min(0)
        self._origin[self._bent] = self._mean[self._bent]
        if self._bent.size:
            self._power = PowerTransformer().fit(self._standard(x)[:, self._bent])

    def of(self, features: Features) -> Features:
        """The features of the fit, or of further nodes, in the same form."""
        if self._words:
            rows = unit_rows(sp.csr_array(features))
            return rows if sp.issparse(features) else rows.toarray()
        if not self.measured:
            return features
        x = np.asarray(as_array(features), dtype=np.float64)
        found = self._standard(x) if self._units else x - self._origin
        if self._bent.size:
            bent = self._power.transform(self._standard(x)[:, self._bent])
            bent = bent.clip(-FARTHEST, FARTHEST)
            found[:, self._bent] = bent if self._units else bent * self._deviation[self._bent]
        return np.asarray(found, dtype=np.result_type(features.dtype, np.float32))

    def _standard(self, x: np.ndarray) -> np.ndarray:
        return np.asarray((x - self._mean) / self._deviation)


def _most_common(column: np.ndarray) -> int:
    """How many rows have the most common value."""
    return int(np.unique(column, return_counts=True)[1].max())


def as_array(features: Features) -> np.ndarray:
    """Features as a dense array."""
    sparse: Any = features
    return np.asarray(sparse.toarray() if sp.issparse(features) else features)
