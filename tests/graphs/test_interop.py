"""Conversions of graphs, against a matrix small enough to write down."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.utils import from_networkx, to_scipy_sparse_matrix

from lds.graphs.interop import (
    as_adjacency,
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


@pytest.mark.parametrize("kind", [float, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_edge_at_the_threshold_is_kept_whatever_kind_of_number_that_is(kind, dtype):
    probs = sp.csr_array(np.array([[0, 0.9], [0.9, 0]], dtype=dtype))
    assert edges_above(probs, kind(0.9)).nnz == 2
    assert edges_above(probs, kind(0.91)).nnz == 0


def random_probs(n=30, seed=0):
    """Few different values, so that there are ties."""
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


def test_top_k_keeps_an_edge_among_the_k_largest_of_either_end():
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
def test_an_invalid_rule_is_refused(rule, error, message):
    with pytest.raises(error, match=message):
        select_edges(PROBS, **rule)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.5, float("nan"), "half", None])
def test_a_threshold_outside_0_1_is_refused(threshold):
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


@pytest.mark.parametrize(
    ("index", "weight", "error", "message"),
    [
        (PATH.astype(float), None, TypeError, "edge_index must hold integers, got float64"),
        (PATH > 0, None, TypeError, "edge_index must hold integers, got bool"),
        (PATH.T, None, ValueError, r"shape \(2, n_edges\), got \(4, 2\); its transpose has it"),
        (PATH[0], None, ValueError, r"shape \(2, n_edges\), got \(4,\)$"),
        (PATH + 1, None, ValueError, "nodes from 0 to 2, got 3 in column 2"),
        (PATH - 1, None, ValueError, "nodes from 0 to 2, got -1 in column 0"),
        (PATH, np.ones(3), ValueError, r"one entry a column of edge_index, \(4,\), got \(3,\)"),
        (PATH, np.ones((4, 2)), ValueError, r"one entry a column of edge_index, .* got \(4, 2\)"),
        (PATH, np.ones(4) * 1j, TypeError, "edge_weight must hold real numbers, got complex128"),
    ],
)
def test_an_invalid_edge_list_is_refused(index, weight, error, message):
    with pytest.raises(error, match=message):
        from_edge_index(index, weight, 3)


class SparseTensor:
    """What of `torch_sparse.SparseTensor` is read: its documented coo() and sparse_sizes()."""

    def __init__(self, dense):
        self._coo = dense.to_sparse_coo().coalesce()

    def coo(self):
        return (*self._coo.indices(), self._coo.values())

    def sparse_sizes(self):
        return tuple(self._coo.shape)


def networkx_of(dense, kind=nx.Graph):
    graph = kind()
    graph.add_nodes_from(reversed(range(4)))  # rows are by number, not by order
    pairs = ((i, j) for i in range(4) for j in range(i) if dense[i, j])
    graph.add_weighted_edges_from((j, i, float(dense[i, j])) for i, j in pairs)
    return graph


FORMS = {
    "array": lambda dense: dense,
    "list": lambda dense: dense.tolist(),
    "frame": pd.DataFrame,
    "frame of nullable columns": lambda dense: pd.DataFrame(dense).astype("Float32"),
    "objects": lambda dense: dense.astype(object),
    "csr": sp.csr_array,
    "matrix": sp.coo_matrix,
    "tensor": torch.from_numpy,
    "double": lambda dense: torch.from_numpy(dense).double().requires_grad_(),
    "torch coo": lambda dense: torch.from_numpy(dense).to_sparse_coo(),
    "torch csr": lambda dense: torch.from_numpy(dense).to_sparse_csr(),
    "torch csc": lambda dense: torch.from_numpy(dense).to_sparse_csc(),
    "SparseTensor": lambda dense: SparseTensor(torch.from_numpy(dense)),
    "networkx": networkx_of,
    "multigraph": lambda dense: networkx_of(dense, nx.MultiGraph),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_graph_is_accepted_in_any_form(form):
    found = as_adjacency(FORMS[form](DENSE), 4)
    assert isinstance(found, sp.csr_array)
    assert found.dtype == np.float32
    assert np.array_equal(found.toarray(), DENSE)


@pytest.mark.parametrize("form", [name for name in FORMS if name not in ("networkx", "multigraph")])
def test_a_graph_in_one_direction_is_undirected_with_a_warning_in_any_form(form):
    with pytest.warns(UserWarning, match="^adjacency holds 3 edges in one direction only"):
        found = as_adjacency(FORMS[form](np.triu(DENSE)), 4)
    assert np.array_equal(found.toarray(), DENSE)


def test_a_digraph_and_parallel_edges():
    graph = networkx_of(DENSE, nx.MultiDiGraph)
    graph.add_weighted_edges_from(list(graph.edges(data="weight")))
    with pytest.warns(UserWarning, match="3 edges in one direction only"):
        assert np.array_equal(as_adjacency(graph, 4).toarray(), DENSE)
    plain = nx.Graph([(3, 0), (0, 1), (2, 1)])
    assert np.array_equal(as_adjacency(plain, 4).toarray(), DENSE > 0)


@pytest.mark.parametrize("make", [np.asarray, np.ndarray.tolist, torch.from_numpy])
def test_an_edge_index_is_an_adjacency(make):
    assert as_adjacency(make(PATH), 3).toarray().tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


def test_repeated_entries_of_a_sparse_matrix_are_summed_as_scipy_does():
    twice = sp.coo_array(([0.25, 0.25, 0.5], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    assert as_adjacency(twice, 2).toarray().tolist() == [[0, 0.5], [0.5, 0]]
    stored = twice.copy()
    assert stored.nnz == 3, "not changed"


@pytest.mark.parametrize(
    ("graph", "error", "message"),
    [
        (DENSE[:3], ValueError, r"adjacency must have shape \(4, 4\).* got float32 of .*\(3, 4\)"),
        (DENSE[:2], ValueError, r"or be integers \(2, n_edges\), got float32 of shape \(2, 4\)"),
        (-DENSE, ValueError, r"adjacency weight must be .* 0 or more, got -0.9 at edge \(0, 1\)"),
        (DENSE * np.nan, ValueError, "adjacency weight must be finite"),
        (DENSE * 1j, TypeError, "must hold real numbers, got entries of type complex64"),
        (DENSE.astype(str), TypeError, "must hold real numbers"),
        (pd.DataFrame(DENSE).astype("Float32").replace(0, pd.NA), TypeError, "type object"),
        ([[0, 1], [1]], TypeError, "adjacency must be a matrix, got list"),
        ("cora", TypeError, "must be an array, .* got str"),
        (3, TypeError, "must be an array, .* got int"),
        (nx.path_graph(3), ValueError, "adjacency must have one node a row, 4, got 3 nodes"),
        (nx.Graph([("a", "b"), ("c", "d")]), ValueError, "row numbers 0 to 3 as nodes, got 'a'"),
        (nx.Graph([(1, 2), (3, 4)]), ValueError, "row numbers 0 to 3 as nodes, got 4"),
        (nx.Graph([(0, 1, {"weight": "x"}), (2, 3)]), TypeError, r"edge \(0, 1\) must be a number"),
    ],
)
def test_a_graph_that_does_not_fit_the_rows_is_refused(graph, error, message):
    with pytest.raises(error, match=message):
        as_adjacency(graph, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32])
@pytest.mark.parametrize("form", ["coo", "bsr", "torch", "hybrid"])
def test_repeated_entries_of_integers_do_not_overflow(dtype, form):
    most = np.iinfo(dtype).max // 2 + 1  # twice that is 0 or negative
    values, place = np.array([most] * 4, dtype=dtype), np.array([[0, 0, 1, 1], [1, 1, 0, 0]])
    if form == "torch":
        if dtype == np.uint16:
            pytest.skip("torch has no sums of uint16")
        graph = torch.sparse_coo_tensor(place, torch.from_numpy(values), (3, 3))
    elif form == "hybrid":
        if dtype == np.uint16:
            pytest.skip("torch has no sums of uint16")
        rows = torch.zeros(4, 3, dtype=torch.from_numpy(values).dtype)
        rows[torch.arange(4), place[1]] = torch.from_numpy(values)
        graph = torch.sparse_coo_tensor(place[:1], rows, (3, 3))
    else:
        graph = sp.coo_array((values, place), shape=(3, 3))
        if form == "bsr":  # a block with a column twice
            blocks, starts = values[[0, 1, 2, 3]].reshape(4, 1, 1), [0, 2, 4, 4]
            graph = sp.bsr_array((blocks, place[1], starts), shape=(3, 3))
    found = as_adjacency(graph, 3, weights="scale").toarray()
    assert np.array_equal(found, [[0, 1, 0], [1, 0, 0], [0, 0, 0]])


def test_repeated_entries_that_say_that_there_is_an_edge_say_no_more():
    place = np.array([[0, 0, 1], [1, 1, 0]])
    graph = sp.coo_array((np.ones(3, dtype=bool), place), shape=(3, 3))
    assert as_adjacency(graph, 3, weights="given").max() == 1


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph])
def test_edges_without_a_weight_beside_others_count_1_and_are_said(kind):
    graph = kind([(0, 1, {"weight": 0.5}), (1, 0, {"weight": 0.5}), (1, 2), (2, 1)])
    n_edges = graph.number_of_edges()
    with pytest.warns(
        UserWarning, match=f"{n_edges // 2} of {n_edges} edges of the graph have no weight"
    ):
        found = as_adjacency(graph, 3).toarray()
    assert found.tolist() == [[0, 0.5, 0], [0.5, 0, 1], [0, 1, 0]]
