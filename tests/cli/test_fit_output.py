"""What a person reads after `lds fit`, beside what the report says of the same run."""

import html
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from typer.testing import CliRunner

from lds._verdict import verdict
from lds.cli import app
from lds.report import page
from lds.report.settings import settings_tables
from lds.run_folder import load_run
from tests.cli.options import QUICK, rows


class Fit(NamedTuple):
    """A finished command and its run."""

    folder: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def fit(tmp_path_factory) -> Fit:
    """A fit with the controls on a table with identifiers; ten rows have no label."""
    folder = tmp_path_factory.mktemp("fit")
    numbers, _, kinds = rows(60, 3)
    lines = ["who,a,b,town,kind"]
    for k, (a, b) in enumerate(numbers):
        label = "" if k >= 50 else ["cat", "dog"][kinds[k]]
        lines.append(f"pet {k},{a:.3f},{b:.3f},town{k % 5},{label}")
    (folder / "pets.csv").write_text("\n".join(lines) + "\n")
    options = "--target kind --id who --max-iter 1 --max-inner 10 --refit-steps 4 --n-neighbors 5"
    arguments = ["fit", str(folder / "pets.csv"), *options.split(), "--out", str(folder / "run")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lds.cli.console.out._width", 200)  # a wide terminal breaks no line
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return Fit(folder / "run", result.stdout, result.stderr)


@pytest.fixture(scope="module")
def shown(fit) -> str:
    """The text of its report."""
    return html.unescape(page.html(load_run(fit.folder)))


@pytest.mark.ci
def test_edges_before_and_after_are_sums_of_probabilities(fit, shown):
    run = load_run(fit.folder)
    before, after = (run.summary[name] for name in ("starting_edges", "expected_edges"))
    assert before == run.start.sum(dtype=np.float64) / 2
    said = f"{before:,.0f} before learning, {after:,.0f} after it"
    assert f"expected edges (sum of probabilities): {said}" in fit.out
    assert f"{before:,.0f} expected before learning, {after:,.0f} after it" in shown


def test_the_shell_and_the_report_count_alike(fit, shown):
    run = load_run(fit.folder)
    said = f"1 outer iteration and the refit in {run.summary['seconds']:,.0f} s; complete"
    assert said in fit.out
    assert said in shown
    assert "1 outer iterations" not in fit.out
    assert "ended by" not in fit.out


def test_the_report_shows_no_path_and_no_cell_among_the_settings(fit, shown):
    settings = shown[shown.index('<section id="settings">') : shown.index('id="data"')]
    assert "pets.csv" in settings
    for part in (str(fit.folder.parent), "/tmp", "town0", "town4", "pet 1"):
        assert part not in settings, part
    assert str(fit.folder.parent) not in shown
    assert "town1" not in shown
    assert "7 features of 3 columns" in settings
    assert "category, 5 features" in settings


def test_many_columns_are_counted_and_not_listed(fit):
    settings = load_run(fit.folder).settings
    many = [{"name": f"c{k}", "kind": "number", "features": 1, "missing": 0} for k in range(1500)]
    text = settings_tables(settings | {"table": many})
    assert "1,500 features of 1,500 columns: 1,500 number" in text
    assert "c7" not in text


def test_it_says_which_files_there_are_and_what_comes_next(fit):
    predictions = fit.folder / "predictions.csv"
    sentence = "predictions of 10 rows without a label, with class probabilities"
    assert f"{sentence}: {predictions}\n" in fit.out
    assert f"lds report {fit.folder}\n" in fit.out
    assert f"lds predict {fit.folder} NEW_ROWS.csv\n" in fit.out
    lines = predictions.read_text().splitlines()
    assert lines[0] == "id,row,prediction,probability,probability_cat,probability_dog"
    assert len(lines) == 11
    assert "--id" not in fit.out, "the rows have identifiers"


@pytest.mark.ci
@pytest.mark.filterwarnings("always")
def test_a_left_out_identifier_is_offered_and_no_file_of_another_run_is_named(lds, fit, tmp_path):
    table, run = fit.folder.parent / "pets.csv", tmp_path / "run"
    options = [*QUICK, "--max-iter", "1", "--out", run]
    assert (
        "rows are numbered there; --id 'who' adds the column"
        in (lds("fit", table, "--target", "kind", *options)[1])
    )
    code, out, _ = lds("fit", "iris", *options, "--force")
    assert code == 0
    assert "predictions of" not in out
    assert "lds predict" not in out, "it takes tables"
    assert not (run / "predictions.csv").exists()
    code, out, _ = lds("fit", "--resume", run, "--quiet", "--json")
    assert json.loads(out)["predictions"] is None


def test_the_verdict_is_the_same_everywhere_and_counts_rows(fit, shown):
    run = load_run(fit.folder)
    sentence = verdict(run.summary)
    assert sentence in fit.out
    assert sentence in shown
    assert "on 10 test rows (95 % interval" in sentence
    right = {}
    for name in ("lds", "frozen"):
        right[name] = round(10 * run.summary["test_accuracy"][name])
    gained, lost = run.summary["paired"]["frozen"]
    assert gained - lost == right["lds"] - right["frozen"]
    heading, counts = (line.split() for line in fit.out.splitlines()[2:4])
    assert heading == ["stopping,", "test,", "NLL,"]
    stopping = str(run.summary["rows"]["stopping"])
    assert counts == ["method", stopping, "rows", "10", "rows", "balanced", "nats", "ECE"]
    assert "On 10 test rows, beside the controls" in shown


def test_the_best_of_each_column_is_bold(fit, shown):
    found = load_run(fit.folder).summary["test_quality"]
    best = min(each["nll"] for each in found.values())
    worst = max(each["nll"] for each in found.values())
    assert f"<td class=best>{best:.3f}</td>" in shown
    assert f"<td>{worst:.3f}</td>" in shown
