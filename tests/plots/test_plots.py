"""The pictures show the numbers of the run: what is drawn is read back from the figures."""

from math import nan

import matplotlib as mpl
import numpy as np
import pytest
import sklearn
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lds import plots
from lds.plots.graph import probability_shares
from lds.plots.predictions import tsne
from lds.plots.style import BETWEEN, class_colours
from lds.run_folder import Run, load_run
from lds.structure.metrics import expected_calibration_error
from tests.saved_run import NAMES


@pytest.fixture(scope="module")
def run(run_folder) -> Run:
    return load_run(run_folder)


def curves(axes):
    """Points of each named line."""
    return {
        line.get_label(): np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()
    }


@pytest.mark.parametrize("name", plots.__all__)
def test_every_picture_is_a_figure_that_leaves_matplotlib_alone(run, name, tmp_path):
    before = dict(mpl.rcParams)
    figure = getattr(plots, name)(run)
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "picture.png", dpi=40)
    assert dict(mpl.rcParams) == before


def test_learning_curves_are_the_history(run):
    losses, accuracy = plots.learning_curves(run).axes
    drawn = curves(losses)
    names = {
        "inner: train rows": "inner_loss",
        "outer: validation rows": "outer_loss",
        "stopping rows": "stopping_loss",
    }
    for label, name in names.items():
        stored = [nan if record[name] is None else record[name] for record in run.metrics]
        if name != "stopping_loss":
            stored = [nan if r["refit"] else v for r, v in zip(run.metrics, stored, strict=True)]
        np.testing.assert_array_equal(drawn[label], stored)
    drawn = curves(accuracy)
    expected = [100 * record["stopping_accuracy"] for record in run.metrics]
    np.testing.assert_allclose(drawn["stopping rows"], expected)
    assert drawn["test rows, of the best"][0] == 100 * run.summary["test_accuracy"]["lds"]


def test_the_refit_is_no_outer_iteration(run):
    (axes,) = plots.expected_edges(run).axes
    refit = run.settings["method"] == "default"
    assert ("refit" in axes.get_xlabel()) is refit
    assert ("the refit" in curves(axes)) is refit
    assert run.n_iterations == 3


def test_expected_edges_have_no_cliff_at_the_start(run):
    """Both numbers are sums of probabilities, and no probability has changed much by then."""
    (axes,) = plots.expected_edges(run).axes
    drawn = next(line for line in axes.get_lines() if len(line.get_ydata()) > 2).get_ydata()
    assert drawn[1] == pytest.approx(drawn[0], rel=0.2)


def test_expected_edges_begin_with_the_starting_graph(run):
    (axes,) = plots.expected_edges(run).axes
    drawn = next(line for line in axes.get_lines() if len(line.get_ydata()) > 2)
    assert drawn.get_ydata()[0] == run.start.sum(dtype=np.float64) / 2
    assert drawn.get_ydata()[-1] == run.metrics[-1]["expected_edges"]


def test_means_by_group_are_the_history(run):
    (axes,) = plots.group_probabilities(run).axes
    drawn = curves(axes)
    same = [record["group_probs"]["same"] for record in run.metrics]
    np.testing.assert_array_equal(drawn["one class"], same)
    assert axes.get_yscale() == "log"
    assert "held-out edges" not in drawn, "a table has none"


@pytest.mark.parametrize("node", [None, 4, 85], ids=["all", "labelled", "unlabelled"])
def test_shares_of_probabilities_are_those_of_a_loop_over_pairs(run, node):
    theta, labels = run.edge_probs.toarray(), run.predictions["labels"]
    counts, n = np.zeros((2, 6)), len(labels)
    for i in range(n):
        for j in range(i + 1, n):
            if node is None or node in (i, j):
                same = labels[i] == labels[j] >= 0
                above = [bound < theta[i, j] for bound in (1e-4, 1e-3, 1e-2, 1e-1, 0.5)]
                counts[0 if same else 1, sum(above)] += 1
    names, same, other = probability_shares(run, node)
    assert names[0] == "≤ 0.0001"
    np.testing.assert_allclose(same, counts[0] / max(1, counts[0].sum()))
    np.testing.assert_allclose(other, counts[1] / counts[1].sum())
    (axes,) = plots.probability_histograms(run, node).axes
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, [*same, *other])


def test_a_node_that_is_not_there_is_refused(run):
    with pytest.raises(ValueError, match="node must be None or from 0 to 89, got 90"):
        plots.probability_histograms(run, 90)


def test_degrees_are_those_of_both_graphs(run):
    degrees, homophily = plots.degrees_and_homophily(run).axes
    texts = [text.get_text() for text in degrees.get_legend().get_texts()]
    means = [graph.sum() / graph.shape[0] for graph in (run.start, run.edge_probs)]
    assert texts == [f"before, mean {means[0]:.1f}", f"after, mean {means[1]:.1f}"]
    assert [label.get_text() for label in homophily.get_yticklabels()][-1] == "all edges"


def test_calibration_bins_are_the_rows(run):
    axes, below = plots.calibration(run).axes
    rows = run.predictions["test_rows"]
    probs, truth = run.predictions["probabilities"][rows], run.predictions["labels"][rows]
    assert f"ECE {100 * expected_calibration_error(probs, truth):.1f} %" in axes.get_title()
    counts = np.array([bar.get_height() for bar in below.patches])
    assert counts.sum() == rows.size
    heights = np.array([bar.get_height() for bar in axes.patches])
    right = (probs.argmax(1) == truth).sum()
    assert heights @ counts[counts > 0] == pytest.approx(right)


def test_the_legend_names_every_class(run):
    (axes,) = plots.embedding(run).axes
    texts = [text.get_text().strip() for text in axes.get_legend().get_texts()]
    for name, shown in zip(sorted(NAMES), texts, strict=False):
        assert shown == name or name.startswith(shown.rstrip("…"))


def test_tsne_keeps_far_groups_apart_and_repeats_itself():
    rng = np.random.default_rng(0)
    hidden = (rng.random((60, 8)) + 10 * np.eye(8)[np.arange(60) % 3]).astype(np.float32)
    place = tsne(hidden)
    np.testing.assert_array_equal(place, tsne(hidden))
    distance = np.linalg.norm(place[:, None] - place[None], axis=2) + 1e9 * np.eye(60)
    assert (distance.argmin(1) % 3 == np.arange(60) % 3).all()
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(tsne(hidden), np.ndarray)
    assert tsne(hidden[:2]).shape == (2, 2)
    assert np.isfinite(tsne(np.zeros((9, 3), dtype=np.float32))).all()


def test_colours_of_many_classes_differ():
    assert len(set(class_colours(25))) == 25
    between = np.array(to_rgb(BETWEEN))
    for n in (10, 25):
        apart = [np.abs(between - to_rgb(colour)).sum() for colour in class_colours(n)]
        assert min(apart) > 0.5, "edges between classes look like no class"
