import sys
from pathlib import Path

import numpy as np
import pytest

from lds.datasets.base import NodeDataset, load

pd = pytest.importorskip("pandas", reason="tables need the extra lds[table]")


def frame(n_rows: int = 60) -> "pd.DataFrame":
    """Labels a, b, and every fourth row blank."""
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(n_rows) % 2, "b", "a").astype(object)
    labels[::4] = None
    return pd.DataFrame(
        {
            "size": rng.normal(5, 3, n_rows),
            "colour": rng.choice(["red", "blue"], n_rows),
            "wild": rng.random(n_rows) < 0.5,
            "kind": labels,
        }
    )


def write(table: "pd.DataFrame", path: Path) -> Path:
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
        table.to_parquet(path)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def load_text(tmp_path: Path, content: str, test_size: float = 0.0) -> NodeDataset:
    return load(text(tmp_path / "table.csv", content), target="y", test_size=test_size)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_features_labels_and_roles(suffix: str, tmp_path: Path) -> None:
    table = frame()
    path = write(table, tmp_path / f"table{suffix}")
    data = load(path, target="kind")

    z = (table["size"] - table["size"].mean()) / table["size"].std(ddof=0)
    blue = (table["colour"] == "blue").to_numpy(dtype=float)
    expected = np.column_stack([z, blue, 1 - blue, table["wild"]])
    np.testing.assert_allclose(data.features, expected, atol=1e-12)
    assert data.features.dtype == np.float64

    assert data.name == str(path)
    assert data.classes == ("a", "b")
    assert data.adjacency is None
    expected_labels = table["kind"].map({"a": 0, "b": 1}).fillna(-1).to_numpy()
    np.testing.assert_array_equal(data.labels, expected_labels)
    split = data.split
    sizes = [part.size for part in (split.train, split.validation, split.stopping, split.test)]
    assert sizes == [12, 12, 12, 9]  # 45 labelled rows, a fifth of them held out
    for part in (split.train, split.validation, split.stopping, split.test):
        assert set(data.labels[part].tolist()) == {0, 1}


def test_the_split_follows_the_seed(tmp_path: Path) -> None:
    path = str(write(frame(), tmp_path / "table.csv"))
    first, again, other = (load(path, target="kind", seed=seed).split for seed in (0, 0, 1))
    for role in ("train", "validation", "stopping", "test"):
        np.testing.assert_array_equal(getattr(first, role), getattr(again, role))
    assert not np.array_equal(first.test, other.test)


def test_no_test_rows_are_held_out_if_none_are_wanted(tmp_path: Path) -> None:
    split = load(write(frame(), tmp_path / "table.csv"), target="kind", test_size=0).split
    assert split.test.size == 0
    assert split.train.size + split.validation.size + split.stopping.size == 45


def test_a_missing_category_is_a_value_of_its_own(tmp_path: Path) -> None:
    data = load_text(tmp_path, "x,y\n" + "u,a\n,b\n" * 3 + "v,a\nv,b\n")
    assert data.features.shape == (8, 3)
    np.testing.assert_array_equal(data.features.sum(axis=1), 1)
    assert not np.array_equal(data.features[0], data.features[1])


@pytest.mark.parametrize("seed", range(5))
def test_rare_classes_are_warned_of_and_learned_from(seed: int, tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", "x,y\n" + "1,a\n2,a\n" * 10 + "3,b\n")
    with (
        pytest.warns(UserWarning, match="test rows cannot be drawn by class: 5 of 21"),
        pytest.warns(UserWarning, match="labelled rows cannot be split by class"),
    ):
        data = load(path, target="y", test_size=0.2, seed=seed)
    assert data.split.test.size == 5
    assert 20 in data.split.train, "the one row of class b"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "table.csv is empty"),
        (
            "x,y\n1,2\n1,2,3,4\n",
            "table.csv cannot be read as a table.* most have 2, but line 3 has 4",
        ),
        ("x,y\n", "table.csv must have at least one row below its header"),
        ("x,z\n1,a\n", "target must name the column of labels, one of x, z, got 'y'"),
        ("y\na\nb\na\nb\n", "must have a column besides its target"),
        (
            "x,z,y\n1,1,a\n2,inf,b\n3,3,a\n4,4,b\n",
            "column 'z' must hold finite numbers, got infinity .* row 1",
        ),
    ],
)
def test_unusable_tables_are_refused(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_text(tmp_path, content)


def test_the_target_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one of size, colour, wild, kind, got none"):
        load(write(frame(), tmp_path / "table.csv"))


@pytest.mark.parametrize("test_size", [-0.1, 1.0, float("nan")])
def test_test_size_is_a_share(test_size: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"test_size .* must be in \[0, 1\), got"):
        load(write(frame(), tmp_path / "table.csv"), target="kind", test_size=test_size)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no table at .*none\.csv"):
        load(tmp_path / "none.csv", target="y")


def test_an_unknown_extension(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"a table must be a \.csv, .*\.parquet file, .*got .*x\.feather"
    ):
        load(tmp_path / "x.feather", target="y")


def test_a_broken_parquet_file(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    with pytest.raises(ValueError, match=r"t\.parquet cannot be read as a table"):
        load(text(tmp_path / "t.parquet", "x,y\n1,a\n"), target="y")


def test_without_pandas_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(frame(), tmp_path / "table.csv")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'lds\[table\]'"):
        load(path, target="kind")
