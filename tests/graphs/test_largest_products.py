"""The search for pairs against a sort of the dense product."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import lds.graphs.largest_products
from lds.graphs.candidates import PairList
from lds.graphs.largest_products import most_negative


def factors(n_nodes: int, rank: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    u, v = torch.randn(2, n_nodes, rank, dtype=torch.float64, generator=generator)
    return torch.cat([u, v], 1), torch.cat([v, u], 1)  # u vᵀ + v uᵀ


def some_pairs(n_nodes: int, p: float) -> PairList:
    rng = np.random.default_rng(1)
    return PairList.of(sp.csr_array(np.triu(rng.random((n_nodes, n_nodes)) < p, 1).astype(float)))


def by_sorting(left, right, count, known, rows=None) -> np.ndarray:
    """The same pairs from the whole matrix; ties by key."""
    n = left.shape[0]
    dense = (left @ right.T).numpy()
    row, col = np.triu_indices(n, 1)
    key, value = row * n + col, dense[row, col]
    keep = (value < 0) & ~np.isin(key, known.keys)
    if rows is not None:
        keep &= np.isin(row, rows) | np.isin(col, rows)
    key, value = key[keep], value[keep]
    return np.sort(key[np.lexsort((key, value))[:count]])


def search(left, right, *rest):
    """The search on factors in parts, as a gradient has them."""
    return most_negative(left.split(2, 1), right.split(2, 1), *rest)


@pytest.fixture(params=[1 << 20, 50], ids=["one block", "small blocks"])
def _blocks(request, monkeypatch):
    monkeypatch.setattr(lds.graphs.largest_products, "BLOCK_ENTRIES", request.param)
    monkeypatch.setattr(lds.graphs.largest_products, "BLOCK_ROWS", 1)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("rows", [None, [0, 3, 4, 17, 39]], ids=["all rows", "some rows"])
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("count", [1, 7, 60, 10_000])
def test_it_finds_what_a_sort_of_the_dense_matrix_finds(count, p, rows):
    left, right = factors(40)
    known = some_pairs(40, p)
    chosen = None if rows is None else torch.tensor(rows)
    found, values = search(left, right, count, known, chosen)
    np.testing.assert_array_equal(found, by_sorting(left, right, count, known, rows))
    assert found.dtype == np.int64
    dense = left @ right.T
    torch.testing.assert_close(values, dense[found // 40, found % 40], rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("_blocks")
def test_ties_go_to_the_smaller_key():
    left = -torch.ones(12, 1)
    right = torch.ones(12, 1)
    known = PairList(12, np.array([0 * 12 + 2]))
    found, _ = search(left, right, 4, known)
    assert found.tolist() == [1, 3, 4, 5]  # pairs of node 0


@pytest.mark.parametrize("scale", [100.0, 0.01], ids=["far lower", "far higher"])
def test_the_sampled_nodes_do_not_change_the_result(monkeypatch, scale):
    monkeypatch.setattr(lds.graphs.largest_products, "SAMPLED_NODES", 1)  # node 0 alone
    u, v = (part.split(3, 1)[0].clone() for part in factors(40))
    u[0], v[0] = scale * u[0].abs(), -scale * v[0].abs()
    left, right = torch.cat([u, v], 1), torch.cat([v, u], 1)
    known = some_pairs(40, 0.1)
    found, _ = search(left, right, 150, known)
    np.testing.assert_array_equal(found, by_sorting(left, right, 150, known))


def test_without_negative_products_it_finds_nothing():
    zero, known = torch.zeros(5, 2), some_pairs(5, 0.5)
    assert search(zero, zero, 3, known)[0].size == 0
    assert search(zero + 1, zero + 1, 3, known)[0].size == 0
    nan = torch.full((5, 2), float("nan"))
    assert search(nan, nan, 3, known)[0].size == 0
    assert search(-zero - 1, zero + 1, 3, known, torch.zeros(0).long())[0].size == 0
