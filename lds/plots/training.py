"""How a run went, outer iteration by outer iteration."""

import numpy as np
from matplotlib.figure import Figure

from lds._words import GROUPS
from lds.plots.style import (
    BLUE,
    GREEN,
    GREY,
    RED,
    beside,
    log_axis,
    over_iterations,
    series,
    styled,
)
from lds.run_folder import Run

_COLOURS = {"same": BLUE, "different": RED, "unknown": GREY, "held_out": GREEN}


@styled
def learning_curves(run: Run) -> Figure:
    """Inner, outer and stopping loss (nats), and accuracy on the stopping rows.

    The inner loss is that of the last inner step and includes the penalty on the weights; inner and
    outer loss are each on one drawn graph, so they jump. A refit has neither.
    """
    figure = Figure(figsize=(6.4, 5))
    losses, accuracy = figure.subplots(2, 1, sharex=True)
    t = over_iterations(losses, run)
    judges, outer = "stopping rows", "validation rows"
    if "left_out" in run.summary:
        judges = outer = "left-out labels"
    curves = (
        ("inner_loss", "inner: train rows", GREY),
        ("outer_loss", f"outer: {outer}", BLUE),
        ("stopping_loss", judges, RED),
    )
    for name, label, colour in curves:
        values = series(run, name)
        if np.isnan(values).all():  # a method without inner weights
            continue
        if name != "stopping_loss":
            values[run.n_iterations :] = np.nan
        losses.plot(t, values, label=label, color=colour, marker=_dot(t))
    losses.set(ylabel="loss, nats", title="Losses", ylim=(0, None))
    over_iterations(accuracy, run)
    values = 100 * series(run, "stopping_accuracy")
    accuracy.plot(t, values, color=RED, label=judges, marker=_dot(t))
    test = run.summary["test_accuracy"].get("lds")
    if test is not None:
        accuracy.axhline(100 * test, color=GREEN, linestyle="--", label="test rows, of the best")
    accuracy.set(ylabel="accuracy, %", title="Accuracy")
    for axes in (losses, accuracy):
        beside(axes)
    return figure


@styled
def expected_edges(run: Run) -> Figure:
    """Draw Σθ, the expected number of edges of a drawn graph; 0 is before the first iteration."""
    figure = Figure()
    axes = figure.subplots()
    t = over_iterations(axes, run)
    start = run.summary["starting_edges"]
    axes.plot(
        np.append(0, t), np.append(start, series(run, "expected_edges")), color=BLUE, marker=_dot(t)
    )
    axes.axhline(start, color=GREY, linewidth=1, label="before learning")
    axes.set(ylabel="expected edges", title="Expected edges of a drawn graph", ylim=(0, None))
    beside(axes)
    return figure


@styled
def group_probabilities(run: Run) -> Figure:
    """Mean θ over pairs of one class, of two, with a class unknown, and held-out edges (Fig. 9.3).

    Classes are those known to the run (train, validation and stopping rows). The thesis draws the
    means of three nodes; these are over all pairs. A mean of 0 has no place on the logarithmic axis
    and is left out.
    """
    figure = Figure()
    axes = figure.subplots()
    t = over_iterations(axes, run)
    for name, label in GROUPS.items():
        means = np.array([record["group_probs"].get(name, np.nan) for record in run.metrics])
        if (means > 0).any():
            shown = np.where(means > 0, means, np.nan)
            axes.plot(t, shown, label=label, color=_COLOURS[name], marker=_dot(t))
    log_axis(axes)
    axes.set(ylabel="mean edge probability", title="Mean edge probability by group of pairs")
    beside(axes)
    return figure


def _dot(t: np.ndarray) -> str:
    """Short curves show their points; a curve of one point is nothing else."""
    return "o" if len(t) <= 3 else ""
