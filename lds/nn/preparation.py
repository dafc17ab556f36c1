"""Preparation of features: fitted on the rows of the fit, applied to later rows as well."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.preprocessing import PowerTransformer, StandardScaler

from lds._types import Features
from lds._units import in_different_units
from lds.graphs.similarity import WORDS_BELOW, are_words, unit_rows

TIED_SHARE = 0.1
"""Share of rows with one value from which on a column is not a continuous quantity."""

MAX_DEVIATIONS = 10.0
"""Standard deviations at which a transformed value is clipped: later rows may lie far outside the
range that the power transform was fitted to."""


class FeaturePreparation:
    """The transformation of features before networks and neighbour searches use them.

    Words (see `similarity.are_words`) become rows of Euclidean length 1. Of measurements,
    continuous columns are made more normal by a power transform (Yeo and Johnson, 2000), as a few
    large values of a skewed column would decide which rows are near. Where columns are in different
    units (see `_units`) each is standardised; otherwise all are divided by one number, which makes
    the mean of their variances 1: a change of their common unit changes nothing. Continuous columns
    are centred, and the minimum of the others is moved to 0. Measurements stored as sparse become
    dense where at least `WORDS_BELOW` of the entries are not 0; sparser ones are divided by their
    common unit and nothing more.

    Arguments:
        features: of the fit, `(n_nodes, n_features)`.

    Attributes:
        measured: whether the features are measurements to be transformed, and become dense.
    """

    def __init__(self, features: Features) -> None:
        self._words = are_words(features)
        full = not sp.issparse(features) or features.nnz >= WORDS_BELOW * np.prod(features.shape)
        self.measured = bool(not self._words and full)
        if self._words:
            return
        if not self.measured:
            scaler = StandardScaler(with_mean=False).fit(features.astype(np.float64))
            self._unit = _common_unit(np.sqrt(scaler.var_))
            return
        x = np.asarray(as_array(features), dtype=np.float64)
        self._mean = x.mean(0)
        deviation = np.where(np.ptp(x, axis=0) > 0, x.std(0), 0)  # not the rounding of a mean
        self._deviation = np.where(deviation > 0, deviation, 1)
        units = in_different_units(deviation)
        self._unit = self._deviation if units else _common_unit(deviation)
        self._continuous = np.flatnonzero(
            [_most_common(column) < TIED_SHARE * len(x) for column in x.T]
        )
        self._origin = x.min(0)
        centred = np.arange(x.shape[1]) if units else self._continuous
        self._origin[centred] = self._mean[centred]
        if self._continuous.size:
            self._power = PowerTransformer(standardize=False)
            self._scaler = StandardScaler().fit(
                self._power.fit_transform(self._standardised(x)[:, self._continuous])
            )

    def transform(self, features: Features) -> Features:
        """Apply the preparation to the features of the fit, or of later rows."""
        if self._words:
            rows = unit_rows(sp.csr_array(features))
            return rows if sp.issparse(features) else rows.toarray()
        if not self.measured:
            return sp.csr_array(features / float(self._unit))
        x = np.asarray(as_array(features), dtype=np.float64)
        found = (x - self._origin) / self._unit
        columns = self._continuous
        if columns.size:
            normal = self._power.transform(self._standardised(x)[:, columns])
            normal = self._scaler.transform(normal).clip(-MAX_DEVIATIONS, MAX_DEVIATIONS)
            found[:, columns] = normal * (self._deviation / self._unit)[columns]
        return np.asarray(found, dtype=np.result_type(features.dtype, np.float32))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted state as arrays by name, for `from_arrays`."""
        arrays = {"words": np.array(self._words), "measured": np.array(self.measured)}
        if not self._words:
            arrays["unit"] = self._unit
        if self.measured:
            arrays |= {
                "mean": self._mean,
                "deviation": self._deviation,
                "continuous": self._continuous,
                "origin": self._origin,
            }
            if self._continuous.size:
                arrays |= {
                    "lambdas": self._power.lambdas_,
                    "power_mean": self._scaler.mean_,
                    "power_scale": self._scaler.scale_,
                }
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make the preparation that `to_arrays` was called on, without a fit."""
        made = cls.__new__(cls)
        made._words, made.measured = bool(arrays["words"]), bool(arrays["measured"])
        if not made._words:
            made._unit = arrays["unit"]
        if made.measured:
            made._mean, made._deviation = arrays["mean"], arrays["deviation"]
            made._origin = arrays["origin"]
            made._continuous = arrays["continuous"]
            if made._continuous.size:
                made._power = PowerTransformer(standardize=False)
                made._power.lambdas_ = arrays["lambdas"]
                made._scaler = StandardScaler()
                made._scaler.mean_ = arrays["power_mean"]
                made._scaler.scale_ = arrays["power_scale"]
        return made

    def _standardised(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((x - self._mean) / self._deviation)


def _common_unit(deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the number that makes the mean variance of columns that vary 1, 0-dim."""
    varying = deviation[deviation > 0]
    return np.array(np.sqrt(np.mean(np.square(varying))) if varying.size else 1.0)


def _most_common(column: NDArray[np.float64]) -> int:
    """Count the rows that have the most common value."""
    return int(np.unique(column, return_counts=True)[1].max())


def as_array(features: Features) -> NDArray[Any]:
    """Return features as a dense array in C order, so that sums over it always round alike."""
    sparse: Any = features
    return np.ascontiguousarray(sparse.toarray() if sp.issparse(features) else features)
