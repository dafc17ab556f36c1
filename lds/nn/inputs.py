"""Features in the form in which a network and a neighbour search can use them as they come."""

import numpy as np
import scipy.sparse as sp

from lds._types import Features
from lds.graphs.similarity import are_words, unit_rows

UNITS = 10.0
"""Columns are in different units where the largest deviation is so many times the median one."""


class Inputs:
    """What is done to features, learned from those of the fit.

    Words (sparse, none negative) become rows of length 1. Measurements stay as they are, unless
    their columns are in different units: then each is standardised, or one column would decide who
    is near whom.

    Arguments:
        features: of the fit, `(n_nodes, n_features)`.
    """

    def __init__(self, features: Features) -> None:
        self._words = are_words(features)
        self._shift: np.ndarray | None = None
        if sp.issparse(features):
            return
        x = np.asarray(features, dtype=np.float64)
        deviation = x.std(0)
        varying = deviation[deviation > 0]
        if varying.size and varying.max() > UNITS * np.median(varying):
            self._shift, self._scale = x.mean(0), np.where(deviation > 0, deviation, 1)

    def of(self, features: Features) -> Features:
        """The features of the fit, or of further nodes, in the same form."""
        if self._words:
            return unit_rows(sp.csr_array(features))
        if self._shift is None:
            return features
        scaled = (np.asarray(features) - self._shift) / self._scale
        return np.asarray(scaled, dtype=np.result_type(features.dtype, np.float32))
