"""Principal directions of features, and their products for pairs of rows."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from lds._types import Features

SMALLEST_VARIANCE = 1e-9
"""Share of the largest variance below which a direction is rounding error and left out."""


class Directions:
    """The products u_ik u_jk / rank of pairs (i, j), u_k of unit variance over all rows.

    With coefficients β_k their sum is a bilinear form of low rank, u_iᵀ diag(β) u_j / rank: a
    product is positive where both rows lie on the same side of direction k.

    Arguments:
        features: X, `(n_rows, n_features)`.
        rank: number of directions, 1 or more, fewer than rows and than features.
    """

    def __init__(self, features: Features, rank: int) -> None:
        solver = "arpack" if sp.issparse(features) else "auto"
        with np.errstate(invalid="ignore"):  # PCA divides by the total variance, which may be 0
            pca = PCA(rank, svd_solver=solver, random_state=0).fit(features)
        # A fixed memory order, so that products with the stored components have the same bits.
        self._components = np.asfortranarray(pca.components_)
        self._offset = pca.mean_.reshape(1, -1) @ pca.components_.T
        variance = pca.explained_variance_
        kept = variance > SMALLEST_VARIANCE * variance[0]
        self._scale = np.where(kept, 1 / np.sqrt(np.where(kept, variance, 1)), 0)
        self._rows = self.coordinates(features)
        self.rank = rank

    def coordinates(self, features: Features) -> NDArray[np.float64]:
        """Return u, `(n, rank)`, of the rows of the fit or of later ones."""
        if features.dtype not in (np.float32, np.float64):
            features = features.astype(np.float64)
        centred = features @ self._components.T - self._offset
        return np.asarray(centred * self._scale, dtype=np.float64)

    def products(self, row: Any, col: Any) -> NDArray[np.float64]:
        """Return the products of pairs of rows of the fit, `(n_pairs, rank)`."""
        return np.asarray(self._rows[row] * self._rows[col] / self.rank)

    def of_new(self, new: Features, near: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the products of each new row with its k neighbours in the fit.

        Arguments:
            new: `(n_new, n_features)`.
            near: rows of the fit, `(n_new, k)`.

        Returns:
            `(n_new, k, rank)`.
        """
        return np.asarray(self.coordinates(new)[:, None] * self._rows[near] / self.rank)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted state as arrays by name, for `from_arrays`."""
        return {
            "components": self._components,
            "offset": self._offset,
            "scale": self._scale,
            "rows": self._rows,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make the directions that `to_arrays` was called on, without a fit."""
        made = cls.__new__(cls)
        made._components = np.asfortranarray(arrays["components"])
        made._offset, made._scale = arrays["offset"], arrays["scale"]
        made._rows, made.rank = arrays["rows"], len(arrays["components"])
        return made
