"""Small problems of structure learning: classes apart, as measurements and as words."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._types import Split
from lds.structure.problem import Problem


def around_centres(n: int = 60, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features and labels of three classes around three centres far apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = rng.standard_normal((n, 5)) + 4 * np.eye(5)[labels]
    return x.astype(np.float32), labels.astype(np.int64)


def roles(n: int = 60) -> Split:
    """A fifth of the rows in each labelled role, the rest in the test."""
    fifth = n // 5
    return Split(*np.split(np.arange(n), [fifth, 2 * fifth, 3 * fifth]))


def blobs(n: int = 60, seed: int = 0, **more: Any) -> Problem:
    """Measurements of three classes around three centres far apart."""
    return Problem(*around_centres(n, seed), roles(n), **more)


def words(n: int = 60, seed: int = 0) -> Problem:
    """Counts of words, some of them of a class."""
    rng = np.random.default_rng(seed)
    _, labels = around_centres(n, seed)
    of_class = np.kron(np.eye(3), np.ones((1, 30)))[labels]
    counts = sp.csr_array(rng.poisson(0.02 + 0.3 * of_class).astype(np.float32))
    return Problem(counts, labels, roles(n))


def in_units(n: int = 60, seed: int = 0) -> Problem:
    """`blobs` with a column in another unit."""
    x, labels = around_centres(n, seed)
    return Problem(x * np.array([1, 1, 1e4, 1, 1], dtype=np.float32), labels, roles(n))


def path(n: int = 60, weight: float = 1.0) -> sp.csr_array:
    """A graph in which the last third of the nodes is isolated."""
    i = np.arange(2 * n // 3 - 1)
    upper = sp.coo_array((np.full(len(i), weight), (i, i + 1)), shape=(n, n))
    return sp.csr_array(upper + upper.T)
