"""Counts of edges over draws."""

import numpy as np
import pytest
import scipy.sparse as sp

from lds.edges.free import FreeEdges
from lds.edges.marginals import edge_marginals

N = 12
_rng = np.random.default_rng(0)
_upper = np.triu(_rng.random((N, N)) * (_rng.random((N, N)) < 0.6), 1)
_upper[0, 1] = 1
THETA = _upper + _upper.T


def test_counts_are_binomial_around_theta():
    n_draws = 2000
    found = edge_marginals(FreeEdges(sp.csr_array(THETA)), n_draws)
    counts = found.counts.toarray()
    assert found.n_draws == n_draws
    assert counts.dtype == np.int64
    assert (counts == counts.T).all()
    assert counts[0, 1] == n_draws
    assert (counts[THETA == 0] == 0).all(), "the diagonal included"
    free = np.triu((THETA > 0) & (THETA < 1))
    theta = THETA[free]
    z = (counts[free] - n_draws * theta) / np.sqrt(n_draws * theta * (1 - theta))
    # About 40 standard normal numbers: 4.5 is met once in 3,000 such tables.
    assert np.abs(z).max() < 4.5
    assert 0.5 < z.std() < 1.5
    np.testing.assert_allclose(found.frequencies.toarray(), counts / n_draws, rtol=1e-15)


def test_draws_beyond_one_chunk_are_new_ones_and_the_seed_decides():
    edges = FreeEdges(sp.csr_array(THETA))
    first, twice = edge_marginals(edges, 64), edge_marginals(edges, 128)
    assert (twice.counts - 2 * first.counts).nnz > 0
    again, other = edge_marginals(edges, 64), edge_marginals(edges, 64, seed=1)
    assert (first.counts - again.counts).nnz == 0
    assert (first.counts - other.counts).nnz > 0
    with pytest.raises(ValueError, match="n_draws must be at least 1, got 0"):
        edge_marginals(edges, 0)


@pytest.mark.parametrize("name", ["n_draws", "seed"])
@pytest.mark.parametrize("value", [2.5, True, "3"])
def test_numbers_that_are_no_integers_are_refused(name, value):
    given = {"n_draws": 2, "seed": 0} | {name: value}
    with pytest.raises(TypeError, match=f"{name} must be an integer, got {value!r}"):
        edge_marginals(FreeEdges(sp.csr_array(THETA)), **given)


def test_integers_of_numpy_are_integers():
    edges = FreeEdges(sp.csr_array(THETA))
    one, other = edge_marginals(edges, np.int64(3), np.uint8(1)), edge_marginals(edges, 3, 1)
    assert type(one.n_draws) is int
    assert (one.counts != other.counts).nnz == 0
