"""The subgraph that the outputs at some nodes, and their derivatives, depend on."""

import torch
from torch import Tensor

from lds._tensors import positions
from lds.graphs.batch import GraphBatch, csr
from lds.graphs.candidates import Candidates, PairList


def receptive_field(
    graph: GraphBatch, rows: Tensor, candidates: Candidates
) -> tuple[GraphBatch, Tensor]:
    """Return the subgraph that a two-layer network needs for its outputs at `rows`.

    The outputs at the rows depend on nodes up to two edges away. The straight-through derivative by
    a pair that was not drawn depends on the other node of that pair. So the subgraph has all nodes
    up to two steps away over drawn edges and candidate pairs. Outputs at the rows, and derivatives
    by every candidate pair, are those of the whole graph; outputs at other nodes are not.

    Arguments:
        graph: one draw.
        rows: int64, nodes.
        candidates: pairs that θ covers; with all pairs, the subgraph is the whole graph.

    Returns:
        The subgraph, normalised by the degrees of the whole graph, and its nodes, int64, ascending.
    """
    n = graph.n_nodes
    inside = torch.zeros(n, dtype=torch.bool, device=rows.device)
    inside[rows] = True
    for _ in range(2):
        inside = _with_neighbors(inside, graph, candidates)
    nodes = positions(inside)
    crow, target = graph.matrix.crow_indices(), graph.matrix.col_indices()
    source = torch.repeat_interleave(torch.arange(n, device=rows.device), crow.diff())
    kept = positions(inside[source] & inside[target])
    number = inside.cumsum(0, dtype=torch.int32).sub_(1)  # of a node, inside the subgraph
    source, target = source[kept], number[target[kept]]
    size = len(nodes)
    new_crow = torch.zeros(size + 1, dtype=torch.int32, device=rows.device)
    new_crow[1:] = torch.bincount(number[source], minlength=size).cumsum(0)
    matrix = csr(new_crow, target, graph.matrix.values()[kept], (size, size))
    subgraph = GraphBatch(matrix, graph.scale[nodes], 1, size, graph.products)
    if graph.products is not None:
        graph.products.subgraph = (subgraph, nodes)
    return subgraph, nodes


def _with_neighbors(inside: Tensor, graph: GraphBatch, candidates: Candidates) -> Tensor:
    """Add to a set of nodes their neighbours over edges and candidate pairs."""
    if not isinstance(candidates, PairList):
        return torch.ones_like(inside)
    # Â has loops, and its stored entries are positive.
    wider: Tensor = (graph.matrix @ inside.to(graph.scale.dtype).unsqueeze(1)).squeeze(1) > 0
    row, col = candidates.pairs(candidates.positions().to(inside.device))
    wider[col[inside[row]]] = True
    wider[row[inside[col]]] = True
    return wider
