"""The benchmark of tables: its cases, resuming, and its table."""

import gzip
import json

import numpy as np
import pytest

from lds.experiments import tables

pytestmark = pytest.mark.ci


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    x = rng.standard_normal((80, 3)) + 2 * y[:, None]
    lines = [
        "a,b,c,class",
        *(",".join([*map(str, row), f"k{c}"]) for row, c in zip(x, y, strict=True)),
    ]
    (folder / "toy.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder


def test_a_case_has_so_many_labels_a_class(folder):
    x, y, rows, test = tables.case(folder / "toy.csv.gz", 10, 0)
    assert np.bincount(y[rows]).tolist() == [10, 10]
    assert sorted([*rows, *test]) == list(range(80))
    np.testing.assert_allclose(x.std(0), 1)
    again = tables.case(folder / "toy.csv.gz", 10, 0)
    assert np.array_equal(rows, again[2])
    assert np.bincount(y[tables.case(folder / "toy.csv.gz", 100, 0)[2]]).tolist() == [24, 24]


@pytest.mark.slow
def test_runs_are_kept_and_not_run_again(folder, tmp_path, monkeypatch):
    quick = {"logistic regression": tables.RIVALS["logistic regression"]}
    monkeypatch.setattr(tables, "RIVALS", quick)
    out = tmp_path / "runs.jsonl"
    found = tables.collect(out, folder, ["toy"], [10], 1, {"bayes": tables.GaussianNB()})
    methods = {record["method"] for record in found}
    assert methods >= {*tables.of_ours(0), "bayes", tables.CV_PICK}
    assert all(0.7 <= record["accuracy"] <= 1 for record in found)
    picked = {r["method"]: r["accuracy"] for r in found}
    assert picked[tables.CV_PICK] in (picked["logistic regression"], picked["bayes"])
    monkeypatch.setattr(tables, "of_ours", lambda seed: pytest.fail("run again") if 0 else {})
    assert tables.collect(out, folder, ["toy"], [10], 1, {}) == [
        json.loads(line) for line in out.read_text().splitlines()
    ]
    text = "\n".join(tables.overview(found))
    assert "Means over 1 runs" in text
    assert "default against default, frozen: " in text
    assert "| toy | " in text
    assert f"| {tables.CV_PICK} |" in text


def test_the_best_rival_in_hindsight_is_the_best_of_each_run():
    scores = {"SVM": (0.5, 0.9), "kNN": (0.7, 0.6), tables.CV_PICK: (0.5, 0.6), "default": (1, 1)}
    records = [
        {"table": "toy", "per": 10, "seed": seed, "method": method, "accuracy": found[seed]}
        for method, found in scores.items()
        for seed in (0, 1)
    ]
    assert "in hindsight, by its test labels: 80.0\n" in "\n".join(tables.overview(records))


def test_a_record_without_noise_is_not_taken_for_one_with_it(folder, tmp_path, monkeypatch):
    counted = lambda x, y, rows, test: {"accuracy": 1.0, "n_columns": x.shape[1]}  # noqa: E731
    monkeypatch.setattr(tables, "of_ours", lambda seed: {"default": counted})
    out, given = tmp_path / "runs.jsonl", (folder, ["toy"], [10], 1, {})
    for noise, n_records in ((0, 1), (40, 2), (40, 2)):
        found = tables.collect(out, *given, noise=noise, rivals=False)
        assert [r["n_columns"] for r in found] == [3, 43][:n_records]


@pytest.mark.parametrize(
    ("gaps", "words"), [([2, 2, 2], "+2.00"), ([0, 0], "+0.00 (p = 1.000)"), ([1], "+1.00")]
)
def test_equal_differences_have_no_p(gaps, words):
    assert tables.difference(90.0 + np.array(gaps), np.full(len(gaps), 90.0)) == words
