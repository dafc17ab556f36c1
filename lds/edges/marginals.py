"""Count how often each edge occurs in graphs drawn from a learned distribution."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from lds._numbers import integer
from lds._random import mix, replayed
from lds.edges.base import EdgeDistribution

CHUNK = 64
"""Graphs drawn at once; bounds the memory."""


@dataclass(frozen=True, eq=False)
class EdgeMarginals:
    """Counts of edges over drawn graphs.

    Attributes:
        counts: symmetric CSR of int64 `(n_nodes, n_nodes)`: drawn graphs with the edge.
        n_draws: graphs drawn.
    """

    counts: sp.csr_array
    n_draws: int

    @property
    def frequencies(self) -> sp.csr_array:
        """Counts / n_draws; its standard error is √(p (1 - p) / n_draws), at most 1 / (2 √n)."""
        return sp.csr_array(self.counts / self.n_draws)


def edge_marginals(edges: EdgeDistribution, n_draws: int, seed: int = 0) -> EdgeMarginals:
    """Count the edges of `n_draws` graphs.

    Edges are independent with probabilities θ, so counts are binomial with mean n_draws · θ. Where
    draws are completed to connected graphs, edges of the completion count as well.

    Arguments:
        edges: the distribution.
        n_draws: graphs, at least 1.
        seed: of the draws.

    Raises:
        TypeError: `n_draws` or `seed` is no integer.
        ValueError: `n_draws` below 1.
    """
    n_draws, seed = integer("n_draws", n_draws), integer("seed", seed)
    if n_draws < 1:
        raise ValueError(f"n_draws must be at least 1, got {n_draws}")
    n_nodes = edges.n_nodes
    total = sp.csr_array((n_nodes, n_nodes), dtype=np.int64)
    for first in range(0, n_draws, CHUNK):
        size = min(CHUNK, n_draws - first)
        with replayed(mix(seed, first)):
            _, row, col = (part.cpu().numpy() for part in edges.draw(size).edges())
        ones = np.ones(row.size, dtype=np.int64)
        total = total + sp.csr_array(sp.coo_array((ones, (row, col)), shape=(n_nodes, n_nodes)))
    return EdgeMarginals(sp.csr_array(total + total.T), n_draws)
