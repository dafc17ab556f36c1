"""θ: one Bernoulli probability for every undirected pair of nodes, drawn S graphs at a time."""

import functools
import operator
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from lds.discrete.thinning import ThinningTable
from lds.edges.list_sampler import ListedEntries
from lds.graphs.batch import GraphBatch, Products, graph_batch, positions
from lds.graphs.candidates import AllPairs, Candidates, PairList
from lds.graphs.connected import Pairs, complete, components, first_forest
from lds.graphs.edge_weights import PairGradient
from lds.graphs.product import FactoredGradient, factored_gradient

EdgeGradient = FactoredGradient | PairGradient

RECENT_DRAWS = 32
"""How many draws are kept to be met again when steps are replayed: more than any usual τ."""

LEVELS = (0.1, 1e-3, 0.0)
"""θ is searched for its maximum spanning tree above the first, then down to the next, ..."""


class EdgeDistribution:
    """Independent edges A_ij ~ Ber(θ_ij), one a pair, A symmetric without loops (§9.3.1).

    As a hyperparameter it owns its gradient: the bilevel core sees one leaf whose gradient is a
    `FactoredGradient`; no tensor of the size of θ is made besides θ. (With networks that take edges
    instead of products it is a `PairGradient`.)

    Arguments:
        start: symmetric CSR `(n_nodes, n_nodes)` of starting probabilities in [0, 1]; every other
            candidate pair starts at 0 and is as free as these.
        dtype, device: of θ.
        candidates: the pairs that may become edges; None is all pairs.
        tree: a spanning tree; every draw is then completed to a connected graph, see
            `lds.graphs.connected`. None leaves draws as they are.
    """

    def __init__(
        self,
        start: sp.csr_array,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        candidates: Candidates | None = None,
        tree: Pairs | None = None,
    ) -> None:
        self._tree = tree
        self.pairs = AllPairs(start.shape[0]) if candidates is None else candidates
        self.probs = self.pairs.scatter(start, dtype).to(device)
        self._start_drawing()

    def _start_drawing(self) -> None:
        self.__dict__.pop("_table", None)
        # Made when a graph is first drawn: of the list, or of what is large of all pairs.
        self._entries: ListedEntries | None = None
        self._maximum_tree: Pairs | None = None  # searched for when a draw is first completed
        self._recent: OrderedDict[int, GraphBatch] = OrderedDict()

    @functools.cached_property
    def _table(self) -> ThinningTable | None:
        """What all pairs are drawn from; it reads θ when it is first asked for."""
        return None if isinstance(self.pairs, PairList) else ThinningTable(self.probs)

    @property
    def n_nodes(self) -> int:
        """N."""
        return self.pairs.n_nodes

    @property
    def expected_edges(self) -> float:
        """Σ_{i<j} θ_ij, the expected number of undirected edges of a draw."""
        if self._table is None:
            return float(self.probs.sum(dtype=torch.float64))
        return self._table.expected

    def draw(self, n_draws: int = 1) -> GraphBatch:
        """S independent graphs, normalised, as one batch.

        A draw takes one number from torch's random state and follows from it alone. So a step
        applied again meets the same graph, and need not build it again: recent single draws are
        kept until θ changes.

        Arguments:
            n_draws: S >= 1.
        """
        return self.drawn(n_draws, self.next_seed())

    @staticmethod
    def next_seed(generator: torch.Generator | None = None) -> int:
        """The one number that a draw takes from torch's random state, or from a generator."""
        return int(torch.randint(1 << 62, (), generator=generator))

    def drawn(self, n_draws: int, seed: int) -> GraphBatch:
        """The draw of a seed."""
        if n_draws > 1:  # predictions are not replayed
            return self._build(n_draws, seed)
        if seed not in self._recent:
            self._recent[seed] = self._build(1, seed)
            if len(self._recent) > RECENT_DRAWS:
                self._recent.popitem(last=False)
        return self._recent[seed]

    def _build(self, n_draws: int, seed: int) -> GraphBatch:
        generator = torch.Generator(self.probs.device).manual_seed(seed)
        if self._table is None:
            assert isinstance(self.pairs, PairList)
            self._entries = self._entries or ListedEntries(self.pairs, self.probs.device)
            graph = self._entries.draw(self.probs, n_draws, generator)
        elif n_draws == 1:
            graph = self._of_keys(self._table.draw(n_draws, generator=generator), n_draws)
        else:
            graph = self._several(self._table, n_draws, generator)
        return graph if self._tree is None else self._completed(graph)

    def _of_keys(self, keys: Tensor, n_draws: int) -> GraphBatch:
        """The graphs with an edge at each key, draw · size + flat position of a pair."""
        return graph_batch(*self._edges(keys), n_draws, self.n_nodes, self.probs.dtype)

    def _edges(self, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draw, row and column of each key."""
        draw = keys // self.pairs.size
        return draw, *self.pairs.pairs(keys - draw * self.pairs.size)

    def _several(
        self, table: ThinningTable, n_draws: int, generator: torch.Generator
    ) -> GraphBatch:
        """Several graphs at once: most of their edges are the same pairs, sorted once for all."""
        there, keys = table.draw_parts(n_draws, generator=generator)
        if self._entries is None:
            row, col = self.pairs.pairs(table.large)
            large = PairList(self.n_nodes, (row * self.n_nodes + col).cpu().numpy())
            self._entries = ListedEntries(large, self.probs.device)
        return self._entries.graphs(there, self.probs.dtype, self._edges(keys))

    def _completed(self, graph: GraphBatch) -> GraphBatch:
        """A draw with the edges that connect it; they are searched for on the CPU."""
        if self._maximum_tree is None:
            self._maximum_tree = self._search_tree()
        drawn = graph.edges()
        draw, row, col = (part.cpu().numpy() for part in drawn)
        more = complete(draw, row, col, graph.n_draws, graph.n_nodes, self._maximum_tree)
        if not more[0].size:
            return graph
        whole = [
            torch.cat([part, torch.from_numpy(added).to(part.device)])
            for part, added in zip(drawn, more, strict=True)
        ]
        return graph_batch(
            whole[0], whole[1], whole[2], graph.n_draws, graph.n_nodes, self.probs.dtype
        )

    def _search_tree(self) -> Pairs:
        """The maximum spanning tree of θ, its largest first; pairs of `tree` where θ has no more.

        Most of it is among the large θ: smaller ones are sorted only where those leave parts.
        """
        assert self._tree is not None
        n_parts, labels = self.n_nodes, np.arange(self.n_nodes)
        found: list[Pairs] = []
        for level in (*LEVELS, None):
            if level is None:
                row, col = self._tree
            else:
                index = positions(self.probs > level)
                row, col = (part.cpu().numpy() for part in self.pairs.pairs(index))
                apart = np.flatnonzero(labels[row] != labels[col])  # few, after the first level
                theta = self.probs[index].cpu().numpy()[apart]
                row, col = row[apart], col[apart]
                order = np.lexsort((col, row, -theta))
                row, col = row[order], col[order]
            kept = first_forest(labels[row], labels[col], n_parts)
            found.append((row[kept], col[kept]))
            rows, cols = (np.concatenate(part) for part in zip(*found, strict=True))
            n_parts, labels = components(rows, cols, self.n_nodes)
            if n_parts == 1:
                break
        return rows, cols

    def descend(self, gradient: EdgeGradient, lr: float) -> None:
        """θ ← Proj_[0,1](θ - lr · gradient), in place, by parts (Alg. 7, line 13)."""
        self._add(self.probs, gradient, -lr)
        self.probs.clamp_(0, 1)
        self._changed()

    def _add(self, flat: Tensor, gradient: EdgeGradient, alpha: float) -> None:
        """Add alpha times a gradient to a buffer over the pairs, in place."""
        if isinstance(gradient, PairGradient):
            gradient.add_to(flat, self.pairs, alpha)
        else:
            self.pairs.add_products(flat, gradient.left, gradient.right, alpha)

    def put(self, probs: Tensor) -> None:
        """Other probabilities of the same pairs, `(size,)`, in [0, 1]; not copied."""
        self.probs = probs
        self._start_drawing()

    def _changed(self) -> None:
        """Draws follow θ, which was changed in place."""
        self._recent.clear()
        self._maximum_tree = None
        if self._table is not None:
            self._entries = None
            self._table.refresh()

    def move_to(self, pairs: PairList, probs: Tensor) -> None:
        """Another list of candidate pairs, with their probabilities.

        Arguments:
            pairs: the list.
            probs: `(n_pairs,)`, in [0, 1].

        Raises:
            TypeError: the distribution is over all pairs, which have no others.
        """
        if not isinstance(self.pairs, PairList):
            raise TypeError("move_to needs a distribution over a list of pairs, got all pairs")
        flat = self.probs.new_zeros(pairs.size)
        flat[: pairs.n_pairs] = probs
        self.pairs, self.probs = pairs, flat
        self._start_drawing()

    def copy(self) -> "EdgeDistribution":
        """An independent copy."""
        other = object.__new__(EdgeDistribution)
        other.pairs, other.probs = self.pairs, self.probs.clone()
        other._tree = self._tree
        other._start_drawing()
        other._entries = self._entries
        return other

    def state(self) -> dict[str, Tensor]:
        """θ and its pairs for a checkpoint: a bit an entry, a number where it is not 0."""
        flat = self.probs.cpu()
        nonzero = flat != 0
        stored = {"nonzero": torch.from_numpy(np.packbits(nonzero.numpy())), "probs": flat[nonzero]}
        if isinstance(self.pairs, PairList):
            stored["keys"] = torch.from_numpy(self.pairs.keys)
        return stored

    def restore(self, state: dict[str, Tensor]) -> None:
        """Become what `state` was taken from: a distribution over the same nodes and support."""
        if isinstance(self.pairs, PairList):
            self.pairs = PairList(self.n_nodes, state["keys"].numpy())
        bits = np.unpackbits(state["nonzero"].numpy(), count=self.pairs.size)
        flat = torch.zeros(self.pairs.size, dtype=self.probs.dtype)
        flat[torch.from_numpy(bits.view(bool))] = state["probs"]
        self.probs = flat.to(self.probs.device)
        self._start_drawing()

    def to_csr(self, cutoff: float = 0.0) -> sp.csr_array:
        """Symmetric CSR of all θ > cutoff, `(n_nodes, n_nodes)`."""
        index = (self.probs > cutoff).nonzero().squeeze(1)
        row, col = (part.cpu().numpy() for part in self.pairs.pairs(index))
        values = self.probs[index].cpu().numpy()
        upper = sp.coo_array((values, (row, col)), shape=(self.n_nodes, self.n_nodes))
        return sp.csr_array(upper + upper.T)

    def record(self) -> "_Recorder":
        """What Φ_t and E meet in the place of this leaf while they are being differentiated."""
        return _Recorder(self)


@dataclass
class _Recorder:
    """Draws as its distribution does, and notes the products made with what it drew."""

    edges: EdgeDistribution
    _drawn: list[GraphBatch] = field(default_factory=list)

    @property
    def pairs(self) -> Candidates:
        return self.edges.pairs

    def draw(self, n_draws: int = 1) -> GraphBatch:
        graph = replace(self.edges.draw(n_draws), products=Products(self.edges.pairs))
        self._drawn.append(graph)
        return graph

    def _products(self) -> list[Products]:
        return [graph.products for graph in self._drawn if graph.products is not None]

    def inputs(self) -> list[Tensor]:
        return [x for products in self._products() for x in (*products.probes, *products.weights)]

    def gradient(self, grads: "list[Tensor | None]") -> EdgeGradient | None:
        parts: list[Any] = []  # of one kind: a network takes matrices or edges
        rest = list(grads)
        for graph, products in zip(self._drawn, self._products(), strict=True):
            n, m = len(products.probes), len(products.weights)
            mine, by_weight, rest = rest[:n], rest[n : n + m], rest[n + m :]
            parts.append(factored_gradient(graph, products, mine))
            parts += [None if grad is None else PairGradient(grad) for grad in by_weight]
        known = [part for part in parts if part is not None]
        return functools.reduce(operator.add, known) if known else None
