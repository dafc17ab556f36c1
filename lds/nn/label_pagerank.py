"""Label propagation by personalised PageRank: a prediction from the graph and the labels alone.

Every other member of the default ensemble predicts from features. This one spreads the known labels
along the edges and does not use features, so it works where features carry no information on the
classes. Nothing is trained.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lds.graphs.batch import GraphBatch
from lds.graphs.pagerank_product import pagerank_product
from lds.nn.features import DenseFeatures, SparseFeatures
from lds.nn.new_nodes import Attachment, attached_pagerank

Params = dict[str, Tensor]

TELEPORT, N_HOPS = 0.1, 10
"""α and K of the PageRank: the defaults of `nn.pagerank.PageRank`."""

SMOOTHING = 1e-3
"""ε as a share of the mean entry of F_K. A node that no label reaches gets equal probabilities."""


class LabelPageRank:
    """Logits s · log(F_K + ε), with F_k = (1 - α) Â F_{k-1} + α Y.

    Row i of Y is 0 for an unlabelled node i. For a labelled one it is one-hot at the class, divided
    by the number of labelled nodes of that class. s is the sharpness; fitting sets it to 1.

    References:
        Zhou, Bousquet, Lal, Weston and Schölkopf, 2003, "Learning with local and global
        consistency"; Gasteiger, Bojchevski and Günnemann, 2019, https://arxiv.org/abs/1810.05997.

    Arguments:
        n_classes: columns of Y.
    """

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """Return params without labels, for which all classes are equally probable."""
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
        """Return logits `(n_draws, n_nodes, n_classes)`; features are not used."""
        mass = self.hidden(params, features, graph)
        return params["sharpness"] * (mass + _epsilon(mass)).log()

    def hidden(
        self, params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """Return F_K, `(n_draws, n_nodes, n_classes)`, entries 0 or more."""
        s, n = graph.n_draws, graph.n_nodes
        start = params["labels"].expand(n, -1).repeat(s, 1)
        return pagerank_product(graph, start, N_HOPS, TELEPORT).view(s, n, -1)

    def attach(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        edges: Attachment,
    ) -> Tensor:
        """Return logits `(n_draws, n_new, n_classes)` of new nodes without labels.

        See `GCN.attach` for the arguments.
        """
        start = params["labels"].expand(graph.n_nodes, -1)
        none = start.new_zeros(new.shape[0], self.n_classes)
        mass, new_mass = attached_pagerank(graph, edges, start, none, N_HOPS, TELEPORT)
        return params["sharpness"] * (new_mass + _epsilon(mass)).log()

    def penalty(self, params: Params) -> Tensor:
        """Return 0: there are no weights."""
        return params["labels"].new_zeros(())

    def scaled(self, params: Params, factor: float) -> Params:
        """Return params whose logits are `factor` times as large."""
        return params | {"sharpness": factor * params["sharpness"]}


def fit_label_pagerank(
    network: LabelPageRank,
    features: DenseFeatures | SparseFeatures,
    labels: Tensor,
    rows: Tensor,
    weights: Tensor | None = None,
) -> Params:
    """Return the params for the labels of `rows`; every class has total mass 1.

    Arguments:
        network: gives the number of classes.
        features: X, for the number of nodes, the precision and the device.
        labels: int64 `(n_nodes,)`, read at `rows`.
        rows: labelled nodes.
        weights: `(n_nodes,)`: shares of a class's mass among its rows; None: equal shares.
    """
    known = one_hot(labels[rows], network.n_classes).to(features.dtype)
    if weights is not None:
        known = known * (weights[rows] / weights[rows].min()).unsqueeze(1)
    start = known.new_zeros(features.shape[0], network.n_classes)
    start[rows] = known / known.sum(0).clamp_min(1)
    return {"labels": start, "sharpness": known.new_ones(())}


def _epsilon(mass: Tensor) -> Tensor:
    """Return ε, one number for each graph, `(n_draws, 1, 1)`."""
    mean: Tensor = mass.mean((1, 2), keepdim=True)
    return (SMOOTHING * mean).clamp_min(torch.finfo(mass.dtype).tiny)
