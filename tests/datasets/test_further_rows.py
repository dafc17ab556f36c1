"""Files of further rows are read as the table of the fit was, whatever their few rows hold."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from lds.datasets.base import NodeDataset
from lds.datasets.registry import load
from lds.datasets.table import Rows, load_rows

pd = pytest.importorskip("pandas", reason="tables need the extra lds[table]")
pytest.importorskip("clevercsv", reason="tables need the extra lds[table]")


def fitted(path: Path, content: str, target: str | int = "kind") -> NodeDataset:
    path.write_text(content, encoding="utf-8")
    return load(path, target=target, test_size=0)


def further(path: Path, content: str, data: NodeDataset, target: str | int = "kind") -> Rows:
    path.write_text(content, encoding="utf-8")
    assert data.encoding is not None
    assert data.file is not None
    source = {"target": target, "drop": [], "identifier": None}
    return load_rows(path, data.encoding, data.file, source)


def test_a_last_column_that_is_blank_in_all_rows_shifts_no_other(tmp_path: Path) -> None:
    lines = [f"{k % 2},{k}.5,{20 + k * k % 7}.5,{300 + k % 9}.5\n" for k in range(20)]
    data = fitted(tmp_path / "t.data", "".join(lines), target=0)
    with pytest.warns(UserWarning, match="missing in columns that had none missing .*'column_4'"):
        blank = further(tmp_path / "n.data", "0,3.5,22.5,\n1,4.5,21.5,\n", data, target=0)
    full = further(tmp_path / "n.data", "0,3.5,22.5,300.5\n1,4.5,21.5,300.5\n", data, target=0)
    np.testing.assert_array_equal(blank.features[:, :2], full.features[:, :2])
    ended = further(tmp_path / "n.data", "0,3.5,22.5,300.5,\n1,4.5,21.5,300.5,\n", data, target=0)
    np.testing.assert_array_equal(ended.features, full.features)


def test_marks_in_text_and_in_columns_without_a_feature_are_no_decimal_marks(
    tmp_path: Path,
) -> None:
    lines = [f"{k},5;{k % 5};{['2.4', 'beta', 'rc'][k % 3]};{'pq'[k % 2]}\n" for k in range(30)]
    data = fitted(tmp_path / "t.csv", "a;b;version;kind\n" + "".join(lines))
    assert data.file is not None
    assert data.file.decimal == ","
    rows = further(tmp_path / "n.csv", "a;b;version;note\n2;3;2.4;1.5\n1;4;2.4;7.25\n", data)
    same = further(tmp_path / "n.csv", "a;b;version\n2,0;3;2.4\n1,0;4;2.4\n", data)
    np.testing.assert_array_equal(rows.features, same.features)
    assert "numbers have a decimal comma" in same.found
    with pytest.raises(ValueError, match=r"must have the decimal mark .* ',', got '\.'"):
        further(tmp_path / "n.csv", "a;b;version\n2.5;3;beta\n", data)


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_a_first_column_without_a_name_that_is_a_feature_is_no_index(
    tmp_path: Path, name: str
) -> None:
    lines = [f"{k % 10},{k * k % 11},{'pq'[k % 2]}\n" for k in range(20)]
    data = fitted(tmp_path / "t.csv", f"{name},x,kind\n" + "".join(lines))
    rows = further(tmp_path / "n.csv", f"{name},x\n0,0\n1,1\n2,4\n", data)
    np.testing.assert_array_equal(rows.features, data.features[:3])


@pytest.mark.parametrize("rows", ["p,u\n", "p,u\nq,v\n"])
def test_names_in_a_comment_are_those_of_the_table(tmp_path: Path, rows: str) -> None:
    lines = [f"{'pqr'[k % 3]},{'uvw'[k * k % 3]},{'ab'[k % 2]}\n" for k in range(20)]
    data = fitted(tmp_path / "t.csv", "#name,form,kind\n" + "".join(lines))
    found = further(tmp_path / "n.csv", "#name,form\n" + rows, data)
    plain = further(tmp_path / "n.csv", "# made by hand\nname,form\n" + rows, data)
    np.testing.assert_array_equal(found.features, plain.features)
    assert len(found.features) == rows.count("\n")


def test_a_parquet_file_of_another_name_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    lines = [f"{k % 10},{k * k % 11},{'pq'[k % 2]}\n" for k in range(20)]
    data = fitted(tmp_path / "t.csv", "a,b,kind\n" + "".join(lines))
    pd.DataFrame({"a": [0, 1], "b": [0, 1]}).to_parquet(tmp_path / "rows.data")
    assert data.encoding is not None
    assert data.file is not None
    source = {"target": "kind", "drop": [], "identifier": None}
    rows = load_rows(tmp_path / "rows.data", data.encoding, data.file, source)
    np.testing.assert_array_equal(rows.features, data.features[:2])


@pytest.mark.parametrize(("of_fit", "later"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_accent_is_the_same_in_both_forms_of_unicode(
    tmp_path: Path, of_fit: str, later: str
) -> None:
    lines = [f"{['Zürich', 'Genève', 'Bern'][k % 3]},{k % 7},{'pq'[k % 2]}\n" for k in range(20)]
    table = unicodedata.normalize(of_fit, "Größe,b,gehört\n" + "".join(lines))
    data = fitted(tmp_path / "t.csv", table, target=unicodedata.normalize(later, "gehört"))
    new = unicodedata.normalize(later, "Größe,b\nZürich,0\nGenève,1\n")
    rows = further(tmp_path / "n.csv", new, data, target=unicodedata.normalize(later, "gehört"))
    np.testing.assert_array_equal(rows.features, data.features[:2])
