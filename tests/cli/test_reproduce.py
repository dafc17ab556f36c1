"""`lds reproduce`: the list, one entry, what it refuses."""

import json
import subprocess
import sys

import pytest

from lds.experiments.reproduce.registry import ENTRIES


@pytest.mark.ci
def test_the_list_shows_every_entry_and_imports_no_torch(tmp_path):
    code = (
        "import sys\n"
        "from lds.cli import main\n"
        "try: main(['reproduce', '--json'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert [each["name"] for each in listed] == list(ENTRIES)
    for each in listed:
        assert {"title", "place", "missing", "minutes", "rows", "done"} <= set(each)


def test_the_list_says_which_data_is_missing(lds, tmp_path):
    code, out, _ = lds("reproduce", "--json", "--root", tmp_path, "--out", tmp_path / "rows.jsonl")
    assert code == 0
    by_name = {each["name"]: each for each in json.loads(out)}
    assert by_name["table-7.4"]["missing"] == ["omniglot/omniglot28.npz"]
    assert by_name["figure-8.1"]["missing"] == []


def test_an_entry_prints_both_numbers_and_goes_on_where_it_was(lds, tmp_path):
    out = tmp_path / "rows.jsonl"
    options = ("reproduce", "appendix-d", "--out", out, "--root", tmp_path)
    code, _, _ = lds(*options, "--only", "function=products of edges")
    assert code == 0
    assert len(out.read_text().splitlines()) == 1
    code, text, _ = lds(*options)
    assert code == 0
    assert "4 of 4 rows" in text
    assert "holds" in text
    lines = out.read_text().splitlines()
    assert len(lines) == 4
    code, printed, _ = lds(*options, "--json")
    assert out.read_text().splitlines() == lines
    (found,) = json.loads(printed)
    assert found["done"] == found["rows"] == 4
    assert {each["verdict"] for each in found["comparisons"]} == {"holds"}


def test_rows_without_data_are_left_out_with_a_line(lds, tmp_path):
    out = tmp_path / "rows.jsonl"
    code, text, err = lds("reproduce", "table-7.4", "--out", out, "--root", tmp_path)
    assert code == 0
    assert "omniglot28.npz is not there" in err.replace("\n", "")
    assert "0 of 2 rows" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("table-92",), "the nearest is 'table-9.2'"),
        (("table-9.2", "--budget", "huge"), "--budget must be one of tiny, cpu, full"),
        (("table-9.2", "--only", "wine"), "--only must be NAME=VALUE"),
        (("table-9.2", "--only", "dataset=wine"), "no row of table-9.2 has"),
    ],
)
def test_what_cannot_be_is_refused(lds, tmp_path, arguments, words):
    code, _, err = lds("reproduce", *arguments, "--out", tmp_path / "rows.jsonl")
    assert code == 2
    assert words in err.replace("\n", " ")
