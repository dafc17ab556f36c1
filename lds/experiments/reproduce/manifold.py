"""Manifold regularisation (ManiReg): regularised least squares on a kernel and a graph.

    f = Σ_j α_j K(x_j, ·),   α = (J K + γ_A l I + γ_I l / u² · L K)⁻¹ Y

with J the diagonal of labelled rows, l of them, u all rows, L the Laplacian of the graph and Y the
one-hot labels (0 where unknown): the minimiser of 1/l Σ (f(x_i) - y_i)² + γ_A ‖f‖² + γ_I / u² fᵀLf.
"""

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from lds._types import Features

Floats = NDArray[np.floating[Any]]

MOST_PRODUCTS = 500
"""Products with the matrix of the system that conjugate gradients take at most."""


def laplacian(adjacency: sp.csr_array) -> sp.csr_array:
    """Compute L = D - A of a symmetric graph."""
    return sp.csr_array(sp.diags_array(adjacency.sum(axis=1)) - adjacency)


def one_hot(
    labels: NDArray[np.int64], rows: NDArray[np.int64], n_classes: int
) -> NDArray[np.float64]:
    """Y, `(n_nodes, n_classes)`: 1 for the class of a labelled row, 0 elsewhere."""
    targets = np.zeros((labels.size, n_classes))
    targets[rows, labels[rows]] = 1
    return targets


def lap_rls_kernel(
    kernel: Floats,
    graph: sp.csr_array,
    targets: Floats,
    rows: NDArray[np.int64],
    ambient: float,
    intrinsic: float,
) -> Floats:
    """Predict with Laplacian regularised least squares in the space of a kernel.

    References:
        Belkin, Niyogi and Sindhwani, 2006, section 4.2, eq. 8

    Arguments:
        kernel: K, `(n_nodes, n_nodes)`.
        graph: symmetric CSR.
        targets: Y, `(n_nodes, n_classes)`; read at `rows` only.
        rows: the labelled ones.
        ambient, intrinsic: γ_A > 0 and γ_I >= 0.

    Returns:
        f at all rows, `(n_nodes, n_classes)`.
    """
    n, n_labelled = kernel.shape[0], rows.size
    system = (intrinsic * n_labelled / n**2) * (laplacian(graph) @ kernel)
    system[rows] += kernel[rows]
    system[np.diag_indices(n)] += ambient * n_labelled
    known = np.zeros_like(targets)
    known[rows] = targets[rows]
    alpha = scipy.linalg.solve(system, known, overwrite_a=True, check_finite=False)
    return np.asarray(kernel @ alpha)


def lap_rls_linear(
    features: Features,
    graph: sp.csr_array,
    targets: Floats,
    rows: NDArray[np.int64],
    ambient: float,
    intrinsic: float,
) -> Floats:
    """Predict with Laplacian regularised least squares in linear functions f(x) = wᵀx.

    The same as `lap_rls_kernel` with K = XXᵀ, in d unknowns instead of n:
    w = (X_lᵀX_l + γ_A l I + γ_I l / u² · XᵀLX)⁻¹ X_lᵀ Y_l.

    The system is solved by conjugate gradients, whose products are those of sparse matrices.
    """
    (n, d), n_labelled = features.shape, rows.size
    labelled, lap = features[rows], laplacian(graph)
    share = intrinsic * n_labelled / n**2

    def product(w: Floats) -> Floats:
        smooth = features.T @ (lap @ (features @ w))
        return np.asarray(labelled.T @ (labelled @ w) + ambient * n_labelled * w + share * smooth)

    system = LinearOperator((d, d), matvec=product, dtype=np.float64)
    right = labelled.T @ targets[rows]
    weights = [cg(system, column, rtol=1e-8, maxiter=MOST_PRODUCTS)[0] for column in right.T]
    return np.asarray(features @ np.stack(weights, axis=1))
