"""Benchmark graphs by name, from small files made here in the layouts of their publishers."""

import json

import numpy as np
import pytest
import scipy.sparse as sp

from lds.datasets import pyg
from lds.datasets.ogb import of_ogb
from lds.datasets.registry import load

EDGES = np.array([(i, (i * 5 + 2) % 24) for i in range(24) if i != (i * 5 + 2) % 24])
Y = np.arange(24) % 2
X = np.eye(24, 6, dtype=np.float32)


def adjacency():
    dense = np.zeros((24, 24))
    dense[EDGES[:, 0], EDGES[:, 1]] = dense[EDGES[:, 1], EDGES[:, 0]] = 1
    return dense


def check(data):
    np.testing.assert_array_equal(data.adjacency.toarray(), adjacency())
    dense = data.features.toarray() if sp.issparse(data.features) else data.features
    np.testing.assert_array_equal(dense != 0, X != 0)
    np.testing.assert_array_equal(data.labels, Y)


def thirds(k):
    return [np.arange(24) % 3 == k, np.arange(24) // 8 == k]


@pytest.mark.parametrize("name", ["cornell", "actor", "squirrel_filtered", "tolokers"])
def test_npz_in_the_folder_graphs(tmp_path, name):
    (tmp_path / "graphs").mkdir()
    masks = {f"{r}_masks": np.stack(thirds(k)) for k, r in enumerate(("train", "val", "test"))}
    arrays = {"node_features": X, "node_labels": Y, "edges": EDGES}
    np.savez(tmp_path / "graphs" / f"{name}.npz", **arrays, **masks)
    for seed in (0, 1):
        data = load(name, root=tmp_path, seed=seed)
        check(data)
        np.testing.assert_array_equal(data.split.train, np.flatnonzero(thirds(0)[seed]))
        np.testing.assert_array_equal(data.split.test, np.flatnonzero(thirds(2)[seed]))
        halves = np.sort(np.concatenate([data.split.validation, data.split.stopping]))
        np.testing.assert_array_equal(halves, np.flatnonzero(thirds(1)[seed]))


def test_a_changed_file_is_refused(tmp_path):
    (tmp_path / "graphs").mkdir()
    np.savez(tmp_path / "graphs" / "texas.npz", node_features=X)
    with pytest.raises(ValueError, match=r"texas\.npz must be the published file with SHA-256"):
        load("texas", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("amazon_photo", "amazon/Photo/raw/amazon_electronics_photo.npz"),
        ("coauthor_cs", "coauthor/CS/raw/ms_academic_cs.npz"),
    ],
)
def test_amazon_and_coauthor(tmp_path, name, path):
    place = tmp_path / path
    place.parent.mkdir(parents=True)
    parts = ("data", "indices", "indptr", "shape")
    matrices = {"adj": sp.csr_array(adjacency()), "attr": sp.csr_array(X)}
    arrays = {f"{n}_{p}": getattr(m, p) for n, m in matrices.items() for p in parts}
    np.savez(place, **arrays, labels=Y)
    before = sorted(tmp_path.rglob("*"))
    data = load(name, root=tmp_path)
    check(data)
    assert sorted(tmp_path.rglob("*")) == before, "the root may be read-only"
    assert np.bincount(data.labels[data.split.train]).tolist() == [4, 4]
    assert data.split.validation.size + data.split.stopping.size == 8
    other = load(name, root=tmp_path, seed=1)
    assert not np.array_equal(data.split.train, other.split.train)


def test_wikics(tmp_path):
    place = tmp_path / "wikics" / "raw"
    place.mkdir(parents=True)
    links = [[int(j) for i, j in EDGES if i == k] for k in range(24)]
    masks = {
        "train_masks": [mask.tolist() for mask in thirds(0)],
        "val_masks": [mask.tolist() for mask in thirds(1)],
        "stopping_masks": [[False] * 24] * 2,
        "test_mask": (np.arange(24) >= 20).tolist(),
    }
    found = {"features": X.tolist(), "labels": Y.tolist(), "links": links, **masks}
    (place / "data.json").write_text(json.dumps(found))
    data = load("wikics", root=tmp_path, seed=1)
    check(data)
    np.testing.assert_array_equal(data.split.train, np.flatnonzero(thirds(0)[1]))
    assert data.split.test.tolist() == [20, 21, 22, 23]


def test_webkb_as_pyg_lays_it_out(tmp_path):
    place = tmp_path / "webkb" / "cornell" / "raw"
    place.mkdir(parents=True)
    nodes = ["id\tfeature\tlabel"]
    nodes += [f"{k}\t{','.join(str(int(v)) for v in X[k])}\t{Y[k]}" for k in range(24)]
    (place / "out1_node_feature_label.txt").write_text("\n".join(nodes) + "\n")
    lines = ["a\tb", *(f"{i}\t{j}" for i, j in EDGES)]
    (place / "out1_graph_edges.txt").write_text("\n".join(lines) + "\n")
    for k in range(10):
        masks = {f"{r}_mask": thirds(n)[k % 2] for n, r in enumerate(("train", "val", "test"))}
        np.savez(place / f"cornell_split_0.6_0.2_{k}.npz", **masks)
    data = load("cornell", root=tmp_path, seed=11)
    check(data)
    np.testing.assert_array_equal(data.split.train, np.flatnonzero(thirds(0)[1]))


def test_files_that_cannot_be_had(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"chameleon_filtered needs .* of github"):
        load("chameleon_filtered", root=tmp_path)

    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torch_geometric.datasets.wikics.download_url", unreachable)
    with pytest.raises(FileNotFoundError, match=r"wikics needs .* failed \(no network\)"):
        load("wikics", root=tmp_path)


def test_each_class_exists():
    from torch_geometric import datasets

    for name, chosen in pyg.CLASSES.items():
        assert hasattr(datasets, chosen.name), name


def test_what_ogb_returns():
    graph = {"edge_index": EDGES.T, "node_feat": X}
    roles = {
        name: np.flatnonzero(thirds(k)[0]) for k, name in enumerate(("train", "valid", "test"))
    }
    data = of_ogb("ogbn-arxiv", graph, Y[:, None], roles, seed=0)
    check(data)
    np.testing.assert_array_equal(data.split.train, roles["train"])
    np.testing.assert_array_equal(data.split.test, roles["test"])
    assert data.split.validation.size == data.split.stopping.size == 4
