"""Features in the form in which a network and a neighbour search can use them as they come."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from lds._types import Features
from lds.graphs.similarity import WORDS_BELOW, are_words, unit_rows

UNITS = 10.0
"""Columns are in different units where the largest deviation is so many times the median one."""


class Inputs:
    """What is done to features, learned from those of the fit.

    Words (see `similarity.are_words`) become rows of length 1. Measurements stay as they
    are, unless their columns are in different units: then each is standardised, or one column would
    decide who is near whom. Measurements stored sparse become dense where a sixth of them is not 0.

    Arguments:
        features: of the fit, `(n_nodes, n_features)`.
    """

    def __init__(self, features: Features) -> None:
        self._words = are_words(features)
        self._shift: np.ndarray | None = None
        self._dense = not self._words and (
            not sp.issparse(features) or features.nnz >= WORDS_BELOW * np.prod(features.shape)
        )
        if not self._dense:
            return
        x = np.asarray(as_array(features), dtype=np.float64)
        deviation = x.std(0)
        varying = deviation[deviation > 0]
        if varying.size and varying.max() > UNITS * np.median(varying):
            self._shift, self._scale = x.mean(0), np.where(deviation > 0, deviation, 1)

    def of(self, features: Features) -> Features:
        """The features of the fit, or of further nodes, in the same form."""
        if self._words:
            rows = unit_rows(sp.csr_array(features))
            return rows if sp.issparse(features) else rows.toarray()
        if not self._dense:
            return features
        x = as_array(features)
        if self._shift is None:
            return x
        scaled = (x - self._shift) / self._scale
        return np.asarray(scaled, dtype=np.result_type(x.dtype, np.float32))


def as_array(features: Features) -> np.ndarray:
    """Features as a dense array."""
    sparse: Any = features
    return np.asarray(sparse.toarray() if sp.issparse(features) else features)
