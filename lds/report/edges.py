"""What learning did to the edges of the whole graph: tables of a page."""

import math
from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds.estimators.evidence import Evidence
from lds.graphs.knn import knn_adjacency
from lds.graphs.metrics import homophily
from lds.run_folder import Run

LISTED = 8
"""Edges in each table."""

CHANGED = 0.005
"""Change of a probability from which on an edge counts as turned up or down."""

MOST_NODES = 6000
"""Nodes up to which nearest neighbours are searched for: about a second."""

NEIGHBORS = 10
"""Nearest neighbours of each node in the graph that the learned one is compared with."""


def edge_tables(run: Run, evidence: Evidence, identifiers: list[str] | None) -> str:
    """Make the tables: edges that changed most, edges between classes, kNN against learned.

    Arguments:
        run: the record of the fit.
        evidence: features, and the coefficients of the method.
        identifiers: names of the rows to show; None shows numbers.
    """
    labels = run.predictions["labels"]
    shown = np.where(labels >= 0, labels, run.predictions["probabilities"].argmax(1))
    change = sp.csr_array(sp.triu(run.edge_probs - run.start, k=1)).tocoo()
    change_of = change.data.astype(np.float64)
    across = sp.triu(run.edge_probs, k=1).tocoo()
    differ = shown[across.row] != shown[across.col]
    expected = float(across.data.sum(dtype=np.float64))
    between = float(across.data[differ].sum(dtype=np.float64)) / max(expected, 1e-12)

    def listed(title: str, row: NDArray[Any], col: NDArray[Any]) -> str:
        return _edges(run, title, row, col, lambda i: _node(run, identifiers, i))

    order = np.argsort(-change_of, kind="stable")
    up = order[change_of[order] > CHANGED]
    down = order[change_of[order] < -CHANGED][::-1]
    strong = np.flatnonzero(differ)
    strong = strong[np.argsort(-across.data[strong], kind="stable")]
    parts = [
        listed(f"Edges turned up most, of {len(up):,}", *_ends(change, up)),
        listed(f"Edges turned down most, of {len(down):,}", *_ends(change, down)),
        listed(
            f"Most probable edges between classes, {100 * between:.1f} % of all weight",
            *_ends(across, strong),
        ),
        _against_neighbours(run, evidence),
        _coefficients(evidence),
    ]
    return "".join(f'<div class="scroll">{part}</div>' for part in parts if part)


def _ends(edges: sp.coo_array, order: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the nodes of the first `LISTED` edges of an order."""
    return edges.row[order[:LISTED]], edges.col[order[:LISTED]]


def _edges(
    run: Run,
    title: str,
    row: NDArray[Any],
    col: NDArray[Any],
    node: Callable[[int], str],
) -> str:
    lines = []
    for i, j in zip(row.tolist(), col.tolist(), strict=True):
        before, after = (100 * float(graph[i, j]) for graph in (run.start, run.edge_probs))
        cells = f"<td>{node(i)}</td><td>{node(j)}</td><td>{before:.0f} → {after:.0f} %</td>"
        lines.append(f"<tr>{cells}</tr>")
    body = "".join(lines) or '<tr><td colspan="3">none</td></tr>'
    head = '<th scope="col">Node</th><th scope="col">Node</th><th scope="col">Start → learned</th>'
    return (
        f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _node(run: Run, identifiers: list[str] | None, i: int) -> str:
    """Make a button that shows a node, with its class."""
    labels = run.predictions["labels"]
    known = labels[i] >= 0
    c = int(labels[i] if known else run.predictions["probabilities"][i].argmax())
    name = str(i) if identifiers is None else f"{i} ({identifiers[i]})"
    kind = escape(str(run.settings["classes"][c])) + ("" if known else ", predicted")
    return f'<button type="button" data-node="{i}">{escape(name)}</button> <small>{kind}</small>'


def _against_neighbours(run: Run, evidence: Evidence) -> str:
    """Compare the learned graph with plain nearest neighbours; "" where they are not searched."""
    features, labels = evidence.features, run.predictions["labels"]
    n_nodes = len(labels)
    if features is None or not NEIGHBORS < n_nodes <= MOST_NODES:
        return ""
    metric = "cosine" if sp.issparse(features) else "euclidean"
    near = knn_adjacency(features, NEIGHBORS, metric)
    graphs = {
        f"{NEIGHBORS} nearest neighbours, {metric}": near,
        "before learning": run.start,
        "learned": run.edge_probs,
    }
    pattern, rows = near.astype(bool), ""
    for name, graph in graphs.items():
        weight = float(graph.sum(dtype=np.float64))
        shared = float(graph.multiply(pattern).sum(dtype=np.float64)) / max(weight, 1e-12)
        within = homophily(sp.csr_array(graph), labels)
        of_class = "-" if math.isnan(within) else f"{100 * within:.1f} %"
        texts = (f"{weight / n_nodes:.1f}", of_class, f"{100 * shared:.1f} %")
        cells = "".join(f"<td>{text}</td>" for text in texts)
        rows += f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
    titles = ("Graph", "Edges of a node", "Weight within classes", "Weight on nearest neighbours")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return (
        '<table class="numbers"><caption>Nearest neighbours against the learned graph</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _coefficients(evidence: Evidence) -> str:
    found = evidence.account.coefficients
    if not found:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{start:.2f}</td><td>{learned:.2f}</td></tr>'
        for name, (start, learned) in found.items()
    )
    head = '<th scope="col">Coefficient</th><th scope="col">Start</th><th scope="col">Learned</th>'
    return (
        '<table class="numbers"><caption>Coefficients of the edge probabilities</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )
