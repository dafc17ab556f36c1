"""The inner and outer objective of LDS on nodes (eqs. 9.1, 9.3)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from lds._types import Features
from lds.config import LDSConfig
from lds.nn.base import Backbone, backbone
from lds.nn.features import DenseFeatures, SparseFeatures, node_features

Objective = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Task:
    """What is learned from: features, labels, and the network that meets them.

    Attributes:
        features: X.
        labels: int64 `(n_nodes,)`; read only at the nodes an objective names.
        network: h_w.
        weight_decay: ρ >= 0.
    """

    features: DenseFeatures | SparseFeatures
    labels: Tensor
    network: Backbone
    weight_decay: float

    def inner(self, nodes: Tensor) -> Objective:
        """L(w, A) = mean cross-entropy of `nodes` + ρ Ω(w), one graph and dropout mask a call."""

        def loss(params: dict[str, Tensor], hyper: dict[str, Any]) -> Tensor:
            graph = hyper["edges"].draw()
            logits = self.network(params, self.features, graph, training=True)[0]
            fit = cross_entropy(logits[nodes], self.labels[nodes])
            return fit + self.weight_decay * self.network.penalty(params)

        return loss

    def outer(self, nodes: Tensor) -> Objective:
        """E(w, A) = mean cross-entropy of `nodes` on one drawn graph; no dropout, no penalty."""

        def loss(params: dict[str, Tensor], hyper: dict[str, Any]) -> Tensor:
            graph = hyper["edges"].draw()
            logits = self.network(params, self.features, graph, training=False)[0]
            return cross_entropy(logits[nodes], self.labels[nodes])

        return loss


def task_on(
    features: Features,
    labels: NDArray[np.int64],
    config: LDSConfig,
    dtype: torch.dtype,
    device: torch.device,
) -> Task:
    """The task of a run, on its device and in its precision; classes are counted from `labels`."""
    x = node_features(features, dtype, device)
    n_classes = int(labels.max()) + 1
    sizes = (x.shape[1], config.hidden_channels, n_classes)
    network = backbone(config.backbone, *sizes, config.dropout)
    return Task(x, torch.as_tensor(labels, device=device), network, config.weight_decay)


def nodes_tensor(rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """Row indices as int64 on `device`."""
    return torch.as_tensor(rows, dtype=torch.int64, device=device)
