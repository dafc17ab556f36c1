"""S graphs as one block-diagonal matrix of normalised adjacencies, in CSR form."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from lds._tensors import positions, repeat
from lds.graphs.candidates import Candidates


def csr(crow: Tensor, col: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Make a torch CSR matrix without validating its parts.

    Use int32 indices: the CPU's sparse library converts int64 ones at every product.
    """
    return torch.sparse_csr_tensor(crow, col, values, shape, check_invariants=False)


# Torch warns once per process that CSR is in beta. The tests cover what this library uses of it.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _empty = torch.zeros(1, dtype=torch.int64)
    csr(torch.zeros(2, dtype=torch.int64), _empty[:0], torch.zeros(0), (1, 1))


def times(matrix: Tensor, z: Tensor) -> Tensor:
    """Compute M Z for a CSR matrix M; unlike `matrix @ z`, without copying Z.

    On a CPU the output is not set to 0 first. On other devices it is: their sparse libraries may
    multiply its old content by 0, and NaN times 0 is NaN.
    """
    make = z.new_empty if z.device.type == "cpu" else z.new_zeros
    out = make((matrix.shape[0], z.shape[1]))
    return torch.addmm(out, matrix, z, beta=0, out=out)


@dataclass
class Products:
    """A record of the products H = Â Z made while a step is differentiated.

    The low-rank gradient by A is computed from it. A network that takes edges with weights records
    their weights instead.

    Attributes:
        candidates: the pairs that get a weight; None where the graph is read by products alone.
        weights: for each graph read as edges, the weights of all candidates, `(n_pairs,)`.
        probes: zeros added to H, so that the gradient that reaches a probe is H̄ = ∂E/∂H. The first
            dimension of a probe counts products, as that of `inputs` and `outputs` does.
        inputs, outputs: Z and H for each probe, of its shape.
        subgraph: the subgraph that the products were made with, and its nodes; None is the whole
            graph.
        of_gradients: H̄ and Â H̄ by the index of a probe, where the backward pass computed them.
    """

    candidates: Candidates | None = None
    weights: list[Tensor] = field(default_factory=list)
    probes: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    subgraph: "tuple[GraphBatch, Tensor] | None" = None
    of_gradients: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def note(self, probe: Tensor, z: Tensor, h: Tensor) -> None:
        """Record a probe with its Z and H, which have its shape."""
        self.probes.append(probe)
        self.inputs.append(z)
        self.outputs.append(h)


@dataclass(frozen=True)
class GraphBatch:
    """S undirected graphs on the same nodes, normalised as D̃^-½(A+I)D̃^-½ (eq. 9.2).

    Attributes:
        matrix: CSR `(n_draws · n_nodes, n_draws · n_nodes)`, block diagonal, symmetric.
        scale: D̃^-½, `(n_draws · n_nodes,)`.
        n_draws, n_nodes: S and N.
        products: the record of products with this graph; None where no gradient by A is wanted.
    """

    matrix: Tensor
    scale: Tensor
    n_draws: int
    n_nodes: int
    products: Products | None = None

    @cached_property
    def means(self) -> tuple[Tensor, Tensor]:
        """M with the means over neighbours, M_ij = A_ij / max(1, Σ_k A_ik), and Mᵀ; CSR.

        They have the entries of `matrix`; those of the diagonal are 0.
        """
        crow, col = self.matrix.crow_indices(), self.matrix.col_indices()
        row = repeat(torch.arange(len(self.scale), device=col.device), crow.long().diff())
        root = self.scale.reciprocal()  # D̃^½
        entries = self.matrix.values() * root.index_select(0, row) * root.index_select(0, col)
        entries.masked_fill_(row == col, 0)
        share = (root.square() - 1).clamp(min=1).reciprocal()
        m, transposed = (entries * share.index_select(0, ends) for ends in (row, col))
        shape = (len(root), len(root))
        return csr(crow, col, m, shape), csr(crow, col, transposed, shape)

    def edges(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (draw, row, col), int64 `(n_edges,)` each: every edge row < col of `draw` once."""
        crow, target = self.matrix.crow_indices().long(), self.matrix.col_indices().long()
        source = repeat(torch.arange(crow.numel() - 1, device=crow.device), crow.diff())
        upper = positions(source < target)
        source, target = source.index_select(0, upper), target.index_select(0, upper)
        draw = source // self.n_nodes
        return draw, source - draw * self.n_nodes, target - draw * self.n_nodes


def parts(graph: GraphBatch, n_rows: int) -> Iterator[GraphBatch]:
    """Take a batch apart into batches of at most `n_rows` rows each, but at least one graph.

    Arguments:
        graph: S graphs; their record of products is left out.
        n_rows: most rows of a matrix.
    """
    n, s = graph.n_nodes, graph.n_draws
    each = max(1, n_rows // n)
    if s <= each:
        yield graph
        return
    crow, col = graph.matrix.crow_indices(), graph.matrix.col_indices()
    values = graph.matrix.values()
    for first in range(0, s, each):
        count = min(each, s - first)
        begin, end = first * n, (first + count) * n
        start, stop = int(crow[begin]), int(crow[end])
        matrix = csr(
            crow[begin : end + 1] - start,
            col[start:stop] - begin,
            values[start:stop],
            (count * n, count * n),
        )
        yield GraphBatch(matrix, graph.scale[begin:end], count, n)


def graph_batch(
    draw: Tensor,
    row: Tensor,
    col: Tensor,
    n_draws: int,
    n_nodes: int,
    dtype: torch.dtype,
) -> GraphBatch:
    """Normalise S graphs, given by their edges, as one block diagonal.

    Arguments:
        draw, row, col: int64 `(n_edges,)`: edge {row, col} of graph `draw`, listed once; no loops.
        n_draws, n_nodes: S and N.
        dtype: of the entries of Â.
    """
    size = n_draws * n_nodes
    loops = torch.arange(size, device=row.device)
    head, tail = draw * n_nodes + row, draw * n_nodes + col
    degree = torch.bincount(torch.cat([head, tail, loops]), minlength=size)
    key = torch.cat([head * size + tail, tail * size + head, loops * (size + 1)])
    if key.device.type == "cpu":
        key.numpy().sort()  # in place, and several times faster than torch.sort
    else:
        key = key.sort().values
    target = key - repeat(loops, degree) * size
    return normalized(degree, target, n_draws, n_nodes, dtype)


def normalized(
    degree: Tensor, target: Tensor, n_draws: int, n_nodes: int, dtype: torch.dtype
) -> GraphBatch:
    """Compute Â from the entries of A + I.

    Arguments:
        degree: integers `(n_draws · n_nodes,)`, D̃: the number of entries in each row.
        target: integers `(n_entries,)`, the column of each entry, sorted by row and column.
        n_draws, n_nodes: S and N.
        dtype: of the entries of Â.
    """
    size = n_draws * n_nodes
    crow = torch.zeros(size + 1, dtype=torch.int32, device=degree.device)
    crow[1:] = degree.cumsum(0)
    scale = degree.to(dtype).rsqrt()
    values = repeat(scale, degree).mul_(scale.index_select(0, target))
    return GraphBatch(csr(crow, target.int(), values, (size, size)), scale, n_draws, n_nodes)


def weighted_graph(row: Tensor, col: Tensor, weight: Tensor, n_nodes: int) -> GraphBatch:
    """Normalise one graph with edge weights; its loops have weight 1.

    Arguments:
        row, col: int64 `(n_edges,)`, each edge once, no loops.
        weight: `(n_edges,)`, 0 or more.
        n_nodes: N.
    """
    loops = torch.arange(n_nodes, device=row.device)
    source, target = torch.cat([row, col, loops]), torch.cat([col, row, loops])
    order = (source * n_nodes + target).argsort()
    source, target = source.index_select(0, order), target.index_select(0, order)
    entry = torch.cat([weight, weight, weight.new_ones(n_nodes)]).index_select(0, order)
    scale = entry.new_zeros(n_nodes).index_add_(0, source, entry).rsqrt()
    crow = torch.zeros(n_nodes + 1, dtype=torch.int32, device=row.device)
    crow[1:] = torch.bincount(source, minlength=n_nodes).cumsum(0)
    values = scale.index_select(0, source) * entry * scale.index_select(0, target)
    return GraphBatch(csr(crow, target.int(), values, (n_nodes, n_nodes)), scale, 1, n_nodes)
