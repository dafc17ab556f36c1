"""Completion to connected graphs, against enumeration and networkx."""

import itertools

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds._random import replayed
from lds.edges.free import EdgeDistribution
from lds.graphs.candidates import PairList
from lds.graphs.connected import first_forest, starting_tree
from lds.graphs.knn import knn_adjacency

N = 5
PAIRS = list(itertools.combinations(range(N), 2))
THETA = {
    (0, 1): 0.5,
    (0, 2): 0.3,
    (1, 2): 0.9,
    (2, 3): 0.2,
    (1, 3): 0.1,
    (0, 3): 0.0005,
    (3, 4): 0.0,
}  # node 4 has no probable pair: it hangs on the starting tree alone
TREE = (np.array([0, 1, 2, 2]), np.array([1, 2, 3, 4]))


def matrix(theta, n=N):
    dense = np.zeros((n, n))
    for (i, j), p in theta.items():
        dense[i, j] = dense[j, i] = p
    return sp.csr_array(dense)


def completed_by_hand(graph):
    """Add the most probable pair that joins two parts until there is one part."""
    edges = set(graph)
    preferred = sorted((p for p in THETA if THETA[p] > 0), key=lambda p: (-THETA[p], p))
    preferred += list(zip(*TREE, strict=True))
    while True:
        part = nx.Graph(edges)
        part.add_nodes_from(range(N))
        if nx.is_connected(part):
            return frozenset(edges)
        edges.add(next((i, j) for i, j in preferred if not nx.has_path(part, i, j)))


def exact_law():
    """The probability of every completed graph, by all 2^6 draws."""
    free = [pair for pair in PAIRS if THETA.get(pair, 0) > 0]
    law = {}
    for bits in itertools.product([0, 1], repeat=len(free)):
        drawn = [pair for pair, bit in zip(free, bits, strict=True) if bit]
        p = np.prod([THETA[q] if b else 1 - THETA[q] for q, b in zip(free, bits, strict=True)])
        graph = completed_by_hand(drawn)
        law[graph] = law.get(graph, 0) + p
    return law


def draws_of(edges, n_draws, seed=0):
    with replayed(seed):
        dense = edges.draw(n_draws).matrix.to_dense()
    n = edges.n_nodes
    for s in range(n_draws):
        block = dense[s * n : (s + 1) * n, s * n : (s + 1) * n]
        yield frozenset((int(i), int(j)) for i, j in torch.triu(block, 1).nonzero())


def test_draws_follow_the_enumerated_distribution():
    edges = EdgeDistribution(matrix(THETA), torch.float64, tree=TREE)
    n_draws, law, count = 4000, exact_law(), {}
    for chunk in range(40):
        for graph in draws_of(edges, n_draws // 40, chunk):
            count[graph] = count.get(graph, 0) + 1
    assert set(count) <= set(law)
    # Pearson's statistic over the graphs expected five times or more, the rest as one: its mean is
    # the number of such cells, its deviation √(2 · cells); a bound of four deviations.
    often = [graph for graph in law if law[graph] * n_draws >= 5]
    rest = sum(p for graph, p in law.items() if graph not in often)
    cells = [(count.get(graph, 0), law[graph] * n_draws) for graph in often]
    if rest > 0:
        cells.append((n_draws - sum(found for found, _ in cells), rest * n_draws))
    statistic = sum((found - expected) ** 2 / expected for found, expected in cells)
    assert len(cells) > 10
    assert statistic < len(cells) + 4 * np.sqrt(2 * len(cells))


def test_marginals_after_completion():
    """The statements of the module, on the enumerated distribution."""
    law = exact_law()
    marginal = {pair: sum(p for g, p in law.items() if pair in g) for pair in PAIRS}
    tree = {(1, 2), (0, 1), (2, 3), (2, 4)}  # the maximum spanning tree, and node 4's pair
    for pair in set(PAIRS) - tree:
        assert marginal[pair] == pytest.approx(THETA.get(pair, 0), abs=1e-12)
    for pair in tree:
        assert marginal[pair] >= THETA.get(pair, 0)
    assert marginal[2, 4] == pytest.approx(1)
    # (2, 3): drawn, or no other way from 3 to the rest: both other pairs of 3 are absent.
    assert marginal[2, 3] == pytest.approx(0.2 + 0.8 * 0.9 * 0.9995, rel=1e-12)
    # (0, 1), the second in F: needed where 0 and 1 are apart in A with (1, 2) added.
    away = (1 - 0.3) * (1 - 0.0005 * (1 - 0.9 * 0.8))
    assert marginal[0, 1] == pytest.approx(0.5 + 0.5 * away, rel=1e-12)
    outside = [(0, 2), (1, 3)]
    both = sum(p for g, p in law.items() if set(outside) <= g)
    assert both == pytest.approx(THETA[outside[0]] * THETA[outside[1]], rel=1e-12)


def test_every_draw_is_connected_by_the_fewest_edges_and_connected_ones_stay():
    rng = np.random.default_rng(1)
    n = 30
    upper = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.08), 1)
    theta = sp.csr_array(upper + upper.T)
    tree = starting_tree(rng.standard_normal((n, 3)), theta, "euclidean")
    plain, whole = EdgeDistribution(theta), EdgeDistribution(theta, tree=tree)
    added = []
    for before, after in zip(draws_of(plain, 50), draws_of(whole, 50), strict=True):
        graph = nx.Graph(list(after))
        assert graph.number_of_nodes() == n
        assert nx.is_connected(graph)
        assert before <= after
        old = nx.Graph(list(before))
        old.add_nodes_from(range(n))
        assert len(after) - len(before) == nx.number_connected_components(old) - 1
        added.append(len(after) - len(before))
    assert min(added) > 0
    dense = EdgeDistribution(sp.csr_array(np.full((n, n), 0.9)), tree=tree)
    free = EdgeDistribution(sp.csr_array(np.full((n, n), 0.9)))
    assert list(draws_of(dense, 5)) == list(draws_of(free, 5))


@pytest.mark.parametrize("listed", [False, True], ids=["all", "list"])
def test_the_tree_follows_theta_and_is_maximal(listed):
    rng = np.random.default_rng(2)
    n = 40
    # Values over many magnitudes, ties among them, so that every level of the search is reached.
    upper = np.triu(10.0 ** -rng.integers(0, 6, (n, n)) * (rng.random((n, n)) < 0.12), 1)
    theta = sp.csr_array(upper + upper.T)
    tree = starting_tree(rng.standard_normal((n, 3)), theta, "euclidean")
    pairs = PairList.of(theta) if listed else None
    edges = EdgeDistribution(theta, torch.float64, candidates=pairs, tree=tree)
    row, col = edges._search_tree()
    found = np.asarray(theta[row, col]).ravel()
    expected = nx.maximum_spanning_edges(nx.from_scipy_sparse_array(theta), data=True)
    total = sorted((data["weight"] for *_, data in expected), reverse=True)
    assert found[found > 0].tolist() == pytest.approx(total), "sorted, and of the greatest sum"
    assert len(row) == n - 1


def test_the_starting_tree_of_no_graph_is_the_shortest_tree_of_the_rows():
    x = np.random.default_rng(3).standard_normal((25, 2))
    row, col = starting_tree(x, sp.csr_array((25, 25)), "euclidean")
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    expected = nx.minimum_spanning_tree(nx.from_numpy_array(distance)).edges
    assert {tuple(sorted(pair)) for pair in zip(row, col, strict=True)} == set(expected)


def test_starting_edges_come_before_near_rows():
    x = np.arange(6.0)[:, None]
    start = sp.csr_array(knn_adjacency(np.array([[0.0], [9], [1], [8], [2], [7]]), 1, "euclidean"))
    row, col = starting_tree(x, start, "euclidean")
    assert len(row) == 5
    n_start = nx.number_connected_components(nx.from_scipy_sparse_array(start))
    assert all(start[i, j] for i, j in zip(row[: 6 - n_start], col[: 6 - n_start], strict=True))


def test_first_forest_takes_pairs_in_order_and_skips_loops_and_repetitions():
    row, col = np.array([0, 1, 1, 0, 2, 3]), np.array([0, 0, 0, 1, 1, 2])
    assert first_forest(row, col, 4).tolist() == [1, 4, 5]
    assert first_forest(row[:0], col[:0], 4).tolist() == []
