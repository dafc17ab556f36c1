"""The two-layer graph convolutional network of eq. 9.2."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.graphs.product import propagate
from lds.nn.features import DenseFeatures, SparseFeatures, drop


@dataclass(frozen=True)
class Likenesses:
    """For each new node the nodes it is like: it has the edges that they have in a drawn graph.

    Attributes:
        nodes: m, int64 `(n_new, k)`.
        share: q, `(n_new, k)`, how much; rows sum to 1.
    """

    nodes: Tensor
    share: Tensor

    def __getitem__(self, rows: slice) -> "Likenesses":
        return Likenesses(self.nodes[rows], self.share[rows])


@dataclass(frozen=True)
class NewEdges:
    """For each new node the nodes it has edges to, on every graph.

    Attributes:
        nodes: j, int64 `(n_new, k)`.
        weight: `(n_new, k)`, 0 or more: an expected edge counts by its probability.
    """

    nodes: Tensor
    weight: Tensor

    def __getitem__(self, rows: slice) -> "NewEdges":
        return NewEdges(self.nodes[rows], self.weight[rows])


Attached = Likenesses | NewEdges
"""How new nodes hang on a graph."""


class GCN:
    """Softmax(Â ReLU(Â X W1) W2), without the softmax (eq. 9.2).

    The weights are not kept here: they are the `params` handed to every call.

    References:
        Kipf and Welling, 2017, https://arxiv.org/abs/1609.02907; Franceschi, 2021, §9.2.2.

    Arguments:
        n_features, hidden_channels, n_classes: sizes of X, of the hidden layer and of the output.
        dropout: probability in [0, 1) of zeroing an entry of X and of the hidden layer in training.
        input_dropout: that of X, where it is another.
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
        """Weights uniform after Glorot: "W1" `(n_features, hidden)`, "W2" `(hidden, classes)`."""
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
        """Logits `(n_draws, n_nodes, n_classes)`; in training, dropout draws from torch's state."""
        p, of_x = (self.dropout, self.input_dropout) if training else (0.0, 0.0)
        h = _first(params, features, graph, of_x)
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
        attached: Attached,
    ) -> Tensor:
        """Logits of new nodes, each alone with its edges to the graph's.

        A new node reads from the graph and is not read by it: the nodes of the graph, and their
        degrees, are as if it were not there. With likenesses, new node i has in a drawn graph A an
        edge of weight Σ_m q_im A_mj to node j; so a copy of node m (q_im = 1) has the logits of m.

        Arguments:
            params, features, graph: as for a call, without training.
            new: features of the new nodes `(n_new, n_features)`.
            attached: their edges.

        Returns:
            `(n_draws, n_new, n_classes)`.
        """
        s, n = graph.n_draws, graph.n_nodes
        reader = Reader(graph, attached)
        z = features.matmul(params["W1"]).expand(s, n, -1)
        h = propagate(graph, z.reshape(s * n, -1)).view(s, n, -1)
        hidden = reader(z, h, new.matmul(params["W1"])).relu()
        z2 = h.relu() @ params["W2"]
        h2 = propagate(graph, z2.reshape(s * n, -1)).view(s, n, -1)
        return reader(z2, h2, hidden @ params["W2"])

    def penalty(self, params: dict[str, Tensor]) -> Tensor:
        """Ω(w): half the squared norm of the first layer's weights (§9.4.2)."""
        return 0.5 * params["W1"].square().sum()

    def scaled(self, params: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
        """Params whose logits are `factor` times as large."""
        return params | {"W2": factor * params["W2"]}


class Reader:
    """What new nodes read in one product with Â, given what the graph's nodes read in it.

    Arguments:
        graph: S graphs.
        attached: edges of the new nodes.
    """

    def __init__(self, graph: GraphBatch, attached: Attached) -> None:
        self._attached = attached
        self._scale = graph.scale.view(graph.n_draws, graph.n_nodes, 1)  # D̃^-½
        if isinstance(attached, NewEdges):
            degree = 1 + attached.weight.sum(1).unsqueeze(0)
        else:
            others = self._scale.squeeze(2).pow(-2) - 1
            degree = 1 + (attached.share * others[:, attached.nodes]).sum(2)
        self._own = degree.rsqrt().unsqueeze(-1)

    def __call__(self, z: Tensor, h: Tensor, new: Tensor) -> Tensor:
        """Σ_j a_ij z_j, normalised, and the new nodes' own part.

        Arguments:
            z, h: `(n_draws, n_nodes, n_channels)`, what went into Â, and Â z.
            new: `([n_draws, ]n_new, n_channels)`, what went in at the new nodes.
        """
        attached = self._attached
        if isinstance(attached, NewEdges):
            weight, read = attached.weight, self._scale * z
        else:  # Σ_m q_im (A D̃^-½ z)_m
            weight, read = attached.share, h / self._scale - self._scale * z
        total = (weight.unsqueeze(-1) * read[:, attached.nodes]).sum(2)
        return self._own * total + self._own**2 * new


def _first(
    params: dict[str, Tensor],
    features: DenseFeatures | SparseFeatures,
    graph: GraphBatch,
    dropout: float,
) -> Tensor:
    """The hidden layer, the graphs' nodes one below the other."""
    z = features.matmul(params["W1"], dropout)
    return propagate(graph, z.repeat(graph.n_draws, 1)).relu()


def glorot(n_in: int, n_out: int, generator: torch.Generator) -> Tensor:
    """Weights uniform in ±√(6 / (n_in + n_out)), `(n_in, n_out)`."""
    bound = math.sqrt(6 / (n_in + n_out))
    return (2 * torch.rand(n_in, n_out, generator=generator) - 1) * bound
