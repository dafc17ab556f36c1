import numpy as np
import pytest
import scipy.sparse as sp

from lds.graphs.adjacency import check_adjacency, keep_edges, normalize

PATH = np.array([[0, 1, 0], [1, 0, 0.5], [0, 0.5, 0]])


def random_graph(n_nodes: int, seed: int) -> sp.csr_array:
    upper = np.triu(np.random.default_rng(seed).random((n_nodes, n_nodes)) < 0.3, k=1)
    return sp.csr_array((upper + upper.T).astype(np.float32))


@pytest.mark.parametrize(
    "make", [np.asarray, sp.csr_array, sp.coo_array, sp.csc_matrix, sp.csr_matrix, sp.lil_array]
)
def test_arrays_and_sparse_matrices_are_accepted(make: type) -> None:
    checked = check_adjacency(make(PATH), 3)
    assert isinstance(checked, sp.csr_array)
    assert checked.dtype == np.float32
    np.testing.assert_array_equal(checked.toarray(), PATH.astype(np.float32))


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float64])
def test_real_types_are_accepted(dtype: type) -> None:
    np.testing.assert_array_equal(
        check_adjacency((PATH > 0).astype(dtype), 3).toarray(), (PATH > 0).astype(np.float32)
    )


def test_diagonal_and_stored_zeros_are_dropped_from_a_copy() -> None:
    row, col = np.array([[0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]])
    values = np.array([7, 1, 0, 1, 0.5, 0, 0.5, 1])  # the weight of a loop does not matter
    given = sp.csr_array((values, (row, col)), dtype=np.float32)
    assert given.nnz == 8
    before = given.copy()
    checked = check_adjacency(given, 3)
    assert checked.nnz == 4
    np.testing.assert_array_equal(checked.toarray(), PATH.astype(np.float32))
    np.testing.assert_array_equal(given.data, before.data)
    np.testing.assert_array_equal(given.indices, before.indices)


def test_unsorted_and_duplicate_entries_become_canonical() -> None:
    parts = (
        np.array([1.0, 0.25, 0.25, 1.0, 0.5]),
        np.array([2, 1, 1, 0, 0]),
        np.array([0, 3, 4, 5]),
    )
    with pytest.raises(ValueError, match="symmetric"):
        check_adjacency(sp.csr_array(parts, shape=(3, 3)), 3)
    parts[0][:] = [0.5, 0.5, 0.5, 1.0, 0.5]
    checked = check_adjacency(sp.csr_array(parts, shape=(3, 3)), 3)
    assert checked.has_canonical_format
    np.testing.assert_array_equal(checked.toarray(), [[0, 1, 0.5], [1, 0, 0], [0.5, 0, 0]])


def test_an_empty_graph_is_a_graph() -> None:
    assert check_adjacency(np.zeros((4, 4)), 4).nnz == 0


def entry(value: float) -> np.ndarray:
    changed = PATH.copy()
    changed[0, 1] = changed[1, 0] = value
    return changed


@pytest.mark.parametrize(
    ("adjacency", "message"),
    [
        (PATH[:2], r"shape \(3, 3\).* got \(2, 3\)"),
        (np.zeros((4, 4)), r"shape \(3, 3\).* got \(4, 4\)"),
        (np.zeros(3), r"shape \(3, 3\).* got \(3,\)"),
        (np.triu(PATH), r"symmetric, got 1 at \(0, 1\) and 0 at \(1, 0\)"),
        (PATH + np.array([[0, 0, 0.5], [0, 0, 0], [0, 0, 0]]), r"symmetric, got 0.5 at \(0, 2\)"),
        (entry(1.5), r"weights in \[0, 1\].* got 0.5 to 1.5"),
        (entry(-0.25), r"weights in \[0, 1\].* got -0.25 to 0.5"),
        (entry(np.nan), "finite, got NaN or infinity"),
        (entry(np.inf), "finite, got NaN or infinity"),
    ],
)
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_unusable_matrices_are_refused(make: type, adjacency: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=f"adjacency must .*{message}"):
        check_adjacency(make(adjacency), 3)


@pytest.mark.parametrize("adjacency", [PATH.tolist(), None, "cora"])
def test_other_types_are_refused(adjacency: object) -> None:
    with pytest.raises(TypeError, match="adjacency must be a NumPy array or a scipy sparse matrix"):
        check_adjacency(adjacency, 3)


def test_complex_entries_are_refused() -> None:
    with pytest.raises(TypeError, match=r"must hold real numbers, got .* complex128"):
        check_adjacency(PATH * 1j, 3)


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_keep_edges_keeps_that_many(fraction: float) -> None:
    graph = random_graph(20, seed=0)
    kept = keep_edges(graph, fraction, seed=3)
    assert kept.nnz == 2 * round(fraction * graph.nnz / 2)
    assert abs(kept - kept.T).nnz == 0
    assert kept.dtype == graph.dtype
    assert kept.diagonal().sum() == 0
    assert (kept > graph).nnz == 0, "an edge that was not there"


def test_keep_edges_follows_the_seed_and_not_the_storage() -> None:
    graph = random_graph(20, seed=0)
    kept = keep_edges(graph, 0.5, seed=3)
    assert (kept != keep_edges(graph, 0.5, seed=3)).nnz == 0
    assert (kept != keep_edges(graph, 0.5, seed=4)).nnz > 0
    reversed_rows = sp.csr_array(graph.copy())
    for start, stop in zip(graph.indptr[:-1], graph.indptr[1:], strict=True):
        reversed_rows.indices[start:stop] = graph.indices[start:stop][::-1]
    reversed_rows.has_sorted_indices = False
    assert (kept != keep_edges(reversed_rows, 0.5, seed=3)).nnz == 0


@pytest.mark.ci
def test_keep_edges_nests_and_is_uniform() -> None:
    graph = random_graph(8, seed=1)
    assert (keep_edges(graph, 0.3, 5) > keep_edges(graph, 0.6, 5)).nnz == 0
    share = sum(keep_edges(graph, 0.5, seed).toarray() for seed in range(2000)) / 2000
    edges = graph.toarray() > 0
    m = edges.sum() / 2
    np.testing.assert_allclose(share[edges], round(m / 2) / m, atol=0.05)  # 4.5 standard errors


@pytest.mark.parametrize("fraction", [-0.1, 1.01, float("nan")])
def test_keep_edges_refuses_a_share_outside_0_1(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"fraction .* must be in \[0, 1\], got"):
        keep_edges(random_graph(5, 0), fraction, seed=0)


def test_normalize_by_hand() -> None:
    """Degrees with loops: 2, 2.5, 1.5. To six roundings: two roots, two quotients, two products."""
    expected = [
        [1 / 2, 1 / np.sqrt(5), 0],
        [1 / np.sqrt(5), 1 / 2.5, 0.5 / np.sqrt(3.75)],
        [0, 0.5 / np.sqrt(3.75), 1 / 1.5],
    ]
    rounding = 6 * np.finfo(np.float64).eps
    np.testing.assert_allclose(normalize(sp.csr_array(PATH)).toarray(), expected, rtol=rounding)


def test_normalize_leaves_degrees_as_an_eigenvector() -> None:
    graph = random_graph(15, seed=2)
    root = np.sqrt(graph.sum(axis=1, dtype=np.float64) + 1)
    np.testing.assert_allclose(normalize(graph) @ root, root, rtol=1e-13)


def test_normalize_gives_an_isolated_node_its_loop() -> None:
    np.testing.assert_array_equal(normalize(sp.csr_array((2, 2))).toarray(), np.eye(2))


def test_a_repeated_true_is_one_edge() -> None:
    parts = np.array([True, True, True]), np.array([1, 1, 0]), np.array([0, 2, 3])
    checked = check_adjacency(sp.csr_array(parts, shape=(2, 2)), 2)
    assert checked.toarray().tolist() == [[0, 1], [1, 0]]
