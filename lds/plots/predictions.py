"""What the network makes of the nodes: its hidden layer, and how far its probabilities hold."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lds.plots.style import BLUE, GREY, INK, RED, class_colours, class_names, role_rows, styled
from lds.run_folder import Run
from lds.structure.metrics import N_BINS, confidence_bins, expected_calibration_error

MOST_POINTS = 400
"""Most nodes in a t-SNE picture, which takes 2 s of CPU for them and 20 s for 1,800."""

RASTER_FROM = 2000
"""Points from which a picture holds them as pixels."""


@styled
def embedding(run: Run, seed: int = 0) -> Figure:
    """t-SNE of the hidden layer, the activations before the classification layer (Figure 9.5).

    Colours are classes, of the prediction where the label is unknown. Up to `MOST_POINTS` nodes;
    of more, a random choice.

    References:
        van der Maaten and Hinton, 2008, https://jmlr.org/papers/v9/vandermaaten08a.html

    Arguments:
        run: a saved run.
        seed: of the choice and of t-SNE.
    """
    hidden, labels = run.predictions["hidden"], run.predictions["labels"]
    predicted = run.predictions["probabilities"].argmax(1)
    chosen = chosen_nodes(run, seed)
    x, y = tsne(hidden[chosen], seed).T
    shown = np.where(labels >= 0, labels, predicted)[chosen]
    names = class_names(run)
    colours = np.array(class_colours(len(names)))

    figure = Figure(figsize=(6.4, 4.4))
    axes = figure.subplots()
    axes.scatter(
        x,
        y,
        9,
        color=colours[shown],
        linewidths=0,
        alpha=0.8,
        rasterized=len(chosen) > RASTER_FROM,
    )
    reads, ringed = ["train"], "train row"
    if "left_out" in run.summary:  # every labelled row trains
        reads, ringed = ["train", "validation", "stopping"], "labelled row"
    trained = np.isin(chosen, role_rows(run, reads))
    axes.scatter(x[trained], y[trained], 34, facecolors="none", edgecolors=INK, linewidths=0.9)
    wrong = np.isin(chosen, role_rows(run, ["test"])) & (predicted != labels)[chosen]
    axes.scatter(x[wrong], y[wrong], 16, color=INK, marker="x", linewidths=0.7, alpha=0.7)
    some = f" of {len(chosen):,} of {len(labels):,} nodes" if len(chosen) < len(labels) else ""
    axes.set(xticks=[], yticks=[], title=f"Hidden layer, t-SNE{some}")
    axes.spines[:].set_visible(False)
    keys = [class_key("o", colour, name) for colour, name in zip(colours, names, strict=True)]
    keys.append(Line2D([], [], marker="o", color="none", markeredgecolor=INK, label=ringed))
    if wrong.any():
        keys.append(class_key("x", INK, "test row, wrong"))
    axes.legend(handles=keys, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def chosen_nodes(run: Run, seed: int = 0) -> NDArray[np.int64]:
    """Choose the nodes of a picture: all, or `MOST_POINTS` at random."""
    chosen = np.arange(len(run.predictions["labels"]))
    if len(chosen) <= MOST_POINTS:
        return chosen
    return np.sort(np.random.default_rng(seed).choice(chosen, MOST_POINTS, replace=False))


def tsne(hidden: NDArray[np.floating], seed: int = 0) -> NDArray[np.floating]:
    """Compute two coordinates for each row, `(n_rows, 2)`, on one thread.

    So few rows keep no second thread busy; on a machine at work, threads wait for each other.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    n_rows = len(hidden)
    if n_rows < 4:  # too few for a neighbourhood
        return np.stack([np.arange(n_rows), np.zeros(n_rows)], axis=1)
    spread = np.ptp(hidden, axis=0) > 0
    init = "pca" if spread.sum() >= 2 else "random"
    embedding = TSNE(
        perplexity=min(30.0, (n_rows - 1) / 3), max_iter=300, init=init, random_state=seed
    )
    with threadpool_limits(1):
        arrays = embedding.set_output(transform="default")  # whatever the user has configured
        found: NDArray[np.floating] = arrays.fit_transform(hidden)
    return found


@styled
def calibration(run: Run) -> Figure:
    """Accuracy against confidence in bins of equal width, with the expected calibration error.

    On test rows. Where there are none, on labels left out in turn; or on stopping rows, which the
    run was chosen by.

    References:
        Guo, Pleiss, Sun and Weinberger, 2017, Figure 1, https://arxiv.org/abs/1706.04599
    """
    found = run.predictions
    role = "test" if found["test_rows"].size else "stopping"
    if role == "stopping" and "left_out_rows" in found:
        role, rows = "left-out", found["left_out_rows"]
        probabilities = found["left_out_probabilities"]
    else:
        rows = role_rows(run, [role])
        probabilities = found["probabilities"][rows]
    truth = found["labels"][rows]
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    bins = confidence_bins(confidence, N_BINS)
    counts = np.bincount(bins, minlength=N_BINS)
    filled = counts > 0
    accuracy = np.bincount(bins, right, N_BINS)[filled] / counts[filled]
    mean = np.bincount(bins, confidence, N_BINS)[filled] / counts[filled]

    figure = Figure(figsize=(6.4, 4.4))
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    edges = np.arange(N_BINS + 1) / N_BINS
    axes.bar(
        edges[:-1][filled],
        accuracy,
        1 / N_BINS,
        align="edge",
        color=BLUE,
        alpha=0.55,
        edgecolor=BLUE,
        label="accuracy",
    )
    axes.plot(mean, accuracy, "o", color=BLUE, markersize=4)
    axes.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1, label="calibrated")
    ece = expected_calibration_error(probabilities, truth)
    n_rows = f"{rows.size:,} {role} row{'s' * (rows.size > 1)}"
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1.02),
        ylabel="accuracy",
        title=f"Calibration on {n_rows}, ECE {100 * ece:.1f} %",
    )
    axes.legend(loc="upper left")
    below.bar(edges[:-1], counts, 1 / N_BINS, align="edge", color=RED, alpha=0.6)
    below.set(xlabel="confidence", ylabel="rows")
    return figure


def class_key(marker: str, colour: str, label: str) -> Line2D:
    """Make an entry of a legend."""
    return Line2D([], [], marker=marker, color=colour, linestyle="", label=label)
