"""Many layers of SAGE, each with a connection around it, for edges that join unlike nodes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from lds.graphs.batch import GraphBatch
from lds.nn.features import DenseFeatures, SparseFeatures, drop
from lds.nn.gcn import glorot
from lds.nn.new_nodes import Attachment, neighbour_sum
from lds.nn.sage import neighbour_mean

Params = dict[str, Tensor]

DEPTH = 10
"""Layers of the default: so many edges away may be the nodes that a prediction depends on. Tuned
networks have up to 5 (Platonov et al., 2023) and 15 (Luo et al., 2024)."""

DROPOUT = 0.2
"""Dropout of the output of a layer, in [0, 1): the value of both papers where edges join unlike
nodes."""


class DeepSAGE:
    """The logits N_L(H_L) W + b after L layers H_l = H_{l-1} + D ReLU(Z W_l + M Z V_l + b_l).

    Z is N_{l-1}(H_{l-1}), and H_0 = ReLU(X U + c). N standardises the row of each node, then scales
    and shifts each column (Ba et al., 2016, layer normalisation). D is dropout. M Z has for each
    node the mean over its neighbours, see `neighbour_mean`. The connection around a layer and N
    keep a deep network trainable, and a node apart from its neighbours.

    Time and memory of a call are those of L layers of `SAGE`.

    References:
        Platonov et al., 2023, https://arxiv.org/abs/2302.11640; Luo, Shi and Wu, 2024, "Classic
        GNNs are strong baselines", https://arxiv.org/abs/2406.08993.

    Arguments:
        n_features, hidden_channels, n_classes: sizes of X, of every hidden layer and of the output.
        dropout: probability in [0, 1) of zeroing an entry of a layer's output in training.
        input_dropout: dropout of X.
        depth: L, 1 or more.
    """

    def __init__(
        self,
        n_features: int,
        hidden_channels: int,
        n_classes: int,
        dropout: float = DROPOUT,
        *,
        input_dropout: float = 0.0,
        depth: int = DEPTH,
    ) -> None:
        self.sizes, self.depth = (n_features, hidden_channels, n_classes), depth
        self.dropout, self.input_dropout = dropout, input_dropout

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """Draw uniform Glorot weights; biases and shifts are 0, scales are 1.

        Returns:
            "U" `(n_features, hidden_channels)` and "c"; of all layers "layers"
            `(depth, hidden_channels, 2 hidden_channels)`, W_l beside V_l, and "biases"; "scales"
            and "shifts" `(depth + 1, hidden_channels)` of N; "W" and "b".
        """
        n, h, c = self.sizes
        like: dict[str, Any] = {"dtype": dtype, "device": device}
        first = glorot(n, h, generator)
        both = [[glorot(h, h, generator) for _ in range(2)] for _ in range(self.depth)]
        params = {
            "U": first,
            "c": torch.zeros(h, **like),
            "layers": torch.stack([torch.cat(pair, 1) for pair in both]),
            "biases": torch.zeros(self.depth, h, **like),
            "scales": torch.ones(self.depth + 1, h, **like),
            "shifts": torch.zeros(self.depth + 1, h, **like),
            "W": glorot(h, c, generator),
            "b": torch.zeros(c, **like),
        }
        return {name: leaf.to(device, dtype) for name, leaf in params.items()}

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
        h = _first_layer(params, features, p_input).repeat(graph.n_draws, 1)
        for layer in _layers(params):
            own, to_mean = layer.products(h)
            h = h + drop(layer.output(own, neighbour_mean(graph, to_mean)), p)
        return _logits(params, h).view(graph.n_draws, graph.n_nodes, -1)

    def hidden(
        self, params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """Return H_0, the same on every graph, `(n_draws, n_nodes, hidden_channels)`."""
        return _first_layer(params, features, 0.0).expand(graph.n_draws, -1, -1)

    def attach(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        edges: Attachment,
    ) -> Tensor:
        """Return logits `(n_draws, n_new, n_classes)` of new nodes; see `GCN.attach`."""
        s, n = graph.n_draws, graph.n_nodes
        one = graph.scale.new_ones(s, n, 1)
        degree = neighbour_sum(graph, edges, one).clamp(min=1)
        h = self.hidden(params, features, graph).flatten(0, 1)
        new_h = _first_layer(params, new, 0.0).expand(s, -1, -1)
        for layer in _layers(params):
            own, to_mean = layer.products(h)
            new_own, _ = layer.products(new_h)
            new_mean = neighbour_sum(graph, edges, to_mean.reshape(s, n, -1)) / degree
            new_h = new_h + layer.output(new_own, new_mean)
            h = h + layer.output(own, neighbour_mean(graph, to_mean))
        return _logits(params, new_h)

    def penalty(self, params: Params) -> Tensor:
        """Return Ω(w): half the squared norm of the first layer's weights U."""
        return 0.5 * params["U"].square().sum()

    def scaled(self, params: Params, factor: float) -> Params:
        """Return params whose logits are `factor` times as large."""
        return params | {name: factor * params[name] for name in ("W", "b")}


@dataclass(frozen=True)
class _Layer:
    """W_l beside V_l, b_l, and the scale and the shift of N_{l-1}."""

    weight: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor

    def products(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return Z W_l and Z V_l."""
        own, to_mean = (_normalized(h, self.scale, self.shift) @ self.weight).chunk(2, -1)
        return own, to_mean

    def output(self, own: Tensor, mean: Tensor) -> Tensor:
        """Return ReLU(Z W_l + M Z V_l + b_l)."""
        return (own + mean + self.bias).relu()


def _layers(params: Params) -> Iterator[_Layer]:
    leaves = (params[name] for name in ("layers", "biases", "scales", "shifts"))
    return map(_Layer, *(leaf.unbind() for leaf in leaves))  # the last N is of the logits


def _logits(params: Params, h: Tensor) -> Tensor:
    last = _normalized(h, params["scales"][-1], params["shifts"][-1])
    return last @ params["W"] + params["b"]


def _normalized(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return layer_norm(h, h.shape[-1:], scale, shift)


def _first_layer(
    params: Params, features: DenseFeatures | SparseFeatures, dropout: float
) -> Tensor:
    return (features.matmul(params["U"], dropout) + params["c"]).relu()
