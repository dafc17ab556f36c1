"""A sparse support that follows the hypergradient, against the dense projected step."""

import dataclasses

import numpy as np
import psutil
import pytest
import scipy.sparse as sp
import torch

import lds.edges.support
from lds.config import LDSConfig
from lds.edges.free import EdgeDistribution
from lds.edges.support import Growth, candidates, growth
from lds.graphs.candidates import AllPairs, PairList
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


def on_pairs(theta: np.ndarray) -> EdgeDistribution:
    matrix = sp.csr_array(theta)
    return EdgeDistribution(matrix, torch.float64, candidates=PairList.of(matrix))


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
    edges, grow = on_pairs(theta), Growth(budget, every=1)
    rounding = 0.0  # of every step so far: its sums, their product with 0.2 and the difference
    for step in range(6):
        factored, dense = gradient(step)
        grow.descend(edges, factored, 0.2, seed=step)
        theta = largest(np.clip(theta - 0.2 * dense, 0, 1), budget)
        left, right = factored.factors()
        rounding += 0.2 * of_product(left, right.T) + 2 * EPS
        np.testing.assert_allclose(edges.to_csr().toarray(), theta, rtol=0, atol=rounding)
        assert edges.pairs.n_pairs <= budget
        assert edges.expected_edges == pytest.approx(theta.sum() / 2)
    assert np.count_nonzero(theta) / 2 > 0.9 * min(budget, 200), "the budget was hardly used"


def test_between_growths_the_pairs_stay_as_they_are():
    edges, grow = on_pairs(start()), Growth(200, every=3)
    sizes = []
    for step in range(7):
        before = edges.pairs
        factored, _ = gradient(step)
        grow.descend(edges, factored, 0.1, seed=step)
        sizes.append(edges.pairs is before)
    assert sizes == [True, True, False, True, True, False, True]


def test_pairs_that_stay_at_0_are_dropped_and_others_at_0_get_a_second_chance():
    edges, grow = on_pairs(start(p=0.2)), Growth(10_000, every=1)
    one = torch.ones(N, 1, dtype=torch.float64)
    down, n_pairs = FactoredGradient((one,), (one,)), edges.pairs.n_pairs
    grow.descend(edges, down, 5.0, seed=0)  # every pair falls to 0
    assert edges.expected_edges == 0
    assert edges.pairs.n_pairs == n_pairs
    grow.descend(edges, down, 5.0, seed=1)  # and stays there
    assert edges.pairs.n_pairs == 0
    grow.descend(edges, FactoredGradient((-one,), (one,)), 0.25, seed=2)  # wanted again
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
            edges, grow = on_pairs(theta), Growth(10_000, every=1)
            grow.descend(edges, factored, 0.01, seed=seed)
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
    edges = on_pairs(start())
    Growth(100, every=1).descend(edges, nothing, 0.1, seed=0)
    np.testing.assert_array_equal(edges.to_csr().toarray(), start())


def test_a_gradient_that_is_not_finite_shows_in_the_probabilities(monkeypatch):
    monkeypatch.setattr(lds.edges.support, "ALL_ROWS_UP_TO", N - 1)
    monkeypatch.setattr(lds.edges.support, "SEARCHED_ROWS", 4)
    edges = on_pairs(start())
    nan = torch.full((N, 1), float("nan"), dtype=torch.float64)
    Growth(100, every=1).descend(edges, FactoredGradient((nan,), (nan,)), 0.1, seed=0)
    assert np.isnan(edges.expected_edges)


# What a run starts with


def first_pairs(support: str, **options):
    x = np.random.default_rng(0).standard_normal((N, 4)).astype(np.float32)
    given = sp.csr_array(start(p=0.05))
    config = LDSConfig(support=support, n_neighbors=3, **options)
    pairs = candidates(x, given, config, torch.float32, torch.device("cpu"))
    return x, given, config, pairs


def test_a_sparse_support_starts_from_the_given_edges_and_near_neighbours():
    x, given, _, pairs = first_pairs("sparse")
    either = (given.toarray() > 0) | (knn_adjacency(x, 3).toarray() > 0)
    row, col = np.nonzero(np.triu(either))
    assert pairs.keys.tolist() == (row * N + col).tolist()


def test_auto_takes_all_pairs_where_memory_allows(monkeypatch):
    assert isinstance(first_pairs("auto")[-1], AllPairs)
    needed = 2 * AllPairs.bytes_needed(N, 4)
    for available, kind in ((4 * needed, AllPairs), (4 * needed - 1, PairList)):
        memory = psutil.virtual_memory()._replace(available=available)
        monkeypatch.setattr(psutil, "virtual_memory", lambda memory=memory: memory)
        assert isinstance(first_pairs("auto")[-1], kind)


def test_the_budget_counts_pairs_a_node_and_never_cuts_the_start():
    _, given, config, pairs = first_pairs("sparse", pairs_per_node=2)
    edges = EdgeDistribution(given, candidates=pairs)
    assert growth(edges, config).budget == 2 * N
    few = dataclasses.replace(config, pairs_per_node=1)
    edges = EdgeDistribution(
        sp.csr_array(start(p=0.5)), candidates=PairList.of(sp.csr_array(start(p=0.5)))
    )
    assert growth(edges, few).budget == edges.pairs.n_pairs > N
    assert growth(edges, dataclasses.replace(config, grow_every=0)) is None
    assert growth(EdgeDistribution(given), config) is None, "all pairs have none to add"
