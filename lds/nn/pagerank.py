"""A perceptron whose outputs are spread along the graph by personalised PageRank."""

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.graphs.pagerank_product import pagerank_product
from lds.nn.features import DenseFeatures, SparseFeatures, drop
from lds.nn.gcn import glorot
from lds.nn.new_nodes import Attachment, attached_pagerank


class PageRank:
    """Z_K of Z_k = (1 - α) Â Z_{k-1} + α Z_0, with Z_0 = ReLU(X W1 + b1) W2 + b2.

    The output of a two-layer GCN at a node depends on nodes up to two edges away; here it depends
    on nodes up to K edges away. α is the weight of the node's own output: a small α relies on the
    graph, a large one on the features.

    References:
        Gasteiger, Bojchevski and Günnemann, 2019, eq. 4, https://arxiv.org/abs/1810.05997

    Arguments:
        n_features, hidden_channels, n_classes: sizes of X, of the hidden layer and of the output.
        dropout: probability in [0, 1) of zeroing an entry of X and of the hidden layer in training.
        input_dropout: dropout of X; None is `dropout`.
        teleport: α in (0, 1]; 1 is a perceptron that does not use the graph.
        n_hops: K >= 1; not used with α = 1, where every Z_k is Z_0.
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
        """Draw uniform Glorot weights "W1", "W2", and set biases "b1", "b2" to 0."""
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
        """Return logits `(n_draws, n_nodes, n_classes)`.

        In training, dropout draws from torch's random state.
        """
        own = self._own(params, features, training).repeat(graph.n_draws, 1)
        z = own
        if self.n_hops:
            z = pagerank_product(graph, own, self.n_hops, self.teleport)
        return z.view(graph.n_draws, graph.n_nodes, -1)

    def hidden(
        self, params: dict[str, Tensor], features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """Return ReLU(X W1 + b1), the same on every graph.

        Returns:
            `(n_draws, n_nodes, hidden_channels)`.
        """
        return _first_layer(params, features, 0.0).expand(graph.n_draws, -1, -1)

    def attach(
        self,
        params: dict[str, Tensor],
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        edges: Attachment,
    ) -> Tensor:
        """Return logits `(n_draws, n_new, n_classes)` of new nodes; see `GCN.attach`."""
        own, new_own = self._own(params, features, False), self._own(params, new, False)
        return attached_pagerank(graph, edges, own, new_own, self.n_hops, self.teleport)[1]

    def penalty(self, params: dict[str, Tensor]) -> Tensor:
        """Return Ω(w): half the squared norm of the first layer's weights."""
        return 0.5 * params["W1"].square().sum()

    def scaled(self, params: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
        """Return params whose logits are `factor` times as large."""
        return params | {name: factor * params[name] for name in ("W2", "b2")}

    def _own(
        self, params: dict[str, Tensor], features: DenseFeatures | SparseFeatures, training: bool
    ) -> Tensor:
        """Return Z_0, the perceptron's output at each node, `(n_nodes, n_classes)`."""
        p, p_input = (self.dropout, self.input_dropout) if training else (0.0, 0.0)
        return drop(_first_layer(params, features, p_input), p) @ params["W2"] + params["b2"]


def _first_layer(
    params: dict[str, Tensor], features: DenseFeatures | SparseFeatures, dropout: float
) -> Tensor:
    return (features.matmul(params["W1"], dropout) + params["b1"]).relu()
