"""Adjacency matrices in the library's form: symmetric, without loops, weights in [0, 1]."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from lds._arrays import canonical


def check_adjacency(adjacency: Any, n_nodes: int) -> sp.csr_array:
    """Convert an adjacency to canonical CSR; its weights are starting probabilities.

    Arguments:
        adjacency: `(n_nodes, n_nodes)`, a NumPy array or a scipy sparse matrix, symmetric, in
            [0, 1]. It is not changed.
        n_nodes: required number of rows.

    Returns:
        float32 CSR, symmetric, indices sorted. Stored zeros and the diagonal are dropped: the
        normalised adjacency gives every node a loop.

    Raises:
        TypeError: it is neither an array nor a scipy sparse matrix, or its entries are not real
            numbers.
        ValueError: its shape is wrong, an entry is NaN, infinite or outside [0, 1], or it is not
            symmetric.
    """
    is_matrix = sp.issparse(adjacency) or isinstance(adjacency, np.ndarray)
    if not is_matrix:
        raise TypeError(
            "adjacency must be a NumPy array or a scipy sparse matrix, "
            f"got {type(adjacency).__name__}"
        )
    if adjacency.dtype.kind not in "biuf":
        raise TypeError(f"adjacency must hold real numbers, got entries of type {adjacency.dtype}")
    if adjacency.shape != (n_nodes, n_nodes):
        raise ValueError(
            f"adjacency must have shape ({n_nodes}, {n_nodes}), one row a node, "
            f"got {adjacency.shape}"
        )
    if adjacency.dtype.kind == "b":
        adjacency = canonical(adjacency)  # a repeated True is one, and no 2
    entries = sp.coo_array(adjacency)
    off_diagonal = entries.row != entries.col
    matrix = sp.csr_array(  # a copy; repeated entries are summed
        (
            entries.data[off_diagonal].astype(np.float32),
            (entries.row[off_diagonal], entries.col[off_diagonal]),
        ),
        shape=(n_nodes, n_nodes),
    )
    matrix.eliminate_zeros()
    if not np.isfinite(matrix.data).all():
        raise ValueError("adjacency must be finite, got NaN or infinity")
    if matrix.nnz and not 0 <= matrix.data.min() <= matrix.data.max() <= 1:
        raise ValueError(
            "adjacency must have weights in [0, 1] (they are starting probabilities), "
            f"got {matrix.data.min():g} to {matrix.data.max():g}"
        )
    difference = sp.coo_array(matrix - matrix.T)
    difference.eliminate_zeros()
    if difference.nnz:
        row, col = int(difference.row[0]), int(difference.col[0])
        raise ValueError(
            f"adjacency must be symmetric, got {matrix[row, col]:g} at ({row}, {col}) and "
            f"{matrix[col, row]:g} at ({col}, {row}); (A + A.T) / 2 is one way to make it so"
        )
    matrix.sort_indices()
    return matrix


def keep_edges(adjacency: sp.csr_array, fraction: float, seed: int) -> sp.csr_array:
    """Keep a random share of the undirected edges (§9.4.1, edge deletion).

    With the same seed, a smaller share keeps a subset of the edges of a larger one.

    Arguments:
        adjacency: symmetric CSR with m undirected edges, without loops.
        fraction: share to keep, in [0, 1]; round(fraction · m) edges are kept.
        seed: of the random choice.

    Returns:
        Symmetric CSR of the same shape, dtype and weights.

    Raises:
        ValueError: `fraction` is outside [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction (of edges kept) must be in [0, 1], got {fraction}")
    upper = sp.csr_array(sp.triu(adjacency, k=1))
    upper.sort_indices()  # the choice then depends on the graph, not on how it is stored
    edges = sp.coo_array(upper)
    order = np.random.default_rng(seed).permutation(edges.nnz)
    kept = np.sort(order[: round(fraction * edges.nnz)])
    half = sp.coo_array((edges.data[kept], (edges.row[kept], edges.col[kept])), shape=edges.shape)
    return sp.csr_array(half + half.T)


def normalize(adjacency: sp.csr_array) -> sp.csr_array:
    """Compute D̃^-½ (A + I) D̃^-½ with D̃ the degrees of A + I (eq. 9.2).

    Arguments:
        adjacency: symmetric CSR without loops, `(n_nodes, n_nodes)`, weights 0 or more.

    Returns:
        Symmetric CSR float64, `(n_nodes, n_nodes)`.
    """
    looped = sp.csr_array(adjacency + sp.eye_array(adjacency.shape[0]))
    scale = sp.diags_array(1 / np.sqrt(looped.sum(axis=1)))
    return sp.csr_array(scale @ looped @ scale)
