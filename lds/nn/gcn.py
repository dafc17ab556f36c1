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
        z = features.matmul(params["W1"], p)
        h = propagate(graph, z.repeat(graph.n_draws, 1)).relu()
        out = propagate(graph, drop(h, p) @ params["W2"])
        return out.view(graph.n_draws, graph.n_nodes, -1)

    def penalty(self, params: dict[str, Tensor]) -> Tensor:
        """Ω(w): half the squared norm of the first layer's weights (§9.4.2)."""
        return 0.5 * params["W1"].square().sum()


def _glorot(n_in: int, n_out: int, generator: torch.Generator) -> Tensor:
    bound = math.sqrt(6 / (n_in + n_out))
    return (2 * torch.rand(n_in, n_out, generator=generator) - 1) * bound
