"""Edges of nodes that come after training, the product with Â and sums over neighbours at them.

Two ways to give a new node edges: it borrows those of the training nodes it is similar to
(`BorrowedEdges`), or it has expected edges of its own (`NewEdges`). Either way the edges lead from
the graph to the new node only: the nodes of the graph, and their degrees, stay as they were.
"""

from dataclasses import dataclass

from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.graphs.product import propagate


@dataclass(frozen=True)
class BorrowedEdges:
    """Each new node has, in every drawn graph, the edges of the nodes it is similar to.

    Attributes:
        nodes: m, int64 `(n_new, k)`: the nodes it is similar to.
        share: q, `(n_new, k)`: the weight of the edges of each; rows sum to 1.
    """

    nodes: Tensor
    share: Tensor

    def __getitem__(self, rows: slice) -> "BorrowedEdges":
        return BorrowedEdges(self.nodes[rows], self.share[rows])


@dataclass(frozen=True)
class NewEdges:
    """Each new node has edges of its own, the same in every drawn graph.

    Attributes:
        nodes: j, int64 `(n_new, k)`: the nodes it has edges to.
        weight: `(n_new, k)`, 0 or more; the weight of an expected edge is its probability.
    """

    nodes: Tensor
    weight: Tensor

    def __getitem__(self, rows: slice) -> "NewEdges":
        return NewEdges(self.nodes[rows], self.weight[rows])


Attachment = BorrowedEdges | NewEdges
"""How new nodes are attached to a graph."""


class NewNodeProduct:
    """The product with Â at new nodes, computed from the same product at the graph's nodes.

    Arguments:
        graph: S graphs.
        edges: of the new nodes.
    """

    def __init__(self, graph: GraphBatch, edges: Attachment) -> None:
        self._edges = edges
        self._scale = graph.scale.view(graph.n_draws, graph.n_nodes, 1)  # D̃^-½
        if isinstance(edges, NewEdges):
            degree = 1 + edges.weight.sum(1).unsqueeze(0)
        else:
            graph_degree = self._scale.squeeze(2).pow(-2) - 1
            degree = 1 + (edges.share * graph_degree[:, edges.nodes]).sum(2)
        self._new_scale = degree.rsqrt().unsqueeze(-1)

    def __call__(self, z: Tensor, h: Tensor, new: Tensor) -> Tensor:
        """Return Σ_j â_ij z_j over the neighbours j of each new node i and i itself.

        Arguments:
            z, h: `(n_draws, n_nodes, n_channels)`: Z and Â Z at the graph's nodes.
            new: `([n_draws, ]n_new, n_channels)`: Z at the new nodes.

        Returns:
            `(n_draws, n_new, n_channels)`.
        """
        edges = self._edges
        if isinstance(edges, NewEdges):
            weight, source = edges.weight, self._scale * z
        else:  # Σ_m q_im (A D̃^-½ z)_m
            weight, source = edges.share, h / self._scale - self._scale * z
        total = (weight.unsqueeze(-1) * source[:, edges.nodes]).sum(2)
        return self._new_scale * total + self._new_scale**2 * new


def neighbour_sum(graph: GraphBatch, edges: Attachment, z: Tensor) -> Tensor:
    """Sum z over the neighbours of each new node, by edge weight: Σ_j a_ij z_j.

    Arguments:
        graph: S graphs.
        edges: of the new nodes.
        z: `(n_draws, n_nodes, n_channels)`.

    Returns:
        `(n_draws, n_new, n_channels)`.
    """
    if isinstance(edges, NewEdges):
        return (edges.weight.unsqueeze(-1) * z[:, edges.nodes]).sum(2)
    root = graph.scale.reciprocal().view(graph.n_draws, graph.n_nodes, 1)  # D̃^½
    product = propagate(graph, (root * z).flatten(0, 1)).view_as(z)
    total = root * product - z  # A Z
    return (edges.share.unsqueeze(-1) * total[:, edges.nodes]).sum(2)


def attached_pagerank(
    graph: GraphBatch,
    edges: Attachment,
    own: Tensor,
    new_own: Tensor,
    n_hops: int,
    teleport: float,
) -> tuple[Tensor, Tensor]:
    """Take K steps Z ← (1 - α) Â Z + α Z_0 at the nodes of a graph and at new nodes.

    Arguments:
        graph: S graphs.
        edges: of the new nodes.
        own, new_own: Z_0 at the nodes of the graph, `(n_nodes, n_channels)`, and at new ones.
        n_hops, teleport: K and α.

    Returns:
        Z at the nodes of the graph, `(n_draws, n_nodes, n_channels)`, and at new nodes.
    """
    s, n = graph.n_draws, graph.n_nodes
    at_new = NewNodeProduct(graph, edges)
    z, new_z = own.expand(s, n, -1), new_own.expand(s, -1, -1)
    for _ in range(n_hops):
        h = propagate(graph, z.reshape(s * n, -1)).view(s, n, -1)
        new_z = (1 - teleport) * at_new(z, h, new_z) + teleport * new_own
        z = (1 - teleport) * h + teleport * own
    return z, new_z
