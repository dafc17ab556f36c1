"""The learned graph beside the one it started from."""

import numpy as np
import scipy.sparse as sp
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lds.graphs.metrics import class_homophily, homophily
from lds.plots.predictions import chosen_nodes, class_key, tsne
from lds.plots.style import BETWEEN, BLUE, GREY, RED, class_colours, class_names, log_axis, styled
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
def learned_graph(run: Run, n_edges: int | None = None, seed: int = 0) -> Figure:
    """Draw the nodes by class, and the most probable edges between them.

    Nodes have the places of `predictions.embedding`: near each other, they look alike to the
    network. A darker line is more probable; lines between two classes are magenta. Colours of nodes
    are classes, of the prediction where the label is unknown.

    Arguments:
        run: a saved run.
        n_edges: edges drawn, the most probable; None: twice as many as nodes.
        seed: of the places.

    Raises:
        ValueError: `n_edges` is below 0.
    """
    if n_edges is not None and n_edges < 0:
        raise ValueError(f"n_edges must be None or 0 or more, got {n_edges}")
    labels, chosen = run.predictions["labels"], chosen_nodes(run, seed)
    shown = np.where(labels >= 0, labels, run.predictions["probabilities"].argmax(1))
    places = np.full((len(labels), 2), np.nan)
    places[chosen] = tsne(run.predictions["hidden"][chosen], seed)
    edges = sp.triu(run.edge_probs, k=1).tocoo()
    there = np.isin(edges.row, chosen) & np.isin(edges.col, chosen)
    row, col, theta = edges.row[there], edges.col[there], edges.data[there]
    kept = np.argsort(-theta, kind="stable")[: 2 * len(chosen) if n_edges is None else n_edges]
    row, col, theta = row[kept], col[kept], theta[kept]

    figure = Figure(figsize=(6.4, 4.8))
    axes = figure.subplots()
    colours = [BETWEEN if differs else GREY for differs in shown[row] != shown[col]]
    lines = np.stack([places[row], places[col]], axis=1)
    axes.add_collection(
        LineCollection(list(lines), colors=colours, alpha=np.clip(theta, 0.08, 1), linewidths=0.8)
    )
    names = class_names(run)
    palette = np.array(class_colours(len(names)))
    x, y = places[chosen].T
    axes.scatter(x, y, 12, color=palette[shown[chosen]], linewidths=0, zorder=3)
    nodes = f"{len(labels):,} nodes"
    if len(chosen) < len(labels):
        nodes = f"{len(chosen):,} of {nodes}"
    title = f"{len(kept):,} most probable of {there.sum():,} edges among {nodes}"
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)
    keys = [class_key("o", colour, name) for colour, name in zip(palette, names, strict=True)]
    keys.append(Line2D([], [], color=BETWEEN, label="edge between classes"))
    axes.legend(handles=keys, loc="center left", bbox_to_anchor=(1, 0.5))
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
