"""What LDS needs of a network.

Two instances of the idea: the thesis's GCN, whose products with a drawn graph give the
hypergradient of every pair of nodes at the cost of thin matrices; PyG's convolutions, which take a
list of edges with weights, so that the hypergradient reaches the listed pairs alone. `registry`
has the networks by name.
"""

from typing import Protocol

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.nn.features import DenseFeatures, SparseFeatures
from lds.nn.new_nodes import Attachment

Params = dict[str, Tensor]


class Backbone(Protocol):
    """A network on a batch of graphs; its weights are the `params` handed to every call."""

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """Draw fresh weights from `generator` alone."""

    def __call__(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        *,
        training: bool,
    ) -> Tensor:
        """Return logits `(n_draws, n_nodes, n_classes)`.

        In training, dropout draws from torch's random state.
        """

    def hidden(
        self, params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """Return the activations after the first layer, without dropout.

        Returns:
            `(n_draws, n_nodes, hidden_channels)`.
        """

    def attach(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        edges: Attachment,
    ) -> Tensor:
        """Return the logits of new nodes, each with edges to nodes of the graph.

        Arguments:
            params, features, graph: as for a call, without training.
            new: features of the new nodes `(n_new, n_features)`.
            edges: of the new nodes.

        Returns:
            `(n_draws, n_new, n_classes)`.
        """

    def penalty(self, params: Params) -> Tensor:
        """Return Ω(w): half the squared norm of the first layer's weights (§9.4.2)."""
