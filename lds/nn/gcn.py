"""The two-layer graph convolutional network of eq. 9.2."""

import math

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.graphs.product import propagate
from lds.nn.features import DenseFeatures, SparseFeatures, drop
from lds.nn.new_nodes import Attachment, NewNodeProduct


class GCN:
    """The logits Â ReLU(Â X W1) W2; their softmax is eq. 9.2.

    The object holds no weights: every call takes them as `params`.

    References:
        Kipf and Welling, 2017, https://arxiv.org/abs/1609.02907; Franceschi, 2021, §9.2.2.

    Arguments:
        n_features, hidden_channels, n_classes: sizes of X, of the hidden layer and of the output.
        dropout: probability in [0, 1) of zeroing an entry of X and of the hidden layer in training.
        input_dropout: dropout of X; None is `dropout`.
    """

    def __init__(
        self,
        n_features: int,
        hidden_channels: int,
        n_classes: int,
        dropout: float = 0.5,
        *,
        input_dropout: float | None = None,
    ) -> None:
        self.sizes = (n_features, hidden_channels, n_classes)
        self.dropout = dropout
        self.input_dropout = dropout if input_dropout is None else input_dropout

    def init(
        self, generator: torch.Generator, dtype: torch.dtype, device: torch.device
    ) -> dict[str, Tensor]:
        """Draw uniform Glorot weights.

        Returns:
            "W1" `(n_features, hidden_channels)` and "W2" `(hidden_channels, n_classes)`.
        """
        n, h, c = self.sizes
        return {
            "W1": glorot(n, h, generator).to(device, dtype),
            "W2": glorot(h, c, generator).to(device, dtype),
        }

    def __call__(
        self,
        params: dict[str, Tensor],
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        *,
        training: bool,
    ) -> Tensor:
        """Return logits `(n_draws, n_nodes, n_classes)`.

        In training, dropout draws from torch's random state.
        """
        p, p_input = (self.dropout, self.input_dropout) if training else (0.0, 0.0)
        h = _first_layer(params, features, graph, p_input)
        out = propagate(graph, drop(h, p) @ params["W2"])
        return out.view(graph.n_draws, graph.n_nodes, -1)

    def hidden(
        self,
        params: dict[str, Tensor],
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
    ) -> Tensor:
        """Return ReLU(Â X W1), `(n_draws, n_nodes, hidden_channels)`, without dropout."""
        return _first_layer(params, features, graph, 0.0).view(graph.n_draws, graph.n_nodes, -1)

    def attach(
        self,
        params: dict[str, Tensor],
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        edges: Attachment,
    ) -> Tensor:
        """Return the logits of new nodes, each with edges to nodes of the graph.

        Edges lead from the graph to a new node only: the nodes of the graph, and their degrees,
        stay as they are, and new nodes do not affect each other. With `BorrowedEdges`, new node i
        has in a drawn graph A an edge of weight Σ_m q_im A_mj to node j; so a copy of node m
        (q_im = 1) has the logits of m.

        Arguments:
            params, features, graph: as for a call, without training.
            new: features of the new nodes `(n_new, n_features)`.
            edges: of the new nodes.

        Returns:
            `(n_draws, n_new, n_classes)`.
        """
        s, n = graph.n_draws, graph.n_nodes
        at_new = NewNodeProduct(graph, edges)
        z = features.matmul(params["W1"]).expand(s, n, -1)
        h = propagate(graph, z.reshape(s * n, -1)).view(s, n, -1)
        hidden = at_new(z, h, new.matmul(params["W1"])).relu()
        z2 = h.relu() @ params["W2"]
        h2 = propagate(graph, z2.reshape(s * n, -1)).view(s, n, -1)
        return at_new(z2, h2, hidden @ params["W2"])

    def penalty(self, params: dict[str, Tensor]) -> Tensor:
        """Return Ω(w): half the squared norm of the first layer's weights (§9.4.2)."""
        return 0.5 * params["W1"].square().sum()

    def scaled(self, params: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
        """Return params whose logits are `factor` times as large."""
        return params | {"W2": factor * params["W2"]}


def _first_layer(
    params: dict[str, Tensor],
    features: DenseFeatures | SparseFeatures,
    graph: GraphBatch,
    dropout: float,
) -> Tensor:
    """Return the hidden layer, `(n_draws · n_nodes, hidden_channels)`, draw by draw."""
    z = features.matmul(params["W1"], dropout)
    return propagate(graph, z.repeat(graph.n_draws, 1)).relu()


def glorot(n_in: int, n_out: int, generator: torch.Generator) -> Tensor:
    """Draw weights uniform in ±√(6 / (n_in + n_out)), `(n_in, n_out)` (Glorot and Bengio, 2010)."""
    bound = math.sqrt(6 / (n_in + n_out))
    uniform = torch.rand(n_in, n_out, generator=generator, dtype=torch.float32)
    return (2 * uniform - 1) * bound
