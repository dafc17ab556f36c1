"""The most probable edges of every node, small enough to travel in a page."""

import json
from typing import Any

import numpy as np
import scipy.sparse as sp

from lds._types import ROLES
from lds.plots.style import class_colours
from lds.run_folder import Run

MOST_EDGES = 400_000
"""Edges in a page: about 5 MB."""

SHOWN, FEWEST = 16, 4
"""Edges of a node in the page at most, and at least, however many nodes there are."""

UNIT = 10_000
"""Probabilities are whole numbers of these parts."""

UNSURE = 50
"""Rows of least confidence in the list of a page, at most."""


def neighbourhoods(run: Run) -> dict[str, Any]:
    """Collect what the page's picture of a node needs, as plain lists.

    Returns:
        "classes" and "colours" by class; "unsure", how many rows of least confidence are listed; by
        node: "id" (identifiers, or null), "label" (-1 unknown), "prediction", "confidence" (parts
        of `UNIT`), "role" (index into "roles"), "degree" (expected, of all stored edges) and
        "edges" (how many are stored: those above "cutoff"). Its most probable edges, most probable
        first, are entries first[i] to first[i + 1] of "to", "probability" (parts of `UNIT`, at
        least 1) and "start", the probability before learning (likewise; 0: none).
    """
    n_nodes = run.edge_probs.shape[0]
    each = max(FEWEST, min(SHOWN, MOST_EDGES // n_nodes))
    edges = run.edge_probs.tocoo()
    order = np.lexsort((edges.col, -edges.data, edges.row))
    row, col, theta = edges.row[order], edges.col[order], edges.data[order]
    rank = np.arange(row.size) - np.searchsorted(row, row)
    row, col, theta = row[rank < each], col[rank < each], theta[rank < each]
    first = np.searchsorted(row, np.arange(n_nodes + 1))
    start = _probabilities(run.start, row, col)

    probabilities = run.predictions["probabilities"]
    role = np.full(n_nodes, len(ROLES))
    for k, name in enumerate(ROLES):
        role[run.predictions[f"{name}_rows"]] = k
    classes = [str(name) for name in run.settings["classes"]]
    degree = np.asarray(run.edge_probs.sum(axis=1)).ravel().astype(np.float64)
    return {
        "classes": classes,
        "colours": class_colours(len(classes)),
        "roles": [*ROLES, "no role"],
        "unit": UNIT,
        "unsure": min(UNSURE, n_nodes),
        "cutoff": run.summary["edge_cutoff"],
        "label": run.predictions["labels"].tolist(),
        "id": run.predictions["identifiers"].tolist() if "identifiers" in run.predictions else None,
        "prediction": probabilities.argmax(1).tolist(),
        "confidence": _parts(probabilities.max(1)),
        "role": role.tolist(),
        "degree": degree.round(1).tolist(),
        "edges": np.diff(run.edge_probs.indptr).tolist(),
        "first": first.tolist(),
        "to": col.tolist(),
        "probability": _parts(theta),
        "start": np.where(start > 0, _parts(start), 0).tolist(),
    }


def to_script(value: Any) -> str:
    """Convert to JSON that cannot end the <script> around it, whatever its strings hold."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _parts(values: np.ndarray) -> list[int]:
    whole: list[int] = np.maximum(1, np.rint(values * UNIT)).astype(np.int64).tolist()
    return whole


def _probabilities(graph: sp.csr_array, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Look up entries of a graph; 0 where it stores none."""
    n, entries = graph.shape[0], graph.tocoo()
    keys = entries.row.astype(np.int64) * n + entries.col
    order = np.argsort(keys)
    keys, values = np.append(keys[order], -1), np.append(entries.data[order], 0)
    wanted = row.astype(np.int64) * n + col
    place = np.searchsorted(keys[:-1], wanted)
    return np.where(keys[place] == wanted, values[place], 0)
