"""Features of pairs against networkx and scikit-learn, pairs two steps apart by brute force."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import jaccard_score
from sklearn.metrics.pairwise import cosine_similarity

from lds.graphs import edge_features as ef

GRAPHS = {
    "karate": nx.karate_club_graph(),
    "random": nx.gnp_random_graph(40, 0.12, seed=3),
    "star": nx.star_graph(6),
    "isolated": nx.disjoint_union(nx.path_graph(5), nx.empty_graph(3)),
    "barbell": nx.barbell_graph(5, 2),
}


@pytest.fixture(params=GRAPHS)
def graph(request):
    return GRAPHS[request.param]


@pytest.fixture(params=[ef.CHUNK, 7])
def chunk(request, monkeypatch):
    monkeypatch.setattr(ef, "CHUNK", request.param)


def matrix(graph):
    return sp.csr_array(nx.to_scipy_sparse_array(graph))  # karate's has weights


def all_pairs(graph):
    n = graph.number_of_nodes()
    return np.array([(i, j) for i in range(n) for j in range(n) if i != j])


def of_networkx(function, graph, pairs):
    return [score for *_, score in function(graph, [tuple(map(int, p)) for p in pairs])]


@pytest.mark.usefixtures("chunk")
def test_common_neighbours(graph):
    pairs = all_pairs(graph)
    expected = [len(list(nx.common_neighbors(graph, i, j))) for i, j in pairs.tolist()]
    np.testing.assert_array_equal(ef.common_neighbours(matrix(graph), pairs), expected)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ef.adamic_adar, nx.adamic_adar_index),
        (ef.resource_allocation, nx.resource_allocation_index),
        (ef.neighbourhood_jaccard, nx.jaccard_coefficient),
    ],
)
def test_weighted_forms(graph, ours, theirs):
    pairs = all_pairs(graph)
    expected = of_networkx(theirs, graph, pairs)
    np.testing.assert_allclose(ours(matrix(graph), pairs), expected, rtol=1e-12, atol=0)


def test_degrees_are_sorted(graph):
    pairs = all_pairs(graph)
    expected = [sorted((graph.degree[i], graph.degree[j])) for i, j in pairs.tolist()]
    np.testing.assert_array_equal(ef.end_degrees(matrix(graph), pairs), expected)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("stored", [np.asarray, sp.csr_array])
def test_likeness_of_ends(stored):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 6)) * (rng.random((12, 6)) < 0.5)
    x[3] = 0
    pairs = np.array([(i, j) for i in range(12) for j in range(12) if i != j])
    cosine = cosine_similarity(x)[pairs[:, 0], pairs[:, 1]]
    np.testing.assert_allclose(ef.cosine_of_ends(stored(x), pairs), cosine, atol=1e-14)
    jaccard = [jaccard_score(x[i] != 0, x[j] != 0, zero_division=0) for i, j in pairs]
    np.testing.assert_allclose(ef.jaccard_of_ends(stored(x), pairs), jaccard, rtol=1e-14)


def brute_force(graph, k):
    chosen = {}
    for node in graph:
        far = [
            other
            for other, steps in nx.single_source_shortest_path_length(graph, node, 2).items()
            if steps == 2
        ]
        triples = nx.resource_allocation_index(graph, [(node, other) for other in far])
        ranked = sorted((-round(score, 12), other) for _, other, score in triples)
        for score, other in ranked[:k]:
            chosen[min(node, other), max(node, other)] = -score
    return chosen


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("k", [1, 3, 100])
def test_two_step_pairs(graph, k):
    expected = brute_force(graph, k)
    pairs, score = ef.two_step_pairs(matrix(graph), k)
    assert [tuple(pair) for pair in pairs.tolist()] == sorted(expected)
    np.testing.assert_allclose(score, [expected[key] for key in sorted(expected)], atol=1e-11)


def test_loops_and_stored_zeros_are_no_edges():
    plain = matrix(GRAPHS["barbell"])
    coo = plain.tocoo()
    n = plain.shape[0]
    row = np.concatenate([coo.row, np.arange(n), [0, 11]])
    col = np.concatenate([coo.col, np.arange(n), [11, 0]])
    data = np.concatenate([coo.data, np.ones(n), [0, 0]])
    odd = sp.csr_array(sp.coo_array((data, (row, col)), shape=(n, n)))
    pairs = all_pairs(GRAPHS["barbell"])
    for function in (ef.common_neighbours, ef.resource_allocation, ef.end_degrees):
        np.testing.assert_array_equal(function(odd, pairs), function(plain, pairs))
    for one, other in zip(ef.two_step_pairs(odd, 2), ef.two_step_pairs(plain, 2), strict=True):
        np.testing.assert_array_equal(one, other)


def test_relabelling_relabels_the_answer():
    graph = GRAPHS["random"]
    order = np.random.default_rng(1).permutation(40)
    plain = matrix(graph)
    moved = sp.csr_array(plain[order][:, order])
    pairs = all_pairs(graph)
    for function in (ef.common_neighbours, ef.adamic_adar, ef.resource_allocation):
        np.testing.assert_allclose(function(moved, pairs), function(plain, order[pairs]))


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (np.array([[0, 9]]), "pairs must number nodes from 0 to 4, got 0 to 9"),
        (np.array([[-1, 2]]), "got -1 to 2"),
        (np.array([0, 1]), r"pairs must be integers \(n_pairs, 2\), got int64 of shape \(2,\)"),
        (np.array([[0.0, 1.0]]), "got float64"),
        (np.array([[0, 1], [2, 2]]), "got node 2 twice in row 1"),
    ],
)
def test_bad_pairs(pairs, words):
    with pytest.raises(ValueError, match=words):
        ef.common_neighbours(matrix(nx.path_graph(5)), pairs)


def test_bad_graph_and_k():
    with pytest.raises(ValueError, match=r"k .* must be at least 1, got 0"):
        ef.two_step_pairs(matrix(nx.path_graph(5)), 0)
    with pytest.raises(ValueError, match=r"graph must be \(n_nodes, n_nodes\), got shape \(2, 3\)"):
        ef.two_step_pairs(sp.csr_array((2, 3)), 1)


def test_no_pairs():
    none = np.empty((0, 2), dtype=np.int64)
    assert ef.common_neighbours(matrix(nx.path_graph(5)), none).shape == (0,)
    pairs, score = ef.two_step_pairs(sp.csr_array((4, 4)), 2)
    assert pairs.shape == (0, 2)
    assert score.shape == (0,)
