"""Controls of a run: which labels they see, and that they are those of the run's schedule."""

import dataclasses

import numpy as np
import pytest

import lds.structure.controls
from lds.structure.controls import CONTROLS, fit_gcn, run_controls
from lds.structure.learn import learn
from lds.structure.methods.thesis import Thesis
from lds.structure.problem import Problem
from tests.structure.blobs import blobs
from tests.structure.small import DEFAULT, THESIS


@pytest.fixture(autouse=True)
def _short(monkeypatch) -> None:
    monkeypatch.setattr(lds.structure.controls, "GCN_MAX_STEPS", 40)


@pytest.mark.ci
def test_controls_see_the_labels_they_name():
    problem = blobs()
    controls = run_controls(problem, THESIS)
    assert list(controls) == list(CONTROLS)
    labels, rows = problem.labels.copy(), problem.split.validation
    labels[rows] = (labels[rows] + 1) % 3
    changed = run_controls(Problem(problem.features, labels, problem.split), THESIS)
    same = {
        name: np.array_equal(controls[name].probabilities, changed[name].probabilities)
        for name in CONTROLS
    }
    assert same == {"gcn_train": True, "gcn_train_validation": False, "frozen": True}


@pytest.mark.ci
def test_the_frozen_control_of_the_default_is_its_schedule_and_the_others_are_the_thesiss():
    problem = blobs()
    found = run_controls(problem, DEFAULT)
    fixed = dataclasses.replace(DEFAULT, update_edges=False, agreement=0.0, max_iter=1)
    assert fixed == DEFAULT.frozen()
    direct = learn(problem, fixed)
    assert np.array_equal(found["frozen"].probabilities, direct.probabilities)
    rows = {"gcn_train": problem.split.train, "gcn_train_validation": problem.labelled}
    for name, mine in rows.items():
        plain = fit_gcn(problem, mine, Thesis(support="auto"))
        assert np.array_equal(found[name].probabilities, plain.probabilities)


def test_a_network_that_becomes_nan_is_no_control():
    problem = blobs()
    with pytest.raises(ArithmeticError, match="never finite; a smaller inner_lr may help"):
        fit_gcn(problem, problem.split.train, Thesis(n_neighbors=5, inner_lr=1e30))
