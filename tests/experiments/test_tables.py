"""The benchmark of tables: its cases, resuming, and its table."""

import gzip
import json
from itertools import islice

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


def test_test_labels_choose_none_of_the_rivals_that_cross_validation_finds_equal(monkeypatch):
    y = np.arange(60) % 2
    x = np.stack([y, y], 1) - 0.5  # on the labelled rows, either column tells the class
    x[40:, 0] *= -1  # on the test rows the first does not
    columns = {"first": [0], "second": [1]}
    rivals = {name: (OneColumn(column), {}) for name, column in columns.items()}
    monkeypatch.setattr(tables, "RIVALS", rivals)
    found = dict(islice(tables.of_rivals(x, y, np.arange(40), np.arange(40, 60), {}), 3))
    assert [found[name]["accuracy"] for name in columns] == [0, 1]
    assert found[tables.CV_PICK]["accuracy"] == 0


def test_a_rival_that_cannot_be_calibrated_keeps_its_accuracy(monkeypatch):
    y = np.array([0] * 10 + [1] * 10 + [2] * 2 + [0, 1, 2])  # two labels of the last class
    x, rows, test = np.eye(3)[y], np.arange(22), np.arange(22, 25)
    monkeypatch.setattr(tables, "RIVALS", {"naive Bayes": tables.RIVALS["naive Bayes"]})
    with pytest.warns(UserWarning, match="least populated class"):
        name, scores = next(tables.of_rivals(x, y, rows, test, {}))
    assert (name, scores["accuracy"]) == ("naive Bayes", 1)
    assert "nll" not in scores


class OneColumn(tables.GaussianNB):
    """Naive Bayes that reads one column."""

    def __init__(self, column=()):
        super().__init__()
        self.column = column

    def _validate(self, x):
        return np.asarray(x)[:, self.column]

    def fit(self, x, y, sample_weight=None):
        return super().fit(self._validate(x), y, sample_weight)

    def predict(self, x):
        return super().predict(self._validate(x))

    def predict_proba(self, x):
        return super().predict_proba(self._validate(x))


def test_the_table_shown_is_of_the_noise_that_was_asked_for(folder, tmp_path, monkeypatch, capsys):
    scored = lambda x, y, rows, test: {"accuracy": x.shape[1] / 100}  # noqa: E731
    monkeypatch.setattr(tables, "of_ours", lambda seed: {"default": scored})
    for noise, shown in ((0, "3.0"), (40, "43.0"), (0, "3.0")):
        given = (
            f"tables {folder} --per 10 --seeds 1 --ours --noise {noise} --out {tmp_path}/r.jsonl"
        )
        monkeypatch.setattr("sys.argv", given.split())
        tables.main()
        assert f"| default | {shown} |" in capsys.readouterr().out


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


def test_differences_that_rounding_tells_apart_have_no_p():
    ours, theirs = np.array([82.0, 1.3, 41.0]), np.array([81.7, 1.0, 40.7])
    assert len(set(ours - theirs)) > 1
    assert tables.difference(ours, theirs) == "+0.30"


@pytest.mark.parametrize(
    ("gaps", "words"), [([2, 2, 2], "+2.00"), ([0, 0], "+0.00 (p = 1.000)"), ([1], "+1.00")]
)
def test_equal_differences_have_no_p(gaps, words):
    assert tables.difference(90.0 + np.array(gaps), np.full(len(gaps), 90.0)) == words
