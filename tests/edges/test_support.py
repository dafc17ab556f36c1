"""A sparse support that follows the hypergradient, against the dense projected step."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import lds.edges.support
from lds.edges.free import FreeEdges
from lds.edges.support import Growth, growth_for, near_and_given
from lds.graphs.candidates import PairList
from lds.graphs.edge_weights import PairGradient
from lds.graphs.knn import knn_adjacency
from lds.graphs.product import FactoredGradient
from tests.rounding import of_product

N = 30
EPS = np.finfo(np.float64).eps


def start(n_nodes: int = N, p: float = 0.1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n_nodes, n_nodes)) * (rng.random((n_nodes, n_nodes)) < p), 1)
    return upper + upper.T


def gradient(seed: int, n_nodes: int = N) -> tuple[FactoredGradient, np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    u, v = 0.3 * torch.randn(2, n_nodes, 3, dtype=torch.float64, generator=generator)
    return FactoredGradient((u, v), (v, u)), (u @ v.T + v @ u.T).numpy()


def growing(theta: np.ndarray, budget: int, every: int = 1) -> FreeEdges:
    """θ on the list of its own pairs, with a growth."""
    matrix = sp.csr_array(theta)
    pairs = PairList.of(matrix)
    return FreeEdges(matrix, torch.float64, candidates=pairs, growth=Growth(budget, every))


def largest(theta: np.ndarray, budget: int) -> np.ndarray:
    """θ with all but its `budget` largest pairs set to 0."""
    row, col = np.triu_indices(N, 1)
    kept = np.argsort(-theta[row, col], kind="stable")[:budget]
    out = np.zeros_like(theta)
    out[row[kept], col[kept]] = theta[row[kept], col[kept]]
    return out + out.T


@pytest.mark.parametrize("budget", [50, 100, 400])
def test_a_growing_step_is_that_of_all_pairs_and_then_the_largest_stay(budget):
    theta = start()
    edges = growing(theta, budget)
    rounding = 0.0  # of every step so far: its sums, their product with 0.2 and the difference
    for step in range(6):
        factored, dense = gradient(step)
        edges.descend(factored, 0.2, seed=step)
        theta = largest(np.clip(theta - 0.2 * dense, 0, 1), budget)
        left, right = factored.factors()
        rounding += 0.2 * of_product(left, right.T) + 2 * EPS
        np.testing.assert_allclose(edges.to_csr().toarray(), theta, rtol=0, atol=rounding)
        assert edges.pairs.n_pairs <= budget
        assert edges.expected_edges == pytest.approx(theta.sum() / 2)
    assert np.count_nonzero(theta) / 2 > 0.9 * min(budget, 200), "the budget was hardly used"


def test_between_growths_the_pairs_stay_as_they_are():
    edges = growing(start(), 200, every=3)
    sizes = []
    for step in range(7):
        before = edges.pairs
        factored, _ = gradient(step)
        edges.descend(factored, 0.1, seed=step)
        sizes.append(edges.pairs is before)
    assert sizes == [True, True, False, True, True, False, True]


def test_pairs_that_stay_at_0_are_dropped_and_others_at_0_get_a_second_chance():
    edges = growing(start(p=0.2), 10_000)
    one = torch.ones(N, 1, dtype=torch.float64)
    down, n_pairs = FactoredGradient((one,), (one,)), edges.pairs.n_pairs
    edges.descend(down, 5.0, seed=0)  # every pair falls to 0
    assert edges.expected_edges == 0
    assert edges.pairs.n_pairs == n_pairs
    edges.descend(down, 5.0, seed=1)  # and stays there
    assert edges.pairs.n_pairs == 0
    edges.descend(FactoredGradient((-one,), (one,)), 0.25, seed=2)  # wanted again
    assert edges.pairs.n_pairs == N * (N - 1) // 2
    assert edges.expected_edges == pytest.approx(0.25 * N * (N - 1) / 2)


def test_beyond_what_can_be_searched_some_rows_grow_and_others_wait(monkeypatch):
    monkeypatch.setattr(lds.edges.support, "ALL_ROWS_UP_TO", N - 1)
    monkeypatch.setattr(lds.edges.support, "SEARCHED_ROWS", 4)
    theta = start(p=0.0)
    factored, dense = gradient(0)
    factored.left[0][7], factored.right[1][7] = 0, 0  # node 7 has no factors,
    factored.left[1][7], factored.right[0][7] = 0, 0  # so it is never searched for
    dense[7], dense[:, 7] = 0, 0
    left, right = factored.factors()
    rounding = 0.01 * (of_product(left, right.T) + EPS * np.abs(dense).max())
    seen = set()
    for seed in range(60):
        grown = []
        for _ in range(2):  # deterministic under the seed
            edges = growing(theta, 10_000)
            edges.descend(factored, 0.01, seed=seed)
            grown.append(edges.to_csr().toarray())
        np.testing.assert_array_equal(*grown)
        wanted = np.clip(-0.01 * dense, 0, 1)
        np.fill_diagonal(wanted, 0)
        here = grown[0] > 0
        np.testing.assert_allclose(grown[0][here], wanted[here], rtol=0, atol=rounding)
        whole = {i for i in range(N) if np.array_equal(here[i], wanted[i] > 0) and here[i].any()}
        assert len(whole) >= 4
        assert here.sum() < (wanted > 0).sum()
        seen |= whole
    assert seen == set(range(N)) - {7}
    nothing = FactoredGradient(*((0 * part[0],) for part in (factored.left, factored.right)))
    edges = growing(start(), 100)
    edges.descend(nothing, 0.1, seed=0)
    np.testing.assert_array_equal(edges.to_csr().toarray(), start())


def test_a_gradient_that_is_not_finite_shows_in_the_probabilities(monkeypatch):
    monkeypatch.setattr(lds.edges.support, "ALL_ROWS_UP_TO", N - 1)
    monkeypatch.setattr(lds.edges.support, "SEARCHED_ROWS", 4)
    edges = growing(start(), 100)
    nan = torch.full((N, 1), float("nan"), dtype=torch.float64)
    edges.descend(FactoredGradient((nan,), (nan,)), 0.1, seed=0)
    assert np.isnan(edges.expected_edges)


def test_a_growth_needs_a_list_and_a_gradient_in_factors():
    edges = growing(start(), 100)
    values = PairGradient(torch.zeros(edges.pairs.n_pairs, dtype=torch.float64))
    with pytest.raises(TypeError, match="a FactoredGradient, got PairGradient; grow_every=0"):
        edges.descend(values, 0.1)
    edges = FreeEdges(sp.csr_array(start()), torch.float64, growth=Growth(100, every=1))
    with pytest.raises(TypeError, match="only a distribution over a list of pairs"):
        edges.descend(gradient(0)[0], 0.1)


def test_a_restored_growth_goes_on_to_the_same_bits_and_a_copy_has_none():
    edges = growing(start(), 120, every=2)
    for step in range(5):
        edges.descend(gradient(step)[0], 0.2, seed=step)
    kept, state = edges.copy(), edges.state()
    again = growing(start(), 120, every=2)
    again.restore(state)
    for step in range(5, 10):
        for one in (edges, again):
            one.descend(gradient(step)[0], 0.2, seed=step)
    assert kept.growth is None
    assert np.array_equal(edges.pairs.keys, again.pairs.keys)
    assert not np.array_equal(edges.pairs.keys, kept.pairs.keys)
    assert torch.equal(edges.probs, again.probs)
    kept.restore(state)
    assert kept.growth is None


# What a run starts with


def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N, 4)).astype(np.float32)


def test_a_sparse_support_starts_from_the_given_edges_and_near_neighbours(monkeypatch):
    x, given = rows(), sp.csr_array(start(p=0.05))
    pairs = near_and_given(x, given, 3, "cosine")
    either = (given.toarray() > 0) | (knn_adjacency(x, 3, "cosine").toarray() > 0)
    row, col = np.nonzero(np.triu(either))
    assert pairs.keys.tolist() == (row * N + col).tolist()
    every = near_and_given(x, given, 10 * N, "cosine")
    assert every.n_pairs == N * (N - 1) // 2, "a node has no more neighbours than others there are"
    monkeypatch.setattr(lds.edges.support, "NEIGHBORS_UP_TO", N - 1)
    row, col = np.nonzero(np.triu(given.toarray()))
    assert near_and_given(x, given, 3, "cosine").keys.tolist() == (row * N + col).tolist()


def test_the_budget_counts_pairs_a_node_and_never_cuts_the_start():
    given = sp.csr_array(start(p=0.05))
    pairs = near_and_given(rows(), given, 3, "cosine")
    edges = FreeEdges(given, candidates=pairs)
    assert growth_for(pairs, edges.probs, 2, 5).budget == 2 * N
    matrix = sp.csr_array(start(p=0.5))
    edges = FreeEdges(matrix, candidates=PairList.of(matrix))
    found = growth_for(edges.pairs, edges.probs, 1, 5)
    assert found.budget == edges.pairs.n_pairs > N
    assert found.every == 5
    assert growth_for(edges.pairs, edges.probs, 1, 0) is None
