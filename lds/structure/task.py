"""The inner and outer objective of LDS on nodes (eqs. 9.1, 9.3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from lds._types import Features
from lds._weights import relative
from lds.graphs.receptive_field import receptive_field
from lds.nn.base import Backbone
from lds.nn.features import DenseFeatures, SparseFeatures, node_features

Objective = Callable[[Any, Any], Tensor]
Params = dict[str, Tensor]


@dataclass(frozen=True)
class Task:
    """Features, labels and a network, from which the objectives are made.

    Attributes:
        features: X.
        labels: int64 `(n_nodes,)`; read only at the nodes an objective names.
        network: h_w.
        weight_decay: ρ >= 0.
        batch_nodes: nodes of an objective that one call reads, drawn at random without
            replacement; 0 is all. The mean over them is an unbiased estimate of the mean over all,
            and so is its derivative. Needs a two-layer network that reads edges as products.
        weights: `(n_nodes,)`, see `Problem`; None: all nodes count alike.
        teacher: class probabilities `(n_nodes, n_classes)` that the inner objective fits too, at
            all nodes; not with `batch_nodes`. None: it fits labels alone.
        distillation: weight of that.
        columns: what a forest reads of each node, `(n_nodes, n_columns)`; None: there is no forest.
    """

    features: DenseFeatures | SparseFeatures
    labels: Tensor
    network: Backbone
    weight_decay: float
    batch_nodes: int = 0
    weights: Tensor | None = None
    teacher: Tensor | None = None
    distillation: float = 0.0
    columns: NDArray[np.float32] | None = None

    def inner(self, nodes: Tensor) -> Objective:
        """Make L(w, A) = mean cross-entropy of `nodes` + ρ Ω(w), one graph and dropout mask a call.

        The loss of a stack of networks (`nn.stack`) is the sum of theirs.

        With a teacher it has a further term, `distillation` times the mean cross-entropy of the
        network's class probabilities under the teacher's, over all nodes.

        References:
            Hinton, Vinyals and Dean, 2015, https://arxiv.org/abs/1503.02531.
        """

        def loss(params: dict[str, Tensor], hyper: dict[str, Any]) -> Tensor:
            fit = self._mean_loss(params, hyper["edges"], nodes, training=True)
            return fit + self.weight_decay * self.network.penalty(params)

        return loss

    def outer(self, nodes: Tensor) -> Objective:
        """Make E(w, A) = mean cross-entropy of `nodes` on a drawn graph; no dropout, no penalty."""

        def loss(params: dict[str, Tensor], hyper: dict[str, Any]) -> Tensor:
            return self._mean_loss(params, hyper["edges"], nodes, training=False)

        return loss

    def _mean_loss(
        self, params: dict[str, Tensor], edges: Any, nodes: Tensor, *, training: bool
    ) -> Tensor:
        graph, features, place = edges.draw(), self.features, nodes
        weights = relative(self.weights, nodes)
        if 0 < self.batch_nodes < len(nodes):
            some = torch.randperm(len(nodes))[: self.batch_nodes].to(nodes.device)
            nodes, weights = nodes[some], None if weights is None else weights[some]
            graph, kept = receptive_field(graph, nodes, edges.pairs)
            features, place = features.take(kept), torch.searchsorted(kept, nodes)
        logits = self.network(params, features, graph, training=training)
        n_networks = len(logits)
        truth = self.labels[nodes].repeat(n_networks)
        each = cross_entropy(logits[:, place].flatten(0, 1), truth, reduction="none")
        if weights is not None:
            each = weights.repeat(n_networks) * each
        loss = n_networks * each.mean()
        if training and self.teacher is not None:
            # Classes first: on a CPU torch's softmax is several times faster along long rows.
            mine = logits.transpose(1, 2).contiguous()
            taught = self.teacher.t().contiguous().expand_as(mine)
            loss = loss + n_networks * self.distillation * cross_entropy(mine, taught)
        return loss


def total(parts: Sequence[tuple[float, Objective]]) -> Objective:
    """Add Σ_k weight_k · objective_k, those of weight 0 left out.

    Raises:
        ValueError: every weight is 0.
    """
    used = [(weight, objective) for weight, objective in parts if weight]
    if not used:
        raise ValueError("an objective must have a weight above 0, got 0 for all of them")

    def loss(params: dict[str, Tensor], hyper: dict[str, Any]) -> Tensor:
        values = [weight * objective(params, hyper) for weight, objective in used]
        return torch.stack(values).sum()

    return used[0][1] if len(used) == 1 and used[0][0] == 1 else loss


def task_on(
    features: Features,
    labels: NDArray[np.int64],
    network: Backbone,
    *,
    weight_decay: float,
    dtype: torch.dtype,
    device: torch.device,
    batch_nodes: int = 0,
    weights: NDArray[np.float64] | None = None,
    columns: NDArray[np.float32] | None = None,
) -> Task:
    """Make the task of a run, on its device and in its precision.

    Arguments:
        features: X, as the network is to read it.
        labels: `(n_nodes,)`, classes from 0, -1 where unknown.
        network: h_w, for these numbers of features and of classes.
        weight_decay, batch_nodes: as of `Task`.
        weights: as of `Problem`.
        columns: as of `Task`.
        dtype, device: of everything.
    """
    x = node_features(features, dtype, device)
    y = torch.as_tensor(labels, device=device)
    w = None if weights is None else torch.as_tensor(weights, dtype=dtype, device=device)
    return Task(x, y, network, weight_decay, batch_nodes, w, columns=columns)


def rows_tensor(rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """Return row indices as int64 on `device`."""
    return torch.as_tensor(rows, dtype=torch.int64, device=device)
