"""Arrays of the user's own .npz files: the shapes that are read, and those that are refused."""

import numpy as np
import pytest
import scipy.sparse as sp

from lds.datasets.registry import load

N = 12
EDGES = np.array([(i, (i * 5 + 2) % N) for i in range(N) if i != (i * 5 + 2) % N])


def saved(folder, **changed):
    """A file of 12 nodes in two classes; `changed` replaces arrays, None leaves one out."""
    y = np.arange(N) % 2
    arrays = {"node_features": np.eye(N, 4), "node_labels": y, "edges": EDGES} | changed
    path = folder / "own.npz"
    np.savez(path, **{name: found for name, found in arrays.items() if found is not None})
    return path


def expected(edges):
    dense = np.zeros((N, N))
    dense[edges[:, 0], edges[:, 1]] = dense[edges[:, 1], edges[:, 0]] = 1
    return dense


@pytest.mark.parametrize("n_edges", [0, 1, 3, len(EDGES)])
def test_edges_in_rows_or_in_columns(tmp_path, n_edges):
    for edges in (EDGES[:n_edges], EDGES[:n_edges].T):
        data = load(saved(tmp_path, edges=edges))
        np.testing.assert_array_equal(data.adjacency.toarray(), expected(EDGES[:n_edges]))


def test_two_edges_are_in_rows(tmp_path):
    edges = np.array([[0, 1], [4, 7]])
    data = load(saved(tmp_path, edges=edges))
    np.testing.assert_array_equal(data.adjacency.toarray(), expected(edges))


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (6,), (7,), (0,), (), (2, 3, 2), (12, 12)])
def test_edges_of_another_shape_are_refused(tmp_path, shape):
    path = saved(tmp_path, edges=np.zeros(shape, dtype=int))
    with pytest.raises(ValueError, match=r"own\.npz must have edges of shape .* got \(") as raised:
        load(path)
    assert str(raised.value).endswith(f"got {shape}")


@pytest.mark.parametrize("edges", [EDGES + 0.5, EDGES.astype(float), EDGES.astype(str)])
def test_edges_that_are_no_integers_are_refused(tmp_path, edges):
    with pytest.raises(ValueError, match=rf"must have edges of integers, got {edges.dtype}"):
        load(saved(tmp_path, edges=edges))


@pytest.mark.parametrize("node", [-1, N])
@pytest.mark.parametrize("turned", [False, True])
def test_an_end_that_is_no_node_is_named(tmp_path, node, turned):
    edges = EDGES.copy()
    edges[3, 1] = node
    with pytest.raises(ValueError, match=rf"nodes from 0 to 11 in its edges, got {node} in edge 3"):
        load(saved(tmp_path, edges=edges.T if turned else edges))


ROLES = ("train", "val", "test")


def splits(n_splits):
    """Masks `(n_splits, n_nodes)` by role, another division in each split."""
    rng = np.random.default_rng(0)
    dealt = np.stack([rng.permutation(np.arange(N) % 3) for _ in range(n_splits)])
    return {role: dealt == k for k, role in enumerate(ROLES)}


@pytest.mark.parametrize("n_splits", [1, 2, 5, N])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", [bool, np.int64])
def test_masks_in_rows_or_in_columns(tmp_path, n_splits, turned, kind):
    turned = turned and n_splits != N  # n_nodes splits are in rows, as the collection has them
    masks = splits(n_splits)
    stored = {f"{r}_mask": (m.T if turned else m).astype(kind) for r, m in masks.items()}
    for seed in range(n_splits):
        data = load(saved(tmp_path, **stored), seed=seed)
        np.testing.assert_array_equal(data.split.train, np.flatnonzero(masks["train"][seed]))
        np.testing.assert_array_equal(data.split.test, np.flatnonzero(masks["test"][seed]))
    with pytest.raises(ValueError, match=r"test_size is for a graph without masks, got 0\.7 for"):
        load(saved(tmp_path, **stored), test_size=0.7)


def test_masks_of_one_split_may_lack_the_second_axis(tmp_path):
    masks = splits(3)
    one = splits(1)["test"][0]
    alone = {role: mask & ~one for role, mask in masks.items()}
    stored = {"train_mask": alone["train"].T, "val_mask": alone["val"].T, "test_mask": one}
    data = load(saved(tmp_path, **stored), seed=1)
    np.testing.assert_array_equal(data.split.train, np.flatnonzero(alone["train"][1]))
    np.testing.assert_array_equal(data.split.test, np.flatnonzero(one))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"train_mask": np.arange(4)},
            r"train_mask of one boolean a node, .* int64 of shape \(4,\)",
        ),
        ({"val_mask": np.ones((3, 8), dtype=bool)}, r"val_mask of .* got bool of shape \(3, 8\)"),
        ({"test_mask": np.ones((2, N, 1))}, r"test_mask of .* got float64 of shape \(2, 12, 1\)"),
        ({"test_mask": np.arange(N)}, "test_mask of booleans, or of 0 and 1, got int64, 2 too"),
        ({"test_mask": np.full(N, np.nan)}, "test_mask of booleans, .* got float64, nan too"),
        ({"test_mask": np.full(N, "yes")}, "test_mask of booleans, or of 0 and 1, got <U3"),
        (
            {"val_mask": None},
            "all three roles or of none, got train_mask, test_mask without val_ma",
        ),
        ({"val_mask": splits(3)["val"]}, "got 2 in train_mask, 3 in val_mask, 2 in test_mask"),
        (
            {"val_mask": np.ones((0, N), dtype=bool)},
            "as many splits in each role, .* 0 in val_mask",
        ),
    ],
)
def test_masks_that_cannot_be_read_are_refused(tmp_path, changed, words):
    stored = {f"{role}_mask": mask for role, mask in splits(2).items()}
    with pytest.raises(ValueError, match=rf"own\.npz must have .*{words}"):
        load(saved(tmp_path, **stored | changed))


def weighted(entries, form):
    """Arrays of a matrix with these entries, {(row, col): weight}."""
    (row, col), values = np.array(list(entries)).T, np.array(list(entries.values()))
    matrix = sp.csr_array((values, (row, col)), shape=(N, N))
    if form == "dense":
        return {"edges": None, "adj": matrix.toarray()}
    parts = ("data", "indices", "indptr", "shape")
    return {"edges": None} | {f"adj_{part}": getattr(matrix, part) for part in parts}


FORMS = pytest.mark.parametrize("form", ["csr", "dense"])


@FORMS
def test_weights_of_a_matrix_are_starting_probabilities(tmp_path, form):
    data = load(saved(tmp_path, **weighted({(0, 1): 0.1, (1, 0): 0.1, (4, 2): 1.0}, form)))
    assert data.adjacency.nnz == 4
    np.testing.assert_allclose(data.adjacency[[0, 1, 2, 4], [1, 0, 4, 2]], [0.1, 0.1, 1, 1])


@FORMS
def test_weights_of_a_matrix_above_1_are_scaled_and_it_is_said(tmp_path, form):
    path = saved(tmp_path, **weighted({(0, 1): 0.1, (4, 2): 5.0}, form))
    with pytest.warns(UserWarning, match=r"own\.npz weight in adj goes up to 5; each is divided"):
        data = load(path)
    np.testing.assert_allclose(data.adjacency[[0, 1, 2, 4], [1, 0, 4, 2]], [0.02, 0.02, 1, 1])


@FORMS
def test_the_largest_weight_of_a_pair_is_taken_and_said(tmp_path, form):
    path = saved(tmp_path, **weighted({(0, 1): 0.9, (1, 0): 0.05}, form))
    with pytest.warns(UserWarning, match=r"own\.npz has the pair \(0, 1\) with weights 0\.05 and"):
        data = load(path)
    np.testing.assert_allclose(data.adjacency[[0, 1], [1, 0]], 0.9)


@FORMS
@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (-1.0, r"weight in adj must be finite and 0 or more, got -1 at edge \(4, 2\)"),
        (np.nan, r"weight in adj must be finite and 0 or more, got nan at edge \(4, 2\)"),
        (1j, "must have real numbers in adj, got complex128"),
    ],
)
def test_a_weight_of_a_matrix_that_cannot_be_read_is_refused(tmp_path, form, weight, words):
    path = saved(tmp_path, **weighted({(0, 1): 0.9, (4, 2): weight}, form))
    with pytest.raises(ValueError, match=rf"own\.npz {words}"):
        load(path)


def test_parts_that_are_no_matrix_are_refused(tmp_path):
    parts = weighted({(0, 1): 0.5, (4, 2): 0.5}, "csr") | {"adj_indices": np.array([1, N])}
    with pytest.raises(ValueError, match=r"own\.npz must have the parts of a CSR matrix in adj_d"):
        load(saved(tmp_path, **parts))


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_classes_are_the_numbers_that_occur(tmp_path, masks, kind):
    stored = {f"{role}_mask": mask for role, mask in splits(1).items()} if masks else {}
    y = np.array([6, 100])[np.arange(N) % 2].astype(kind)
    data = load(saved(tmp_path, node_labels=y, **stored))
    assert data.classes == ("6", "100")
    np.testing.assert_array_equal(data.labels, np.arange(N) % 2)


def test_minus_1_is_no_label(tmp_path):
    y = np.array([6, 100, 7, 6, 100, 7, 6, 100, 7, 6, 100, -1])
    data = load(saved(tmp_path, node_labels=y, node_features=np.eye(N, 4)), test_size=0)
    assert data.classes == ("6", "7", "100")
    np.testing.assert_array_equal(data.labels, [*[0, 2, 1] * 3, 0, 2, -1])
    rows = [getattr(data.split, role) for role in ("train", "validation", "stopping", "test")]
    assert sorted(np.concatenate(rows)) == list(range(N - 1))


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.arange(N) % 3 - 2, "class numbers from 0, and -1 where .* got -2 at node 0"),
        (np.full(N, -1), "must label nodes of two classes or more, got no label"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path, y, words):
    with pytest.raises(ValueError, match=rf"own\.npz .*{words}"):
        load(saved(tmp_path, node_labels=y))


def test_edges_may_be_called_edge_index(tmp_path):
    data = load(saved(tmp_path, edges=None, edge_index=EDGES.T))
    np.testing.assert_array_equal(data.adjacency.toarray(), expected(EDGES))


@pytest.mark.parametrize("kind", [bool, np.float32, np.float64, np.uint8])
def test_labels_of_any_numbers_are_classes(tmp_path, kind):
    wanted = load(saved(tmp_path))
    data = load(saved(tmp_path, node_labels=(np.arange(N) % 2).astype(kind)))
    np.testing.assert_array_equal(data.labels, wanted.labels)
    assert data.classes == ("0", "1")


def test_nan_is_no_label(tmp_path):
    y = np.array([*(np.arange(N - 1) % 2), np.nan])
    assert load(saved(tmp_path, node_labels=y), test_size=0).labels[-1] == -1


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_feature_that_is_not_finite_is_named(tmp_path, value, sparse):
    x = np.eye(N, 4)
    x[5, 2] = x[7, 1] = value
    parts = {"node_features": x}
    if sparse:
        csr = sp.csr_array(x)
        parts = {f"attr_{part}": getattr(csr, part) for part in ("data", "indices", "indptr")}
        parts |= {"attr_shape": np.array(csr.shape), "node_features": None}
    with pytest.raises(
        ValueError, match=rf"own.npz must have finite .* got {value:g} at node 5 in column 2 and 1"
    ):
        load(saved(tmp_path, **parts))


@pytest.mark.parametrize(
    ("role", "nodes", "words"),
    [
        ("val", [], "must have 2 nodes or more in val_mask, got 0 in split 0"),
        ("val", [4], "must have 2 nodes or more in val_mask, got 1 in split 0"),
        ("train", [], "must have 1 node or more in train_mask, got 0 in split 0"),
        ("val", [1, 4, 5], "node 1 in both train_mask and val_mask of split 0"),
        ("test", [5, 8, 9], "node 5 in both val_mask and test_mask of split 0"),
    ],
)
def test_masks_that_are_no_split_are_named(tmp_path, role, nodes, words):
    rows = {"train": [0, 1, 2, 3], "val": [4, 5, 6, 7], "test": [8, 9]} | {role: nodes}
    masks = {f"{name}_mask": np.isin(np.arange(N), found) for name, found in rows.items()}
    with pytest.raises(ValueError, match=rf"own\.npz .*{words}"):
        load(saved(tmp_path, **masks))


@pytest.mark.parametrize("role", ROLES)
def test_a_node_of_a_mask_must_have_a_label(tmp_path, role):
    masks = {f"{name}_mask": found for name, found in splits(2).items()}
    node = int(masks[f"{role}_mask"][0].argmax())
    y = np.where(np.arange(N) == node, -1, np.arange(N) % 2)
    words = f"got node {node} without a label in split 0|without a label in split 1"
    with pytest.raises(ValueError, match=rf"own\.npz must have labelled nodes in .*({words})"):
        load(saved(tmp_path, node_labels=y, **masks))


def test_a_class_far_from_the_others_is_said(tmp_path):
    y = np.where(np.arange(N) < 8, np.arange(N) % 2, 255).astype(np.uint8)
    with pytest.warns(UserWarning, match=r"own\.npz labels: 255 counts as a class"):
        load(saved(tmp_path, node_labels=y), test_size=0)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_weights_of_edges_are_starting_probabilities(tmp_path, shape):
    weight = 1 / EDGES.sum(1).clip(1)  # the same in both directions of a pair
    data = load(saved(tmp_path, edge_weight=weight.reshape(shape)))
    dense = np.zeros((N, N))
    np.maximum.at(dense, (EDGES[:, 0], EDGES[:, 1]), weight)
    np.testing.assert_allclose(data.adjacency.toarray(), np.maximum(dense, dense.T), rtol=1e-6)


@pytest.mark.parametrize("weight", [np.ones(len(EDGES) - 1), np.array(["a"] * len(EDGES))])
def test_weights_that_are_not_one_number_an_edge_are_refused(tmp_path, weight):
    words = rf"one number an edge in edge_weight, \({len(EDGES)},\), got {weight.dtype} of shape"
    with pytest.raises(ValueError, match=words):
        load(saved(tmp_path, edge_weight=weight))


def test_other_arrays_of_edges_are_named(tmp_path):
    with pytest.warns(UserWarning, match="edge_attr left unread; weights of edges"):
        load(saved(tmp_path, edge_attr=np.ones((len(EDGES), 3))))
