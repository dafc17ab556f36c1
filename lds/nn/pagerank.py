"""A perceptron whose outputs travel far along the graph, by personalised PageRank."""

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.graphs.pagerank_product import walk
from lds.graphs.product import propagate
from lds.nn.features import DenseFeatures, SparseFeatures, drop
from lds.nn.gcn import Attached, Reader, glorot


class PageRank:
    """Z_K of Z_k = (1 - α) Â Z_{k-1} + α Z_0, with Z_0 = ReLU(X W1 + b1) W2 + b2.

    Two layers of a GCN see two edges far. Here a node hears of labels K edges away, while α keeps
    hold of its own features: a small α trusts the graph, a large one the features.

    References:
        Gasteiger, Bojchevski and Günnemann, 2019, eq. 4, https://arxiv.org/abs/1810.05997

    Arguments:
        n_features, hidden_channels, n_classes: sizes of X, of the hidden layer and of the output.
        dropout: probability in [0, 1) of zeroing an entry of X and of the hidden layer in training.
        input_dropout: that of X, where it is another.
        teleport: α in (0, 1]; 1 is a perceptron that does not see the graph.
        n_hops: K >= 1; with α = 1 none is made.
    """

    def __init__(
        self,
        n_features: int,
        hidden_channels: int,
        n_classes: int,
        dropout: float = 0.5,
        *,
        input_dropout: float | None = None,
        teleport: float = 0.1,
        n_hops: int = 10,
    ) -> None:
        self.sizes = (n_features, hidden_channels, n_classes)
        self.dropout, self.teleport = dropout, teleport
        self.input_dropout = dropout if input_dropout is None else input_dropout
        self.n_hops = n_hops if teleport < 1 else 0

    def init(
        self, generator: torch.Generator, dtype: torch.dtype, device: torch.device
    ) -> dict[str, Tensor]:
        """Weights uniform after Glorot, biases 0: "W1", "b1", "W2", "b2"."""
        n, h, c = self.sizes
        return {
            "W1": glorot(n, h, generator).to(device, dtype),
            "b1": torch.zeros(h, dtype=dtype, device=device),
            "W2": glorot(h, c, generator).to(device, dtype),
            "b2": torch.zeros(c, dtype=dtype, device=device),
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
        own = self._own(params, features, training).repeat(graph.n_draws, 1)
        z = walk(graph, own, self.n_hops, self.teleport) if self.n_hops else own
        return z.view(graph.n_draws, graph.n_nodes, -1)

    def hidden(
        self, params: dict[str, Tensor], features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """ReLU(X W1 + b1), the same on every graph, `(n_draws, n_nodes, hidden_channels)`."""
        return _first(params, features, 0.0).expand(graph.n_draws, -1, -1)

    def attach(
        self,
        params: dict[str, Tensor],
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        attached: Attached,
    ) -> Tensor:
        """Logits `(n_draws, n_new, n_classes)` of new nodes; see `GCN.attach`."""
        s, n = graph.n_draws, graph.n_nodes
        reader = Reader(graph, attached)
        own, new_own = self._own(params, features, False), self._own(params, new, False)
        z, new_z = own.expand(s, n, -1), new_own.expand(s, -1, -1)
        for _ in range(self.n_hops):
            h = propagate(graph, z.reshape(s * n, -1)).view(s, n, -1)
            new_z = self._hop(reader(z, h, new_z), new_own)
            z = self._hop(h, own)
        return new_z

    def penalty(self, params: dict[str, Tensor]) -> Tensor:
        """Ω(w): half the squared norm of the first layer's weights."""
        return 0.5 * params["W1"].square().sum()

    def scaled(self, params: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
        """Params whose logits are `factor` times as large."""
        return params | {name: factor * params[name] for name in ("W2", "b2")}

    def _own(
        self, params: dict[str, Tensor], features: DenseFeatures | SparseFeatures, training: bool
    ) -> Tensor:
        """Z_0, what a node says by itself."""
        p, of_x = (self.dropout, self.input_dropout) if training else (0.0, 0.0)
        return drop(_first(params, features, of_x), p) @ params["W2"] + params["b2"]

    def _hop(self, read: Tensor, own: Tensor) -> Tensor:
        return (1 - self.teleport) * read + self.teleport * own


def _first(
    params: dict[str, Tensor], features: DenseFeatures | SparseFeatures, dropout: float
) -> Tensor:
    return (features.matmul(params["W1"], dropout) + params["b1"]).relu()
