import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.neighbors import NearestNeighbors

from lds.graphs import knn
from lds.graphs.knn import knn_adjacency, metrics

# By hand. Euclidean, k = 1: nearest of each is 1, 0, 1, 4, 3, 4.
EUCLIDEAN_POINTS = np.array([[0, 0], [1, 0], [2.5, 0], [10, 0], [11, 0], [13, 0]])
EUCLIDEAN_EDGES = {(0, 1), (1, 2), (3, 4), (4, 5)}
# By hand. Angles 0, 10, 25, 90, 95, 105 degrees at very different lengths, which cosine ignores.
ANGLES = np.deg2rad([0, 10, 25, 90, 95, 105])
COSINE_POINTS = np.array([1, 50, 0.1, 7, 1000, 2])[:, None] * np.c_[np.cos(ANGLES), np.sin(ANGLES)]
COSINE_EDGES = {(0, 1), (1, 2), (3, 4), (4, 5)}


def edges(adjacency: sp.csr_array) -> set[tuple[int, int]]:
    upper = sp.triu(adjacency, k=1).tocoo()
    return set(zip(upper.row.tolist(), upper.col.tolist(), strict=True))


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize(
    ("points", "metric", "expected"),
    [
        (EUCLIDEAN_POINTS, "euclidean", EUCLIDEAN_EDGES),
        (COSINE_POINTS, "cosine", COSINE_EDGES),
    ],
)
def test_six_points_by_hand(
    points: np.ndarray, metric: str, expected: set[tuple[int, int]], as_sparse: bool
) -> None:
    adjacency = knn_adjacency(sp.csr_array(points) if as_sparse else points, 1, metric)
    assert edges(adjacency) == expected
    assert adjacency.nnz == 2 * len(expected)
    assert abs(adjacency - adjacency.T).nnz == 0
    assert set(adjacency.data.tolist()) == {1.0}
    assert adjacency.dtype == np.float32


def brute_force(X: np.ndarray, k: int, metric: str) -> np.ndarray:
    if metric == "euclidean":
        distance = np.linalg.norm(X[:, None] - X[None], axis=-1)
    else:
        unit = X / np.linalg.norm(X, axis=1, keepdims=True)
        distance = 1 - unit @ unit.T
    np.fill_diagonal(distance, np.inf)
    joined = np.zeros(distance.shape)
    for i, row in enumerate(distance):
        joined[i, np.argsort(row)[:k]] = 1
    return np.maximum(joined, joined.T)


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 4, 29])
def test_equals_brute_force(metric: str, k: int, as_sparse: bool) -> None:
    X = np.random.default_rng(0).normal(size=(30, 5))
    found = knn_adjacency(sp.csr_array(X) if as_sparse else X, k, metric)
    np.testing.assert_array_equal(found.toarray(), brute_force(X, k, metric))


def test_relabelling_nodes_relabels_the_graph() -> None:
    rng = np.random.default_rng(1)
    X, order = rng.normal(size=(25, 3)), rng.permutation(25)
    whole = knn_adjacency(X, 3, "euclidean").toarray()
    permuted = knn_adjacency(X[order], 3, "euclidean").toarray()
    np.testing.assert_array_equal(permuted, whole[np.ix_(order, order)])


def test_a_node_with_twins_has_no_loop() -> None:
    adjacency = knn_adjacency(np.ones((5, 2)), 2, "euclidean")
    assert adjacency.diagonal().sum() == 0
    assert (adjacency.sum(axis=1) >= 2).all()


@pytest.mark.filterwarnings("ignore:Data was converted to boolean")
@pytest.mark.parametrize("metric", metrics())
def test_every_listed_metric_works(metric: str) -> None:
    X = np.random.default_rng(2).random((12, 3))
    adjacency = knn_adjacency(X, 3, metric)
    assert (adjacency.sum(axis=1) >= 3).all()


@pytest.mark.parametrize("metric", metrics(sparse=True))
def test_every_listed_sparse_metric_works(metric: str) -> None:
    X = np.random.default_rng(2).random((12, 3))
    np.testing.assert_array_equal(
        knn_adjacency(sp.csr_array(X), 3, metric).toarray(), knn_adjacency(X, 3, metric).toarray()
    )


@pytest.mark.parametrize("k", [0, -1, 6, 7])
def test_k_must_be_below_the_number_of_rows(k: int) -> None:
    with pytest.raises(ValueError, match=rf"n_neighbors must be .* rows \(6\), got {k}"):
        knn_adjacency(EUCLIDEAN_POINTS, k)


@pytest.mark.parametrize("k", [2.0, True, "3", None])
def test_k_must_be_an_integer(k: object) -> None:
    with pytest.raises(TypeError, match="n_neighbors must be an integer"):
        knn_adjacency(EUCLIDEAN_POINTS, k)  # type: ignore[arg-type]


def test_an_unknown_metric_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"metric must be one of .*cosine, .*euclidean.* 'cosin'"):
        knn_adjacency(EUCLIDEAN_POINTS, 2, "cosin")


def test_a_dense_metric_refuses_sparse_features() -> None:
    with pytest.raises(ValueError, match=r"metric on sparse features must be one of .*cosine"):
        knn_adjacency(sp.csr_array(EUCLIDEAN_POINTS), 2, "chebyshev")


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_must_be_finite(bad: float, as_sparse: bool) -> None:
    X = EUCLIDEAN_POINTS.copy()
    X[2, 1] = bad
    with pytest.raises(ValueError, match="features must be finite"):
        knn_adjacency(sp.csr_array(X) if as_sparse else X, 2)


def test_features_must_be_a_matrix() -> None:
    with pytest.raises(ValueError, match=r"features must be \(n_nodes, n_features\), got .*\(6,\)"):
        knn_adjacency(np.arange(6.0), 2)


@pytest.fixture
def large(monkeypatch):
    """Rows that count as many."""
    pytest.importorskip("faiss")
    monkeypatch.setattr(knn, "EXACT_ROWS", 1000)
    rng = np.random.default_rng(0)
    return 1e6 + rng.standard_normal((30, 6))[rng.integers(0, 30, 3000)] * 3 + rng.random((3000, 6))


def recall(found, true):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, true, strict=True)])


def test_an_approximate_search_reaches_its_recall_on_all_rows(large):
    exact = NearestNeighbors(n_neighbors=10).fit(large)
    search = knn.euclidean_search(large)
    assert not isinstance(search, NearestNeighbors)
    distance, near = search.kneighbors(n_neighbors=10)
    assert recall(near, exact.kneighbors()[1]) >= knn.RECALL - 0.03
    assert not (near == np.arange(3000)[:, None]).any(), "itself"
    apart = np.linalg.norm(large[:, None] - large[near], axis=2)
    np.testing.assert_allclose(distance, apart, rtol=1e-3)
    assert np.array_equal(near, knn.euclidean_search(large).kneighbors(n_neighbors=10)[1])
    later = large[:200] + 0.01
    assert recall(search.kneighbors(later, 10)[1], exact.kneighbors(later)[1]) >= knn.RECALL - 0.03


def test_equal_rows_are_neighbours_of_an_approximate_search(large):
    large[:40] = large[0]
    distance, near = knn.euclidean_search(large).kneighbors(n_neighbors=5)
    assert (distance[:40] == 0).all()
    assert not (near == np.arange(3000)[:, None]).any()


def test_few_rows_are_searched_exactly():
    x = np.random.default_rng(0).random((50, 3))
    assert isinstance(knn.euclidean_search(x), NearestNeighbors)


def direct(features, k):
    """The graph by cosine, from a plain sort of all cosines in long double."""
    x = np.asarray(features, dtype=np.longdouble)
    x = x / np.abs(x).max(1, keepdims=True)
    x = x / np.sqrt((x * x).sum(1, keepdims=True))
    distance = np.asarray(1 - x @ x.T, dtype=np.float64)
    np.fill_diagonal(distance, np.inf)
    found = np.zeros(distance.shape)
    np.put_along_axis(found, np.argsort(distance, 1)[:, :k], 1, axis=1)
    return np.maximum(found, found.T)


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (np.float32, 1e-8),
        (np.float32, 1e-30),
        (np.float32, 1e20),
        (np.float64, 1e-17),
        (np.float64, 1e-200),
        (np.float64, 1e200),
    ],
)
def test_the_length_of_rows_does_not_matter_to_a_cosine(dtype, scale, as_sparse):
    points = np.random.default_rng(0).standard_normal((30, 4)).astype(dtype)
    wanted = direct(points, 4)
    for rows in (slice(None), 5):
        scaled = points.copy()
        scaled[rows] *= dtype(scale)
        features = sp.csr_array(scaled) if as_sparse else scaled
        assert (knn_adjacency(features, 4).toarray() == wanted).all()
    new = knn.neighbor_search(points, 4, "cosine").kneighbors(points[:5] * dtype(scale))[1]
    assert new[:, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e155, 1e200])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "correlation"])
def test_the_unit_of_features_does_not_matter(metric, scale):
    points = np.random.default_rng(0).standard_normal((30, 4))
    scaled = knn_adjacency(points * scale, 4, metric)
    assert (scaled != knn_adjacency(points, 4, metric)).nnz == 0


def with_repeats(dtype=np.float64, index=np.int32):
    """Counts with one entry a token, as scipy's page on csr_array builds them; and the same."""
    rng = np.random.default_rng(0)
    rows, words = np.repeat(np.arange(20), 12), rng.integers(0, 15, 240)
    parts = np.ones(240, dtype=dtype), words.astype(index), np.arange(0, 241, 12).astype(index)
    repeated = sp.csr_array(parts, shape=(20, 15))
    plain = np.zeros((20, 15))
    np.add.at(plain, (rows, words), 1)
    return repeated, plain


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "manhattan"])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_repeated_entries_of_a_sparse_matrix_are_summed(metric, index):
    repeated, plain = with_repeats(index=index)
    before = repeated.data.copy(), repeated.indices.copy()
    wanted = knn_adjacency(sp.csr_array(plain), 4, metric)
    assert (knn_adjacency(repeated, 4, metric) != wanted).nnz == 0
    assert all(map(np.array_equal, before, (repeated.data, repeated.indices)))
    for features in (repeated.tolil(), repeated.todok(), repeated.tocsc()):
        assert (knn_adjacency(features, 4, metric) != wanted).nnz == 0


@pytest.mark.parametrize(
    "features",
    [[[0.0], [1.0], [2.0]], np.array([[0], [1], [2]], dtype=object), np.array([["0"], ["1"]])],
    ids=["list", "objects", "texts"],
)
def test_features_that_are_no_array_of_numbers_are_refused(features):
    with pytest.raises(TypeError, match=r"features must (be an array|hold real numbers)"):
        knn_adjacency(features, 1)
