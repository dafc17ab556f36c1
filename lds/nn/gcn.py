"""The two-layer graph convolutional network of eq. 9.2."""

import math

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.graphs.product import propagate
from lds.nn.features import DenseFeatures, SparseFeatures, drop


class GCN:
    """Softmax(Â ReLU(Â X W1) W2), without the softmax (eq. 9.2).

    The weights are not kept here: they are the `params` handed to every call.

    References:
        Kipf and Welling, 2017, https://arxiv.org/abs/1609.02907; Franceschi, 2021, §9.2.2.

    Arguments:
        n_features, hidden_channels, n_classes: sizes of X, of the hidden layer and of the output.
        dropout: probability in [0, 1) of zeroing an entry of X and of the hidden layer in training.
    """

    def __init__(
        self, n_features: int, hidden_channels: int, n_classes: int, dropout: float = 0.5
    ) -> None:
        self.sizes = (n_features, hidden_channels, n_classes)
        self.dropout = dropout

    def init(
        self, generator: torch.Generator, dtype: torch.dtype, device: torch.device
    ) -> dict[str, Tensor]:
        """Weights uniform after Glorot: "W1" `(n_features, hidden)`, "W2" `(hidden, classes)`."""
        n, h, c = self.sizes
        return {
            "W1": _glorot(n, h, generator).to(device, dtype),
            "W2": _glorot(h, c, generator).to(device, dtype),
        }

    def __call__(
        self,
        params: dict[str, Tensor],
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        *,
        training: bool,
    ) -> Tensor:
        """Logits `(n_draws, n_nodes, n_classes)`; in training, dropout draws from torch's state."""
        p = self.dropout if training else 0.0
        h = _first(params, features, graph, p)
        out = propagate(graph, drop(h, p) @ params["W2"])
        return out.view(graph.n_draws, graph.n_nodes, -1)

    def hidden(
        self,
        params: dict[str, Tensor],
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
    ) -> Tensor:
        """ReLU(Â X W1), `(n_draws, n_nodes, hidden_channels)`, without dropout."""
        return _first(params, features, graph, 0.0).view(graph.n_draws, graph.n_nodes, -1)

    def attach(
        self,
        params: dict[str, Tensor],
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        neighbors: Tensor,
    ) -> Tensor:
        """Logits of new nodes, each alone with edges to its neighbours.

        A new node reads from the graph and is not read by it: the nodes of the graph, and their
        degrees, are as if it were not there.

        Arguments:
            params, features, graph: as for a call, without training.
            new: features of the new nodes `(n_new, n_features)`.
            neighbors: int64 `(n_new, k)`, nodes of the graph.

        Returns:
            `(n_draws, n_new, n_classes)`.
        """
        s, n = graph.n_draws, graph.n_nodes
        z = features.matmul(params["W1"])
        h = propagate(graph, z.repeat(s, 1)).relu().view(s, n, -1) @ params["W2"]
        own_scale = (1 + neighbors.shape[1]) ** -0.5
        weights = (graph.scale.view(s, n)[:, neighbors] * own_scale).unsqueeze(-1)
        mine = new.matmul(params["W1"]) * own_scale**2
        hidden = ((weights * z[neighbors]).sum(2) + mine).relu()
        own = (hidden @ params["W2"]) * own_scale**2
        logits: Tensor = (weights * h[:, neighbors]).sum(2) + own
        return logits

    def penalty(self, params: dict[str, Tensor]) -> Tensor:
        """Ω(w): half the squared norm of the first layer's weights (§9.4.2)."""
        return 0.5 * params["W1"].square().sum()


def _first(
    params: dict[str, Tensor],
    features: DenseFeatures | SparseFeatures,
    graph: GraphBatch,
    dropout: float,
) -> Tensor:
    """The hidden layer, the graphs' nodes one below the other."""
    z = features.matmul(params["W1"], dropout)
    return propagate(graph, z.repeat(graph.n_draws, 1)).relu()


def _glorot(n_in: int, n_out: int, generator: torch.Generator) -> Tensor:
    bound = math.sqrt(6 / (n_in + n_out))
    return (2 * torch.rand(n_in, n_out, generator=generator) - 1) * bound
