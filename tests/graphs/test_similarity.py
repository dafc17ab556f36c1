"""Similarities of rows against scikit-learn and against formulas on a handful of points."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics.pairwise import cosine_similarity

from lds.graphs.similarity import LOCAL_SCALE, Similarity, are_words, idf, unit_rows

# Distances by scikit-learn are differences of float64 squares: half of the digits at worst.
CLOSE = {"rtol": 1e-6, "atol": 1e-7}


def counts(n=25, d=90, seed=0) -> sp.csr_array:
    """Counts of words; the last row has none."""
    rng = np.random.default_rng(seed)
    x = rng.poisson(0.1, (n, d)).astype(np.float64)
    x[-1] = 0
    return sp.csr_array(x)


def points(n=30, d=3, seed=0) -> np.ndarray:
    """A dense cloud and a thin one."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    x[: n // 2] *= 0.1
    return x


@pytest.mark.parametrize("metric", ["auto", "cosine"])
def test_similarity_of_words_is_the_cosine_of_scikit_learns_tf_idf(metric):
    x, k = counts(), 6
    similar = Similarity(x, metric, k)
    expected = cosine_similarity(TfidfTransformer().fit_transform(x))
    matrix = similar.matrix()
    assert similar.cosine
    row, col = matrix.nonzero()
    np.testing.assert_allclose(matrix[row, col], expected[row, col], **CLOSE)
    np.fill_diagonal(expected, -1)
    pattern = sp.csr_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr), matrix.shape)
    for i in range(24):  # the k most similar of every row with words are there, ties apart
        kth = np.sort(expected[i])[-k]
        assert (pattern.toarray()[i][expected[i] > kth + 1e-9] == 1).all()


def test_weights_of_words_are_scikit_learns():
    x = counts()
    np.testing.assert_allclose(idf(x), TfidfTransformer().fit(x).idf_, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_rows_of_length_one_and_rows_of_zeros(dtype):
    x = counts().astype(dtype)
    found = unit_rows(x)
    expected = x.toarray() / np.maximum(np.linalg.norm(x.toarray(), axis=1), 1e-9)[:, None]
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-6)
    assert found.dtype == (np.float64 if dtype == np.int64 else dtype)


def kernel(x: np.ndarray) -> np.ndarray:
    """exp(-d² / (σ_i σ_j)), σ the distance to the seventh neighbour, itself not counted."""
    d = cdist(x, x)
    scale = np.sort(d, axis=1)[:, LOCAL_SCALE]
    return np.exp(-(d**2) / np.outer(scale, scale))


@pytest.mark.parametrize(("n", "k"), [(30, 10), (9, 8)])
def test_similarity_of_measurements_follows_the_density_around_both(n, k):
    x = points(n)
    similar = Similarity(x, "auto", k)
    matrix = similar.matrix().toarray()
    d = cdist(x, x)
    near = d <= np.sort(d, axis=1)[:, [k]]
    near = (near | near.T) & ~np.eye(n, dtype=bool)
    assert not similar.cosine
    assert ((matrix > 0) == near).all()
    np.testing.assert_allclose(matrix[near], kernel(x)[near], **CLOSE)


def test_with_fewer_than_seven_neighbours_the_last_one_gives_the_scale():
    x = points(12)
    matrix = Similarity(x, "euclidean", 3).matrix().toarray()
    d = cdist(x, x)
    scale = np.sort(d, axis=1)[:, 3]
    there = matrix > 0
    np.testing.assert_allclose(
        matrix[there], np.exp(-(d**2) / np.outer(scale, scale))[there], **CLOSE
    )


def test_the_unit_of_measurements_does_not_matter():
    x = points()
    one, other = (Similarity(factor * x, "auto", 10).matrix() for factor in (1, 1000))
    np.testing.assert_allclose(one.toarray(), other.toarray(), **CLOSE)


@pytest.mark.parametrize("metric", ["manhattan", "euclidean", "cosine"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_matrices_are_symmetric_in_0_1_with_the_pairs_of_a_neighbour_search(metric, form):
    x, k = points(), 5
    matrix = Similarity(form(x), metric, k).matrix()
    assert abs(matrix - matrix.T).max() == 0
    assert matrix.diagonal().max() == 0
    assert matrix.data.min() >= 0
    assert matrix.data.max() <= 1
    d = cdist(x, x, {"manhattan": "cityblock"}.get(metric, metric))
    near = d <= np.sort(d, axis=1)[:, [k]] + 1e-12
    stored = sp.csr_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr), matrix.shape)
    assert ((stored.toarray() > 0) == ((near | near.T) & ~np.eye(30, dtype=bool))).all()
    if metric == "cosine":
        expected = np.clip(cosine_similarity(x), 0, 1)
        at = stored.nonzero()
        np.testing.assert_allclose(matrix[at], expected[at], **CLOSE)


def test_what_words_are():
    assert are_words(counts())
    assert not are_words(sp.csr_array((3, 3)))
    assert are_words(counts().toarray()), "how they are stored does not matter"
    assert not are_words(sp.csr_array(np.ones((25, 90)))), "a table, stored sparse"
    assert not are_words(-counts())


@pytest.mark.parametrize("kind", ["words", "measurements"])
def test_a_row_of_the_fit_passed_as_new_has_the_same_similarities(kind):
    """Its own row is its nearest, of similarity 1; the rest of its row of the matrix follows."""
    x = counts() if kind == "words" else points()
    similar, k = Similarity(x, "auto", 8), 8
    rows = np.array([3, 0, 17])
    near, alike = similar.of_new(x[rows])
    assert near.shape == alike.shape == (3, k)
    assert near.dtype == np.int64
    assert near[:, 0].tolist() == rows.tolist()
    np.testing.assert_allclose(alike[:, 0], 1, atol=1e-7)
    matrix = similar.matrix().toarray()
    for i, others, values in zip(rows, near[:, 1:], alike[:, 1:], strict=True):
        assert (matrix[i, others] > 0).all()
        if kind == "words":
            np.testing.assert_allclose(values, matrix[i, others], **CLOSE)
        else:  # its own row counts among its neighbours, so its scale is that of the one before
            d = cdist(x, x)
            own = np.sort(d[i])[LOCAL_SCALE - 1]
            scale = np.sort(d[others], axis=1)[:, LOCAL_SCALE]
            np.testing.assert_allclose(
                values, np.exp(-(d[i, others] ** 2) / (own * scale)), **CLOSE
            )


@pytest.mark.parametrize("kind", ["words", "measurements"])
def test_new_rows_are_compared_by_the_idf_and_scales_of_the_fit(kind):
    k = 8
    if kind == "words":
        x, new = counts(), counts(4, seed=1)
        model = TfidfTransformer().fit(x)
        expected = cosine_similarity(model.transform(new), model.transform(x))
    else:
        x, new = points(), points(4, seed=1)
        d = cdist(new, x)
        own = np.sort(d, axis=1)[:, LOCAL_SCALE - 1]
        scale = np.sort(cdist(x, x), axis=1)[:, LOCAL_SCALE]
        expected = np.exp(-(d**2) / np.outer(own, scale))
    near, alike = Similarity(x, "auto", k).of_new(new)
    np.testing.assert_allclose(alike, np.take_along_axis(expected, near, 1), **CLOSE)
    assert (np.sort(near, axis=1)[:, 1:] != np.sort(near, axis=1)[:, :-1]).all()


def test_equal_rows_are_of_similarity_1_and_no_scale_is_0():
    x = np.repeat(points(4), 10, axis=0)
    matrix = Similarity(x, "auto", 9).matrix()
    same = np.kron(np.eye(4), np.ones((10, 10))) - np.eye(40)
    np.testing.assert_allclose(matrix.toarray(), same, atol=1e-12)
    constant = Similarity(np.zeros((12, 2)), "auto", 9).matrix()
    assert np.isfinite(constant.data).all()
    assert (constant.data == 1).all()


@pytest.mark.parametrize(
    ("metric", "k", "message"),
    [
        ("fancy", 3, "metric must be one of"),
        ("auto", 30, "n_neighbors must be at least 1 and below"),
    ],
)
def test_invalid_options_are_refused(metric, k, message):
    with pytest.raises(ValueError, match=message):
        Similarity(points(), metric, k)


# Equal rows


def test_equal_rows_are_equal_in_spite_of_rounding():
    """The search takes roots of differences of squares: some 1e-8 of their size, not 0."""
    rng = np.random.default_rng(0)
    x = np.repeat(1e3 * rng.standard_normal((4, 12)), 20, axis=0)
    assert (Similarity(x, "auto", 10).matrix().data == 1).all()
    _, value = Similarity(x, "auto", 10).of_new(x[::20])
    assert (value == 1).all()


@pytest.mark.parametrize("words", [False, True])
def test_without_ties_a_few_equal_rows_are_neighbours_and_many_are_not(words):
    few, many = LOCAL_SCALE, LOCAL_SCALE + 1  # rows in all: one less beside a row
    x = np.repeat([0, 1, 2], [few, many, 30])
    x = np.eye(60)[x] if words else np.array([0.1, 0.7, 3.3])[x][:, None]
    found = Similarity(x, "auto", LOCAL_SCALE).matrix(ties=False).toarray() != 0
    wanted = np.zeros_like(found)
    wanted[:few, :few] = ~np.eye(few, dtype=bool)
    np.testing.assert_array_equal(found, wanted)


def test_without_ties_a_neighbour_is_nearer_than_the_next_row():
    x = np.array([[0.0], [1.0], [2.0], [2.0], [2.0], [2.0], [2.0], [9.0]])
    found = Similarity(x, "auto", 3).matrix(ties=False).toarray() > 0
    # Row 0: 1 is nearer than the five at 2, of which two fit; row 1: 0 and three of five at 1;
    # the rows at 2 have four copies each; row 7 has five at 7.
    wanted = np.zeros((8, 8), dtype=bool)
    wanted[0, 1] = wanted[1, 0] = True
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("x", [np.ones((40, 2)), np.eye(40)], ids=["constant", "one-hot"])
def test_without_ties_constant_features_have_no_neighbours(x):
    assert Similarity(x, "euclidean", 5).matrix(ties=False).nnz == 0
    assert Similarity(x, "euclidean", 5).matrix().nnz > 0


def test_without_ties_continuous_rows_have_all_their_neighbours():
    similar = Similarity(points(), "auto", 10)
    one, two = similar.matrix().toarray(), similar.matrix(ties=False).toarray()
    np.testing.assert_array_equal(one, two)
    whole = Similarity(points(9), "auto", 8)
    np.testing.assert_array_equal(whole.matrix().toarray(), whole.matrix(ties=False).toarray())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("x", "metric"),
    [
        (counts(), "auto"),
        (counts().toarray(), "cosine"),
        (points(), "auto"),
        (points(), "cosine"),
        (points(), "cityblock"),
        (sp.csr_array(points()), "euclidean"),
        (points(9), "auto"),
    ],
    ids=["words", "dense words", "points", "cosine", "cityblock", "sparse", "all are neighbours"],
)
def test_from_arrays_of_a_file_it_gives_the_same_bits(x, metric, dtype, tmp_path):
    x = x.astype(dtype)
    fitted, new = Similarity(x, metric, 8), x[::4] * dtype(1.5)
    np.savez(tmp_path / "arrays.npz", **fitted.to_arrays())
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as file:
        loaded = Similarity.from_arrays(dict(file), x)
    assert (loaded.n_nodes, loaded.n_neighbors) == (fitted.n_nodes, fitted.n_neighbors)
    assert loaded.cosine == fitted.cosine
    for expected, found in zip(fitted.of_new(new), loaded.of_new(new), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    for ties in (True, False):
        expected, found = fitted.matrix(ties=ties), loaded.matrix(ties=ties)
        np.testing.assert_array_equal(found.indptr, expected.indptr)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.data, expected.data)


def test_repeated_entries_are_summed_and_stored_zeros_are_none():
    plain = sp.csr_array(counts())
    parts = np.repeat(plain.data / 2, 2), np.repeat(plain.indices, 2), plain.indptr * 2
    repeated = sp.csr_array(parts, shape=plain.shape)
    zeros = plain.copy()
    zeros.data[:5] = 0
    without = zeros.copy()
    without.eliminate_zeros()
    for given, wanted in ((repeated, plain), (zeros, without)):
        assert are_words(given) == are_words(wanted)
        np.testing.assert_array_equal(idf(given), idf(wanted))
        assert (unit_rows(given) != unit_rows(wanted)).nnz == 0
        found, same = (Similarity(x, "auto", 4) for x in (given, wanted))
        assert (found.matrix() != same.matrix()).nnz == 0
        assert np.array_equal(found.of_new(given)[1], same.of_new(wanted)[1])


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_rows_of_any_length_become_unit_rows(scale):
    found = unit_rows(counts() * scale)
    np.testing.assert_allclose(found.toarray(), unit_rows(counts()).toarray(), rtol=1e-12)


def test_rows_without_a_common_word_are_no_pair():
    """Their order in the table would choose among them."""
    x = counts()
    expected = cosine_similarity(x)
    np.fill_diagonal(expected, 0)
    similar = Similarity(x, "auto", 24)
    assert np.array_equal(similar.matrix().toarray() > 0, expected > 0)
    assert similar.matrix().nnz == np.count_nonzero(expected), "no 0 is stored"
    _, alike = similar.of_new(x[[24, 0]])
    assert similar.related(alike).tolist() == (alike > 0).tolist()
    assert not similar.related(alike)[0].any()
    far = Similarity(np.append(points() * 1e-9, [[1, 1, 1]], 0), "auto", 10)
    assert far.matrix()[[30]].nnz >= 10, "an outlier has its nearest neighbours"
