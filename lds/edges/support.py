"""Which pairs may become edges, and how a sparse choice follows the hypergradient.

All pairs are the thesis's. A sparse support starts from the starting edges and near neighbours. On
Cora without its graph a list that never changes costs one to two points of accuracy; so every few
hypersteps the step is taken on all pairs (their gradient is low rank: no N×N tensor is needed to
search it) and only the largest probabilities are kept.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._types import Features
from lds.config import LDSConfig
from lds.edges.free import EdgeDistribution
from lds.graphs.candidates import AllPairs, Candidates, PairList
from lds.graphs.knn import knn_adjacency
from lds.graphs.largest_products import most_negative
from lds.graphs.product import FactoredGradient
from lds.nn.registry import GCN_NAME
from lds.structure.checks import keeps_all_pairs

ALL_ROWS_UP_TO = 8192
SEARCHED_ROWS = 512
"""Nodes up to which a growth looks at every pair, and beyond, at the pairs of how many nodes."""

NEIGHBORS_UP_TO = 20_000
"""Nodes; the search is exact and its time grows with their square."""


def candidates(
    features: Features,
    start: sp.csr_array,
    config: LDSConfig,
    dtype: torch.dtype,
    device: torch.device,
) -> Candidates:
    """The pairs a run starts with: all, or those of `start` and of the nearest neighbours.

    Neighbours are searched up to `NEIGHBORS_UP_TO` nodes; larger graphs have those of `start` alone
    and grow from there.
    """
    n_nodes = start.shape[0]
    if keeps_all_pairs(n_nodes, config, dtype, device):
        return AllPairs(n_nodes)
    if n_nodes > NEIGHBORS_UP_TO:
        return PairList.of(start)
    # Networks other than the GCN cannot ask for pairs later: they start with all that are allowed.
    n_near = config.n_neighbors if config.backbone == GCN_NAME else config.pairs_per_node
    near = knn_adjacency(features, min(n_near, n_nodes - 1), config.metric)
    return PairList.of(sp.csr_array(start + near))


def growth(edges: EdgeDistribution, config: LDSConfig) -> "Growth | None":
    """How the support of `edges` changes; None where it does not."""
    if not isinstance(edges.pairs, PairList) or config.grow_every == 0:
        return None
    if config.estimator != "straight_through" or config.backbone != GCN_NAME:  # no factors
        return None
    budget = max(config.pairs_per_node * edges.n_nodes, int((edges.probs > 0).sum()))
    return Growth(budget, config.grow_every)


class Growth:
    """The projected step on θ that lets a sparse support grow and shrink.

    Every `grow_every`-th step is that of all pairs, followed by a projection onto few: the `budget`
    largest probabilities stay, the others are 0 and forgotten. So are pairs that were at 0 both
    after this step and after the one before it that grew.

    Beyond `ALL_ROWS_UP_TO` nodes each growth searches the pairs of `SEARCHED_ROWS` nodes, drawn
    without replacement with chances proportional to the norm of their factors; the others wait for
    a later growth.

    Arguments:
        budget: pairs kept at most.
        every: hypersteps between growths.
    """

    def __init__(self, budget: int, every: int) -> None:
        self.budget, self.every = budget, every
        self._steps = 0
        self._idle: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def descend(
        self, edges: EdgeDistribution, gradient: FactoredGradient, lr: float, seed: int
    ) -> None:
        """θ ← Proj(θ - lr · gradient), in place, on other pairs every few calls.

        Arguments:
            edges: θ over a `PairList`.
            gradient: by the undirected pairs.
            lr: η.
            seed: draws the rows to search where there are too many.
        """
        if self.due():
            self.grow(edges, gradient, lr, seed)
        else:
            edges.descend(gradient, lr)

    def due(self) -> bool:
        """Count a step; whether it is one that grows."""
        self._steps += 1
        return self._steps % self.every == 0

    def grow(
        self, edges: EdgeDistribution, gradient: FactoredGradient, lr: float, seed: int
    ) -> None:
        """The step that changes the pairs; arguments as of `descend`."""
        assert isinstance(edges.pairs, PairList)
        rows = _rows(gradient.left, seed)
        keys, slope = most_negative(gradient.left, gradient.right, self.budget, edges.pairs, rows)
        edges.descend(gradient, lr)
        if math.isfinite(edges.expected_edges):  # else the run ends, and says so
            self._move(edges, keys, (-lr * slope).clamp_(max=1))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"steps": self._steps, "idle": torch.from_numpy(self._idle)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self._steps, self._idle = state["steps"], state["idle"].numpy()

    def _move(self, edges: EdgeDistribution, keys: NDArray[np.int64], probs: Tensor) -> None:
        """To the largest of θ on its pairs and on new ones, `keys` with `probs`."""
        assert isinstance(edges.pairs, PairList)
        mine = edges.probs[: edges.pairs.n_pairs].cpu().numpy()
        stays = ~((mine == 0) & _among(edges.pairs.keys, self._idle))
        keys = np.concatenate([edges.pairs.keys[stays], keys])
        theta = np.concatenate([mine[stays], probs.cpu().numpy()])
        order = np.argsort(keys, kind="stable")  # two ascending runs: merged
        keys, theta = keys[order], theta[order]
        if len(keys) > self.budget:
            last = np.partition(theta, -self.budget)[-self.budget]
            kept = theta > last
            ties = np.flatnonzero(theta == last)
            kept[ties[: self.budget - np.count_nonzero(kept)]] = True
            keys, theta = keys[kept], theta[kept]
        self._idle = keys[theta == 0]
        edges.move_to(PairList(edges.n_nodes, keys), torch.from_numpy(theta))


def _among(keys: NDArray[np.int64], some: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which keys are among some of them; both ascending."""
    found = np.zeros(len(keys), dtype=bool)
    found[np.searchsorted(keys, some)] = True
    return found


def _rows(left: Sequence[Tensor], seed: int) -> Tensor | None:
    if left[0].shape[0] <= ALL_ROWS_UP_TO:
        return None
    norms = torch.stack([torch.linalg.vector_norm(u, dim=1) for u in left])
    weight = torch.linalg.vector_norm(norms, dim=0).nan_to_num(0, 0, 0)
    n_rows = min(SEARCHED_ROWS, int((weight > 0).sum()))
    if not n_rows:
        return torch.zeros(0, dtype=torch.int64, device=weight.device)
    generator = torch.Generator(weight.device).manual_seed(seed)
    return torch.multinomial(weight, n_rows, generator=generator).sort().values
