"""S graphs as one: a block diagonal of normalised adjacencies in CSR form."""

import warnings
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lds.graphs.candidates import Candidates


def csr(crow: Tensor, col: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """A torch CSR matrix from parts known to be valid, so not validated again.

    Indices are best int32: the CPU's sparse library converts int64 ones anew at every product.
    """
    return torch.sparse_csr_tensor(crow, col, values, shape, check_invariants=False)


# Torch says once a process that CSR is in beta. This library tests what it uses of it.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _empty = torch.zeros(1, dtype=torch.int64)
    csr(torch.zeros(2, dtype=torch.int64), _empty[:0], torch.zeros(0), (1, 1))


def times(matrix: Tensor, z: Tensor) -> Tensor:
    """M Z for a CSR matrix; as `matrix @ z`, but nothing is copied, nor zeroed on a CPU, before.

    Other devices' libraries may multiply what is there by 0, NaN or not.
    """
    make = z.new_empty if z.device.type == "cpu" else z.new_zeros
    out = make((matrix.shape[0], z.shape[1]))
    return torch.addmm(out, matrix, z, beta=0, out=out)


def positions(mask: Tensor) -> Tensor:
    """Where a flat mask holds; NumPy's search is several times faster than torch's on a CPU."""
    if mask.device.type == "cpu":
        return torch.from_numpy(mask.numpy().nonzero()[0])
    return mask.nonzero().squeeze(1)


def repeat(values: Tensor, counts: Tensor) -> Tensor:
    """Each value as often as its count says; on a CPU by NumPy, several times faster."""
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy().repeat(counts.numpy()))
    return torch.repeat_interleave(values, counts)


@dataclass
class Products:
    """The products H = Â Z made while a step is differentiated: what the low-rank gradient needs.

    A probe stands for zeros added to the H of one or more products, the first dimension of what is
    noted here, so that the gradient reaching it is H̄ = ∂E/∂H. Networks that take edges with weights
    instead leave the weights of all `candidates` here. Where the products were made with a part of
    the graph, `part` has it, and which nodes it holds. `swept` has H̄ and Â H̄ by the number of a
    probe, where the way back came by them.
    """

    candidates: Candidates | None = None
    weights: list[Tensor] = field(default_factory=list)
    probes: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    part: "tuple[GraphBatch, Tensor] | None" = None
    swept: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def note(self, probe: Tensor, z: Tensor, h: Tensor) -> None:
        """What a probe stands for: Z and H, of its shape."""
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
        products: where products with this graph are noted while a gradient by A is wanted.
    """

    matrix: Tensor
    scale: Tensor
    n_draws: int
    n_nodes: int
    products: Products | None = None

    def edges(self) -> tuple[Tensor, Tensor, Tensor]:
        """(draw, row, col), int64 `(n_edges,)`: every edge {row < col} of graph `draw` once."""
        crow, target = self.matrix.crow_indices().long(), self.matrix.col_indices().long()
        source = repeat(torch.arange(crow.numel() - 1, device=crow.device), crow.diff())
        upper = positions(source < target)
        source, target = source.index_select(0, upper), target.index_select(0, upper)
        draw = source // self.n_nodes
        return draw, source - draw * self.n_nodes, target - draw * self.n_nodes


def graph_batch(
    draw: Tensor,
    row: Tensor,
    col: Tensor,
    n_draws: int,
    n_nodes: int,
    dtype: torch.dtype,
) -> GraphBatch:
    """Normalise S graphs, each edge given once, as one block diagonal.

    Arguments:
        draw, row, col: int64 `(n_edges,)`: edge {row, col} of graph `draw`; no loops, none twice.
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
    """Â from the entries of A + I.

    Arguments:
        degree: integers `(n_draws · n_nodes,)`, D̃: the entries of each row.
        target: integers `(n_entries,)`, column of each entry, by row and column.
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
    """One graph whose edges have weights, normalised with loops of weight 1.

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
