"""A forest that reads a node's features, and its neighbourhood, as columns: nothing is trained.

Trees split at single columns, so they find what networks that mix all columns find late: that one
measurement, a high degree, or one feature of the nodes around tells the class. Where edges join
unlike nodes this is often the best single member.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from torch import Tensor

from lds._weights import relative
from lds.graphs.batch import GraphBatch
from lds.nn.features import DenseFeatures, SparseFeatures
from lds.nn.new_nodes import Attachment, neighbour_sum

Params = dict[str, Tensor]

N_TREES = 100
"""Trees; a committee has a forest of its own in each of its turns."""

MOST_ROWS = 10_000
"""Rows of a tree: with more labelled rows, each tree is fitted to as many drawn ones."""

LEAF_WEIGHT = 0.5
"""Least weight of a leaf, in mean rows: rows that count for next to nothing have no leaves of their
own. Where rows count alike it changes nothing."""

SMALLEST = 1e-3
"""Smallest probability of a class: trees give 0 to classes that no leaf has."""


class NodeForest:
    """Logits s · log p_i, with p the forest's class probabilities of the nodes of the fit.

    A forest is fitted once, to columns that follow from features and perhaps a given graph
    (`graphs.neighbourhood`); what it predicts is kept, not its trees: the same seed grows them
    again (`forest_of_new_rows`). Drawn graphs change nothing. s is the sharpness; fitting sets it
    to 1.

    References:
        Geurts, Ernst and Wehenkel, 2006, "Extremely randomized trees".

    Arguments:
        n_classes: columns of p.
    """

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """Return params before a fit, for which all classes are equally probable."""
        return {
            "forest": torch.zeros(1, self.n_classes, dtype=dtype, device=device),
            "sharpness": torch.ones((), dtype=dtype, device=device),
            "seed": torch.zeros((), dtype=torch.int64, device=device),
        }

    def __call__(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        *,
        training: bool,
    ) -> Tensor:
        """Return logits `(n_draws, n_nodes, n_classes)`, the same for every drawn graph."""
        return params["sharpness"] * self.hidden(params, features, graph)

    def hidden(
        self, params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """Return log p, `(n_draws, n_nodes, n_classes)`."""
        return params["forest"].expand(graph.n_draws, graph.n_nodes, -1)

    def attach(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        edges: Attachment,
    ) -> Tensor:
        """Return logits `(n_draws, n_new, n_classes)` of new nodes.

        This is for a forest that reads a given graph: a new node has no given edges, so it takes
        the mean of p over its neighbours, by edge weight. See `GCN.attach` for the arguments.
        """
        p = self.hidden(params, features, graph).exp()
        total = neighbour_sum(graph, edges, p) + p.mean(1, keepdim=True) * SMALLEST
        return params["sharpness"] * (total / total.sum(2, keepdim=True)).log()

    def penalty(self, params: Params) -> Tensor:
        """Return 0: there are no weights."""
        return params["forest"].new_zeros(())

    def scaled(self, params: Params, factor: float) -> Params:
        """Return params whose logits are `factor` times as large."""
        return params | {"sharpness": factor * params["sharpness"]}


def fit_node_forest(
    network: NodeForest,
    columns: NDArray[np.float32],
    labels: Tensor,
    rows: Tensor,
    weights: Tensor | None = None,
    *,
    dtype: torch.dtype,
    seed: int,
) -> Params:
    """Fit a forest to the labels of `rows`, and predict all nodes.

    Arguments:
        network: gives the number of classes.
        columns: of all nodes, `(n_nodes, n_columns)`.
        labels: int64 `(n_nodes,)`, read at `rows`.
        rows: labelled nodes.
        weights: `(n_nodes,)`: what labelled rows count; None: all alike.
        dtype: of the params.
        seed: of the trees.
    """
    trees = _grown(columns, labels, rows, weights, seed)
    forest = _log_probabilities(trees, columns, network.n_classes)
    forest = forest.to(dtype=dtype, device=labels.device)
    number = torch.tensor(seed, device=labels.device)
    return {"forest": forest, "sharpness": forest.new_ones(()), "seed": number}


def forest_of_new_rows(
    params: Params,
    columns: NDArray[np.float32],
    labels: Tensor,
    rows: Tensor,
    weights: Tensor | None,
    new: NDArray[np.float32],
) -> Tensor:
    """Grow the trees of a fit again, and return class probabilities of rows that were not in it.

    Arguments:
        params: of the fit.
        columns, labels, rows, weights: those of the fit.
        new: columns of the new rows, `(n_new, n_columns)`.

    Returns:
        `(n_new, n_classes)`; rows sum to 1.
    """
    forest = params["forest"]
    trees = _grown(columns, labels, rows, weights, int(params["seed"]))
    found = _log_probabilities(trees, new, forest.shape[1]).to(forest)
    return (params["sharpness"] * found).softmax(1)


def _grown(
    columns: NDArray[np.float32],
    labels: Tensor,
    rows: Tensor,
    weights: Tensor | None,
    seed: int,
) -> ExtraTreesClassifier:
    read, known = rows.cpu().numpy(), labels[rows].cpu().numpy()
    mine = relative(weights, rows)
    few = len(read) <= MOST_ROWS
    trees = ExtraTreesClassifier(
        N_TREES,
        min_weight_fraction_leaf=LEAF_WEIGHT / max(len(read), 2),
        bootstrap=not few,
        max_samples=None if few else MOST_ROWS,
        random_state=seed % 2**32,
    )
    return trees.fit(columns[read], known, None if mine is None else mine.cpu().numpy())


def _log_probabilities(
    trees: ExtraTreesClassifier, columns: NDArray[np.float32], n_classes: int
) -> Tensor:
    found = np.zeros((len(columns), n_classes))
    found[:, trees.classes_] = trees.predict_proba(columns)
    found = np.maximum(found, SMALLEST)
    return torch.from_numpy(np.log(found / found.sum(1, keepdims=True)))
