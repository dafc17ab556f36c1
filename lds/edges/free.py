"""θ: one Bernoulli probability for every undirected pair of nodes (the thesis)."""

import copy
from collections.abc import Mapping
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor

from lds.edges.base import EdgeDistribution, add_gradient, packed, unpacked
from lds.edges.recorder import EdgeGradient
from lds.edges.sampler import EdgeSampler
from lds.edges.support import Growth, as_list
from lds.graphs.candidates import AllPairs, Candidates, PairList
from lds.graphs.connected import Pairs


class FreeEdges(EdgeDistribution):
    """Independent edges A_ij ~ Ber(θ_ij) with a free probability for each pair (§9.3.1).

    Its gradient is a `FactoredGradient`, so no tensor of the size of θ is made besides θ. With
    networks that take edges instead of products it is a `PairGradient`.

    Arguments:
        start: symmetric CSR `(n_nodes, n_nodes)` of starting probabilities in [0, 1]; every other
            candidate pair starts at 0 and is as free as these.
        dtype, device: of θ.
        candidates: the pairs that may become edges; None is all pairs.
        tree: a spanning tree; every draw is then completed to a connected graph (see
            `lds.graphs.connected`). None leaves draws as they are.
        growth: how a list of candidates changes; None keeps it as it is.
    """

    def __init__(
        self,
        start: sp.csr_array,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        candidates: Candidates | None = None,
        tree: Pairs | None = None,
        growth: Growth | None = None,
    ) -> None:
        pairs = AllPairs(start.shape[0]) if candidates is None else candidates
        super().__init__(EdgeSampler(pairs, pairs.scatter(start, dtype).to(device), tree))
        self.growth = growth

    def descend(self, gradient: EdgeGradient, lr: float, seed: int = 0) -> None:
        """Take the projected step on θ; every few calls a growth changes the pairs as well.

        Arguments:
            gradient: ∂E/∂θ of the undirected pairs.
            lr: η.
            seed: draws the nodes whose pairs a growth searches, where there are too many.
        """
        if self.growth is not None and self.growth.due():
            self.growth.grow(self, gradient, lr, seed)
        else:
            self.step(gradient, lr)

    def step(self, gradient: EdgeGradient, lr: float) -> None:
        """θ ← Proj_[0,1](θ - lr · gradient) on the pairs there are, in place (Alg. 7, line 13)."""
        add_gradient(self.probs, self.pairs, gradient, -lr)
        self.probs.clamp_(0, 1)
        self._sampler.refresh()

    def put(self, probs: Tensor) -> None:
        """Take other probabilities of the same pairs, `(size,)`, in [0, 1]; not copied."""
        self._hold(self.pairs, probs)

    def move_to(self, pairs: PairList, probs: Tensor) -> None:
        """Take another list of candidate pairs, with their probabilities.

        Arguments:
            pairs: the list.
            probs: `(n_pairs,)`, in [0, 1].

        Raises:
            TypeError: the distribution is over all pairs.
        """
        as_list(self.pairs)
        flat = self.probs.new_zeros(pairs.size)
        flat[: pairs.n_pairs] = probs
        self._hold(pairs, flat)

    def _hold(self, pairs: Candidates, probs: Tensor) -> None:
        self._sampler = EdgeSampler(pairs, probs, self._sampler.tree)

    def copy(self) -> "FreeEdges":
        """Copy θ; the copy has no growth."""
        other = copy.copy(self)
        other._sampler, other.growth = self._sampler.copy(), None
        return other

    def state(self) -> dict[str, Any]:
        """θ, its pairs and how far the growth has come."""
        stored = packed(self.pairs, self.probs)
        return stored if self.growth is None else stored | {"growth": self.growth.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state()` of a distribution over the same nodes and kind of support."""
        self._hold(*unpacked(state, self.pairs, self.probs))
        if self.growth is not None:
            self.growth.restore(state["growth"])
