"""Features of pairs of nodes in a given graph, and pairs two steps apart.

Three instances of the idea: the number of neighbours that two nodes share; that number with a
smaller weight for neighbours of high degree; how alike the features of the two nodes are. All take
a graph as sparse matrix, read which entries are not 0 and leave out loops.

References:
    Liben-Nowell and Kleinberg, 2007, "The link-prediction problem for social networks";
    Zhou, Lü and Zhang, 2009, "Predicting missing links via local information" (resource
    allocation); Adamic and Adar, 2003, "Friends and neighbors on the web".
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._types import Features

CHUNK = 1 << 22
"""Numbers held at once while pairs are compared, or rows of A D⁻¹ A are computed."""

Floats = NDArray[np.float64]
Pairs = NDArray[np.int64]


def common_neighbours(graph: sp.csr_array, pairs: Pairs) -> Floats:
    """Count the neighbours that both nodes of each pair have.

    Time O(Σ degrees of the nodes of the pairs), memory O(`CHUNK`); exact.

    Arguments:
        graph: symmetric CSR `(n_nodes, n_nodes)`; an entry that is not 0 is an edge.
        pairs: int64 `(n_pairs, 2)`, node numbers; the two of a pair differ, in any order.

    Returns:
        `(n_pairs,)`, whole numbers from 0 to n_nodes - 2.

    Raises:
        ValueError: pairs of another shape or dtype, a node outside the graph, or a pair of one
            node with itself.

    Examples:
        >>> square = sp.csr_array([[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]])
        >>> common_neighbours(square, np.array([[0, 2], [0, 1]])).tolist()
        [2.0, 0.0]
    """
    return _shared(graph, pairs, lambda degree: np.ones_like(degree))


def adamic_adar(graph: sp.csr_array, pairs: Pairs) -> Floats:
    """Sum 1 / log(degree) over the neighbours that both nodes of each pair have.

    Arguments, errors and cost are those of `common_neighbours`.

    Returns:
        `(n_pairs,)`, 0 or more. A common neighbour has degree 2 or more, so log(degree) > 0.
    """
    return _shared(graph, pairs, lambda degree: 1 / np.log(np.maximum(degree, 2)))


def resource_allocation(graph: sp.csr_array, pairs: Pairs) -> Floats:
    """Sum 1 / degree over the neighbours that both nodes of each pair have.

    Arguments, errors and cost are those of `common_neighbours`.

    Returns:
        `(n_pairs,)`, 0 or more, below the smaller degree of the pair.
    """
    return _shared(graph, pairs, lambda degree: 1 / np.maximum(degree, 1))


def end_degrees(graph: sp.csr_array, pairs: Pairs) -> Floats:
    """Return the degrees of the nodes of each pair, the smaller first.

    Arguments and errors are those of `common_neighbours`. Sorting makes the result the same for
    (i, j) and (j, i).

    Returns:
        `(n_pairs, 2)`, whole numbers, 0 or more.
    """
    pattern = _pattern(graph)
    found = np.diff(pattern.indptr)[_checked(pairs, pattern.shape[0])]
    return np.sort(found, axis=1).astype(np.float64)


def neighbourhood_jaccard(graph: sp.csr_array, pairs: Pairs) -> Floats:
    """Divide the number of common neighbours by the number of nodes that are neighbour of either.

    Arguments and errors are those of `common_neighbours`.

    Returns:
        `(n_pairs,)` in [0, 1]; 0 where neither node has a neighbour.
    """
    shared = common_neighbours(graph, pairs)
    either = end_degrees(graph, pairs).sum(1) - shared
    return _share(shared, either)


def cosine_of_ends(features: Features, pairs: Pairs) -> Floats:
    """Compute the cosine of the feature rows of each pair.

    Arguments:
        features: X, `(n_nodes, n_features)`, dense or CSR.
        pairs: as in `common_neighbours`.

    Returns:
        `(n_pairs,)` in [-1, 1]; 0 where a row is 0.

    Raises:
        ValueError: as `common_neighbours`.
    """
    pairs = _checked(pairs, features.shape[0])
    rows = _as_csr(features)
    length = np.sqrt(_row_sums(rows.multiply(rows)))
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    products = _products(rows, rows, pairs) * scale[pairs[:, 0]] * scale[pairs[:, 1]]
    return products.clip(-1, 1)


def jaccard_of_ends(features: Features, pairs: Pairs) -> Floats:
    """Divide the number of features that both rows have by the number that either has.

    A row has a feature where its entry is not 0. This is the likeness by which GCN-Jaccard removes
    edges (Wu et al., 2019, "Adversarial examples for graph data", https://arxiv.org/abs/1903.01610).

    Arguments and errors are those of `cosine_of_ends`.

    Returns:
        `(n_pairs,)` in [0, 1]; 0 where neither row has a feature.
    """
    pairs = _checked(pairs, features.shape[0])
    rows = _as_csr(features)
    rows.data[:] = 1
    shared = _products(rows, rows, pairs)
    either = np.diff(rows.indptr)[pairs].sum(1) - shared
    return _share(shared, either)


def two_step_pairs(graph: sp.csr_array, k: int) -> tuple[Pairs, Floats]:
    """Find the pairs two steps apart: for each node, the k of largest resource allocation.

    A pair is two steps apart if its nodes have a common neighbour and no edge. A pair is returned
    if it is among the k best of either of its nodes; of equal scores the lower node number wins.

    Time and memory: rows of A D⁻¹ A are computed `CHUNK` products at a time, so memory is
    O(`CHUNK` + n_nodes · k); time is O(Σ degree²) and sorting. Exact.

    Arguments:
        graph: symmetric CSR `(n_nodes, n_nodes)`; an entry that is not 0 is an edge.
        k: pairs a node, at least 1.

    Returns:
        Pairs int64 `(n_pairs, 2)`, first < second, sorted; and their resource allocation
        `(n_pairs,)`.

    Raises:
        ValueError: k is below 1, or the graph is not square.

    Examples:
        >>> path = sp.csr_array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
        >>> pairs, score = two_step_pairs(path, 1)
        >>> pairs.tolist(), score.tolist()
        ([[0, 2], [1, 3]], [0.5, 0.5])
    """
    if k < 1:
        raise ValueError(f"k (pairs two steps apart a node) must be at least 1, got {k}")
    pattern = _pattern(graph)
    n_nodes, degree = pattern.shape[0], np.diff(pattern.indptr)
    weighted = sp.csr_array(sp.diags_array(1 / np.maximum(degree, 1)) @ pattern)
    keys: list[Pairs] = [np.empty(0, dtype=np.int64)]
    scores: list[Floats] = [np.empty(0)]
    for first, last in _blocks(pattern @ degree):
        edges = pattern[first:last]
        products = sp.csr_array(edges @ weighted)
        # A product is at most n_nodes: subtracting more leaves edges below 0.
        entries = sp.coo_array(products - (n_nodes + 1.0) * edges)
        row, col = entries.row.astype(np.int64) + first, entries.col.astype(np.int64)
        far = (row != col) & (entries.data > 0)
        row, col, score = row[far], col[far], entries.data[far]
        order = np.lexsort((col, -_rounded(score), row))
        row, col, score = row[order], col[order], score[order]
        best = np.arange(row.size) - np.searchsorted(row, row) < k
        low, high = np.minimum(row, col)[best], np.maximum(row, col)[best]
        keys.append(low * n_nodes + high)
        scores.append(score[best])
    key, place = np.unique(np.concatenate(keys), return_index=True)
    pairs = np.stack([key // max(n_nodes, 1), key % max(n_nodes, 1)], axis=1)
    return pairs, np.concatenate(scores)[place]


def _rounded(score: Floats) -> Floats:
    """Round to 12 digits, so that sums in another order do not decide between equal scores."""
    return np.round(score, 12)


def _pattern(graph: sp.csr_array) -> sp.csr_array:
    """Return a 0/1 matrix of the entries that are not 0, without loops, sorted."""
    if graph.ndim != 2 or graph.shape[0] != graph.shape[1]:
        raise ValueError(f"graph must be (n_nodes, n_nodes), got shape {graph.shape}")
    entries = sp.csr_array(graph, copy=True)
    entries.sum_duplicates()
    coo = entries.tocoo()
    kept = (coo.data != 0) & (coo.row != coo.col)
    place = (coo.row[kept], coo.col[kept])
    found = sp.csr_array(sp.coo_array((np.ones(int(kept.sum())), place), shape=coo.shape))
    found.sort_indices()
    return found


def _checked(pairs: Any, n_nodes: int) -> Pairs:
    found = np.asarray(pairs)
    if found.dtype.kind not in "iu" or found.ndim != 2 or found.shape[1] != 2:
        raise ValueError(
            f"pairs must be integers (n_pairs, 2), got {found.dtype} of shape {found.shape}"
        )
    if found.size and not 0 <= found.min() <= found.max() < n_nodes:
        raise ValueError(
            f"pairs must number nodes from 0 to {n_nodes - 1}, got {found.min()} to {found.max()}"
        )
    same = found[:, 0] == found[:, 1]
    if same.any():
        at = int(same.argmax())
        raise ValueError(f"pairs must be of two nodes, got node {found[at, 0]} twice in row {at}")
    return found.astype(np.int64)


def _shared(graph: sp.csr_array, pairs: Pairs, weight: Callable[[Floats], Floats]) -> Floats:
    """Sum weight(degree) over common neighbours."""
    pattern = _pattern(graph)
    pairs = _checked(pairs, pattern.shape[0])
    degree = np.diff(pattern.indptr).astype(np.float64)
    weighted = sp.csr_array(pattern @ sp.diags_array(weight(degree)))
    return _products(pattern, weighted, pairs)


def _products(left: sp.csr_array, right: sp.csr_array, pairs: Pairs) -> Floats:
    """Compute the inner product of left[i] and right[j] for each pair (i, j)."""
    found = np.empty(len(pairs))
    stored = np.diff(left.indptr)[pairs[:, 0]] + np.diff(right.indptr)[pairs[:, 1]]
    for first, last in _blocks(stored):
        i, j = pairs[first:last].T
        found[first:last] = _row_sums(left[i].multiply(right[j]))
    return found


def _share(part: Floats, whole: Floats) -> Floats:
    """Divide; 0 where the whole is 0."""
    found: Floats = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return found


def _as_csr(features: Features) -> sp.csr_array:
    """Copy features to CSR float64 without stored zeros."""
    plain: Any = features
    rows = sp.csr_array(sp.coo_array(plain).astype(np.float64))
    rows.eliminate_zeros()
    return rows


def _row_sums(matrix: Any) -> Floats:
    return cast(Floats, np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel())


def _blocks(work: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows with at most `CHUNK` of work each, or one row."""
    total = np.cumsum(np.asarray(work, dtype=np.int64) + 1)
    first = 0
    while first < len(total):
        before = total[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(total, before + CHUNK, side="right")))
        yield first, last
        first = last
