"""The label column of a file, and that it comes to what the estimator makes of the same labels."""

from pathlib import Path

import pytest

from lds._labels import encode_labels
from lds.datasets.base import NodeDataset
from lds.datasets.labels import encode_column
from lds.datasets.registry import load
from lds.estimators.labels import split_roles

pd = pytest.importorskip("pandas", reason="tables need the extra lds[table]")


def table(folder: Path, labels: list[str], **options: object) -> NodeDataset:
    """A CSV file with these labels as written, loaded."""
    path = folder / "table.csv"
    lines = [f'{row % 7},"{label}"' for row, label in enumerate(labels)]
    path.write_text("\n".join(["x,y", *lines]) + "\n", encoding="utf-8")
    return load(path, target="y", **{"test_size": 0.0, **options})


def test_text_is_taken_as_written(tmp_path: Path) -> None:
    data = table(tmp_path, ["North", "01", "South", " 01 "] * 3 + ["", "  "])
    assert data.classes == ("01", "North", "South")
    assert data.labels.tolist() == [1, 0, 2, 0] * 3 + [-1, -1]


@pytest.mark.parametrize("mark", ["?", "NA", "n/a", "nan", "None", "NULL", "<NA>", "-", "."])
def test_text_that_means_no_label_is_refused_until_it_is_settled(tmp_path: Path, mark: str) -> None:
    labels = ["a", "b", mark] * 4
    with pytest.raises(
        ValueError, match=r"target column 'y' has the label .* \(4 of 12 rows\)"
    ) as e:
        table(tmp_path, labels)
    assert f"say --unlabelled {mark!r} if it does, or --unlabelled '' if it is" in str(e.value)
    without = table(tmp_path, labels, unlabelled=[mark])
    assert without.classes == ("a", "b")
    assert without.labels.tolist() == [0, 1, -1] * 4
    named = table(tmp_path, labels, unlabelled=[""])
    assert named.classes == tuple(sorted(["a", "b", mark]))
    assert (named.labels >= 0).all()


def test_several_marks(tmp_path: Path) -> None:
    data = table(tmp_path, ["a", "b", "tbd", "?"] * 4, unlabelled=["tbd", " ? "])
    assert data.labels.tolist() == [0, 1, -1, -1] * 4


def test_a_mark_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="target column 'y' has no label 'tdb' to leave out"):
        table(tmp_path, ["a", "b"] * 4, unlabelled=["tdb"])


def test_minus_one_is_no_label_among_whole_numbers_only(tmp_path: Path) -> None:
    assert table(tmp_path, ["0", "1", "-1"] * 4).labels.tolist() == [0, 1, -1] * 4
    settled = table(tmp_path, ["-1", "1"] * 4, unlabelled=[""])
    assert settled.classes == ("-1", "1")
    with pytest.raises(ValueError, match=r"has the label '-1' \(4 of 12 rows\)"):
        table(tmp_path, ["low", "high", "-1"] * 4)
    with pytest.raises(
        ValueError, match=r"4 of class 1; -1 was read as no label: number .* or say --unlabelled ''"
    ):
        table(tmp_path, ["-1", "1"] * 4)


@pytest.mark.parametrize(
    ("written", "classes"),
    [
        (["10", "9", "2"], ("2", "9", "10")),
        (["10.0", "9.0", "2", ""], ("2", "9", "10")),
        (["+3", "0", "-3"], ("-3", "0", "3")),
        (["010", "009", "002"], ("002", "009", "010")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["True", "False", ""], ("False", "True")),
        (["99999999999999999999", "3", "20"], ("3", "20", "99999999999999999999")),
    ],
)
def test_numbers_are_in_the_order_of_numbers(
    tmp_path: Path, written: list[str], classes: tuple[str, ...]
) -> None:
    data = table(tmp_path, written * 4)
    assert data.classes == classes
    numbers = [
        classes.index(str(int(float(t))) if t.endswith(".0") else t.lstrip("+")) if t else -1
        for t in written
    ]
    assert data.labels.tolist() == numbers * 4


@pytest.mark.parametrize("labels", [["10", "9", "2", ""], ["no", "yes", "", "yes"]])
def test_the_shell_and_the_estimator_deal_the_same_roles(tmp_path: Path, labels: list[str]) -> None:
    data = table(tmp_path, labels * 10, seed=3)
    frame = pd.read_csv(tmp_path / "table.csv")
    codes, classes = encode_labels(frame["y"], len(frame))
    assert codes.tolist() == data.labels.tolist()
    split = split_roles(codes, classes, None, None, 3)
    for role in ("train", "validation", "stopping"):
        assert getattr(split, role).tolist() == getattr(data.split, role).tolist()


@pytest.mark.parametrize(
    "column",
    [
        [0.0, 1.0, None] * 4,
        pd.Series([0, 1, None] * 4, dtype="Int64"),
        pd.Series(pd.Categorical([0, 1, None] * 4, categories=[0, 1, 7])),
        pd.Series(["0", "1", ""] * 4, dtype="string"),
        ["0", "1", " "] * 4,
    ],
)
def test_typed_columns_have_the_classes_of_text(column: object) -> None:
    codes, classes = encode_column(column, "y")
    assert classes == ("0", "1")
    assert codes.tolist() == [0, 1, -1] * 4


@pytest.mark.parametrize(
    "written", [["0.5", "1.0", "2"], ["1e-3", "2", "3"], ["inf", "1", "2"], ["1.5", "2.5", ""]]
)
def test_a_continuous_target_is_refused(tmp_path: Path, written: list[str]) -> None:
    with pytest.raises(ValueError, match=r"target column 'y' must hold classes, got . different"):
        table(tmp_path, written * 4)
    with pytest.raises(ValueError, match=r"target column 'y' must hold classes, got . different"):
        encode_column([float(text) if text else None for text in written * 4], "y")


def test_an_identifier_as_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="12 rows and as many classes: no class has a second row"):
        table(tmp_path, [f"id-{row}" for row in range(12)])


@pytest.mark.parametrize(
    ("labels", "test_size", "message"),
    [
        (["a", "b", "a"], 0.0, "at least 4 rows .*got 2 of class 'a' and 1 of class 'b'$"),
        (["a", "b", "a", "b"], 0.2, "at least 5 rows .* the other 1 for test_size=0.2.*got 2 of"),
        (["a", "b"] * 3, 0.5, "at least 8 rows .* the other 4 for test_size=0.5.*got 3 of"),
        (["a", "b"] * 19, 0.9, "at least 40 rows .* the other 36 for test_size=0.9"),
        (["a"] * 9 + [""], 0.0, "at least 4 rows of two classes or more .*got 9 of class 'a'$"),
        (["", " "], 0.0, "at least 4 rows .*got no labelled row$"),
    ],
)
def test_the_least_number_of_labels_is_said_by_class(
    tmp_path: Path, labels: list[str], test_size: float, message: str
) -> None:
    with pytest.raises(ValueError, match=f"target column 'y' must label {message}"):
        table(tmp_path, labels, test_size=test_size)


@pytest.mark.filterwarnings("ignore:the (test|labelled) rows cannot")
@pytest.mark.parametrize(("n", "test_size"), [(4, 0.0), (5, 0.2), (8, 0.5), (40, 0.9)])
def test_the_least_number_of_labels_is_enough(tmp_path: Path, n: int, test_size: float) -> None:
    for labels in (["a", "b"] * n, ["a"] * (n - 2) + ["b"] * 2, ["a"] * (n - 1) + ["b"]):
        for seed in range(5):
            data = table(tmp_path, labels[:n], test_size=test_size, seed=seed)
            assert set(data.labels[data.split.train]) == {0, 1}
            assert min(data.split.validation.size, data.split.stopping.size) >= 1


def test_near_names_are_told_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"target column 'y': classes with nearly .*'Yes', 'yes'"):
        table(tmp_path, ["yes", "no", "Yes", "no "] * 4)


@pytest.mark.filterwarnings("ignore:target column 'y'. classes with nearly")
@pytest.mark.parametrize(
    ("written", "classes"),
    [
        (["1.000", "2.000"], ("1.000", "2.000")),
        (["1.000", "1", "2"], ("1", "1.000", "2")),
        (["1", "1,0", "2"], ("1", "2")),
        (["1,00", "10,00", "9,00"], ("1", "9", "10")),
    ],
)
def test_labels_are_read_in_the_number_format_of_the_file(
    tmp_path: Path, written: list[str], classes: tuple[str, ...]
) -> None:
    path = tmp_path / "table.csv"
    lines = [f"{row % 7},5;{label}" for row, label in enumerate(written * 6)]
    path.write_text("\n".join(["x;y", *lines]) + "\n")
    assert load(path, target="y", test_size=0.0).classes == classes


@pytest.mark.parametrize(
    "alike", [("1", "1,0"), ("1", "1.000"), ("1000", "1.000"), ("1000", "1,000"), ("1,5", "1.5")]
)
def test_classes_that_may_be_one_number_are_told_of(alike: tuple[str, str]) -> None:
    with pytest.warns(UserWarning, match=r"nearly the same name \('1.*', '1.*'\) count as diff"):
        _, classes = encode_labels([*alike, "other"] * 4, 12)
    assert len(classes) == 3


def test_binary_text_of_parquet_is_text(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    rows = range(24)
    number = [None, *map(float, rows[1:])]
    name = [f"p{row}".encode() for row in rows]
    columns = {
        "number": number,
        "name": name,
        "x": [row % 5 for row in rows],
        "y": [b"a", b"b"] * 12,
    }
    pd.DataFrame(columns).to_parquet(tmp_path / "t.parquet")
    options = {"target": "y", "test_size": 0.0, "drop": ["name"]}
    data = load(tmp_path / "t.parquet", identifier="number", **options)
    assert data.classes == ("a", "b")
    assert data.identifiers == ("", *map(str, rows[1:]))
    named = load(tmp_path / "t.parquet", identifier="name", target="y", test_size=0.0)
    assert named.identifiers == tuple(f"p{row}" for row in rows)
