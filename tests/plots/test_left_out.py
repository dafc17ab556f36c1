"""Pictures and the summary of a run that was judged by labels left out."""

import dataclasses

import numpy as np
import pytest

from lds._types import Split
from lds.plots.graph import learned_graph
from lds.plots.predictions import calibration, chosen_nodes, embedding
from lds.plots.training import learning_curves
from lds.report.comparison import stopping_curves
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
    facts = learned.facts()
    assert facts["rows"] == "60: 30 labelled rows train, and each judges in turn; 0 test rows"
    assert facts["accuracy on labels left out"].endswith(" % of 30")
    assert "left-out accuracy" in repr(learned)


def test_where_rows_count_differently_the_share_is_of_the_rows(learned):
    """As in the verdict on the same labels; the accuracy of the history is weighted."""
    found = learned.left_out
    right = found.probabilities.argmax(1) == learned.problem.labels[found.rows]
    assert 0 < right.sum() < 30
    weights = np.full(60, 1.0)
    weights[found.rows[right]] = 1e3
    weighted = learn(dataclasses.replace(learned.problem, weights=weights), learned.method)
    found = weighted.left_out
    right = found.probabilities.argmax(1) == learned.problem.labels[found.rows]
    facts = weighted.facts()["accuracy on labels left out"]
    assert facts == f"{100 * right.sum() / 30:.1f} % of 30"
    assert f"{100 * weighted.history[-1].stopping_accuracy:.1f} % of 30" != facts
    assert "weighted left-out accuracy" in repr(weighted)


def test_rings_are_of_the_rows_that_train(learned):
    (axes,) = embedding(learned.as_run()).axes
    assert "labelled row" in [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(axes.collections[1].get_offsets()) == 30


def test_curves_beside_one_another_say_what_judges(learned):
    run = learned.as_run()
    other = dataclasses.replace(run, summary={k: run.summary[k] for k in ("best_iteration",)})
    for runs, rows in (
        ([run, run], "left-out labels"),
        ([other, other], "stopping rows"),
        ([other, run], "stopping rows or left-out labels"),
    ):
        title = stopping_curves(runs, ["a", "b"]).axes[0].get_title()
        assert title == f"Accuracy on {rows}"


def test_the_title_of_a_graph_counts_what_is_drawn(learned, monkeypatch):
    run = learned.as_run()
    n_edges = run.edge_probs.nnz // 2
    found = learned_graph(run, 9).axes[0].get_title()
    assert found == f"9 most probable of {n_edges:,} edges among 60 nodes"
    monkeypatch.setattr("lds.plots.predictions.MOST_POINTS", 20)
    chosen = chosen_nodes(run)
    n_edges = run.edge_probs[chosen][:, chosen].nnz // 2
    found = learned_graph(run, 9).axes[0].get_title()
    assert found == f"9 most probable of {n_edges:,} edges among 20 of 60 nodes"
