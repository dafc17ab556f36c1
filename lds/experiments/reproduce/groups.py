"""What LDS learned about three nodes, and how its embeddings separate classes (Figs. 9.3-9.5)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score

import lds.experiments.reproduce.networks as networks
from lds.datasets.base import NodeDataset
from lds.experiments.fit import problem_of
from lds.experiments.reproduce.baselines import accuracy_of
from lds.experiments.reproduce.entry import Row
from lds.graphs.knn import knn_adjacency
from lds.structure.learn import learn
from lds.structure.methods.thesis import Thesis
from lds.structure.result import Learned

BINS = (-6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0)
"""Edges of the six bins of log10 probability of Figure 9.4."""

FLOOR = 1e-6
"""Probabilities below count as this in logarithms."""


def run(row: Row, data: NodeDataset, options: dict[str, Any]) -> dict[str, Any]:
    """Learn, and describe the probabilities of example nodes or the embeddings."""
    method = Thesis(**{**row["setting"], **options})
    found = learn(problem_of(data), method, seed=row["seed"])
    value = accuracy_of(found.probabilities, data.labels, data.split.test)
    if row["method"] == "embeddings":
        return {"value": value, "separation": separation(found, data)}
    edges = found.edges.to_csr(0.0)
    rng = np.random.default_rng(row["seed"])
    examples = {
        role: int(rng.choice(_right(found, data, role))) for role in ("train", "validation", "test")
    }
    return {
        "value": value,
        "nodes": {
            role: node_groups(np.asarray(edges[[node]].todense()).ravel(), data, node)
            for role, node in examples.items()
        },
        "history": [record.group_probs for record in found.history],
    }


def _right(found: Learned, data: NodeDataset, role: str) -> NDArray[np.int64]:
    """Rows of a role whose prediction is right; all, where there are none."""
    rows = getattr(data.split, role)
    right = rows[found.probabilities[rows].argmax(1) == data.labels[rows]]
    chosen: NDArray[np.int64] = right if right.size else rows
    return chosen


def node_groups(probs: NDArray[np.floating[Any]], data: NodeDataset, node: int) -> dict[str, Any]:
    """Mean edge probability of one node to four groups, and histograms of its log10.

    Classes of test rows are used here, as in the figure: nothing is learned from them.

    Arguments:
        probs: θ of the node to all nodes, `(n_nodes,)`.
        data: with labels and held-out edges.
        node: its row.
    """
    other = np.arange(data.n_nodes) != node
    known = np.zeros(data.n_nodes, dtype=bool)
    for role in ("train", "validation", "stopping"):
        known[getattr(data.split, role)] = True
    same = other & (data.labels == data.labels[node])
    groups = {
        "same": same & known,
        "different": other & known & ~same,
        "unknown": other & ~known,
    }
    if data.held_out is not None:
        held = np.zeros(data.n_nodes, dtype=bool)
        held[data.held_out[[node]].tocoo().coords[1]] = True
        groups["held_out"] = held
    means = {name: float(probs[mask].mean()) for name, mask in groups.items() if mask.any()}
    logs = np.log10(np.maximum(probs, FLOOR))
    histograms = {
        name: (np.histogram(logs[mask], BINS)[0] / max(1, mask.sum())).tolist()
        for name, mask in (("same", same), ("other", other & ~same))
    }
    return {"means": means, "histograms": histograms}


def separation(found: Learned, data: NodeDataset) -> dict[str, float]:
    """Silhouette of the true classes of test rows in three embeddings, in [-1, 1].

    t-SNE keeps neighbours, not distances, so the picture of Figure 9.5 is measured before it is
    drawn: the hidden layer of a GCN on the complete graph, on the kNN graph, and of LDS.
    """
    rows, labels = data.split.test, data.labels
    problem = problem_of(data)
    products = {
        "Dense-GCN": networks.equal_product(data.n_nodes, 1.0 / data.n_nodes),
        "kNN-GCN": networks.sparse_product(knn_adjacency(data.features, 10, "cosine")),
    }
    hidden = {"kNN-LDS": found.hidden}
    for name, product in products.items():
        fitted = networks.fit_network(
            networks.tensors(problem.features),
            product,
            torch.as_tensor(np.maximum(labels, 0)),
            torch.as_tensor(data.split.train),
            torch.as_tensor(data.split.stopping),
            lr=0.01,
        )
        hidden[name] = fitted.hidden.numpy()
    return {name: silhouette(h[rows], labels[rows]) for name, h in hidden.items()}


def silhouette(points: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Mean silhouette of the classes: (b - a) / max(a, b) of mean distances to own and next class.

    References:
        Rousseeuw, 1987, https://doi.org/10.1016/0377-0427(87)90125-7
    """
    return float(silhouette_score(points, labels))
