"""Node features computed from the graph alone, for nodes that have none."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh

N_EIGENVECTORS = 32
"""Default number of eigenvectors."""

DENSE_BELOW = 200
"""Number of nodes below which all eigenvectors are computed: Lanczos is not faster there."""


def structural_features(
    adjacency: sp.csr_array, n_eigenvectors: int = N_EIGENVECTORS
) -> NDArray[np.float64]:
    """Compute leading eigenvectors of the regularised normalised adjacency, and the log-degree.

    The eigenvectors are those of D_τ^-½ A D_τ^-½ with D_τ = D + τI and τ the mean degree. Without
    τ, the leading eigenvectors of a graph with many components would each mark one small component
    or one isolated node. Each is scaled by its eigenvalue, as in a diffusion map, so that
    communities, which have large eigenvalues, count more than noise.

    Time O((n_edges + n_nodes · k) · k) for each Lanczos sweep, seconds on 20,000 nodes.
    Scikit-learn's `spectral_embedding` factorises the Laplacian, which fills in on such graphs, and
    warns where a graph is not connected; PyG's `AddLaplacianEigenvectorPE` draws the signs at
    random.

    References:
        Qin and Rohe, 2013, "Regularized spectral clustering under the degree-corrected stochastic
        blockmodel", https://arxiv.org/abs/1309.4111;
        Coifman and Lafon, 2006, "Diffusion maps".

    Arguments:
        adjacency: symmetric CSR without loops, `(n_nodes, n_nodes)`, weights 0 or more.
        n_eigenvectors: k; at most n_nodes - 2 are used.

    Returns:
        float64 `(n_nodes, k + 1)`. The leading eigenvector has mean square 1, the others less; the
        log of 1 + degree is standardised (0 where all degrees are equal). The entry of largest
        absolute value of an eigenvector is positive. The result is deterministic.
    """
    n_nodes = int(adjacency.shape[0])
    weights = adjacency.astype(np.float64)
    degree = np.asarray(weights.sum(axis=1)).ravel()
    logs = np.log1p(degree)
    spread = logs.std()
    logs = (logs - logs.mean()) / spread if spread > 1e-12 * logs.max(initial=0) else 0 * logs
    k = max(0, min(n_eigenvectors, n_nodes - 2))
    if k == 0 or not degree.any():
        return np.asarray(logs[:, None])
    root = sp.diags_array(1 / np.sqrt(degree + degree.mean()))
    matrix = root @ weights @ root
    if n_nodes < DENSE_BELOW:
        values, vectors = np.linalg.eigh(matrix.toarray())
    else:
        start = np.random.default_rng(0).standard_normal(n_nodes)
        values, vectors = eigsh(matrix, k=k, which="LA", v0=start)
    order = np.argsort(-values)[:k]
    values, vectors = values[order], vectors[:, order]
    top = vectors[np.abs(vectors).argmax(axis=0), np.arange(k)]
    length = np.sqrt(n_nodes) * np.clip(values / values[0], 0, None)
    return np.column_stack([vectors * np.where(top < 0, -length, length), logs])
