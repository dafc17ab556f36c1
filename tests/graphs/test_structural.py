"""Features from a graph alone, against graphs whose eigenvectors are known."""

import numpy as np
import pytest
import scipy.sparse as sp

from lds.graphs.structural import DENSE_BELOW, structural_features


def blocks(n, inside, between, seed):
    rng, side = np.random.default_rng(seed), np.arange(n) % 2
    p = np.where(side[:, None] == side, inside, between)
    upper = np.triu(rng.random((n, n)) < p, 1)
    return sp.csr_array((upper + upper.T).astype(np.float32)), side


def test_the_eigenvectors_of_a_cycle():
    """A / (d + τ) = A / 4 has the eigenvalues cos(2πj / n) / 2: 1, then pairs."""
    n = 12
    ring = np.roll(np.eye(n), 1, axis=1)
    found = structural_features(sp.csr_array(ring + ring.T), 3)
    np.testing.assert_allclose(found[:, 0], np.ones(n), rtol=1e-12)
    second = np.cos(2 * np.pi / n)
    np.testing.assert_allclose((found[:, 1:3] ** 2).sum(1), 2 * second**2, rtol=1e-12)
    np.testing.assert_allclose((ring + ring.T) @ found[:, 1] / 2, second * found[:, 1], atol=1e-12)
    np.testing.assert_array_equal(found[:, 3], 0)


@pytest.mark.parametrize("n", [DENSE_BELOW - 20, 400])
@pytest.mark.parametrize("seed", range(3))
def test_two_blocks_are_the_sign_of_the_second_eigenvector(n, seed):
    graph, side = blocks(n, 0.2, 0.01, seed)
    right = ((structural_features(graph)[:, 1] > 0) == side).mean()
    assert max(right, 1 - right) > 0.98


def test_lanczos_gives_what_all_eigenvectors_give():
    graph, _ = blocks(300, 0.1, 0.02, 0)
    graph = graph.astype(np.float64)
    degree = graph.sum(axis=1)
    root = 1 / np.sqrt(degree + degree.mean())
    values, vectors = np.linalg.eigh(root[:, None] * graph.toarray() * root)
    found = structural_features(graph, 5)[:, :5]
    for j in range(5):
        expected = np.sqrt(300) * values[-1 - j] / values[-1] * vectors[:, -1 - j]
        sign = np.sign(expected @ found[:, j])
        np.testing.assert_allclose(found[:, j], sign * expected, atol=1e-8)
        assert found[np.abs(found[:, j]).argmax(), j] > 0


def test_small_parts_and_isolated_nodes_do_not_hide_the_blocks():
    graph, side = blocks(300, 0.2, 0.01, 0)
    pairs = sp.block_diag([[[0, 1], [1, 0]]] * 40)
    whole = sp.csr_array(sp.block_diag([graph, pairs, sp.csr_array((60, 60))]))
    found = structural_features(whole)
    assert found.shape == (440, 33)
    assert np.isfinite(found).all()
    right = ((found[:300, 1] > 0) == side).mean()
    assert max(right, 1 - right) > 0.98
    np.testing.assert_allclose(found[380:, :32], 0, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_few_nodes_and_no_edges(n):
    ones = sp.csr_array(np.ones((n, n)) - np.eye(n))
    assert structural_features(ones).shape == (n, max(0, n - 2) + 1)
    assert structural_features(sp.csr_array((n, n))).tolist() == [[0]] * n


def test_other_numbers_of_the_nodes_give_the_same_features_in_another_order():
    graph, _ = blocks(250, 0.2, 0.02, 0)
    order = np.random.default_rng(1).permutation(250)
    found = structural_features(sp.csr_array(graph[order][:, order]), 2)
    np.testing.assert_allclose(found, structural_features(graph, 2)[order], atol=1e-8)
    assert np.array_equal(structural_features(graph), structural_features(graph))
