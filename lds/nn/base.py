"""What LDS needs of a network, and the networks it knows by name.

Two instances of the idea: the thesis's GCN, whose products with a drawn graph give the
hypergradient of every pair of nodes at the cost of thin matrices; PyG's convolutions, which take a
weight for each edge they are told of, so that the hypergradient reaches those pairs alone.
"""

from typing import Protocol

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.nn.features import DenseFeatures, SparseFeatures
from lds.nn.gcn import GCN, Attached

Params = dict[str, Tensor]

GCN_NAME = "gcn"
BACKBONES = (
    GCN_NAME,
    "GCNConv", "SAGEConv", "GINConv", "GATv2Conv", "APPNP", "ChebConv",
    "GraphConv", "LEConv", "SGConv", "SSGConv", "TAGConv", "ARMAConv",
)  # fmt: skip
"""Names of networks; all but the first are PyG's, see `lds.nn.pyg`."""

NEED_EDGES = ("ChebConv", "TAGConv", "ARMAConv")
"""They divide by the root of a degree without a loop: of a node without edges, the slope of it is
infinite. They need every drawn graph to be connected."""


class Backbone(Protocol):
    """A network on a batch of graphs; its weights are the `params` handed to every call."""

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """Fresh weights, drawn from `generator` alone."""

    def __call__(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        *,
        training: bool,
    ) -> Tensor:
        """Logits `(n_draws, n_nodes, n_classes)`; in training, dropout draws from torch's state."""

    def hidden(
        self, params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """Activations `(n_draws, n_nodes, hidden_channels)` after the first layer, no dropout."""

    def attach(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        attached: Attached,
    ) -> Tensor:
        """Logits `(n_draws, n_new, n_classes)` of new nodes that hang on the graph by their edges.

        Arguments:
            params, features, graph: as for a call, without training.
            new: features of the new nodes `(n_new, n_features)`.
            attached: the nodes that each new node is like, or has edges to.
        """

    def penalty(self, params: Params) -> Tensor:
        """Ω(w): half the squared norm of the first layer's weights (§9.4.2)."""


def check_backbone(name: str, connected: bool) -> None:
    """Refuse a network that LDS does not know, or not on such graphs.

    Raises:
        ValueError: another name, or one of `NEED_EDGES` where draws need not be connected.
    """
    if name not in BACKBONES:
        raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {name!r}")
    if name in NEED_EDGES and not connected:
        raise ValueError(
            f"backbone={name!r} needs connected=True: its normalisation has no derivative at a "
            "node without edges"
        )


def backbone(
    name: str, n_features: int, hidden_channels: int, n_classes: int, dropout: float
) -> Backbone:
    """A two-layer network by name.

    Arguments:
        name: one of `BACKBONES`.
        n_features, hidden_channels, n_classes: sizes of X, of the hidden layer and of the output.
        dropout: probability in [0, 1) of zeroing an entry of X and of the hidden layer in training.
    """
    if name == GCN_NAME:
        return GCN(n_features, hidden_channels, n_classes, dropout)
    from lds.nn.pyg import PyGNetwork  # torch_geometric alone takes seconds to import

    return PyGNetwork(name, n_features, hidden_channels, n_classes, dropout)
