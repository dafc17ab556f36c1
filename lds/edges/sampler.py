"""Draw graphs from independent edges with given probabilities."""

import functools
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lds.discrete.thinning import ThinningTable
from lds.edges.completion import Completion
from lds.edges.list_sampler import ListedEntries
from lds.graphs.batch import GraphBatch, graph_batch
from lds.graphs.candidates import Candidates, PairList
from lds.graphs.connected import Pairs

RECENT_DRAWS = 32
"""Single draws kept for steps that are applied again; more than any usual truncation τ."""


def next_seed(generator: torch.Generator | None = None) -> int:
    """Take the seed of a draw from a generator; None takes it from torch's random state."""
    return int(torch.randint(1 << 62, (), generator=generator))


class RecentDraws:
    """The last `RECENT_DRAWS` graphs by their seeds.

    A step that is applied again needs the graph of its seed again and need not build it again.
    """

    def __init__(self) -> None:
        self._graphs: OrderedDict[int, GraphBatch] = OrderedDict()

    def graph(self, seed: int, build: Callable[[int], GraphBatch]) -> GraphBatch:
        """Return the graph of a seed; build it from the seed where it is not kept."""
        if seed not in self._graphs:
            self._graphs[seed] = build(seed)
            if len(self._graphs) > RECENT_DRAWS:
                self._graphs.popitem(last=False)
        return self._graphs[seed]

    def clear(self) -> None:
        """Forget all graphs."""
        self._graphs.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the graphs out of copies and pickles: torch copies no CSR matrix."""
        return {"_graphs": OrderedDict()}


class EdgeSampler:
    """Draw graphs A with independent edges A_ij ~ Ber(θ_ij).

    Call `refresh` after θ was changed in place. The tables that draws need are made by the first
    draw.

    Attributes:
        recent: single draws since θ last changed.

    Arguments:
        pairs: the pairs that may become edges.
        probs: θ, `(pairs.size,)`, in [0, 1]; not copied.
        tree: a spanning tree; every draw is then completed to a connected graph (see
            `lds.graphs.connected`). None leaves draws as they are.
    """

    def __init__(self, pairs: Candidates, probs: Tensor, tree: Pairs | None = None) -> None:
        self.pairs, self.probs, self.tree = pairs, probs, tree
        self._source: _Source = (
            _ListSource(pairs, probs)
            if isinstance(pairs, PairList)
            else _AllPairsSource(pairs, probs)
        )
        self._completion = None if tree is None else Completion(pairs, probs, tree)
        self.recent = RecentDraws()

    @property
    def expected_edges(self) -> float:
        """Σ_{i<j} θ_ij."""
        return self._source.expected_edges

    def drawn(self, n_draws: int, seed: int) -> GraphBatch:
        """Draw the S graphs of a seed, normalised, as one batch; single draws are kept.

        Arguments:
            n_draws: S >= 1.
            seed: of all that is random.
        """
        if n_draws > 1:  # predictions are not replayed
            return self._build(n_draws, seed)
        return self.recent.graph(seed, functools.partial(self._build, 1))

    def _build(self, n_draws: int, seed: int) -> GraphBatch:
        generator = torch.Generator(self.probs.device).manual_seed(seed)
        graph = self._source.draw(n_draws, generator)
        return graph if self._completion is None else self._completion.complete(graph)

    def graph_at(self, index: Tensor) -> GraphBatch:
        """Return the graph whose edges are the pairs at flat positions `index`, int64."""
        row, col = self.pairs.pairs(index)
        draw = torch.zeros_like(index)
        return graph_batch(draw, row, col, 1, self.pairs.n_nodes, self.probs.dtype)

    def refresh(self) -> None:
        """Draw from θ as it is now, after a change in place."""
        self.recent.clear()
        if self._completion is not None:
            self._completion.forget()
        self._source.refresh()

    def copy(self) -> "EdgeSampler":
        """Copy θ, and share the tables that do not change in place."""
        other = EdgeSampler(self.pairs, self.probs.clone(), self.tree)
        other._source.share(self._source)
        return other


class _Source(ABC):
    """What draws graphs from θ, for one kind of candidates."""

    _entries: ListedEntries | None = None  # made by the first draw that needs it, never changed

    @property
    @abstractmethod
    def expected_edges(self) -> float:
        """Σ_{i<j} θ_ij."""

    @abstractmethod
    def draw(self, n_draws: int, generator: torch.Generator) -> GraphBatch:
        """Draw S graphs."""

    @abstractmethod
    def refresh(self) -> None:
        """Read θ again."""

    def share(self, other: "_Source") -> None:
        """Take over the entries of a source over the same pairs with the same θ."""
        self._entries = other._entries


class _ListSource(_Source):
    """One uniform number for each pair of a list; time and memory O(S · pairs)."""

    def __init__(self, pairs: PairList, probs: Tensor) -> None:
        self._pairs, self._probs = pairs, probs

    @property
    def expected_edges(self) -> float:
        return float(self._probs.sum(dtype=torch.float64))

    def draw(self, n_draws: int, generator: torch.Generator) -> GraphBatch:
        if self._entries is None:
            self._entries = ListedEntries.of(self._pairs, self._probs.device)
        return self._entries.draw(self._probs, n_draws, generator)

    def refresh(self) -> None:
        """Draws read θ itself, so there is nothing to do."""


class _AllPairsSource(_Source):
    """Thinning over all pairs; time and memory O(edges drawn)."""

    def __init__(self, pairs: Candidates, probs: Tensor) -> None:
        self._pairs, self._probs = pairs, probs

    @functools.cached_property
    def _table(self) -> ThinningTable:
        return ThinningTable(self._probs)

    @property
    def expected_edges(self) -> float:
        return self._table.expected

    def draw(self, n_draws: int, generator: torch.Generator) -> GraphBatch:
        if n_draws > 1:
            return self._several(n_draws, generator)
        edges = self._edges(self._table.draw(1, generator=generator))
        return graph_batch(*edges, 1, self._pairs.n_nodes, self._probs.dtype)

    def _several(self, n_draws: int, generator: torch.Generator) -> GraphBatch:
        """Draw a batch; the pairs with large θ, most of its edges, are sorted once for all."""
        there, keys = self._table.draw_parts(n_draws, generator=generator)
        if self._entries is None:
            row, col = self._pairs.pairs(self._table.large)
            key = (row * self._pairs.n_nodes + col).cpu().numpy()
            large = PairList(self._pairs.n_nodes, key)
            self._entries = ListedEntries.of(large, self._probs.device)
        return self._entries.graphs(there, self._probs.dtype, self._edges(keys))

    def _edges(self, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draw, row and column of each key, which is draw · size + flat position of the pair."""
        draw = keys // self._pairs.size
        return draw, *self._pairs.pairs(keys - draw * self._pairs.size)

    def refresh(self) -> None:
        self._entries = None  # which pairs have a large θ may have changed
        self._table.refresh()
