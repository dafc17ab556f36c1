"""Arrays of the user's own .npz files: the shapes that are read, and those that are refused."""

import numpy as np
import pytest

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
