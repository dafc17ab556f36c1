"""Rows along the principal directions of their features, and how pairs agree along each."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from lds._types import Features

LEAST = 1e-9
"""Of the largest variance, below which a direction is rounding and says nothing."""


class Directions:
    """The products u_ik u_jk / rank of a pair (i, j), u_k of unit variance over all rows.

    Weighed by coefficients β_k they are a bilinear form of low rank, u_iᵀ diag(β) u_j / rank: two
    rows on one side of a direction agree along it, and β_k says what that is worth.

    Arguments:
        features: X, `(n_rows, n_features)`.
        rank: directions, 1 or more, fewer than rows and than features.
    """

    def __init__(self, features: Features, rank: int) -> None:
        solver = "arpack" if sp.issparse(features) else "auto"
        with np.errstate(invalid="ignore"):  # shares of a variance that may be 0
            self._pca = PCA(rank, svd_solver=solver, random_state=0).fit(features)
        variance = self._pca.explained_variance_
        seen = variance > LEAST * variance[0]
        self._scale = np.where(seen, 1 / np.sqrt(np.where(seen, variance, 1)), 0)
        self._rows = self.coordinates(features)
        self.rank = rank

    def coordinates(self, features: Features) -> NDArray[np.float64]:
        """u, `(n, rank)`, of the rows of the fit or of further ones."""
        return np.asarray(self._pca.transform(features) * self._scale, dtype=np.float64)

    def products(self, row: Any, col: Any) -> NDArray[np.float64]:
        """Of pairs of rows of the fit, `(n_pairs, rank)`."""
        return np.asarray(self._rows[row] * self._rows[col] / self.rank)

    def of_new(self, new: Features, near: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of each new row with its k neighbours `near` in the fit, `(n_new, k, rank)`."""
        return np.asarray(self.coordinates(new)[:, None] * self._rows[near] / self.rank)
