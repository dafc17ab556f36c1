"""θ of several runs as one hyperparameter, whose draw is one graph on the nodes of all runs.

Two instances of the idea: θ on all pairs, one row of a matrix for each run; θ on lists of pairs,
one after the other, which may differ and change. Either way a draw is a block diagonal of R · N
nodes, and the gradient of the sum of the runs' losses is one pair of thin factors on those nodes.
Its product is taken within blocks only: nodes of two runs are no pair.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from lds.discrete.thinning import ThinningRows
from lds.edges.free import FreeEdges
from lds.edges.list_sampler import ListedEntries
from lds.edges.support import as_list
from lds.graphs.batch import GraphBatch, graph_batch
from lds.graphs.candidates import AllPairs, PairList
from lds.graphs.product import FactoredGradient
from lds.structure.side_by_side.lists import DisjointPairs


class BatchedEdges(ABC):
    """θ of R runs on the same N nodes.

    Draws and steps of each run are those of its own `FreeEdges`.

    Attributes:
        n_nodes: N.
    """

    n_nodes: int

    @abstractmethod
    def draw(self, seeds: Sequence[Sequence[int]]) -> GraphBatch:
        """Draw S graphs on R · N nodes, one for each list of the runs' seeds."""

    @abstractmethod
    def probs(self, member: int) -> Tensor:
        """Return θ of one run, as its `FreeEdges` holds it; may share memory with this object."""

    @abstractmethod
    def put(self, changed: Mapping[int, FreeEdges]) -> None:
        """Take other θ, perhaps on other pairs, for some runs."""

    @abstractmethod
    def keep(self, members: Sequence[int]) -> None:
        """Drop all runs but these."""

    @abstractmethod
    def finite(self) -> Tensor:
        """Say whether all θ of each run are finite, bool `(n_runs,)`."""

    @abstractmethod
    def descend(self, gradient: FactoredGradient, lr: Sequence[float]) -> None:
        """Move θ_r ← Proj_[0,1](θ_r - lr_r · gradient_r), in place.

        Arguments:
            gradient: of the sum of the runs' losses, on R · N nodes.
            lr: of each run; 0 leaves its θ as it is, even where its gradient is not finite.
        """

    def _by_node(self, lr: Sequence[float], like: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return step sizes of R · N nodes, `(n, 1)`, and where they are 0; None if nowhere."""
        factor = like.new_tensor(lr).repeat_interleave(self.n_nodes).unsqueeze(1)
        return factor, None if all(lr) else factor == 0

    def gradient_of(self, gradient: FactoredGradient, member: int) -> FactoredGradient:
        """Return the part of a gradient that belongs to one run."""
        rows = slice(member * self.n_nodes, (member + 1) * self.n_nodes)
        return FactoredGradient(
            tuple(part[rows] for part in gradient.left),
            tuple(part[rows] for part in gradient.right),
        )


def batched_edges(members: Sequence[FreeEdges]) -> BatchedEdges:
    """Join θ of several runs, all of them on all pairs or all of them on lists of pairs."""
    listed = isinstance(members[0].pairs, PairList)
    return BatchedLists(members) if listed else BatchedAllPairs(members)


class BatchedAllPairs(BatchedEdges):
    """θ on all pairs, one row for each run."""

    def __init__(self, members: Sequence[FreeEdges]) -> None:
        self._pairs = cast(AllPairs, members[0].pairs)
        self.n_nodes = self._pairs.n_nodes
        self._hold(torch.stack([edges.probs for edges in members]))

    def _hold(self, probs: Tensor) -> None:
        self._probs = probs
        self._table = ThinningRows(probs)

    def draw(self, seeds: Sequence[Sequence[int]]) -> GraphBatch:
        """Draw the edges of all graphs of all runs in one search."""
        generators = [_generators(one, self._probs.device) for one in seeds]
        keys = self._table.draw(generators)
        member = keys // self._pairs.size
        row, col = self._pairs.pairs(keys - member * self._pairs.size)
        n_runs = len(self._probs)
        n_graphs = len(seeds) * n_runs
        graphs = graph_batch(member, row, col, n_graphs, self.n_nodes, self._probs.dtype)
        return replace(graphs, n_draws=len(seeds), n_nodes=n_runs * self.n_nodes)

    def probs(self, member: int) -> Tensor:
        """Return the row of a run."""
        return self._probs[member]

    def put(self, changed: Mapping[int, FreeEdges]) -> None:
        """Copy other θ into the rows of some runs."""
        for member, edges in changed.items():
            self._probs[member] = edges.probs
        self._table.refresh()

    def keep(self, members: Sequence[int]) -> None:
        """Copy the rows of these runs, and drop the others."""
        self._hold(self._probs[torch.tensor(members, device=self._probs.device)])

    def finite(self) -> Tensor:
        """Say whether the sums that draws need are finite, bool `(n_runs,)`."""
        return self._table.finite

    def descend(self, gradient: FactoredGradient, lr: Sequence[float]) -> None:
        """Take the step with one matrix product a tile for all runs."""
        u, v = gradient.factors()
        factor, out = self._by_node(lr, u)
        u.mul_(factor)
        if out is not None:
            u.masked_fill_(out, 0)
            v.masked_fill_(out, 0)
        shape = (len(self._probs), self.n_nodes, -1)
        self._pairs.add_each(self._probs, u.view(shape), v.view(shape), -1)
        self._probs.clamp_(0, 1)
        self._table.refresh()


class BatchedLists(BatchedEdges):
    """θ on lists of pairs, one after the other."""

    def __init__(self, members: Sequence[FreeEdges]) -> None:
        self.n_nodes = members[0].n_nodes
        self._lists: list[PairList] = []
        self._entries: list[ListedEntries] = []
        for edges in members:
            self._lists.append(as_list(edges.pairs))
            self._entries.append(ListedEntries.of(self._lists[-1], edges.probs.device))
        sizes = [pairs.n_pairs for pairs in self._lists]
        self._join([edges.probs[:size] for edges, size in zip(members, sizes, strict=True)])

    def _join(self, probs: Sequence[Tensor]) -> None:
        self._probs = torch.cat(list(probs))
        self._sizes = [pairs.n_pairs for pairs in self._lists]
        self._all_entries = ListedEntries.disjoint_union(self._entries)
        self._pairs = DisjointPairs(self._lists, self._probs.device)

    def draw(self, seeds: Sequence[Sequence[int]]) -> GraphBatch:
        """Draw one mask over the entries of all lists for each graph."""
        shape, device = (len(seeds), len(self._probs)), self._probs.device
        uniform = torch.empty(shape, dtype=torch.float64, device=device)
        for row, one in zip(uniform, seeds, strict=True):
            generators = _generators(one, device)
            for part, generator in zip(row.split(self._sizes), generators, strict=True):
                part.uniform_(generator=generator)
        return self._all_entries.graphs(uniform < self._probs.double(), self._probs.dtype)

    def probs(self, member: int) -> Tensor:
        """Return a copy, padded to the length of a buffer."""
        part: Tensor = self._probs.split(self._sizes)[member]
        padded = part.new_zeros(self._lists[member].size)
        padded[: len(part)] = part
        return padded

    def put(self, changed: Mapping[int, FreeEdges]) -> None:
        """Join the lists again; the tables of the other runs stay."""
        probs = list(self._probs.split(self._sizes))
        for member, edges in changed.items():
            pairs = as_list(edges.pairs)
            self._lists[member] = pairs
            self._entries[member] = ListedEntries.of(pairs, self._probs.device)
            probs[member] = edges.probs[: pairs.n_pairs]
        self._join(probs)

    def keep(self, members: Sequence[int]) -> None:
        """Join the lists of these runs, and drop the others."""
        probs = self._probs.split(self._sizes)
        self._lists = [self._lists[member] for member in members]
        self._entries = [self._entries[member] for member in members]
        self._join([probs[member] for member in members])

    def finite(self) -> Tensor:
        """Say whether the sum of each list is finite, bool `(n_runs,)`."""
        return torch.stack([part.sum() for part in self._probs.split(self._sizes)]).isfinite()

    def descend(self, gradient: FactoredGradient, lr: Sequence[float]) -> None:
        """Take the step with row dot products at the pairs of all runs."""
        factor, out = self._by_node(lr, gradient.left[0])
        left, right = [factor * part for part in gradient.left], list(gradient.right)
        if out is not None:
            left = [part.masked_fill_(out, 0) for part in left]
            right = [part.masked_fill(out, 0) for part in right]
        self._pairs.add_products(self._probs, left, right, -1)
        self._probs.clamp_(0, 1)


def _generators(seeds: Sequence[int], device: torch.device) -> list[torch.Generator]:
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]
