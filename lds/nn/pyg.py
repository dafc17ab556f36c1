"""Networks of two layers of a PyTorch Geometric convolution.

While a hypergradient is computed, a convolution gets all candidate pairs as edges, of weight 1
where the pair was drawn and of weight 0 where it was not. The straight-through hypergradient is the
derivative by these weights. This is right only for convolutions to which an edge of weight 0 is the
same as no edge.

| name | layer | weights |
|---|---|---|
| GCNConv, GraphConv, LEConv, SGConv, SSGConv | PyG's | PyG's |
| ChebConv, TAGConv, ARMAConv | PyG's; drawn graphs must be connected | PyG's |
| APPNP | a two-layer perceptron, then PyG's | PyG's |
| SAGEConv, GINConv, GATv2Conv | PyG's values and parameters | added here: PyG's take none |

Attention has large derivatives at pairs that are not edges: use GATv2Conv with a sparse support, or
with a smaller `outer_lr`.

Convolutions that compare, sort or count neighbours (max, median and mean aggregation, PNA), or that
take a weight as a feature of an edge (GATConv, TransformerConv), are left out: to them an edge of
weight 0 is an edge.

To add a convolution, add its layers to `LAYERS` and its name to `lds.nn.registry.BACKBONES`.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch_geometric.nn import (
    APPNP,
    ARMAConv,
    ChebConv,
    GATv2Conv,
    GCNConv,
    GraphConv,
    LEConv,
    SGConv,
    SSGConv,
    TAGConv,
)
from torch_geometric.utils import scatter

from lds._random import replayed
from lds.graphs.batch import GraphBatch
from lds.graphs.edge_weights import weighted_edges
from lds.nn.features import DenseFeatures, SparseFeatures, drop
from lds.nn.new_nodes import Attachment, NewEdges

Params = dict[str, Tensor]

MAX_LOG_RATIO = 20.0
"""Largest difference of the attention score of a pair that is not an edge to that of an edge."""


class WeightedSAGE(nn.Module):
    """SAGEConv with edge weights a: W_l Σ_j a_ij x_j / max(1, Σ_j a_ij) + b + W_r x_i.

    References:
        Hamilton, Ying and Leskovec, 2017, https://arxiv.org/abs/1706.02216
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.lin_l = nn.Linear(n_in, n_out)
        self.lin_r = nn.Linear(n_in, n_out, bias=False)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """Return the layer's values `(n_nodes, n_out)`."""
        z = x @ self.lin_l.weight.t()  # before the sum: messages of n_out, not n_in, numbers
        degree = scatter(edge_weight, edge_index[1], 0, x.shape[0]).clamp(min=1)
        mean = _weighted_sum(z, edge_index, edge_weight) / degree.unsqueeze(1)
        found: Tensor = mean + self.lin_l.bias + self.lin_r(x)
        return found


class WeightedGIN(nn.Module):
    """GINConv with edge weights a and ε = 0: MLP(x_i + Σ_j a_ij x_j), an MLP of two layers.

    References:
        Xu, Hu, Leskovec and Jegelka, 2019, https://arxiv.org/abs/1810.00826
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(n_in, n_out), nn.Linear(n_out, n_out)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """Return the layer's values `(n_nodes, n_out)`."""
        z = x @ self.first.weight.t()
        z = z + _weighted_sum(z, edge_index, edge_weight) + self.first.bias
        found: Tensor = self.second(z.relu())
        return found


class WeightedGATv2(GATv2Conv):  # type: ignore[misc]
    """GATv2Conv with edge weights a: Σ_j α_ij W_l x_j + b.

    α_ij is proportional to a_ij exp(cᵀ LeakyReLU(W_l x_j + W_r x_i)). A node is its own neighbour,
    a_ii = 1.

    References:
        Brody, Alon and Yahav, 2022, https://arxiv.org/abs/2105.14491
    """

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """Return the layer's values `(n_nodes, n_out)`."""
        n = x.shape[0]
        loops = torch.arange(n, device=x.device)
        source, target = torch.cat([edge_index, loops.expand(2, n)], 1)
        weight = torch.cat([edge_weight, edge_weight.new_ones(n)])
        left, right = self.lin_l(x), self.lin_r(x)
        pair = left.index_select(0, source) + right.index_select(0, target)
        pair = nn.functional.leaky_relu(pair, self.negative_slope)
        score = (pair * self.att.view(1, -1)).sum(1)
        present = score.detach().masked_fill(weight.detach() == 0, -torch.inf)
        peak = scatter(present, target, 0, n, reduce="max")
        score = (score - peak.index_select(0, target)).clamp(max=MAX_LOG_RATIO)
        attention = weight * score.exp()
        total = scatter(attention, target, 0, n)
        mixed = _weighted_sum(left, torch.stack([source, target]), attention)
        found: Tensor = mixed / total.unsqueeze(1) + self.bias
        return found


class _LinearLayer(nn.Linear):
    """The first layer of APPNP, which ignores the edges."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:  # type: ignore[override]
        """Return the layer's values `(n_nodes, n_out)`."""
        return super().forward(x)


class _LinearThenAPPNP(nn.Linear):
    """The second layer of APPNP: a linear map, then propagation.

    Ten steps with teleport 0.1, as published (Gasteiger et al., 2019).
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        self.propagation = APPNP(K=10, alpha=0.1)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:  # type: ignore[override]
        """Return the layer's values `(n_nodes, n_out)`."""
        found: Tensor = self.propagation(super().forward(x), edge_index, edge_weight)
        return found


_Layer = Callable[[int, int], nn.Module]
LAYERS: dict[str, tuple[_Layer, _Layer]] = {
    name: (layer, layer)
    for name, layer in {
        "GCNConv": GCNConv,
        "GraphConv": GraphConv,
        "LEConv": LEConv,
        "SGConv": SGConv,
        "SSGConv": lambda n_in, n_out: SSGConv(n_in, n_out, alpha=0.1),
        "TAGConv": TAGConv,
        "ARMAConv": ARMAConv,
        "ChebConv": lambda n_in, n_out: ChebConv(n_in, n_out, K=3),
        "SAGEConv": WeightedSAGE,
        "GINConv": WeightedGIN,
        "GATv2Conv": WeightedGATv2,
    }.items()
} | {"APPNP": (_LinearLayer, _LinearThenAPPNP)}
"""What makes the first and the second layer of each network from their input and output widths."""

DEGREES_OF_SOURCES = ("ChebConv",)
"""Convolutions that normalise by the number of edges that leave a node. An edge from a node of the
graph to a new node would change the output at the former, so they cannot predict new nodes."""


class PyGNetwork:
    """conv₂(dropout(ReLU(conv₁(dropout(X))))), with X made dense.

    Arguments:
        n_features, hidden_channels, n_classes: sizes of X, of the hidden layer and of the output.
        dropout: probability in [0, 1) of zeroing an entry of X and of the hidden layer in training.
        convolution: one of `LAYERS`.
    """

    def __init__(
        self,
        n_features: int,
        hidden_channels: int,
        n_classes: int,
        dropout: float = 0.5,
        *,
        convolution: str,
    ) -> None:
        self.convolution, self.dropout, self.n_classes = convolution, dropout, n_classes
        first, second = LAYERS[convolution]
        with replayed(0):  # a layer draws weights when it is made; `init` draws those that count
            self._layers = nn.ModuleDict(
                {
                    "first": first(n_features, hidden_channels),
                    "second": second(hidden_channels, n_classes),
                }
            )

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """Draw weights as PyG's layers do, from a seed taken from `generator`."""
        with replayed(int(torch.randint(1 << 62, (), generator=generator))):
            self._layers.to("cpu", torch.float32)
            for layer in self._layers.modules():
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()  # type: ignore[operator]
            self._layers.to(device, dtype)
        return {name: p.detach().clone() for name, p in self._layers.named_parameters()}

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
        """
        x = features.dense()
        p = self.dropout if training else 0.0
        return torch.stack([self._forward(params, x, *edges, p) for edges in weighted_edges(graph)])

    def hidden(
        self, params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """Return ReLU(conv₁(X)), `(n_draws, n_nodes, hidden_channels)`, without dropout."""
        x = features.dense()
        layers = [self._layer("first", params, x, *edges) for edges in weighted_edges(graph)]
        return torch.stack(layers).relu()

    def attach(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        edges: Attachment,
    ) -> Tensor:
        """Return the logits of new nodes, each with the edges of nodes it is similar to.

        New node i has in a drawn graph A an edge of weight Σ_m q_im A_mj from node j, and none to
        it.

        Arguments:
            params, features, graph: as for a call, without training.
            new: features of the new nodes `(n_new, n_features)`.
            edges: `BorrowedEdges`; these networks do not take `NewEdges`.

        Returns:
            `(n_draws, n_new, n_classes)`.

        Raises:
            TypeError: `edges` are `NewEdges`.
            ValueError: the convolution is one of `DEGREES_OF_SOURCES`.
        """
        if self.convolution in DEGREES_OF_SOURCES:
            raise ValueError(
                f"backbone={self.convolution!r} cannot predict new rows: an edge to a new row "
                "would change the rows it reads from; every other backbone can"
            )
        if isinstance(edges, NewEdges):
            raise TypeError("edges must be BorrowedEdges for a PyG convolution, got NewEdges")
        n, nodes, q = graph.n_nodes, edges.nodes, edges.share
        x = torch.cat([features.dense(), new.dense()])
        place = torch.arange(n, n + len(nodes), device=x.device).repeat_interleave(nodes.shape[1])
        logits = []
        for edge_index, edge_weight in weighted_edges(graph):
            order = edge_index[1].argsort(stable=True)  # edges sorted by target
            degree = torch.bincount(edge_index[1], minlength=n)
            first = degree.cumsum(0) - degree
            count = degree[nodes.flatten()]
            which = torch.repeat_interleave(torch.arange(count.numel(), device=x.device), count)
            within = torch.arange(which.numel(), device=x.device) - (count.cumsum(0) - count)[which]
            source = edge_index[0][order[first[nodes.flatten()[which]] + within]]
            index = torch.cat([edge_index, torch.stack([source, place[which]])], 1)
            weight = torch.cat([edge_weight, q.flatten()[which].to(edge_weight)])
            logits.append(self._forward(params, x, index, weight, 0.0)[n:])
        return torch.stack(logits)

    def penalty(self, params: Params) -> Tensor:
        """Return Ω(w): half the squared norm of the first layer's weights, not its biases."""
        weights = [w for name, w in params.items() if name.startswith("first.") and w.dim() > 1]
        return 0.5 * torch.stack([w.square().sum() for w in weights]).sum()

    def _forward(
        self, params: Params, x: Tensor, edge_index: Tensor, edge_weight: Tensor, dropout: float
    ) -> Tensor:
        h = self._layer("first", params, drop(x, dropout), edge_index, edge_weight).relu()
        return self._layer("second", params, drop(h, dropout), edge_index, edge_weight)

    def _layer(self, which: str, params: Params, *inputs: Tensor) -> Tensor:
        weights = {
            name.removeprefix(f"{which}."): w
            for name, w in params.items()
            if name.startswith(f"{which}.")
        }
        found: Tensor = functional_call(self._layers[which], weights, inputs)
        return found


def _weighted_sum(x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
    """Return Σ_j a_ij x_j, in the shape of x."""
    messages = x.index_select(0, edge_index[0]) * edge_weight.unsqueeze(1)
    return torch.zeros_like(x).index_add(0, edge_index[1], messages)
