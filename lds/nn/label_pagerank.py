"""Personalised PageRank of the labels: what the graph alone says of a node.

Every other member reads features. Where these say nothing of the classes, a graph that says all of
it would be lost on them; here labels travel along its edges and nothing is trained.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lds.graphs.batch import GraphBatch
from lds.graphs.pagerank_product import walk
from lds.graphs.product import propagate
from lds.nn.features import DenseFeatures, SparseFeatures
from lds.nn.gcn import Attached, Reader

Params = dict[str, Tensor]

TELEPORT, N_HOPS = 0.1, 10
"""α and K of the walk, those of the member that reads features from afar (`nn.pagerank`)."""

UNSEEN = 1e-3
"""Share of the mean mass of a node that every class has everywhere: a node that no label reaches
gets equal probabilities."""


class LabelPageRank:
    """Logits s · log(F_K + ε), with F_k = (1 - α) Â F_{k-1} + α Y.

    Y has a row for each node: at labelled ones 1 in the column of the class, divided by how many
    labelled nodes that class has; 0 elsewhere. s is the sharpness, 1 as fitted.

    References:
        Zhou, Bousquet, Lal, Weston and Schölkopf, 2003, "Learning with local and global
        consistency"; Gasteiger, Bojchevski and Günnemann, 2019, https://arxiv.org/abs/1810.05997.

    Arguments:
        n_classes: columns of Y.
    """

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """One without labels: every class as likely as any other."""
        return {
            "labels": torch.zeros(1, self.n_classes, dtype=dtype, device=device),
            "sharpness": torch.ones((), dtype=dtype, device=device),
        }

    def __call__(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        *,
        training: bool,
    ) -> Tensor:
        """Logits `(n_draws, n_nodes, n_classes)`; features are not read."""
        mass = self.hidden(params, features, graph)
        return params["sharpness"] * (mass + _everywhere(mass)).log()

    def hidden(
        self, params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """F_K, `(n_draws, n_nodes, n_classes)`, entries 0 or more."""
        s, n = graph.n_draws, graph.n_nodes
        start = params["labels"].expand(n, -1).repeat(s, 1)
        return walk(graph, start, N_HOPS, TELEPORT).view(s, n, -1)

    def attach(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        attached: Attached,
    ) -> Tensor:
        """Logits `(n_draws, n_new, n_classes)` of new nodes, unlabelled; see `GCN.attach`."""
        s, n = graph.n_draws, graph.n_nodes
        reader = Reader(graph, attached)
        start = params["labels"].expand(s, n, -1)
        mass, of_new = start, start.new_zeros(s, new.shape[0], self.n_classes)
        for _ in range(N_HOPS):
            h = propagate(graph, mass.reshape(s * n, -1)).view(s, n, -1)
            of_new = (1 - TELEPORT) * reader(mass, h, of_new)
            mass = (1 - TELEPORT) * h + TELEPORT * start
        return params["sharpness"] * (of_new + _everywhere(mass)).log()

    def penalty(self, params: Params) -> Tensor:
        """0: there are no weights."""
        return params["labels"].new_zeros(())

    def scaled(self, params: Params, factor: float) -> Params:
        """Params whose logits are `factor` times as large."""
        return params | {"sharpness": factor * params["sharpness"]}


def fit_label_pagerank(
    network: LabelPageRank, features: DenseFeatures | SparseFeatures, labels: Tensor, rows: Tensor
) -> Params:
    """Its params: the labels of `rows`, classes with equal mass.

    Arguments:
        network: whose params.
        features: X, for the number of nodes, the precision and the device.
        labels: int64 `(n_nodes,)`, read at `rows`.
        rows: labelled nodes.
    """
    known = one_hot(labels[rows], network.n_classes).to(features.dtype)
    start = known.new_zeros(features.shape[0], network.n_classes)
    start[rows] = known / known.sum(0).clamp_min(1)
    return {"labels": start, "sharpness": known.new_ones(())}


def _everywhere(mass: Tensor) -> Tensor:
    """ε, one number a graph, `(n_draws, 1, 1)`."""
    mean: Tensor = mass.mean((1, 2), keepdim=True)
    return (UNSEEN * mean).clamp_min(torch.finfo(mass.dtype).tiny)
