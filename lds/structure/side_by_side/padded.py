"""Graphs in buffers of a fixed size at a fixed address, as a CUDA graph needs them."""

import itertools

import torch

from lds.graphs.batch import GraphBatch, csr


def entries_of_each(several: GraphBatch) -> list[int]:
    """Count the stored entries of each of S graphs, in one transfer from the device."""
    ends: list[int] = several.matrix.crow_indices()[:: several.n_nodes].tolist()
    return [after - before for before, after in itertools.pairwise(ends)]


class PaddedGraphs:
    """S graphs, each a matrix of its own with a fixed number of entries.

    Entries that a graph does not need are zeros on the diagonal, spread over the rows: every
    product is that of the graph, and no row gets much longer.

    Arguments:
        n_graphs, n_nodes: S and N.
        room: entries of one matrix.
        dtype, device: of the entries.
    """

    def __init__(
        self, n_graphs: int, n_nodes: int, room: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.room, self._n_nodes = room, n_nodes
        self._crow = torch.zeros((n_graphs, n_nodes + 1), dtype=torch.int32, device=device)
        self._col = torch.zeros((n_graphs, room), dtype=torch.int32, device=device)
        self._values = torch.zeros((n_graphs, room), dtype=dtype, device=device)
        self._scale = torch.zeros((n_graphs, n_nodes), dtype=dtype, device=device)
        shape = (n_nodes, n_nodes)
        parts = zip(self._crow, self._col, self._values, self._scale, strict=True)
        self.graphs = [
            GraphBatch(csr(crow, col, values, shape), scale, 1, n_nodes)
            for crow, col, values, scale in parts
        ]

    def load(self, several: GraphBatch) -> None:
        """Copy S graphs into the buffers.

        Arguments:
            several: S graphs on N nodes, none with more entries than there is room for.
        """
        n_graphs, n, matrix = len(self.graphs), self._n_nodes, several.matrix
        begin = matrix.crow_indices().long()
        first, last = begin[:-1:n].unsqueeze(1), begin[n::n].unsqueeze(1)
        node = torch.arange(n + 1, device=begin.device)
        # Entries added before each row, and where its own begin.
        added = (self.room - (last - first)) * node // n
        within = torch.cat([begin[:-1].view(n_graphs, n), last], 1) - first
        self._crow.copy_(within + added)
        degree, room = begin.diff(), self._crow.diff(dim=1).flatten()
        rows = torch.arange(n_graphs * n, device=begin.device)
        of_room = torch.repeat_interleave(rows, room, output_size=self._col.numel())
        self._col.view(-1).copy_(of_room % n)
        of_entry = torch.repeat_interleave(rows, degree, output_size=matrix.col_indices().numel())
        graph = of_entry // n
        shift = self.room * graph - first.flatten()[graph] + added[:, :n].flatten()[of_entry]
        place = torch.arange(len(of_entry), device=begin.device) + shift
        col = matrix.col_indices() - (graph * n).int()
        self._col.view(-1).index_copy_(0, place, col.int())
        self._values.zero_().view(-1).index_copy_(0, place, matrix.values())
        self._scale.copy_(several.scale.view_as(self._scale))
