"""Pairs and their places in a buffer: round trips, products, sizes around tile boundaries."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds.graphs.candidates import ALIGN, TILE_ROWS, AllPairs, Candidates, PairList

SIZES = [2, 3, 31, 32, 33, TILE_ROWS - 1, TILE_ROWS, TILE_ROWS + 1, 600]


def random_symmetric(n_nodes: int, p: float, seed: int = 0) -> sp.csr_array:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n_nodes, n_nodes)) * (rng.random((n_nodes, n_nodes)) < p), 1)
    return sp.csr_array(upper + upper.T)


def upper_pairs(n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(n_nodes, 1)


def to_dense(pairs: Candidates, flat: torch.Tensor) -> np.ndarray:
    """A flat buffer as a symmetric matrix, through `pairs` alone."""
    index = flat.nonzero().squeeze(1)
    row, col = pairs.pairs(index)
    dense = np.zeros((pairs.n_nodes, pairs.n_nodes))
    dense[row, col] = flat[index]
    return dense + dense.T


@pytest.mark.parametrize("n_nodes", SIZES)
def test_every_pair_has_a_place_of_its_own_and_comes_back(n_nodes):
    pairs = AllPairs(n_nodes)
    row, col = upper_pairs(n_nodes)
    index = pairs.index(row, col)
    assert index.dtype == np.int64
    assert len(np.unique(index)) == n_nodes * (n_nodes - 1) // 2
    assert index.min() >= 0
    assert index.max() < pairs.size
    back = pairs.pairs(torch.from_numpy(index))
    assert np.array_equal(back[0].numpy(), row)
    assert np.array_equal(back[1].numpy(), col)


@pytest.mark.parametrize("n_nodes", SIZES)
def test_scatter_keeps_every_weight_and_leaves_the_rest_zero(n_nodes):
    matrix = random_symmetric(n_nodes, 0.2) + 7 * sp.eye_array(n_nodes)  # a diagonal is left out
    pairs = AllPairs(n_nodes)
    flat = pairs.scatter(sp.csr_array(matrix), torch.float64)
    assert flat.shape == (pairs.size,)
    assert np.array_equal(to_dense(pairs, flat), random_symmetric(n_nodes, 0.2).toarray())


def test_a_matrix_without_entries():
    flat = AllPairs(5).scatter(sp.csr_array((5, 5)), torch.float32)
    assert flat.dtype == torch.float32
    assert not flat.any()


@pytest.mark.parametrize("n_nodes", SIZES)
def test_add_product_is_the_dense_product_on_the_pairs_and_nothing_elsewhere(n_nodes):
    generator = torch.Generator().manual_seed(n_nodes)
    left = torch.randn(n_nodes, 3, dtype=torch.float64, generator=generator)
    right = torch.randn(n_nodes, 3, dtype=torch.float64, generator=generator)
    pairs, start = AllPairs(n_nodes), random_symmetric(n_nodes, 0.3)
    flat = pairs.scatter(start, torch.float64)
    pairs.add_product(flat, left, right, -0.7)
    row, col = upper_pairs(n_nodes)
    index = torch.from_numpy(pairs.index(row, col))
    expected = (torch.from_numpy(start.toarray()) - 0.7 * left @ right.T)[row, col]
    # Three products summed in another order.
    torch.testing.assert_close(flat[index], expected, rtol=1e-12, atol=1e-14)
    rest = torch.ones(pairs.size, dtype=torch.bool)
    rest[index] = False
    assert not flat[rest].any(), "what belongs to no pair must stay 0"


@pytest.mark.parametrize("n_nodes", SIZES)
def test_buffers_come_in_whole_blocks_and_about_half_of_the_square(n_nodes):
    pairs = AllPairs(n_nodes)
    assert pairs.size % ALIGN == 0
    n_pairs = n_nodes * (n_nodes - 1) // 2
    # A tile wastes the triangle below its diagonal and fewer than ALIGN columns.
    assert n_pairs <= pairs.size <= n_pairs + n_nodes * (TILE_ROWS + ALIGN)
    assert AllPairs.bytes_needed(n_nodes, 4) == 4 * pairs.size
    flat = pairs.scatter(sp.csr_array((n_nodes, n_nodes)), torch.float64)
    assert AllPairs.bytes_needed(n_nodes, 8) == flat.numel() * flat.element_size()


def test_bytes_are_counted_without_allocating():
    n = 1_000_000
    assert 2 * n**2 <= AllPairs.bytes_needed(n, 4) <= 2.01 * n**2


def test_tiles_cover_the_buffer_once_and_in_order():
    pairs = AllPairs(600)
    flat = torch.arange(pairs.size)
    seen = [tile.flatten() for _, tile in pairs.tiles(flat)]
    assert torch.equal(torch.cat(seen), flat)
    for first, tile in pairs.tiles(flat):
        row, col = pairs.pairs(tile[:, -1].contiguous())
        assert row.tolist() == list(range(first, first + tile.shape[0]))
        assert bool((col == first + tile.shape[1] - 1).all())


@pytest.mark.parametrize("n_nodes", [0, 1])
def test_too_few_nodes_for_a_pair(n_nodes):
    with pytest.raises(ValueError, match=f"n_nodes must be at least 2, got {n_nodes}"):
        AllPairs(n_nodes)


# A list of pairs.


@pytest.mark.parametrize("n_nodes", [2, 33, 300])
def test_a_list_agrees_with_all_pairs_on_its_own(n_nodes):
    far = sp.coo_array(([1.0, 1.0], ([0, n_nodes - 1], [n_nodes - 1, 0])), (n_nodes, n_nodes))
    pattern = sp.csr_array(random_symmetric(n_nodes, 0.2, seed=1) + far)
    pairs, every = PairList.of(pattern), AllPairs(n_nodes)
    n_pairs = pattern.nnz // 2
    assert pairs.size % ALIGN == 0
    assert n_pairs <= pairs.size < n_pairs + ALIGN
    row, col = sp.triu(pattern, 1).nonzero()
    index = pairs.index(row, col)
    assert sorted(index.tolist()) == list(range(n_pairs))
    back = pairs.pairs(torch.from_numpy(index))
    assert np.array_equal(back[0].numpy(), row)
    assert np.array_equal(back[1].numpy(), col)

    flat, dense = (p.scatter(pattern, torch.float64) for p in (pairs, every))
    assert np.array_equal(to_dense(pairs, flat), pattern.toarray())
    generator = torch.Generator().manual_seed(2)
    left, right = torch.randn(2, n_nodes, 4, dtype=torch.float64, generator=generator)
    for p, buffer in ((pairs, flat), (every, dense)):
        p.add_product(buffer, left, right, 0.3)
    where = torch.from_numpy(every.index(row, col))
    # Four products summed in another order.
    torch.testing.assert_close(flat[torch.from_numpy(index)], dense[where], rtol=1e-12, atol=1e-14)
    assert not flat[n_pairs:].any()


def test_an_edge_that_is_not_in_the_list():
    pairs = PairList.of(sp.csr_array(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])))
    with pytest.raises(ValueError, match="not among the candidate pairs"):
        pairs.index(np.array([1]), np.array([2]))


def test_an_empty_list():
    pairs = PairList.of(sp.csr_array((4, 4)))
    assert pairs.size == ALIGN
    flat = pairs.scatter(sp.csr_array((4, 4)), torch.float64)
    factor = torch.ones(4, 1, dtype=torch.float64)
    pairs.add_product(flat, factor, factor, 1.0)
    assert not flat.any()
    with pytest.raises(ValueError, match="not among the candidate pairs"):
        pairs.index(np.array([0]), np.array([1]))


def test_a_list_has_its_keys_and_takes_values_from_another():
    n = 50
    first, second = (PairList.of(random_symmetric(n, 0.3, seed=s)) for s in (1, 2))
    every = torch.arange(n * n)
    assert torch.equal(every[first.contains(every)], torch.from_numpy(first.keys))
    assert not PairList(n, first.keys[:0]).contains(every).any()
    flat = torch.zeros(first.size)
    flat[: first.n_pairs] = torch.arange(1.0, first.n_pairs + 1)
    moved = second.take(flat, first)
    assert moved.shape == (second.size,)
    worth = dict(zip(first.keys.tolist(), flat.tolist(), strict=False))
    assert moved[: second.n_pairs].tolist() == [worth.get(k, 0.0) for k in second.keys.tolist()]
    assert 0 < int((moved > 0).sum()) < second.n_pairs
    assert not moved[second.n_pairs :].any()
    assert not second.take(torch.zeros(ALIGN), PairList(n, first.keys[:0])).any()


@pytest.mark.parametrize("n_nodes", SIZES)
def test_positions_are_those_of_all_pairs(n_nodes):
    row, col = upper_pairs(n_nodes)
    every = AllPairs(n_nodes)
    assert np.array_equal(every.positions().numpy(), np.sort(every.index(row, col)))
    some = PairList(n_nodes, row[::2] * n_nodes + col[::2])
    assert np.array_equal(some.positions().numpy(), some.index(row[::2], col[::2]))
