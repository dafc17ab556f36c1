"""A network that keeps a node and its neighbours apart, for edges that join unlike nodes."""

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.graphs.constant_product import constant_product
from lds.nn.features import DenseFeatures, SparseFeatures, drop
from lds.nn.gcn import glorot
from lds.nn.new_nodes import Attachment, neighbour_sum

Params = dict[str, Tensor]


class SAGE:
    """The logits H W2 + M H V2 + b2, with H = ReLU(X W1 + M X V1 + b1).

    M X has for each node the mean over its neighbours: (M X)_i = Σ_j a_ij x_j / max(1, Σ_j a_ij).
    A GCN and PageRank add a node to its neighbours before they multiply by weights, so they blur
    nodes whose neighbours are of other classes. Here the weights W are for the node and the weights
    V for its neighbours.

    With edge weights below 1 in total, the mean is smaller in proportion. So a node whose edges are
    unlikely is predicted from its own features.

    References:
        Hamilton, Ying and Leskovec, 2017, https://arxiv.org/abs/1706.02216 (mean aggregator);
        Platonov et al., 2023, https://arxiv.org/abs/2302.11640 (where edges join unlike nodes).

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

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """Draw uniform Glorot weights "W1", "V1", "W2", "V2", and set "b1", "b2" to 0."""
        n, h, c = self.sizes
        params = {}
        for layer, (n_in, n_out) in enumerate(((n, h), (h, c)), 1):
            params[f"W{layer}"] = glorot(n_in, n_out, generator).to(device, dtype)
            params[f"V{layer}"] = glorot(n_in, n_out, generator).to(device, dtype)
            params[f"b{layer}"] = torch.zeros(n_out, dtype=dtype, device=device)
        return params

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

        Raises:
            ValueError: a gradient by edges is wanted, see `neighbour_mean`.
        """
        p, p_input = (self.dropout, self.input_dropout) if training else (0.0, 0.0)
        h = drop(_first_layer(params, features, graph, p_input), p)
        own, to_mean = h @ params["W2"], h @ params["V2"]
        out = own + neighbour_mean(graph, to_mean) + params["b2"]
        return out.view(graph.n_draws, graph.n_nodes, -1)

    def hidden(
        self, params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """Return H, `(n_draws, n_nodes, hidden_channels)`, without dropout."""
        return _first_layer(params, features, graph, 0.0).view(graph.n_draws, graph.n_nodes, -1)

    def attach(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        edges: Attachment,
    ) -> Tensor:
        """Return logits `(n_draws, n_new, n_classes)` of new nodes; see `GCN.attach`."""
        s, n, b1 = graph.n_draws, graph.n_nodes, params["b1"]
        one = graph.scale.new_ones(s, n, 1)
        degree = neighbour_sum(graph, edges, one).clamp(min=1)
        z = features.matmul(params["V1"]).expand(s, n, -1)
        mean = neighbour_sum(graph, edges, z) / degree
        new_h = (new.matmul(params["W1"]) + mean + b1).relu()
        to_mean = self.hidden(params, features, graph) @ params["V2"]
        mean = neighbour_sum(graph, edges, to_mean) / degree
        return new_h @ params["W2"] + mean + params["b2"]

    def penalty(self, params: Params) -> Tensor:
        """Return Ω(w): half the squared norm of the first layer's weights."""
        return 0.5 * (params["W1"].square().sum() + params["V1"].square().sum())

    def scaled(self, params: Params, factor: float) -> Params:
        """Return params whose logits are `factor` times as large."""
        return params | {name: factor * params[name] for name in ("W2", "V2", "b2")}


def neighbour_mean(graph: GraphBatch, z: Tensor) -> Tensor:
    """Compute Σ_j a_ij z_j / max(1, Σ_j a_ij) for each node i; 0 where it has no neighbour.

    The gradient by edges is not recorded.

    Arguments:
        graph: S graphs on N nodes, with edge weights or without.
        z: `(n_draws · n_nodes, n_channels)`.

    Returns:
        In the shape of Z; differentiable by Z, to any order.

    Raises:
        ValueError: the graph records products for a gradient by edges.
    """
    if graph.products is not None and torch.is_grad_enabled():
        raise ValueError(
            "the mean over neighbours has no gradient by edges; use the backbone SAGEConv for one"
        )
    return constant_product(z, *graph.means)


def _first_layer(
    params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch, dropout: float
) -> Tensor:
    """Return the hidden layer, `(n_draws · n_nodes, hidden_channels)`, draw by draw."""
    both = features.matmul(torch.cat([params["W1"], params["V1"]], 1), dropout)
    own, to_mean = both.repeat(graph.n_draws, 1).chunk(2, 1)
    return (own + neighbour_mean(graph, to_mean) + params["b1"]).relu()
