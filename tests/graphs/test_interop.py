"""Conversions of learned graphs, against a matrix small enough to write down."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from torch_geometric.utils import from_networkx, to_scipy_sparse_matrix

from lds.graphs.interop import (
    edges_above,
    from_edge_index,
    select_edges,
    to_edge_index,
    to_networkx,
)

DENSE = np.array(
    [
        [0.0, 0.9, 0.0, 0.5],
        [0.9, 0.0, 0.2, 0.0],
        [0.0, 0.2, 0.0, 0.0],
        [0.5, 0.0, 0.0, 0.0],
    ],
    dtype=np.float32,
)
PROBS = sp.csr_array(DENSE)
PATH = np.array([[0, 1, 1, 2], [1, 0, 2, 1]])


def test_edges_at_the_threshold_are_kept_and_the_rest_leaves_the_original_alone():
    assert np.array_equal(edges_above(PROBS, 0.5).toarray(), np.where(DENSE >= 0.5, DENSE, 0))
    assert edges_above(PROBS, 1.0).nnz == 0
    assert np.array_equal(PROBS.toarray(), DENSE)


def random_probs(n=30, seed=0):
    """Few different values, so that ties are met."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.integers(0, 5, (n, n)) / 4, 1).astype(np.float32)
    return upper + upper.T


def test_a_fixed_number_of_edges_are_the_most_probable():
    dense = random_probs()
    pairs = [(i, j) for i in range(30) for j in range(i + 1, 30) if dense[i, j]]
    pairs.sort(key=lambda pair: (-dense[pair], pair))
    for n_edges in (1, 17, 200):
        kept = select_edges(sp.csr_array(dense), n_edges=n_edges)
        assert {tuple(pair) for pair in np.argwhere(np.triu(kept.toarray()))} == set(
            pairs[:n_edges]
        )
        assert abs(kept - kept.T).max() == 0
    assert select_edges(sp.csr_array(dense), n_edges=10**6).nnz == 2 * len(pairs)


def test_top_k_keeps_what_either_end_asks_for():
    dense = random_probs()
    for k in (1, 4, 29):
        wanted = np.zeros_like(dense)
        for i in range(30):
            best = sorted(np.flatnonzero(dense[i]), key=lambda j: (-dense[i, j], j))[:k]
            wanted[i, best] = dense[i, best]
        expected = np.maximum(wanted, wanted.T)
        assert np.array_equal(select_edges(sp.csr_array(dense), top_k=k).toarray(), expected)


def test_without_a_rule_all_stored_edges_are_kept():
    assert np.array_equal(select_edges(PROBS).toarray(), DENSE)
    assert np.array_equal(select_edges(PROBS, 0.5).toarray(), edges_above(PROBS, 0.5).toarray())


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        ({"top_k": 0}, ValueError, "top_k must be at least 1, got 0"),
        ({"n_edges": 2.5}, TypeError, "n_edges must be an integer, got 2.5"),
        ({"top_k": True}, TypeError, "top_k must be an integer, got True"),
        ({"top_k": 1, "threshold": 0.5}, ValueError, "one of threshold, top_k and n_edges may"),
    ],
)
def test_a_rule_that_is_none_is_refused(rule, error, message):
    with pytest.raises(error, match=message):
        select_edges(PROBS, **rule)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.5, float("nan"), "half", None])
def test_a_threshold_that_is_no_probability_is_refused(threshold):
    with pytest.raises(ValueError, match=r"threshold .* must be in \(0, 1\], got"):
        edges_above(PROBS, threshold)


def test_networkx_has_all_nodes_the_edges_kept_and_plain_attributes():
    nodes = {"prediction": np.array([3, 1, 2, 0]), "label": ["a", None, "b", None]}
    graph = to_networkx(select_edges(PROBS, 0.5), nodes)
    assert set(graph.edges) == {(0, 1), (0, 3)}
    assert list(graph.nodes) == [0, 1, 2, 3]
    assert graph.edges[0, 3]["probability"] == 0.5
    assert nx.get_node_attributes(graph, "prediction") == {0: 3, 1: 1, 2: 2, 3: 0}
    assert nx.get_node_attributes(graph, "label") == {0: "a", 2: "b"}
    # Plain numbers: writers of files refuse NumPy's.
    assert type(graph.nodes[0]["prediction"]) is int
    assert type(graph.edges[0, 1]["probability"]) is float


def test_networkx_and_edge_index_name_the_same_graph():
    back = from_networkx(to_networkx(PROBS), group_edge_attrs=["probability"])
    index, probs = to_edge_index(PROBS)
    matrix = to_scipy_sparse_matrix(back.edge_index, back.edge_attr.reshape(-1), num_nodes=4)
    np.testing.assert_allclose(matrix.toarray(), DENSE, rtol=1e-6)
    assert index.tolist() == [[0, 0, 1, 1, 2, 3], [1, 3, 0, 2, 1, 0]]
    assert probs.tolist() == pytest.approx([0.9, 0.5, 0.9, 0.2, 0.2, 0.5])


def test_edge_index_and_back():
    index, probs = to_edge_index(PROBS)
    shuffled = np.random.default_rng(0).permutation(probs.size)
    back = from_edge_index(index[:, shuffled], probs[shuffled], 4)
    assert np.array_equal(back.toarray(), DENSE)


def test_edges_twice_count_once_and_loops_do_not_count():
    twice = np.concatenate([PATH, PATH, [[2], [2]]], axis=1)
    expected = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert from_edge_index(twice, None, 3).toarray().tolist() == expected
    assert from_edge_index(PATH[:, :0], None, 3).nnz == 0


@pytest.mark.parametrize(
    ("index", "weight", "error", "message"),
    [
        (PATH.astype(float), None, TypeError, "edge_index must hold integers, got float64"),
        (PATH.T, None, ValueError, r"shape \(2, n_entries\), got \(4, 2\)"),
        (PATH + 1, None, ValueError, "nodes from 0 to 2, got 1 to 3"),
        (PATH - 1, None, ValueError, "nodes from 0 to 2, got -1 to 1"),
        (
            PATH[:, :3],
            None,
            ValueError,
            "both directions of every edge with one weight; torch_geometric",
        ),
        (PATH, np.array([0.1, 0.1, 0.2, 0.3]), ValueError, "both directions .* one weight"),
        (PATH[:, [0, 1, 0, 1]], np.array([0.1, 0.1, 0.2, 0.2]), ValueError, "one weight"),
        (PATH, np.ones(3), ValueError, r"one entry a column of edge_index, \(4,\), got \(3,\)"),
        (PATH, np.full(4, 1.5), ValueError, r"edge_weight must be in \[0, 1\] .* got 1.5"),
        (PATH, np.full(4, np.nan), ValueError, r"edge_weight must be in \[0, 1\] .* got nan"),
    ],
)
def test_an_edge_list_that_is_no_undirected_graph_is_refused(index, weight, error, message):
    with pytest.raises(error, match=message):
        from_edge_index(index, weight, 3)
