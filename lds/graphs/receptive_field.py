"""The part of a drawn graph that the outputs of some nodes, and their derivatives, depend on."""

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch, csr, positions
from lds.graphs.candidates import Candidates, PairList


def part_around(
    graph: GraphBatch, rows: Tensor, candidates: Candidates
) -> tuple[GraphBatch, Tensor]:
    """What a two-layer network on `graph` needs for its outputs at `rows`.

    Its second layer reads from the neighbours of the rows, its first from the neighbours of those;
    and the straight-through derivative by a pair that was not drawn reads from the other node of
    the pair. So the part holds what is two steps away over drawn edges and candidate pairs: outputs
    at the rows, and derivatives by every candidate pair, are those of the whole graph. Outputs
    elsewhere are not.

    Arguments:
        graph: one draw.
        rows: int64, nodes.
        candidates: pairs that θ covers; all pairs need all nodes.

    Returns:
        The part, with degrees of the whole graph, and its nodes, int64, ascending.
    """
    n = graph.n_nodes
    there = torch.zeros(n, dtype=torch.bool, device=rows.device)
    there[rows] = True
    for _ in range(2):
        there = _with_neighbors(there, graph, candidates)
    nodes = positions(there)
    crow, target = graph.matrix.crow_indices(), graph.matrix.col_indices()
    source = torch.repeat_interleave(torch.arange(n, device=rows.device), crow.diff())
    kept = positions(there[source] & there[target])
    number = there.cumsum(0, dtype=torch.int32).sub_(1)
    source, target = source[kept], number[target[kept]]
    size = len(nodes)
    short = torch.zeros(size + 1, dtype=torch.int32, device=rows.device)
    short[1:] = torch.bincount(number[source], minlength=size).cumsum(0)
    matrix = csr(short, target, graph.matrix.values()[kept], (size, size))
    part = GraphBatch(matrix, graph.scale[nodes], 1, size, graph.products)
    if graph.products is not None:
        graph.products.part = (part, nodes)
    return part, nodes


def _with_neighbors(there: Tensor, graph: GraphBatch, candidates: Candidates) -> Tensor:
    if not isinstance(candidates, PairList):
        return torch.ones_like(there)
    # Â has the loops, and no entry of it is 0.
    wider: Tensor = (graph.matrix @ there.to(graph.scale.dtype).unsqueeze(1)).squeeze(1) > 0
    row, col = candidates.pairs(candidates.positions().to(there.device))
    wider[col[there[row]]] = True
    wider[row[there[col]]] = True
    return wider
