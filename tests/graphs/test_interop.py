"""Conversions of learned graphs, against a matrix small enough to write down."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from torch_geometric.utils import from_networkx, to_scipy_sparse_matrix

from lds.graphs.interop import edges_above, from_edge_index, to_edge_index, to_networkx

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


@pytest.mark.parametrize("threshold", [0, -0.1, 1.5, float("nan"), "half", None])
def test_a_threshold_that_is_no_probability_is_refused(threshold):
    with pytest.raises(ValueError, match=r"threshold .* must be in \(0, 1\], got"):
        edges_above(PROBS, threshold)


def test_networkx_has_all_nodes_the_edges_above_the_threshold_and_plain_attributes():
    graph = to_networkx(PROBS, 0.5, {"prediction": np.array([3, 1, 2, 0])})
    assert set(graph.edges) == {(0, 1), (0, 3)}
    assert list(graph.nodes) == [0, 1, 2, 3]
    assert graph.edges[0, 3]["probability"] == 0.5
    assert nx.get_node_attributes(graph, "prediction") == {0: 3, 1: 1, 2: 2, 3: 0}
    # Plain numbers: writers of files refuse NumPy's.
    assert type(graph.nodes[0]["prediction"]) is int
    assert type(graph.edges[0, 1]["probability"]) is float


def test_networkx_and_edge_index_name_the_same_graph():
    back = from_networkx(to_networkx(PROBS, 1e-3), group_edge_attrs=["probability"])
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
