"""Completion of drawn graphs to connected ones, by the most probable pairs that join components.

A draw A ~ Ber(θ) with c connected components gets c - 1 further edges. Kruskal's algorithm for a
maximum spanning tree chooses them: again and again the pair with the largest θ that joins two
components. A connected draw stays as it is. The effect on the distribution:

- only the N - 1 pairs of the maximum spanning tree F of θ can be added, so every other pair keeps
  its marginal θ_ij and its independence;
- a pair f of F is an edge with probability θ_f + (1 - θ_f) · P(A and the pairs of F with a larger θ
  do not connect the ends of f), which is at least θ_f;
- the distribution of A given that A is connected is that of Ber(θ) given the same.

Where no pair with θ > 0 joins two components, a pair of a fixed spanning tree does: that of the
starting edges, completed by the nearest rows of the features (single linkage).
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from lds._types import Features
from lds.graphs.knn import nearest_bridges

Index = NDArray[np.int64]
Pairs = tuple[Index, Index]
"""Rows and columns of pairs, in order of preference."""


def first_forest(row: Index, col: Index, n_nodes: int) -> Index:
    """Return the positions of the pairs that Kruskal's algorithm keeps, in the order given.

    Arguments:
        row, col: `(n_pairs,)`, in order of preference; loops and repetitions are never kept.
        n_nodes: N.

    Returns:
        Ascending int64; for each connected component one fewer than it has nodes.
    """
    low, high = np.minimum(row, col), np.maximum(row, col)
    _, first = np.unique(low * n_nodes + high, return_index=True)
    first = np.sort(first[low[first] != high[first]])
    rank = np.arange(1, first.size + 1, dtype=np.float64)
    graph = sp.csr_array(sp.coo_array((rank, (low[first], high[first])), shape=(n_nodes, n_nodes)))
    kept = minimum_spanning_tree(graph).data.astype(np.int64) - 1
    found: Index = first[np.sort(kept)]
    return found


def components(row: Index, col: Index, n_nodes: int) -> tuple[int, Index]:
    """Return the number of connected components, and the component of every node."""
    ones = np.ones(row.size, dtype=np.int8)
    graph = sp.coo_array((ones, (row, col)), shape=(n_nodes, n_nodes)).tocsr()
    count, labels = connected_components(graph, directed=False)
    return int(count), labels.astype(np.int64)


def starting_tree(features: Features, start: sp.csr_array, metric: str) -> Pairs:
    """Return the maximum spanning forest of the starting edges, completed to a tree by near rows.

    The further pairs are the nearest pairs of rows in different components. Time
    O(n_nodes² · n_features) where the starting graph is not connected.

    Arguments:
        features: X, `(n_nodes, n_features)`.
        start: symmetric CSR of starting probabilities.
        metric: of the distance between rows, by scikit-learn's name.
    """
    n_nodes = int(start.shape[0])
    upper = sp.triu(start, k=1).tocoo()
    row, col = upper.row.astype(np.int64), upper.col.astype(np.int64)
    order = np.lexsort((col, row, -upper.data))
    order = order[first_forest(row[order], col[order], n_nodes)]
    row, col = row[order], col[order]
    while True:
        count, labels = components(row, col, n_nodes)
        if count == 1:
            return row, col
        head, tail = nearest_bridges(features, labels, metric)
        kept = first_forest(labels[head], labels[tail], count)
        row, col = np.concatenate([row, head[kept]]), np.concatenate([col, tail[kept]])


def complete(
    draw: Index, row: Index, col: Index, n_draws: int, n_nodes: int, tree: Pairs
) -> tuple[Index, Index, Index]:
    """Return the pairs of `tree` that join the components of each of S graphs.

    Arguments:
        draw, row, col: `(n_edges,)`, edge {row, col} of graph `draw`.
        n_draws, n_nodes: S and N.
        tree: a spanning tree, in order of preference.

    Returns:
        (draw, row, col) of the pairs to add.
    """
    _, labels = components(draw * n_nodes + row, draw * n_nodes + col, n_draws * n_nodes)
    which = np.repeat(np.arange(n_draws, dtype=np.int64), tree[0].size)
    head, tail = np.tile(tree[0], n_draws), np.tile(tree[1], n_draws)
    kept = first_forest(
        labels[which * n_nodes + head], labels[which * n_nodes + tail], n_draws * n_nodes
    )
    return which[kept], head[kept], tail[kept]
