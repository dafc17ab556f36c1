"""Principal directions of rows against a singular value decomposition written out."""

import numpy as np
import pytest
import scipy.sparse as sp

from lds.graphs.directions import Directions

RANK = 3


def some_rows(sparse: bool, n=30, seed=0):
    rng = np.random.default_rng(seed)
    x = 5 + rng.standard_normal((n, 7)) * [4, 3, 2, 1, 1, 1, 0.5]
    return sp.csr_array(x * (rng.random(x.shape) < 0.4)) if sparse else x


@pytest.mark.parametrize("sparse", [False, True])
def test_products_are_those_of_left_singular_vectors_of_unit_variance(sparse):
    x = some_rows(sparse)
    dense = x.toarray() if sparse else x
    _, _, right = np.linalg.svd(dense - dense.mean(0))
    found = Directions(x, RANK)
    new = some_rows(sparse, n=4, seed=1)

    def coordinates(rows):
        rows = rows.toarray() if sparse else rows
        along = (dense - dense.mean(0)) @ right[:RANK].T
        return (rows - dense.mean(0)) @ right[:RANK].T / along.std(0, ddof=1)

    u = coordinates(x)
    row, col = np.triu_indices(30, 1)
    np.testing.assert_allclose(found.products(row, col), u[row] * u[col] / RANK, atol=1e-9)
    near = np.array([[0, 3], [1, 2], [5, 9], [29, 4]])
    expected = coordinates(new)[:, None] * u[near] / RANK
    np.testing.assert_allclose(found.of_new(new, near), expected, atol=1e-9)


def test_directions_of_rounding_error_are_zero():
    x = np.random.default_rng(0).standard_normal((20, 2)) @ np.ones((2, 5))
    products = Directions(x, 3).products(np.arange(19), np.arange(1, 20))
    assert products[:, 0].any()
    assert not products[:, 1:].any()


def test_constant_rows_have_no_directions():
    assert not Directions(np.ones((10, 4)), 2).products(np.arange(9), np.arange(1, 10)).any()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_from_arrays_of_a_file_they_give_the_same_bits(sparse, dtype, tmp_path):
    x, new = some_rows(sparse).astype(dtype), some_rows(sparse, n=4, seed=1).astype(dtype)
    fitted = Directions(x, RANK)
    np.savez(tmp_path / "arrays.npz", **fitted.to_arrays())
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as file:
        loaded = Directions.from_arrays(dict(file))
    near, (row, col) = np.array([[0, 3], [1, 2], [5, 9], [29, 4]]), np.triu_indices(30, 1)
    assert loaded.rank == RANK
    np.testing.assert_array_equal(loaded.coordinates(new), fitted.coordinates(new))
    np.testing.assert_array_equal(loaded.products(row, col), fitted.products(row, col))
    np.testing.assert_array_equal(loaded.of_new(new, near), fitted.of_new(new, near))
