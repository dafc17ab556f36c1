"""The learned graph beside the one it started from."""

import numpy as np
import scipy.sparse as sp
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lds.graphs.metrics import class_homophily, homophily
from lds.plots.style import BLUE, GREY, RED, class_names, log_axis, styled
from lds.run_folder import Run

LEVELS = (1e-3, 1e-2, 1e-1, 0.5, 1.0)
"""Upper ends of the bins above the cut-off of the run folder."""


def probability_shares(
    run: Run, node: int | None = None
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Shares of pairs by their learned probability: what `probability_histograms` draws.

    Arguments:
        run: a saved run.
        node: only pairs with this node; None is all pairs.

    Returns:
        The bins' names; the shares among pairs of one class, and among pairs of two classes or of
        an unknown one. Each sums to 1 (is all 0 where there are no such pairs).

    Raises:
        ValueError: `node` is not a node.
    """
    labels, n_nodes = run.predictions["labels"], run.edge_probs.shape[0]
    if node is not None and not 0 <= node < n_nodes:
        raise ValueError(f"node must be None or from 0 to {n_nodes - 1}, got {node}")
    edges = sp.triu(run.edge_probs, k=1).tocoo()
    row, col, theta = edges.row, edges.col, edges.data
    n_pairs, n_same = n_nodes * (n_nodes - 1) // 2, 0
    if node is None:
        sizes = np.bincount(labels[labels >= 0])
        n_same = int((sizes * (sizes - 1) // 2).sum())
    else:
        mine = (row == node) | (col == node)
        row, col, theta, n_pairs = row[mine], col[mine], theta[mine], n_nodes - 1
        n_same = int((labels == labels[node]).sum()) - 1 if labels[node] >= 0 else 0
    same = (labels[row] == labels[col]) & (labels[row] >= 0)
    cutoff = run.summary["edge_cutoff"]
    bins = np.searchsorted(LEVELS, np.minimum(theta, 1.0))
    shares = []
    for inside, total in ((same, n_same), (~same, n_pairs - n_same)):
        counts = np.bincount(bins[inside], minlength=len(LEVELS))
        whole = np.append(total - counts.sum(), counts)  # the rest is below the cut-off
        shares.append(whole / max(1, total))
    lower = (cutoff, *LEVELS[:-1])
    names = [f"≤ {cutoff:g}", *(f"{a:g} - {b:g}" for a, b in zip(lower, LEVELS, strict=True))]
    return names, shares[0], shares[1]


@styled
def probability_histograms(run: Run, node: int | None = None) -> Figure:
    """Shares of pairs in six bins of their learned probability, by class (Figure 9.4).

    All known labels are used, those of test rows too: this is a report. See `probability_shares`.
    """
    names, same, other = probability_shares(run, node)
    figure = Figure()
    axes = figure.subplots()
    place = np.arange(len(names))
    axes.bar(place - 0.2, same, 0.38, color=BLUE, label="one class")
    axes.bar(place + 0.2, other, 0.38, color=RED, label="two classes, or one unknown")
    axes.set_xticks(place, names)
    log_axis(axes)
    axes.grid(axis="x", visible=False)
    where = "all pairs" if node is None else f"pairs with node {node}"
    axes.set(
        xlabel="learned edge probability",
        ylabel="share of the group's pairs",
        title=f"Learned probabilities of {where}",
    )
    axes.legend()
    return figure


@styled
def degrees_and_homophily(run: Run) -> Figure:
    """Expected degrees, and the share of edge weight within each class, before and after learning.

    After learning counts the probabilities above the run folder's cut-off; homophily uses all known
    labels.
    """
    labels, names = run.predictions["labels"], class_names(run)
    shown = 1 + len(names)
    figure = Figure(figsize=(6.4, 3 + 0.25 * shown))
    upper, lower = figure.subplots(2, 1, height_ratios=[2.4, 0.6 + 0.25 * shown])
    degrees = [np.asarray(graph.sum(axis=1)).ravel() for graph in (run.start, run.edge_probs)]
    top = max(1.0, float(np.quantile(np.concatenate(degrees), 0.99)))
    bins = np.linspace(0, top, 25)
    states = (("before", GREY), ("after", BLUE))
    for values, (name, colour) in zip(degrees, states, strict=True):
        label = f"{name}, mean {values.mean():.1f}"
        upper.hist(
            np.minimum(values, top), bins, histtype="step", color=colour, label=label, linewidth=1.6
        )
    upper.set(
        xlabel="expected degree (the last bin has all above)", ylabel="nodes", title="Degrees"
    )
    upper.legend()

    place = np.arange(shown)
    for graph, (name, colour) in zip((run.start, run.edge_probs), states, strict=True):
        each = class_homophily(graph, labels, len(names))
        values = 100 * np.append(each, homophily(graph, labels))
        lower.scatter(values, place, 30, color=colour, label=name, zorder=3)
    lower.set_yticks(place, [*names, "all edges"])
    lower.invert_yaxis()
    lower.set(xlabel="weight of edges within the class, %", xlim=(0, 103), title="Homophily")
    lower.legend(loc="center left")
    return figure
