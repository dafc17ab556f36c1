"""What the report says about a row and the edges, against loops that share no code with it."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

from lds import LDSClassifier
from lds.cli import app
from lds.datasets.encoding import TableEncoding
from lds.estimators.cells import cells, row_cells
from lds.estimators.evidence import Evidence, evidence_of
from lds.estimators.explanation import spreads
from lds.estimators.frames import fitted_features
from lds.report import why
from lds.report.edges import edge_tables
from lds.report.neighbours import to_script
from lds.report.page import html, write_report
from lds.report.why import DIFFERENCES, reasons
from lds.run_folder import load_features, load_run

TABLE = pd.DataFrame(
    {
        "height": [1.5, 2.25, None, 12.3456789] * 3,
        "city": ["Rome", "Oslo", None, "Lima"] * 3,
        "glad": [True, False, True, True] * 3,
        "born": pd.to_datetime(["1999-12-31", "2001-01-01", "1980-06-15", "2000-02-29"] * 3),
    }
)


@pytest.mark.parametrize("moment", ["9999-12-31 23:59:59", "0001-01-01 00:00:00"])
def test_dates_at_the_ends_of_the_calendar_are_written(moment):
    table = pd.DataFrame({"until": [moment, *["2020-01-01 12:00:00", "2021-06-01 08:00:00"] * 5]})
    encoding, features = TableEncoding.fit(table)
    found = cells(features.astype(np.float32), encoding)["until"]
    assert found[0][-6:] == moment[4:10]


@pytest.fixture(scope="module")
def run(run_folder):
    return load_run(run_folder)


@pytest.fixture(scope="module")
def found(run, run_folder):
    return json.loads(to_script(reasons(run, evidence_of(run_folder), True)))


def test_cells_are_those_of_the_table():
    encoding, features = TableEncoding.fit(TABLE, categorical=["city"])
    found = cells(features.astype(np.float32), encoding)
    assert found["height"] == [1.5, 2.25, None, 12.3457] * 3, "six digits"
    assert found["city"] == ["Rome", "Oslo", None, "Lima"] * 3
    assert found["glad"] == [True, False, True, True] * 3
    assert found["born"] == ["1999-12-31", "2001-01-01", "1980-06-15", "2000-02-29"] * 3
    one = row_cells(features, 1, encoding)
    assert one == {"height": 2.25, "city": "Oslo", "glad": False, "born": "2001-01-01"}


def test_moments_are_shown_on_their_own_day_and_times_without_one():
    days = pd.date_range("2015-01-01 18:00", periods=30, freq="57D")
    minutes = pd.date_range("2021-03-01 12:30", periods=30, freq="3D")
    table = pd.DataFrame(
        {"days": days, "minutes": minutes, "opens": ["08:30", "12:15", "23:59"] * 10}
    )
    encoding, features = TableEncoding.fit(table)
    found = cells(features.astype(np.float32), encoding)
    assert found["days"] == [f"{day:%Y-%m-%d}" for day in days]
    assert found["minutes"] == [f"{minute:%Y-%m-%d %H:%M}" for minute in minutes]
    assert found["opens"] == ["08:30", "12:15", "23:59"] * 10


def test_sparse_rows_have_the_cells_that_are_not_zero():
    x = sp.csr_array(np.array([[0, 2.5, 0], [1, 0, 0]]))
    assert row_cells(x, 0, None) == {"1": 2.5}
    assert row_cells(x, 1, None) == {"0": 1}
    table = sp.csr_array(np.column_stack([[3, 3], x.toarray()]))  # a constant column in front
    features, encoding = fitted_features(LDSClassifier(), table)
    assert sp.issparse(features)
    assert row_cells(features, 0, encoding) == {"2": 2.5}
    kept = why._cells(features, Evidence(features, encoding))
    assert [kept["names"][column] for column in kept["gap"]] == ["2", "1"]


def test_the_rounding_of_a_mean_is_no_spread():
    assert spreads(np.full((103, 1), 0.1)).tolist() == [0]
    assert spreads(sp.csr_array(np.full((103, 1), 0.1))).tolist() == [0]


def test_sparse_years_and_prices_have_the_spread_of_dense_ones():
    rng = np.random.default_rng(0)
    x = np.zeros((300, 4), dtype=np.float32)
    x[:, 0], x[:, 1] = 2015 + rng.integers(-3, 4, 300), 1e5 + rng.standard_normal(300)
    x[:40, 2] = 1
    wanted = x.astype(np.float64).std(0)
    np.testing.assert_allclose(spreads(sp.csr_array(x)), wanted, rtol=1e-9)
    np.testing.assert_allclose(spreads(x), wanted, rtol=1e-9)


@pytest.mark.ci
def test_votes_are_shares_of_edge_probability(run, found):
    labels, predicted = run.predictions["labels"], run.predictions["probabilities"].argmax(1)
    shown = np.where(labels >= 0, labels, predicted)
    for name, graph in (("start", run.start), ("learned", run.edge_probs)):
        theta = graph.toarray()
        for i in range(0, len(theta), 7):
            total = theta[i].sum()
            shares = [100 * theta[i, shown == c].sum() / total if total else 0 for c in range(3)]
            np.testing.assert_allclose(found["votes"][name][3 * i : 3 * i + 3], shares, atol=0.51)


def test_members_say_what_the_folder_keeps(run_folder, found):
    stored = evidence_of(run_folder).account.members
    if not stored:
        assert found["members"] is None
        return
    assert sum(weight for weight, _ in stored.values()) == pytest.approx(1, abs=1e-5)
    weights = found["members"]["weights"]
    assert weights == sorted(weights, reverse=True)
    for name, says in zip(found["members"]["names"], found["members"]["says"], strict=True):
        each = stored[name][1]
        assert [value // 101 for value in says] == each.argmax(1).tolist()
        np.testing.assert_allclose([value % 101 for value in says], 100 * each.max(1), atol=0.6)


def test_differences_are_in_the_units_of_the_table(run, run_folder, found):
    x = np.asarray(load_features(run_folder), dtype=np.float64)
    table = pd.read_csv(run_folder.parent / "pets.csv")[["a", "b", "c"]].to_numpy()
    theta = run.edge_probs.toarray().astype(np.float64)
    assert found["differences"]["names"] == ["a", "b", "c"]
    np.testing.assert_allclose(found["differences"]["spreads"], table.std(0), rtol=6e-3)
    for i in range(0, len(x), 7):
        triples = np.array(found["differences"]["of"][9 * i : 9 * i + 9]).reshape(DIFFERENCES, 3)
        gap = np.abs(x[i] - theta[i] @ x / theta[i].sum()) / x.std(0)
        assert triples[:, 0].tolist() == np.argsort(-gap).tolist()
        mean = theta[i] @ table / theta[i].sum()
        for feature, value, other in triples:
            assert value == pytest.approx(table[i, int(feature)], rel=6e-3)
            assert other == pytest.approx(mean[int(feature)], rel=6e-3, abs=1e-3)
    columns = dict(zip(found["cells"]["names"], found["cells"]["columns"], strict=True))
    np.testing.assert_allclose(columns["a"]["values"], table[:, 0], rtol=1e-5, atol=1e-6)


def test_sparse_cells_are_the_entries(run, run_folder):
    x = sp.csr_array(np.where(np.arange(270).reshape(90, 3) % 4 == 0, 0.25, 0))
    kept = reasons(run, Evidence(features=x), True)["cells"]
    dense = np.zeros((90, 3))
    for i in range(90):
        column = 0
        for e in range(kept["first"][i], kept["first"][i + 1]):
            column += kept["gap"][e]
            dense[i, column] = kept["known"][kept["codes"][e]]
    np.testing.assert_array_equal(dense, x.toarray())


@pytest.mark.ci
@pytest.mark.usefixtures("no_pictures")
def test_parts_too_large_for_a_page_are_left_out_and_named(run, run_folder, monkeypatch):
    monkeypatch.setattr("lds.report.why.MOST", 10)
    page = html(run, evidence_of(run_folder))
    text = re.search(r"Left out, being too many for a page: (.*?)\.</p>", page)[1]
    assert set(text.split(", ")) >= {"votes", "differences", "cells"}


def test_edges_that_changed_most_are_listed(run, run_folder):
    tables = edge_tables(run, evidence_of(run_folder), None).split("<caption>")[1:]
    change = np.triu(run.edge_probs.toarray() - run.start.toarray(), 1)
    for table, extreme in zip(tables[:2], (change.argmax(), change.argmin()), strict=True):
        i, j = np.unravel_index(extreme, change.shape)
        first = re.findall(r'data-node="(\d+)"', table)[:2]
        assert first == [str(i), str(j)]
        before, after = re.search(r"(\d+) → (\d+) %", table).groups()
        assert int(before) == pytest.approx(100 * run.start[i, j], abs=0.51)
        assert int(after) == pytest.approx(100 * run.edge_probs[i, j], abs=0.51)
    labels = np.where(
        run.predictions["labels"] >= 0,
        run.predictions["labels"],
        run.predictions["probabilities"].argmax(1),
    )
    pairs = [int(node) for node in re.findall(r'data-node="(\d+)"', tables[2])]
    assert all(labels[i] != labels[j] for i, j in zip(pairs[::2], pairs[1::2], strict=True))
    assert "Nearest neighbours against the learned graph" in tables[3]
    x = np.asarray(load_features(run_folder))
    distance = ((x[:, None] - x) ** 2).sum(2) + np.diag(np.full(len(x), np.inf))
    near = np.zeros_like(distance)
    np.put_along_axis(near, distance.argsort(1)[:, :10], 1, 1)
    near = np.maximum(near, near.T)
    theta = run.edge_probs.toarray()
    shared = re.search(r">learned</th>(?:<td>[^<]*</td>){2}<td>([\d.]+) %", tables[3])[1]
    assert float(shared) == pytest.approx(100 * (theta * near).sum() / theta.sum(), abs=0.06)


def test_an_edge_is_listed_where_it_is_counted(run):
    change = sp.csr_array(run.start).copy()
    change.data[:] = 0.004
    slightly = replace(run, edge_probs=sp.csr_array(run.start * 0.5 + change))
    slightly = replace(slightly, start=sp.csr_array(run.start * 0.5))
    up, down, *_ = edge_tables(slightly, Evidence(), None).split("<caption>")[1:]
    for name, table in (("up", up), ("down", down)):
        assert table.startswith(f"Edges turned {name} most, of 0<")
        assert "data-node" not in table


SECRETS = ("Rosebud", "Xanadu")
"""A person's name, which is an identifier, and a city."""


@pytest.fixture(scope="module")
def secret_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secret")
    rng = np.random.default_rng(0)
    lines = ["who,city,size,kind"]
    for k, size in enumerate(rng.standard_normal(40)):
        city = ("Xanadu", "Oslo")[k % 2]
        lines.append(f"Rosebud{k},{city},{size + 3 * (k % 2):.4f},{'ab'[k % 2]}")
    (folder / "people.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = "--target kind --id who --max-iter 1 --max-inner 5 --refit-steps 2 --n-neighbors 4"
    more = ["--no-controls", "--quiet", "--out", str(folder / "run")]
    arguments = ["fit", str(folder / "people.csv"), *options.split(), *more]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder / "run"


@pytest.mark.ci
@pytest.mark.usefixtures("no_pictures")
def test_values_are_in_the_rows_of_a_page_and_never_in_its_settings(secret_run, tmp_path):
    write_report(secret_run, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(secret in page for secret in SECRETS)
    settings = page[page.index('<section id="settings">') : page.index("</main>")]
    assert not any(secret in settings for secret in SECRETS)


@pytest.mark.ci
def test_no_values_leaves_out_every_cell_and_identifier(secret_run, tmp_path):
    path = tmp_path / "page.html"
    arguments = ["report", str(secret_run), "--no-values", "--out", str(path), "--quiet"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    page = path.read_text(encoding="utf-8")
    assert not any(secret in page for secret in SECRETS)
    assert "left out on request" in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert data["id"] is None
    assert data["why"]["cells"] is data["why"]["differences"] is None
    assert data["why"]["votes"] is not None


@pytest.mark.ci
@pytest.mark.usefixtures("no_pictures")
def test_a_record_alone_makes_a_page_without_reasons_of_features(run):
    page = html(replace(run))
    assert "Coefficients of the edge" not in page
    assert "What learning did to the edges" in page
