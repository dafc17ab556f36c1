"""S graphs as one block diagonal, against dense matrices and scipy."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds.graphs.adjacency import normalize
from lds.graphs.batch import GraphBatch, graph_batch

# One square root and two products of float64 numbers, in another order.
EXACT = {"rtol": 1e-14, "atol": 0}


def random_edges(n_nodes: int, p: float, seed: int) -> list[tuple[int, int]]:
    upper = np.triu(np.random.default_rng(seed).random((n_nodes, n_nodes)) < p, 1)
    return [(int(i), int(j)) for i, j in np.argwhere(upper)]


GRAPHS = {
    "no-edges": (4, []),
    "one-node": (1, []),
    "path": (5, [(0, 1), (1, 2), (2, 3), (3, 4)]),
    "isolated-nodes": (6, [(1, 4), (2, 4)]),
    "complete": (7, [(i, j) for i in range(7) for j in range(i + 1, 7)]),
    "karate": (34, sorted((min(e), max(e)) for e in nx.karate_club_graph().edges())),
    "random": (50, random_edges(50, 0.1, 0)),
}


def adjacency(n_nodes: int, edges: list[tuple[int, int]]) -> sp.csr_array:
    dense = np.zeros((n_nodes, n_nodes))
    for i, j in edges:
        dense[i, j] = dense[j, i] = 1
    return sp.csr_array(dense)


def batch_of(n_nodes, graphs, dtype=torch.float64, order=None) -> GraphBatch:
    """A batch of edge lists, its edges given in any order."""
    edges = [(s, i, j) for s, edges in enumerate(graphs) for i, j in edges]
    edges = [edges[k] for k in order] if order is not None else edges
    parts = torch.tensor(edges, dtype=torch.int64).reshape(-1, 3)
    return graph_batch(parts[:, 0], parts[:, 1], parts[:, 2], len(graphs), n_nodes, dtype)


@pytest.mark.parametrize("name", GRAPHS)
def test_one_graph_is_normalised_as_by_scipy(name):
    n_nodes, edges = GRAPHS[name]
    batch = batch_of(n_nodes, [edges])
    expected = torch.from_numpy(normalize(adjacency(n_nodes, edges)).toarray())
    torch.testing.assert_close(batch.matrix.to_dense(), expected, **EXACT)


def test_a_graph_by_hand():
    """Path 0-1-2 beside node 3: degrees with loops 2, 3, 2, 1."""
    batch = batch_of(4, [[(0, 1), (1, 2)]])
    a, b = 1 / 2, 1 / 6**0.5
    expected = [[a, b, 0, 0], [b, 1 / 3, b, 0], [0, b, a, 0], [0, 0, 0, 1]]
    torch.testing.assert_close(
        batch.matrix.to_dense(), torch.tensor(expected).double(), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(
        batch.scale**-2, torch.tensor([2.0, 3.0, 2.0, 1.0]).double(), **EXACT
    )


def test_a_batch_equals_its_graphs_one_by_one():
    graphs = [random_edges(20, p, seed) for seed, p in enumerate([0.0, 0.1, 0.3, 0.9])]
    batch = batch_of(20, graphs)
    assert (batch.n_draws, batch.n_nodes) == (4, 20)
    singles = [batch_of(20, [edges]) for edges in graphs]
    blocks = torch.block_diag(*(single.matrix.to_dense() for single in singles))
    assert torch.equal(batch.matrix.to_dense(), blocks)
    assert torch.equal(batch.scale, torch.cat([single.scale for single in singles]))


def test_the_order_of_edges_does_not_matter():
    graphs = [random_edges(15, 0.3, 1), random_edges(15, 0.3, 2)]
    order = np.random.default_rng(0).permutation(sum(map(len, graphs)))
    first, other = batch_of(15, graphs), batch_of(15, graphs, order=order)
    assert torch.equal(first.matrix.to_dense(), other.matrix.to_dense())


def test_the_parts_form_a_valid_csr_matrix_that_is_symmetric():
    batch = batch_of(20, [random_edges(20, 0.2, seed) for seed in range(3)])
    matrix = batch.matrix
    torch.sparse_csr_tensor(  # validates what `csr` does not
        matrix.crow_indices(),
        matrix.col_indices(),
        matrix.values(),
        matrix.shape,
        check_invariants=True,
    )
    dense = matrix.to_dense()
    assert torch.equal(dense, dense.T)
    assert int((dense != 0).sum()) == matrix.values().numel(), "no entry is stored twice"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_entries_have_the_requested_dtype(dtype):
    batch = batch_of(5, [GRAPHS["path"][1]], dtype)
    assert batch.matrix.dtype == batch.scale.dtype == dtype
