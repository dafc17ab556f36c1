"""What is left out of a file: an index without a name, and later lines that may be comments."""

from pathlib import Path

import pytest

pd = pytest.importorskip("pandas", reason="tables need pandas")

from lds.datasets.reading import read_table  # noqa: E402


@pytest.mark.parametrize(
    ("index", "names", "said"),
    [
        ({"name": "patient"}, ["patient"], "the index 'patient' is a column"),
        ({"name": None}, [], "the index has no name: it is left out"),
        ({"name": "x"}, ["x"], "the index 'x' is a column"),
    ],
)
def test_the_index_of_parquet_is_a_column_if_it_has_a_name(
    tmp_path: Path, index: dict[str, str | None], names: list[str], said: str
) -> None:
    pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    table = pd.DataFrame({"z": [1.5, 2.5]}, index=pd.Index(["p1", "p2"], **index))
    table.to_parquet(tmp_path / "t.parquet")
    frame, how = read_table(tmp_path / "t.parquet")
    assert list(frame.columns) == [*names, "z"]
    assert said in how.found
    if names:
        assert frame[names[0]].tolist() == ["p1", "p2"]


def test_a_later_line_with_the_mark_of_a_comment_is_named(tmp_path: Path) -> None:
    rows = "#1,2,u\n#3,4\n5,6,v\n7,8,u\n9,8,v\n"
    (tmp_path / "t.csv").write_text("a,b,y\n" + rows)
    frame, how = read_table(tmp_path / "t.csv")
    assert frame["a"].tolist() == ["#1", "5", "7", "9"]
    assert any("1 comment below the first row" in t and "(line 3: #3)" in t for t in how.found)
