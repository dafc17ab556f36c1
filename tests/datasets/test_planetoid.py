import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from lds.datasets import planetoid
from lds.datasets.registry import load

pytestmark = pytest.mark.data

SIZES = {"cora": (2708, 1433, 7, 5278, 140, 0), "citeseer": (3327, 3703, 6, 4552, 120, 15)}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_roles(name: str, shared_data: Path) -> None:
    n_nodes, n_features, n_classes, n_edges, n_train, n_unknown = SIZES[name]
    data = load(name, seed=0, root=shared_data)
    split = data.split
    assert isinstance(data.features, sp.csr_array)
    assert data.features.shape == (n_nodes, n_features)
    assert data.features.dtype == np.float32
    assert len(data.classes) == n_classes
    assert (data.labels < 0).sum() == n_unknown
    sizes = [part.size for part in (split.train, split.validation, split.stopping, split.test)]
    assert sizes == [n_train, 250, 250, 1000]
    np.testing.assert_array_equal(np.bincount(data.labels[split.train]), [20] * n_classes)
    np.testing.assert_array_equal(split.train, np.arange(n_train))
    evaluated = np.sort(np.concatenate([split.validation, split.stopping]))
    np.testing.assert_array_equal(evaluated, np.arange(n_train, n_train + 500))

    adjacency = data.adjacency
    assert adjacency is not None
    assert adjacency.nnz == 2 * n_edges
    assert abs(adjacency - adjacency.T).nnz == 0
    assert adjacency.diagonal().sum() == 0
    assert set(adjacency.data.tolist()) == {1.0}


@pytest.mark.parametrize("name", SIZES)
def test_rows_sum_to_one_or_have_no_word(name: str, shared_data: Path) -> None:
    data = load(name, root=shared_data)
    total = data.features.sum(axis=1)
    empty = total == 0
    np.testing.assert_allclose(total[~empty], 1, rtol=1e-5)
    np.testing.assert_array_equal(empty, data.labels < 0)


def test_the_seed_halves_the_validation_nodes(shared_data: Path) -> None:
    first, again, other = (load("cora", seed=s, root=shared_data).split for s in (0, 0, 1))
    np.testing.assert_array_equal(first.validation, again.validation)
    assert not np.array_equal(first.validation, other.validation)
    np.testing.assert_array_equal(first.test, other.test)


def test_retain(shared_data: Path) -> None:
    whole = load("cora", root=shared_data).adjacency
    halved = load("cora", root=shared_data, retain=0.5, seed=1)
    half = halved.adjacency
    assert whole is not None
    assert half is not None
    assert half.nnz == 5278
    assert (half > whole).nnz == 0
    assert abs(half + halved.held_out - whole).nnz == 0
    assert load("cora", root=shared_data, retain=0).adjacency is None


def test_the_folder_itself_is_a_root_and_stays_as_it_is(shared_data: Path) -> None:
    folder = shared_data / "planetoid"
    before = sorted(folder.rglob("*"))
    assert load("cora", root=folder).n_nodes == 2708
    assert sorted(folder.rglob("*")) == before


def test_a_changed_file_is_refused_before_it_is_read(shared_data: Path, tmp_path: Path) -> None:
    raw = tmp_path / "planetoid" / "Cora" / "raw"
    raw.mkdir(parents=True)
    for path in (shared_data / "planetoid" / "Cora" / "raw").iterdir():
        shutil.copyfile(path, raw / path.name)
    # A pickle that would raise another error if it were loaded: it calls int("ran").
    (raw / "ind.cora.graph").write_bytes(b"cbuiltins\nint\n(S'ran'\ntR.")
    with pytest.raises(
        ValueError, match=r"ind\.cora\.graph must be the published file with SHA-256"
    ):
        load("cora", root=tmp_path)


def test_files_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torch_geometric.io.fs.cp", unreachable)
    with pytest.raises(
        FileNotFoundError, match=r"pubmed needs its files ind\.pubmed\.\* in .*no net"
    ):
        load("pubmed", root=tmp_path)
    assert list(tmp_path.iterdir()) == [], "a failed fetch leaves nothing behind"


def test_fetched_files_are_kept(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = shared_data / "planetoid" / "Cora" / "raw"

    def copy(url: str, folder: str) -> None:
        shutil.copyfile(published / Path(url).name, Path(folder) / Path(url).name)

    monkeypatch.setattr("torch_geometric.io.fs.cp", copy)
    load("cora", root=tmp_path)
    kept = {path.name for path in (tmp_path / "planetoid" / "Cora" / "raw").iterdir()}
    assert kept == {f"ind.cora.{part}" for part in planetoid.PARTS}
    monkeypatch.undo()
    assert load("cora", root=tmp_path).n_nodes == 2708
