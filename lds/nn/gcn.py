"""The two-layer graph convolutional network of eq. 9.2."""

import math

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.graphs.product import propagate
from lds.nn.features import DenseFeatures, SparseFeatures, drop

Likenesses = tuple[Tensor, Tensor]
"""For each new node the nodes it is like, int64 `(n_new, k)`, and how much, rows sum to 1."""


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
        likenesses: Likenesses,
    ) -> Tensor:
        """Logits of new nodes, each alone with the edges that the nodes it is like have.

        In a drawn graph A, new node i has an edge of weight a_ij = Σ_m q_im A_mj to node j. It
        reads from the graph and is not read by it: the nodes of the graph, and their degrees, are
        as if it were not there. So a copy of node m (q_im = 1) has the logits of m.

        Arguments:
            params, features, graph: as for a call, without training.
            new: features of the new nodes `(n_new, n_features)`.
            likenesses: the nodes m that each new node is like, and q.

        Returns:
            `(n_draws, n_new, n_classes)`.
        """
        s, n = graph.n_draws, graph.n_nodes
        nodes, q = likenesses
        scale = graph.scale.view(s, n, 1)  # D̃^-½

        def read(z: Tensor, h: Tensor) -> Tensor:
            """Σ_m q_m (A D̃^-½ z)_m, from h = Â z."""
            return (q.unsqueeze(-1) * (h / scale - scale * z)[:, nodes]).sum(2)

        z = features.matmul(params["W1"])
        h = propagate(graph, z.repeat(s, 1)).view(s, n, -1)
        z2 = h.relu() @ params["W2"]
        h2 = propagate(graph, z2.reshape(s * n, -1)).view(s, n, -1)
        degree = 1 + (q * (scale.squeeze(2).pow(-2) - 1)[:, nodes]).sum(2)
        own = degree.rsqrt().unsqueeze(-1)
        hidden = (own * read(z, h) + own**2 * new.matmul(params["W1"])).relu()
        return own * read(z2, h2) + own**2 * (hidden @ params["W2"])

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
