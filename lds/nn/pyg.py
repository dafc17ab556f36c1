"""Two layers of a PyTorch Geometric convolution as the network of LDS.

In a window that is differentiated, a convolution gets all candidate pairs as edges, with weight 1
where the pair was drawn and 0 where it was not, and the straight-through hypergradient is the
derivative by these weights. That is honest only where an edge of weight 0 is no edge at all.

| name | layer | weights |
|---|---|---|
| GCNConv, GraphConv, LEConv, SGConv, SSGConv | PyG's | PyG's |
| ChebConv, TAGConv, ARMAConv | PyG's; drawn graphs must be connected | PyG's |
| APPNP | a two-layer perceptron, then PyG's | PyG's |
| SAGEConv, GINConv, GATv2Conv | PyG's values and parameters | added here: PyG's take none |

Attention has steep derivatives at pairs that are not edges: GATv2Conv wants a sparse support, or a
smaller `outer_lr`.

Convolutions that compare, sort or count neighbours (max, median and mean aggregation, PNA) or that
read a weight as a feature of an edge (GATConv, TransformerConv) are left out: to them an edge of
weight 0 is an edge.
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

from lds.graphs.batch import GraphBatch
from lds.graphs.edge_weights import weighted_edges
from lds.nn.features import DenseFeatures, SparseFeatures, drop
from lds.nn.gcn import Attached, NewEdges

Params = dict[str, Tensor]

HIGHEST = 20.0
"""Scores of pairs that are not edges count at most e^20 times the largest of an edge."""


class WeightedSAGE(nn.Module):
    """W_l Σ_j a_ij x_j / max(1, Σ_j a_ij) + b + W_r x_i: SAGEConv with weights a.

    References:
        Hamilton, Ying and Leskovec, 2017, https://arxiv.org/abs/1706.02216
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.lin_l = nn.Linear(n_in, n_out)
        self.lin_r = nn.Linear(n_in, n_out, bias=False)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """The layer's values `(n_nodes, n_out)`."""
        z = x @ self.lin_l.weight.t()  # before the sum: thinner messages
        degree = scatter(edge_weight, edge_index[1], 0, x.shape[0]).clamp(min=1)
        mean = _weighted_sum(z, edge_index, edge_weight) / degree.unsqueeze(1)
        found: Tensor = mean + self.lin_l.bias + self.lin_r(x)
        return found


class WeightedGIN(nn.Module):
    """MLP(x_i + Σ_j a_ij x_j) of two layers: GINConv with weights a and ε = 0.

    References:
        Xu, Hu, Leskovec and Jegelka, 2019, https://arxiv.org/abs/1810.00826
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(n_in, n_out), nn.Linear(n_out, n_out)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """The layer's values `(n_nodes, n_out)`."""
        z = x @ self.first.weight.t()
        z = z + _weighted_sum(z, edge_index, edge_weight) + self.first.bias
        found: Tensor = self.second(z.relu())
        return found


class WeightedGATv2(GATv2Conv):  # type: ignore[misc]
    """Σ_j α_ij W_l x_j + b, α_ij ∝ a_ij exp(cᵀ LeakyReLU(W_l x_j + W_r x_i)): GATv2Conv, weights a.

    A node is its own neighbour, a_ii = 1.

    References:
        Brody, Alon and Yahav, 2022, https://arxiv.org/abs/2105.14491
    """

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """The layer's values `(n_nodes, n_out)`."""
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
        score = (score - peak.index_select(0, target)).clamp(max=HIGHEST)
        attention = weight * score.exp()
        total = scatter(attention, target, 0, n)
        mixed = _weighted_sum(left, torch.stack([source, target]), attention)
        found: Tensor = mixed / total.unsqueeze(1) + self.bias
        return found


class _Perceptron(nn.Linear):
    """A layer without edges, before APPNP."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:  # type: ignore[override]
        """The layer's values `(n_nodes, n_out)`."""
        return super().forward(x)


class _Personalised(nn.Linear):
    """The last layer of APPNP: predict, then propagate (ten steps, restart 0.1, as published)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        self.propagation = APPNP(K=10, alpha=0.1)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:  # type: ignore[override]
        """The layer's values `(n_nodes, n_out)`."""
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
} | {"APPNP": (_Perceptron, _Personalised)}
"""First and second layer of each network by name, made of their widths."""

ONE_WAY_UNSAFE = ("ChebConv",)
"""Its degrees count edges that go out: an edge to a new node would change the nodes it reads."""


class PyGNetwork:
    """conv₂(dropout(ReLU(conv₁(dropout(X))))).

    X is made dense; weights are drawn as the layers draw them.

    Arguments:
        name: one of `LAYERS`.
        n_features, hidden_channels, n_classes: sizes of X, of the hidden layer and of the output.
        dropout: probability in [0, 1) of zeroing an entry of X and of the hidden layer in training.
    """

    def __init__(
        self, name: str, n_features: int, hidden_channels: int, n_classes: int, dropout: float = 0.5
    ) -> None:
        self.name, self.dropout, self.n_classes = name, dropout, n_classes
        first, second = LAYERS[name]
        outside = torch.get_rng_state()  # layers draw their weights when they are made
        self._layers = nn.ModuleDict(
            {
                "first": first(n_features, hidden_channels),
                "second": second(hidden_channels, n_classes),
            }
        )
        torch.set_rng_state(outside)

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """Weights as the layers draw them, from a seed taken from `generator`."""
        outside = torch.get_rng_state()
        try:
            seed = int(torch.randint(1 << 62, (), generator=generator))
            torch.default_generator.manual_seed(seed)
            self._layers.to("cpu", torch.float32)
            for layer in self._layers.modules():
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()  # type: ignore[operator]
            self._layers.to(device, dtype)
        finally:
            torch.set_rng_state(outside)
        return {name: p.detach().clone() for name, p in self._layers.named_parameters()}

    def __call__(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        *,
        training: bool,
    ) -> Tensor:
        """Logits `(n_draws, n_nodes, n_classes)`; in training, dropout draws from torch's state."""
        x = features.dense()
        p = self.dropout if training else 0.0
        return torch.stack([self._forward(params, x, *edges, p) for edges in weighted_edges(graph)])

    def hidden(
        self, params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """ReLU(conv₁(X)), `(n_draws, n_nodes, hidden_channels)`, without dropout."""
        x = features.dense()
        layers = [self._layer("first", params, x, *edges) for edges in weighted_edges(graph)]
        return torch.stack(layers).relu()

    def attach(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        attached: Attached,
    ) -> Tensor:
        """Logits of new nodes, each with edges from what the nodes it is like have edges with.

        New node i reads node j by an edge of weight Σ_m q_im A_mj, and is read by none.

        Arguments:
            params, features, graph: as for a call, without training.
            new: features of the new nodes `(n_new, n_features)`.
            attached: the nodes that each new node is like; `NewEdges` are not for these networks.

        Returns:
            `(n_draws, n_new, n_classes)`.

        Raises:
            ValueError: the convolution's nodes are changed by edges that leave them.
        """
        if self.name in ONE_WAY_UNSAFE:
            raise ValueError(
                f"backbone={self.name!r} cannot predict new rows: an edge to a new row would "
                "change the rows it reads from; every other backbone can"
            )
        if isinstance(attached, NewEdges):
            raise TypeError("attached must be Likenesses for a PyG convolution, got NewEdges")
        n, nodes, q = graph.n_nodes, attached.nodes, attached.share
        x = torch.cat([features.dense(), new.dense()])
        place = torch.arange(n, n + len(nodes), device=x.device).repeat_interleave(nodes.shape[1])
        logits = []
        for edge_index, edge_weight in weighted_edges(graph):
            order = edge_index[1].argsort(stable=True)  # edges by the node they lead to
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
        """Ω(w): half the squared norm of the first layer's weights, biases left out (§9.4.2)."""
        weights = [w for name, w in params.items() if name.startswith("first.") and w.dim() > 1]
        return 0.5 * torch.stack([w.square().sum() for w in weights]).sum()

    def _forward(
        self, params: Params, x: Tensor, edge_index: Tensor, edge_weight: Tensor, dropout: float
    ) -> Tensor:
        h = self._layer("first", params, drop(x, dropout), edge_index, edge_weight).relu()
        return self._layer("second", params, drop(h, dropout), edge_index, edge_weight)

    def _layer(self, which: str, params: Params, *inputs: Tensor) -> Tensor:
        mine = {
            name.removeprefix(f"{which}."): w
            for name, w in params.items()
            if name.startswith(f"{which}.")
        }
        found: Tensor = functional_call(self._layers[which], mine, inputs)
        return found


def _weighted_sum(x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
    """Σ_j a_ij x_j, like x."""
    messages = x.index_select(0, edge_index[0]) * edge_weight.unsqueeze(1)
    return torch.zeros_like(x).index_add(0, edge_index[1], messages)
