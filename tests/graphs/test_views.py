"""Views of likeness against brute force, for rows of a fit and for later rows."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics.pairwise import cosine_similarity

from lds.graphs import leaf_view
from lds.graphs.leaf_view import LeafView
from lds.graphs.similarity import LOCAL_SCALE
from lds.graphs.views import EdgeView, KernelView, WordView

N, N_LATER = 30, 6


def kernel():
    """A view, all similarities by the formula, later rows, and theirs."""
    rng = np.random.default_rng(0)
    x, later = rng.standard_normal((N, 3)), rng.standard_normal((N_LATER, 3))
    apart = np.linalg.norm(x[:, None] - x[None], axis=2)
    scale = np.sort(apart, axis=1)[:, LOCAL_SCALE]  # itself is the first
    of_later = np.linalg.norm(later[:, None] - x[None], axis=2)
    scale_later = np.sort(of_later, axis=1)[:, LOCAL_SCALE - 1]
    found = np.exp(-(apart**2) / (scale[:, None] * scale[None]))
    later_found = np.exp(-(of_later**2) / (scale_later[:, None] * scale[None]))
    return KernelView(x), found, later, later_found


def leaves():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((N + N_LATER, 3)), np.arange(N + N_LATER) % 2
    every = ExtraTreesClassifier(40, max_depth=3, random_state=0).fit(x[:N], y[:N]).apply(x)
    shares = (every[:, None] == every[None, :N]).mean(2)
    return LeafView(every[:N]), shares[:N], every[N:], shares[N:]


def words():
    rng = np.random.default_rng(2)
    counts = sp.csr_array(rng.poisson(0.3, (N + N_LATER, 40)).astype(np.float64))
    weigh = TfidfTransformer().fit(counts[:N])
    cosine = cosine_similarity(weigh.transform(counts), weigh.transform(counts[:N]))
    return WordView(counts[:N]), cosine[:N], counts[N:], cosine[N:]


@pytest.mark.parametrize("make", [kernel, leaves, words])
def test_similarities_are_those_of_brute_force(make):
    view, expected, later, expected_later = make()
    row, col = np.nonzero(~np.eye(N, dtype=bool))
    np.testing.assert_allclose(view.of_pairs(row, col), expected[row, col], rtol=1e-9, atol=1e-12)
    row, col = np.nonzero(np.ones((N_LATER, N), dtype=bool))
    found = view.of_later(later).of_pairs(row, col)
    np.testing.assert_allclose(found, expected_later[row, col], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", [leaves, words])
def test_the_nearest_rows_are_the_most_similar_ones(make):
    view, expected, later, expected_later = make()
    np.fill_diagonal(expected, -1)
    for found, similar in (
        (view.near(4), expected),
        (view.of_later(later).near(4), expected_later),
    ):
        mine = np.sort(np.take_along_axis(similar, found, 1), axis=1)
        np.testing.assert_allclose(mine, np.sort(similar, axis=1)[:, -4:], rtol=1e-9)
        assert (np.sort(found, axis=1)[:, 1:] > np.sort(found, axis=1)[:, :-1]).all()


def test_the_nearest_rows_of_a_kernel_are_the_closest_ones():
    view, _, later, _ = kernel()
    x = view._x
    apart = np.linalg.norm(x[:, None] - x[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert np.array_equal(np.sort(view.near(4), 1), np.sort(apart.argsort(1)[:, :4], 1))
    of_later = np.linalg.norm(later[:, None] - x[None], axis=2)
    found = view.of_later(later).near(4)
    assert np.array_equal(np.sort(found, 1), np.sort(of_later.argsort(1)[:, :4], 1))


def test_a_leaf_that_no_row_of_the_fit_has_is_shared_with_none():
    view = LeafView(np.array([[1, 5], [1, 6], [3, 6]]))
    later = view.of_later(np.array([[2, 6], [1, 9]]))
    row, col = np.repeat([0, 1], 3), np.tile([0, 1, 2], 2)
    assert later.of_pairs(row, col).tolist() == [0, 0.5, 0.5, 0.5, 0.5, 0]
    assert later.near(2).tolist() == [[1, 2], [0, 1]]


def test_equal_rows_are_as_similar_as_can_be():
    x = np.repeat(np.random.default_rng(0).standard_normal((5, 2)), 10, axis=0)
    found = KernelView(x).of_pairs(np.array([0, 0]), np.array([1, 20]))
    assert found[0] == 1
    assert 0 <= found[1] < 1


@pytest.mark.parametrize("listed", [0, 1000], ids=["listed", "compared"])
@pytest.mark.parametrize("n_trees", [3, 300], ids=["few trees", "more than a byte counts"])
@pytest.mark.parametrize("n_leaves", [2, 256, 900], ids=["two", "a byte and none", "two bytes"])
def test_leaves_are_counted_whatever_their_number(n_leaves, n_trees, listed, monkeypatch):
    monkeypatch.setattr(leaf_view, "LISTED_ROWS", listed)
    monkeypatch.setattr(leaf_view, "FEW_SHARED", 1.1)
    rng = np.random.default_rng(3)
    leaves = rng.integers(0, n_leaves, (40, n_trees)) % rng.integers(1, n_leaves + 1, n_trees)
    leaves[:, 0] = np.arange(40) * (n_leaves // 40 or 1)
    later = np.concatenate([leaves[:3], np.full((1, n_trees), n_leaves + 7)])
    view = LeafView(leaves)
    same = (later[:, None] == leaves[None]).sum(2)
    first = np.argsort(-same, axis=1, kind="stable")  # ties by number
    assert view.of_later(later).near(5).tolist() == first[:, :5].tolist()
    row, col = np.repeat(np.arange(4), 40), np.tile(np.arange(40), 4)
    np.testing.assert_array_equal(view.of_later(later).of_pairs(row, col), (same / n_trees).ravel())


def test_a_pickled_view_comes_to_the_same_without_its_index():
    x = np.random.default_rng(0).standard_normal((50, 3))
    view = KernelView(x, 10)
    again = pickle.loads(pickle.dumps(view))
    assert "_search" not in vars(again)
    row, col = np.arange(40), np.arange(10, 50)
    assert np.array_equal(again.of_pairs(row, col), view.of_pairs(row, col))
    assert np.array_equal(again.of_later(x[:4] + 0.1).near(6), view.of_later(x[:4] + 0.1).near(6))
    assert np.array_equal(again.near(12), KernelView(x).near(12)), "more than it was made for"


def test_threads_may_share_a_view_of_leaves():
    rng = np.random.default_rng(0)
    view = LeafView(rng.integers(0, 9, (300, 200)))
    later = [rng.integers(0, 9, (150, 200)) for _ in range(8)]
    expected = [view.of_later(each).near(5) for each in later]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda each: view.of_later(each).near(5), later))
    assert all(map(np.array_equal, found, expected))


def test_pairs_are_the_nearest_rows_of_each_row():
    view, _, _, _ = kernel()
    found = {tuple(sorted((i, j))) for i, row in enumerate(view.near(3).tolist()) for j in row}
    row, col = np.divmod(view.pairs(3), N)
    assert {*zip(row.tolist(), col.tolist(), strict=True)} == found


def test_the_edges_of_a_graph_are_its_pairs_and_weights():
    rng = np.random.default_rng(0)
    dense = np.triu(rng.random((30, 30)) * (rng.random((30, 30)) < 0.2), 1)
    view = EdgeView(sp.csr_array(dense + dense.T))
    row, col = np.divmod(view.pairs(1), 30)
    assert np.array_equal(np.argwhere(dense), np.stack([row, col], 1)[np.lexsort((col, row))])
    every = np.arange(900)
    assert np.array_equal(view.of_pairs(every // 30, every % 30), (dense + dense.T).ravel())
    later = view.of_later(rng.random((3, 2)))
    assert later.near(5).shape == (3, 0)
    assert later.of_pairs(np.array([0, 2]), np.array([4, 5])).tolist() == [0, 0]


def test_rows_without_a_common_word_are_not_near():
    """The second document shares words with the first alone, the third with none."""
    counts = sp.csr_array([[1.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]])
    view = WordView(counts)
    row, col = np.divmod(view.pairs(4), 5)
    assert {*zip(row.tolist(), col.tolist(), strict=True)} == {(0, 1), (0, 3), (3, 4)}
    later = view.of_later(sp.csr_array([[0.0, 2, 0, 0], [0, 0, 0, 0]]))
    assert np.sort(later.near(4), 1).tolist() == [[-1, -1, 0, 1], [-1] * 4]
