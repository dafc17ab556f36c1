"""Columns that describe a node by its features, its neighbours and its place in a graph.

A model that reads them, one row a node, needs no edges. Where a graph joins unlike nodes, a node's
degree and the features around it can tell its class, although the classes around it do not.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD

from lds._types import Features

COMPONENTS = 64
"""Columns of features; where there are more, their leading singular vectors."""

STEPS = 2
"""Steps to neighbours whose features count: as far as a network of two layers reads."""


def neighbourhood_columns(features: Features, adjacency: sp.csr_array) -> NDArray[np.float32]:
    """Set the features of each node beside means around it, and beside what degrees say.

    With M the mean over neighbours by edge weight (0 where there is none), the columns are X, M X
    and M M X; the logarithm l of 1 + degree, M l, M M l and the largest l of a neighbour; and
    Σ_j a_ij / √(d_i d_j), d the degrees. Time and memory are those of the edges, times the columns.

    Arguments:
        features: X, `(n_nodes, n_features)`; beyond `COMPONENTS` columns, their leading singular
            vectors, times the singular values, take their place.
        adjacency: CSR `(n_nodes, n_nodes)`, weights 0 or more.

    Returns:
        `(n_nodes, (STEPS + 1) · min(n_features, COMPONENTS) + 5)`.
    """
    degree = np.asarray(adjacency.sum(1), dtype=np.float64)
    inverse = 1 / np.where(degree > 0, degree, 1)
    mean = sp.diags_array(inverse) @ adjacency
    log = np.log1p(degree)[:, None]
    around = [_few_columns(features)]
    degrees = [log]
    for _ in range(STEPS):
        around.append(mean @ around[-1])
        degrees.append(mean @ degrees[-1])
    neighbours = sp.csr_array(
        (log[adjacency.indices, 0] * (adjacency.data > 0), adjacency.indices, adjacency.indptr),
        shape=adjacency.shape,
    )
    largest = neighbours.max(axis=1).toarray().reshape(-1, 1)
    root = np.sqrt(inverse)
    normalised = (root * (adjacency @ root))[:, None]
    return np.hstack([*around, *degrees, largest, normalised]).astype(np.float32)


def _few_columns(features: Features) -> NDArray[Any]:
    """Return the features, or their leading singular vectors, as a dense array."""
    n_nodes, n_features = features.shape
    if n_features > COMPONENTS:
        n_components = min(COMPONENTS, n_nodes)
        svd = TruncatedSVD(n_components, random_state=0)
        with np.errstate(invalid="ignore"):  # shares of a variance of 0, which are not read
            return np.asarray(svd.fit_transform(features), dtype=np.float64)
    sparse: Any = features
    dense = sparse.toarray() if sp.issparse(features) else features
    return np.asarray(dense, dtype=np.float64)
