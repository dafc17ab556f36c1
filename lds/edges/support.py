"""Which pairs a sparse support starts with, and how it follows the hypergradient.

A sparse support starts from the starting edges and near neighbours. On Cora without its graph a
list that never changes costs one to two points of accuracy. So every few hypersteps the step is
taken on all pairs (their gradient has low rank, so the search needs no N×N tensor) and only the
pairs with the largest probabilities are kept.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._types import Features
from lds.edges.recorder import EdgeGradient
from lds.graphs.candidates import Candidates, PairList
from lds.graphs.knn import knn_adjacency
from lds.graphs.largest_products import most_negative
from lds.graphs.product import FactoredGradient

ALL_ROWS_UP_TO = 8192
"""Nodes up to which a growth searches every pair."""

SEARCHED_ROWS = 512
"""Nodes whose pairs a growth searches in larger graphs."""

NEIGHBORS_UP_TO = 20_000
"""Nodes up to which near neighbours are searched: the search is exact, its time O(n_nodes²)."""


def near_and_given(features: Features, start: sp.csr_array, n_near: int, metric: str) -> PairList:
    """List the pairs of the starting edges and of near neighbours.

    Beyond `NEIGHBORS_UP_TO` nodes the list has the starting edges alone and grows from there.

    Arguments:
        features: X, `(n_nodes, n_features)`.
        start: symmetric CSR of starting probabilities.
        n_near: nearest neighbours of each node; at most n_nodes - 1 are taken.
        metric: of the distances between rows of X.
    """
    n_nodes = start.shape[0]
    if n_nodes > NEIGHBORS_UP_TO:
        return PairList.of(start)
    near = knn_adjacency(features, min(n_near, n_nodes - 1), metric)
    return PairList.of(sp.csr_array(start + near))


def growth_for(pairs: PairList, probs: Tensor, pairs_per_node: int, every: int) -> "Growth | None":
    """Make the growth of a list of pairs; None where it never grows.

    Arguments:
        pairs: the list at the start.
        probs: θ at the start, `(pairs.size,)`; no pair with θ > 0 is cut by the budget.
        pairs_per_node: pairs kept at most, times the number of nodes.
        every: hypersteps between growths; 0 never grows.
    """
    if every == 0:
        return None
    return Growth(max(pairs_per_node * pairs.n_nodes, int((probs > 0).sum())), every)


class Growing(Protocol):
    """What a growth needs of a distribution."""

    @property
    def pairs(self) -> Candidates:
        """The pairs that may become edges."""

    @property
    def probs(self) -> Tensor:
        """θ, `(pairs.size,)`."""

    @property
    def expected_edges(self) -> float:
        """Σ θ."""

    def step(self, gradient: EdgeGradient, lr: float) -> None:
        """Take the projected step on the pairs there are."""

    def move_to(self, pairs: PairList, probs: Tensor) -> None:
        """Take another list of pairs, with their probabilities."""


class Growth:
    """Let a list of candidate pairs grow and shrink along the hypergradient.

    Every `every`-th step is that of all pairs, followed by a projection onto few: the `budget`
    largest probabilities stay, the others become 0 and leave the list. Pairs that are at 0 after
    two growths in a row leave it, too.

    Beyond `ALL_ROWS_UP_TO` nodes each growth searches the pairs of `SEARCHED_ROWS` nodes, drawn
    without replacement with chances proportional to the norm of their factors; the other nodes wait
    for a later growth.

    Arguments:
        budget: pairs kept at most.
        every: hypersteps between growths, at least 1.
    """

    def __init__(self, budget: int, every: int) -> None:
        self.budget, self.every = budget, every
        self._steps = 0
        self._idle: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # keys at 0 after a growth

    def due(self) -> bool:
        """Count one step; whether that step grows."""
        self._steps += 1
        return self._steps % self.every == 0

    def grow(self, edges: Growing, gradient: EdgeGradient, lr: float, seed: int) -> None:
        """Take the step that changes the pairs, in place.

        Arguments:
            edges: θ over a `PairList`.
            gradient: ∂E/∂θ of the undirected pairs, as factors.
            lr: η.
            seed: draws the nodes whose pairs are searched, where there are too many.

        Raises:
            TypeError: the distribution is over all pairs, or the gradient has no factors.
        """
        pairs = as_list(edges.pairs)
        if not isinstance(gradient, FactoredGradient):
            raise TypeError(
                "a support grows by a gradient of all pairs, a FactoredGradient, got "
                f"{type(gradient).__name__}; grow_every=0 leaves the pairs as they are"
            )
        rows = _rows(gradient.left, seed)
        keys, slope = most_negative(gradient.left, gradient.right, self.budget, pairs, rows)
        edges.step(gradient, lr)
        if math.isfinite(edges.expected_edges):  # otherwise the run ends with an error
            theta = (-lr * slope).clamp_(max=1)
            edges.move_to(*self._largest(pairs, edges.probs, keys, theta))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"steps": self._steps, "idle": torch.from_numpy(self._idle)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state()`."""
        self._steps, self._idle = state["steps"], state["idle"].numpy()

    def _largest(
        self, pairs: PairList, probs: Tensor, keys: NDArray[np.int64], new_probs: Tensor
    ) -> tuple[PairList, Tensor]:
        """Select the largest θ among the pairs of the list and new ones.

        Arguments:
            pairs, probs: the list and θ on it.
            keys: of new pairs, ascending.
            new_probs: θ on these, `(len(keys),)`.
        """
        mine = probs[: pairs.n_pairs].cpu().numpy()
        stays = ~((mine == 0) & _among(pairs.keys, self._idle))
        keys = np.concatenate([pairs.keys[stays], keys])
        theta = np.concatenate([mine[stays], new_probs.cpu().numpy()])
        order = np.argsort(keys, kind="stable")  # merges two ascending runs
        keys, theta = keys[order], theta[order]
        if len(keys) > self.budget:
            last = np.partition(theta, -self.budget)[-self.budget]
            kept = theta > last
            ties = np.flatnonzero(theta == last)
            kept[ties[: self.budget - np.count_nonzero(kept)]] = True
            keys, theta = keys[kept], theta[kept]
        self._idle = keys[theta == 0]
        return PairList(pairs.n_nodes, keys), torch.from_numpy(theta)


def as_list(pairs: Candidates) -> PairList:
    """Return `pairs`, which must be a list.

    Raises:
        TypeError: they are all pairs.
    """
    if not isinstance(pairs, PairList):
        raise TypeError(
            "only a distribution over a list of pairs can take other pairs, got all pairs; give it "
            "candidates"
        )
    return pairs


def _among(keys: NDArray[np.int64], some: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `keys` are in `some`, a subset of them; both ascending."""
    found = np.zeros(len(keys), dtype=bool)
    found[np.searchsorted(keys, some)] = True
    return found


def _rows(left: Sequence[Tensor], seed: int) -> Tensor | None:
    """Draw the nodes whose pairs are searched, ascending int64; None is every node."""
    if left[0].shape[0] <= ALL_ROWS_UP_TO:
        return None
    norms = torch.stack([torch.linalg.vector_norm(u, dim=1) for u in left])
    weight = torch.linalg.vector_norm(norms, dim=0).nan_to_num(0, 0, 0)
    n_rows = min(SEARCHED_ROWS, int((weight > 0).sum()))
    if not n_rows:
        return torch.zeros(0, dtype=torch.int64, device=weight.device)
    generator = torch.Generator(weight.device).manual_seed(seed)
    return torch.multinomial(weight, n_rows, generator=generator).sort().values
