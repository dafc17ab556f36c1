"""A whole fit with its controls, and the records of the accuracy table."""

import dataclasses
import json
import math

import numpy as np
import pytest
from sklearn.metrics import log_loss

from lds._types import Split
from lds.datasets.registry import load
from lds.experiments.fit import fit_dataset, problem_of
from lds.experiments.table import Store, run_one, table
from lds.structure.controls import CONTROLS, fit_gcn
from lds.structure.methods.committee import Committee
from lds.structure.methods.registry import METHODS
from lds.structure.methods.thesis import Thesis
from lds.structure.metrics import expected_calibration_error
from tests.estimators.options import SHORT

pytestmark = pytest.mark.ci

QUICK = {"max_inner": 5, "max_iter": 2}


@pytest.mark.parametrize("method", SHORT)
def test_nll_and_ece_stand_beside_every_accuracy(method):
    data = load("iris", seed=0)
    report = fit_dataset(data, METHODS[method](**QUICK, **SHORT[method]))
    assert list(report.test_quality) == ["lds", *CONTROLS]
    rows = data.split.test
    found = {"lds": report.result, **report.controls}
    for name, quality in report.test_quality.items():
        probs = found[name].probabilities[rows].astype(float)
        assert quality.accuracy == (probs.argmax(1) == data.labels[rows]).mean()
        probs /= probs.sum(1, keepdims=True)
        assert quality.nll == pytest.approx(log_loss(data.labels[rows], probs), rel=1e-5)
        assert quality.ece == pytest.approx(
            expected_calibration_error(probs, data.labels[rows]), abs=1e-6
        )
        assert report.test_accuracy[name] == quality.accuracy


def test_controls_of_a_committee_are_gcns_of_the_thesis_and_its_own_schedule_without_updates():
    data = load("iris", seed=0)
    found = fit_dataset(data, Committee(**QUICK, refit_steps=4, refits=2)).controls
    for name, rows in (
        ("gcn_train", data.split.train),
        ("gcn_train_validation", np.concatenate([data.split.train, data.split.validation])),
    ):
        gcn = fit_gcn(problem_of(data), rows, Thesis(support="auto"))
        assert np.array_equal(found[name].probabilities, gcn.probabilities)
    once = QUICK | {"max_iter": 1, "refit_steps": 4, "refits": 2}
    still = Committee(**once, update_edges=False, agreement=0.0)
    own = fit_dataset(data, still, controls=False).result
    assert np.array_equal(found["frozen"].probabilities, own.probabilities)


def test_uncertainty_of_a_result_is_of_the_graphs_that_made_it():
    data = load("iris", seed=0)
    result = fit_dataset(data, Thesis(**QUICK), controls=False).result
    information = result.mutual_information
    entropy = -(result.probabilities * np.log(result.probabilities)).sum(1)
    assert information.shape == (150,)
    assert (information >= 0).all()
    assert (information <= entropy + 1e-6).all()
    assert information.max() > 1e-4, "the graphs differ"
    still = fit_dataset(data, Thesis(**QUICK, update_edges=False), controls=False).result
    assert still.mutual_information.max() < 1e-6, "every draw of a 0/1 distribution is the same"


def test_records_have_the_measures_and_older_records_are_read(tmp_path):
    record = run_one("iris", 0.0, 0, QUICK, "lds", None)
    assert record["quality"]["lds"]["accuracy"] == record["test"]["lds"]
    assert math.isfinite(record["quality"]["lds"]["nll"])
    controls = run_one("iris", 0.0, 0, QUICK, "controls", None)
    assert list(controls["quality"]) == list(CONTROLS)
    old = {k: v for k, v in record.items() if k != "quality"}
    path = tmp_path / "table.jsonl"
    path.write_text(json.dumps(old | {"setting": {}}) + "\n" + json.dumps(record) + "\n")
    store = Store(path)
    jobs = [("iris", 0.0, 0, setting, "lds", None) for setting in ({}, QUICK)]
    assert ["quality" in found for found in store.run(jobs, 1)] == [False, True]


def test_the_table_shows_a_dash_where_a_record_lacks_a_measure(tmp_path, monkeypatch):
    monkeypatch.setattr("lds.experiments.table.grid", lambda name, retain: [QUICK])
    monkeypatch.setattr("lds.experiments.table.Thesis", lambda **o: Thesis(**{**QUICK, **o}))
    store = Store(tmp_path / "table.jsonl")
    first = list(table(["iris"], 0.0, range(2), range(2), None, store, 1))
    assert len(first) == 5
    measures = [line.split("|")[4].strip() for line in first[2:]]
    assert measures == ["accuracy, %", "NLL, nats", "ECE, %"]
    assert not any(cell.strip() == "-" for line in first[2:] for cell in line.split("|"))
    for record in store.records.values():
        if record["what"] == "controls":
            record.pop("quality")
    again = list(table(["iris"], 0.0, range(2), range(2), None, store, 1))
    assert again[2] == first[2]
    cells = [cell.strip() for cell in again[3].split("|")[5:-1]]
    assert [cell == "-" for cell in cells] == [False, True, True, True, False]
    for record in store.records.values():
        record.pop("quality", None)
    assert list(table(["iris"], 0.0, range(2), range(2), None, store, 1)) == first[:3]


def test_a_class_weight_of_a_class_that_only_test_rows_have_is_refused():
    data = load("iris", seed=0)
    split = data.split
    known = [rows[data.labels[rows] != 2] for rows in (split.train, split.validation)]
    fewer = Split(*known, split.stopping[data.labels[split.stopping] != 2], split.test)
    data = dataclasses.replace(data, split=fewer)
    with pytest.raises(ValueError, match="'virginica', which no labelled row has"):
        problem_of(data, {"virginica": 5.0})
    weights = problem_of(data, {"versicolor": 3.0}).weights
    assert weights[data.labels == 1].max() == 3 * weights[known[0][data.labels[known[0]] == 0][0]]


def test_a_resumed_run_does_not_know_how_long_it_took(tmp_path):
    data, method = load("iris", seed=0), Thesis(**QUICK)
    where = {"controls": False, "checkpoint": tmp_path}
    assert fit_dataset(data, method, **where).seconds > 0
    assert fit_dataset(data, method, **where, resume=True).seconds is None
