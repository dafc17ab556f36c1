"""Several lists of pairs as one, against a matrix with their blocks on its diagonal."""

import numpy as np
import scipy.sparse as sp
import torch

from lds.edges.list_sampler import ListedEntries
from lds.graphs.candidates import AllPairs, PairList
from lds.structure.side_by_side.lists import DisjointPairs

N = 20
CPU = torch.device("cpu")


def lists() -> list[PairList]:
    """Of different lengths, one of them empty."""
    rng = np.random.default_rng(0)
    return [
        PairList.of(sp.csr_array(np.triu(rng.random((N, N)) < share, 1).astype(float)))
        for share in (0.1, 0.0, 0.3)
    ]


def test_a_graph_of_joined_lists_has_the_graph_of_each_on_its_nodes():
    parts = lists()
    rng = np.random.default_rng(1)
    there = [torch.from_numpy(rng.random(pairs.n_pairs) < 0.5) for pairs in parts]
    joined = ListedEntries.disjoint_union([ListedEntries.of(pairs, CPU) for pairs in parts])
    graph = joined.graphs(torch.cat(there).unsqueeze(0), torch.float64)
    blocks = []
    for pairs, mine in zip(parts, there, strict=True):
        a = np.zeros((N, N))
        keys = pairs.keys[mine.numpy()]
        a[keys // N, keys % N] = 1
        a += a.T + np.eye(N)
        blocks.append(a / np.sqrt(np.outer(a.sum(1), a.sum(1))))
    np.testing.assert_allclose(
        graph.matrix.to_dense().numpy(), sp.block_diag(blocks).toarray(), rtol=1e-14
    )
    assert (graph.n_draws, graph.n_nodes) == (1, 3 * N)


def test_products_at_joined_lists_are_those_of_each_list():
    parts = lists()
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 2, 3 * N, 4, dtype=torch.float64, generator=generator)
    values = torch.rand(sum(pairs.n_pairs for pairs in parts), dtype=torch.float64)
    mine = values.clone()
    DisjointPairs(parts, CPU).add_products(mine, list(left), list(right), -0.3)
    dense = (left[0] @ right[0].T + left[1] @ right[1].T).numpy()
    expected = values.numpy().copy()
    first = 0
    for member, pairs in enumerate(parts):
        row, col = pairs.keys // N + member * N, pairs.keys % N + member * N
        expected[first : first + pairs.n_pairs] -= 0.3 * dense[row, col]
        first += pairs.n_pairs
    np.testing.assert_allclose(mine.numpy(), expected, rtol=1e-12, atol=1e-14)


def test_products_of_several_buffers_of_all_pairs_are_those_of_each():
    n_nodes = 300  # more than one tile
    pairs = AllPairs(n_nodes)
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 3, n_nodes, 4, dtype=torch.float64, generator=generator)
    flat = torch.zeros(3, pairs.size, dtype=torch.float64)
    flat[:, pairs.positions()] = torch.rand(3, n_nodes * (n_nodes - 1) // 2, dtype=torch.float64)
    start = flat.clone()
    pairs.add_each(flat, left, right, 0.7)
    row, col = np.triu_indices(n_nodes, 1)
    where = torch.from_numpy(pairs.index(row, col))
    for member in range(3):
        product = (left[member] @ right[member].T)[row, col]
        torch.testing.assert_close(flat[member, where], start[member, where] + 0.7 * product)
        rest = torch.ones(pairs.size, dtype=torch.bool)
        rest[where] = False
        assert not flat[member, rest].any(), "entries that belong to no pair must stay 0"
