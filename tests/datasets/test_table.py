import sys
from pathlib import Path

import numpy as np
import pytest

from lds.datasets.base import NodeDataset
from lds.datasets.encoding import TableEncoding
from lds.datasets.reading import FileFormat
from lds.datasets.registry import load
from lds.datasets.table import load_rows

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


HEADERLESS = "".join(f"{30 + k % 40},{58 + k % 11},{k % 9},{1 + k % 2}\n" for k in range(60))
NAMED = "1,size,kind\n" + "".join(f"{k % 3},{k}.5,{'ab'[k % 2]}\n" for k in range(24))


@pytest.mark.parametrize(
    ("content", "target", "name", "classes"),
    [
        (HEADERLESS, "-1", "column_4", ("1", "2")),
        (HEADERLESS, -1, "column_4", ("1", "2")),
        (HEADERLESS, "3", "column_4", ("1", "2")),
        (HEADERLESS, "column_4", "column_4", ("1", "2")),
        (HEADERLESS, "2", "column_3", tuple("012345678")),
        (NAMED, "kind", "kind", ("a", "b")),
        (NAMED, " kind ", "kind", ("a", "b")),
        (NAMED, "-1", "kind", ("a", "b")),
        (NAMED, "1", "1", ("0", "1", "2")),  # a name goes over a position
        (NAMED, "2", "kind", ("a", "b")),
    ],
)
@pytest.mark.filterwarnings("ignore:the labelled rows cannot be split:UserWarning")
def test_a_target_by_name_or_position_never_by_a_value(
    content: str, target: str | int, name: str, classes: tuple[str, ...], tmp_path: Path
) -> None:
    data = load(text(tmp_path / "t.csv", content), target=target, test_size=0)
    assert data.n_nodes == content.count("\n") - (content is NAMED)
    assert data.classes == classes
    assert data.file is not None
    position = f"target {target} is the column {name!r}"
    assert (position in data.file.found) == (target != name)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "one of size, colour, wild, kind, got none; or a position: 0 to 3, or -1"),
        ("Kind", "got 'Kind'; the nearest is 'kind', at position 3; or"),
        ("5", "got '5'; or a position: 0 to 3"),
        (-6, "got -6; or a position"),
        ("red", "got 'red'; "),
    ],
)
def test_an_unknown_target_is_told_of_with_what_would_do(
    target: str | int | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        load(write(frame(), tmp_path / "table.csv"), target=target)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_identifiers_and_dropped_columns_are_no_features(suffix: str, tmp_path: Path) -> None:
    table = frame()
    table.insert(0, "who", [f"p{k}" for k in range(60)])
    path = write(table, tmp_path / f"t{suffix}")
    wanted = load(write(frame()[["size", "kind"]], tmp_path / f"u{suffix}"), target="kind")
    for drop in (["colour", "wild"], ["colour,wild"], ["2", "wild"]):
        data = load(path, target="kind", identifier="who", drop=drop)
        assert data.identifiers == tuple(f"p{k}" for k in range(60))
        np.testing.assert_array_equal(data.features, wanted.features)


def test_identifiers_that_repeat_are_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="'id' is the same in several rows: it has 2 different"):
        load(
            text(tmp_path / "t.csv", "id,x,y\n" + "p,1,a\nq,2,b\n" * 6),
            target="y",
            identifier="id",
            test_size=0,
        )


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = write(frame(), tmp_path / "table.csv")
    with pytest.raises(ValueError, match="has 3 faults: ") as error:
        load(path, target="kin", drop=["color", "size"], identifier="name")
    for part in ("(1) target must", "'kind'", "(2) drop must", "'colour'", "(3) identifier must"):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="drop must not name the target, got 'kind'"):
        load(path, target="kind", drop=["kind"])
    content = "x,z,y\n1,1,0.5\n2,inf,1.5\n3,4,2.5\n"
    with pytest.raises(ValueError, match=r"has 2 faults: .*regression target.*column 'z'"):
        load_text(tmp_path, content)


@pytest.mark.parametrize(
    "write_number",
    ["{:.2f}", "{:.5e}", "${:,.2f}", "{:.1f} %", "{:.3f}"],
    ids=["plain", "exponent", "currency", "percent", "blanks"],
)
def test_a_continuous_target_is_refused(
    write_number: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rng = np.random.default_rng(0)
    cells = [write_number.format(1500 + 900 * value) for value in rng.random(60)]
    if "blanks" in request.node.name:
        cells[::7] = ["?"] * len(cells[::7])
    table = pd.DataFrame({"x": rng.random(60), "price": cells})
    with pytest.raises(ValueError, match=r"target column 'price' .* different numbers with frac"):
        load(write(table, tmp_path / "t.csv"), target="price")


def test_a_continuous_target_in_other_dress(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(60)
    table = pd.DataFrame({"x": values, "price": values})
    with pytest.raises(ValueError, match=r"60 different numbers with fractions .*: a regression"):
        load(write(table, tmp_path / "t.parquet"), target="price")
    lines = "".join(f"{2 * k};{value:.2f}\n".replace(".", ",") for k, value in enumerate(values))
    with pytest.raises(ValueError, match=r"different numbers with fractions .*: a regression"):
        load(text(tmp_path / "t.csv", "x;price\n" + lines), target="price")


@pytest.mark.filterwarnings("ignore:the test rows cannot be drawn by class:UserWarning")
@pytest.mark.filterwarnings("ignore:the labelled rows cannot be split:UserWarning")
def test_a_target_of_many_values_is_warned_of(tmp_path: Path) -> None:
    prices = [1000 + k % 40 for k in range(60)]
    table = pd.DataFrame({"x": np.linspace(0, 1, 60), "price": prices})
    with pytest.warns(UserWarning, match="40 classes are many for 60 labelled rows"):
        load(write(table, tmp_path / "t.csv"), target="price")


def test_whole_numbers_written_with_a_point_are_classes(tmp_path: Path) -> None:
    data = load_text(tmp_path, "x,y\n" + "1,1.0\n2,2.0\n" * 6)
    assert data.classes == ("1", "2")


TWICE = "a,kind,kind\n" + "".join(f"{k % 9},{'pq'[k % 2]},{'pq'[k % 2]}\n" for k in range(30))


def test_a_target_whose_name_two_columns_have_is_refused(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", TWICE)
    with pytest.raises(ValueError, match=r"of one column, got 'kind', .* here called kind_2; drop"):
        load(path, target="kind")
    assert load(path, target="kind", drop=["kind_2"]).features.shape == (30, 1)


@pytest.mark.parametrize(
    ("content", "options", "name"),
    [
        (TWICE, {"target": 1}, "kind_2"),
        (TWICE.replace("kind,kind", "kind,copy"), {"target": "kind"}, "copy"),
        (TWICE.replace("3,q,q", "3,,p"), {"target": "kind"}, "kind_2"),
    ],
)
def test_a_feature_that_holds_the_labels_is_said(
    tmp_path: Path, content: str, options: dict[str, object], name: str
) -> None:
    path = text(tmp_path / "t.csv", content.replace("kind,kind", "kind,kind_2"))
    with pytest.warns(UserWarning, match=rf"column '{name}' equals the target 'kind' at all"):
        load(path, **options)


TABLE = "who,a,b,y\n" + "".join(f"p{k},{k}.5,{k % 4}.25,{'uv'[k % 2]}\n" for k in range(12))
SOURCE = {"target": "y", "drop": [], "identifier": "who"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("n.csv", "b,a,who\n2.25,3.5,q\n"),
        ("n.csv", "who;b;a\nq;2.25;3.5\n"),
        ("n.tsv", "who\tb\ta\ty\textra\nq\t2.25\t3.5\t\t7\n"),
        ("n.csv", "who,b,a\nq,2.25,3.5\n".encode("utf-16")),
    ],
)
def test_further_rows_in_other_files(name: str, content: str | bytes, tmp_path: Path) -> None:
    data = load(text(tmp_path / "t.csv", TABLE), target="y", identifier="who", test_size=0)
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    rows = load_rows(path, data.encoding, data.file, SOURCE)
    np.testing.assert_array_equal(
        rows.features, data.encoding.encode(pd.DataFrame({"a": [3.5], "b": [2.25]}))
    )
    assert rows.identifiers == ("q",)


def test_further_rows_without_a_header_go_by_position(tmp_path: Path) -> None:
    body = TABLE.split("\n", 1)[1]
    data = load(text(tmp_path / "t.csv", body), target=-1, identifier=0, test_size=0)
    source = {"target": -1, "drop": [], "identifier": 0}
    wanted = data.features[:2]
    for lines in ("p0,0.5,0.25\np1,1.5,1.25\n", "p0,0.5,0.25,u\np1,1.5,1.25,\n"):
        rows = load_rows(text(tmp_path / "n.csv", lines), data.encoding, data.file, source)
        np.testing.assert_array_equal(rows.features, wanted)
        assert rows.identifiers == ("p0", "p1")
    with pytest.raises(ValueError, match="must have the table's 4 columns, or all but its target"):
        load_rows(text(tmp_path / "n.csv", "0.5,0.25\n"), data.encoding, data.file, source)


def test_further_rows_have_the_decimal_mark_of_the_table(tmp_path: Path) -> None:
    data = load(text(tmp_path / "t.csv", TABLE), target="y", identifier="who", test_size=0)
    other = text(tmp_path / "n.csv", "who;a;b\nq;3,5;2,25\n")
    with pytest.raises(ValueError, match=r"must have the decimal mark of .* '\.', got ','"):
        load_rows(other, data.encoding, data.file, SOURCE)


def test_further_rows_that_do_not_decide_are_read_with_the_mark_of_the_table(
    tmp_path: Path,
) -> None:
    rows = "".join(f"{k},5;{k % 3 + 1}.{100 + k};{'uv'[k % 2]}\n" for k in range(12))
    data = load(text(tmp_path / "t.csv", "a;b;y\n" + rows), target="y", test_size=0)
    source = {"target": "y", "drop": (), "identifier": None}
    other = text(tmp_path / "n.csv", "a;b\n2;1.100\n")
    found = load_rows(other, data.encoding, data.file, source)
    b = data.encoding.columns[1]
    assert found.features[0, 1] == (1100 - b.center) / b.scale
    assert found.found == ("numbers have a decimal comma",)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "n_rows", "target"),
    [("raw-german", 1000, -1), ("raw-horse-colic", 300, -1), ("raw-auto_imports", 201, 6)],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_real_files_without_a_header_lose_no_row(
    name: str, n_rows: int, target: int, data_folder: Path
) -> None:
    data = load(real(data_folder, name), target=target)
    lines = real(data_folder, name).read_text().splitlines()
    assert data.n_nodes == n_rows
    assert [data.classes[label] for label in data.labels] == [
        line.split(",")[target].strip() for line in lines
    ]


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_column_of_prices_is_no_target(data_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"'column_26' .* 186 different numbers .*: a quantity"):
        load(real(data_folder, "raw-auto_imports"), target="-1")


def real(data_folder: Path, name: str) -> Path:
    path = data_folder / "tables" / f"{name}.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there; data/README.md says how LDS_DATA is laid out")
    return path


def test_further_rows_may_differ_in_the_white_space_of_names(tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": np.arange(20.0), " b": np.arange(20.0) ** 2})
    encoding, features = TableEncoding.fit(rows)
    file = FileFormat(None, None, True, None, "", encoding.names, ())
    source = {"target": None, "drop": [], "identifier": None}
    path = text(tmp_path / "rows.csv", rows.to_csv(index=False))
    np.testing.assert_array_equal(load_rows(path, encoding, file, source).features, features)
    twice = TableEncoding.of(rows.assign(**{"b ": np.arange(20.0) ** 3}))
    file = FileFormat(None, None, True, None, "", twice.names, ())
    with pytest.raises(ValueError, match="it lacks  b "):
        load_rows(path, twice, file, source)
