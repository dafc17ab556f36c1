"""Pictures and the summary of a run that was judged by labels left out."""

import numpy as np
import pytest

from lds._types import Split
from lds.plots.predictions import calibration
from lds.plots.training import learning_curves
from lds.structure.learn import learn
from lds.structure.methods.views import Views
from lds.structure.metrics import expected_calibration_error
from lds.structure.problem import Problem


@pytest.fixture(scope="module")
def learned():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    x = rng.standard_normal((60, 3)) + 1.5 * labels[:, None]
    rows = np.arange(30)
    split = Split(rows[:10], rows[10:20], rows[20:], rows[:0])
    return learn(Problem(x, labels, split), Views(n_neighbors=5, n_trees=10, max_iter=2), seed=0)


def test_without_test_rows_calibration_is_that_of_labels_left_out(learned):
    run, found = learned.as_run(), learned.left_out
    truth = learned.problem.labels[found.rows]
    ece = expected_calibration_error(found.probabilities, truth)
    assert ece != pytest.approx(
        expected_calibration_error(learned.probabilities[found.rows], truth), abs=1e-3
    ), "rows that train look better than they are"
    title = calibration(run).axes[0].get_title()
    assert title == f"Calibration on 30 left-out rows, ECE {100 * ece:.1f} %"


def test_curves_have_no_inner_loss(learned):
    axes = learning_curves(learned.as_run()).axes
    lines = [str(line.get_label()) for each in axes for line in each.lines]
    assert "left-out labels" in lines
    roles = ("inner", "stopping", "validation")
    assert not [line for line in lines if any(role in line for role in roles)]


def test_facts_count_the_labels(learned):
    assert learned.facts()["accuracy on labels left out"].endswith(" % of 30")
    assert "left-out accuracy" in repr(learned)
