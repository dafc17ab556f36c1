"""`lds runs` lists runs, and `lds report` compares several."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from lds.cli import app
from lds.report.comparison import difference
from lds.run_folder import load_run
from tests.cli.options import QUICK


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs on the same rows, one of another seed, and one that has not ended."""
    folder = tmp_path_factory.mktemp("runs")
    runs = {"a": [], "b": ["--n-neighbors", "5"], "c": ["--seed", "1"]}
    for name, options in runs.items():
        arguments = ["fit", "iris", *QUICK, *options, "--out", str(folder / name)]
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    (folder / "d").mkdir()
    shutil.copy(folder / "a" / "settings.json", folder / "d")
    (folder / "e").mkdir()
    (folder / "e" / "settings.json").write_text("{")
    (folder / "other").mkdir()
    summary = folder / "c" / "summary.json"
    known = json.loads(summary.read_text()) | {"paired": {"frozen": [3, 1]}}
    summary.write_text(json.dumps(known))
    return folder


@pytest.mark.ci
def test_runs_are_listed(lds, folder):
    code, out, _ = lds("runs", folder, "--json")
    assert code == 0
    found = {line["folder"].rpartition("/")[2]: line for line in json.loads(out)}
    states = {name: line["state"] for name, line in found.items()}
    assert states == {"a": "done", "b": "done", "c": "done", "d": "unfinished", "e": "damaged"}
    run = load_run(folder / "a")
    assert found["a"]["test_accuracy"] == run.summary["test_accuracy"]["lds"]
    assert found["a"]["test_rows"] == 120
    assert found["a"]["gain"] is None, "no control was run"
    assert found["c"]["gain"][0] == pytest.approx(2 / 120)
    assert (found["c"]["data"], found["c"]["seed"]) == ("iris", 1)
    code, out, _ = lds("runs", folder)
    assert code == 0
    for text in ("unfinished", "damaged", "of 120", "+1.7"):
        assert text in out
    assert lds("runs", folder / "other")[1].startswith("no runs in ")
    code, _, err = lds("runs", folder / "gone")
    assert code == 2
    assert "of runs; `lds fit` makes runs" in err


def test_runs_on_the_same_rows_are_compared_row_by_row(lds, folder, tmp_path):
    page = tmp_path / "abc.html"
    names = [folder / name for name in "abc"]
    code, out, _ = lds("report", *names, "--out", page, "--json")
    assert code == 0
    a, b, c = json.loads(out)["runs"]
    assert a["against_the_first"] is None
    assert c["against_the_first"] is None, "another seed has other test rows"
    found = b["against_the_first"]
    one, two = (load_run(name).predictions for name in names[:2])
    rows, labels = one["test_rows"], one["labels"]
    right = [p["probabilities"].argmax(1)[rows] == labels[rows] for p in (one, two)]
    assert found["gained"] == int((right[1] & ~right[0]).sum())
    assert found["lost"] == int((right[0] & ~right[1]).sum())
    assert found["n_rows"] == 120
    difference = found["gained"] - found["lost"]
    assert difference == pytest.approx(120 * (b["accuracy"] - a["accuracy"]))
    text = page.read_text(encoding="utf-8")
    assert "n_neighbors</th><td>30</td><td>5</td><td>30</td>" in text
    assert "max_inner" not in text, "it is the same in all"
    assert "other test rows or labels" in text
    assert "<script" not in text
    assert str(folder) not in text, "no path of this machine"
    best = max(run["accuracy"] for run in (a, b, c))
    assert f"<td class=best>{100 * best:.1f} %</td>" in text
    code, out, _ = lds("report", *names[:2], "--out", page)
    assert code == 0
    assert "b against a: " in out
    assert "points on 120 test rows (95 % interval" in out


def test_names_of_folders_are_no_markup(lds, folder, tmp_path, monkeypatch):
    one, other = tmp_path / "[red]", tmp_path / ":cat:"
    shutil.copytree(folder / "a", one)
    shutil.copytree(folder / "b", other)
    shown = lds("runs", tmp_path)[1]
    assert "[red]" in shown
    assert ":cat:" in shown
    out = lds("report", one, other, "--out", tmp_path / "page.html")[1]
    assert ":cat: against [red]: " in out
    monkeypatch.setenv("LDS_DATA", str(one))
    assert f"{one}\n" in lds("doctor", 2)[1]


@pytest.mark.parametrize(
    ("source", "features", "same"),
    [("iris", 1, True), ("b.csv", None, True), ("b.csv", 1, False)],
)
def test_rows_of_another_table_are_not_compared(folder, source, features, same):
    one, other = load_run(folder / "a"), load_run(folder / "b")
    assert one.settings["features_crc32"] == other.settings["features_crc32"]
    other.settings["source"]["name"] = source
    if features is not None:
        other.settings["features_crc32"] = features
    assert (difference(one, other) is not None) == same
    for run, names in ((one, ["x", "y"]), (other, ["x", "z"])):
        run.predictions["identifiers"] = np.array(names)
    assert difference(one, other) is None


def test_a_comparison_needs_whole_runs(lds, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = lds("report", folder / "a", folder / "d")
    assert code == 2
    assert "not the folder of a finished run" in err
    assert not list(tmp_path.iterdir())
    assert lds("report", folder / "a", folder / "a")[0] == 0
    assert (tmp_path / "comparison.html").exists()
