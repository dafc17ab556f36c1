"""An undirected graph from a list of edges, which may be directed, repeated and of any weight."""

import warnings
from typing import Any, Literal, get_args

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._arrays import widened

Weights = Literal["scale", "given", "ignore"]
"""Meaning of weights: divided by the largest, probabilities as given, or ignored."""

ROUNDING = 1e-6
"""Relative difference below which two weights of a pair are equal (float32 rounds by 6e-8)."""

LIKELY = 0.5
"""Probability below which an edge is likelier absent: a graph with none above is often one whose
weights are no probabilities, such as those of PyG's `GCNNorm` or `GDC`."""


def undirected(
    row: NDArray[np.int64],
    col: NDArray[np.int64],
    weight: NDArray[Any] | None,
    n_nodes: int,
    *,
    weights: Weights | None = None,
    name: str = "edge_index",
    weight_name: str = "edge_weight",
) -> sp.csr_array:
    """Convert a list of edges to a symmetric matrix of starting probabilities.

    An edge counts in both directions, however often and in whichever direction it is listed; of
    several weights of one pair the largest counts. Loops are dropped: the normalised adjacency
    gives every node one. Every guess is reported by a `UserWarning`.

    Arguments:
        row, col: `(n_edges,)`, in [0, n_nodes).
        weight: `(n_edges,)` real numbers; None is 1 everywhere.
        n_nodes: how many nodes there are.
        weights: "given": weights are probabilities in [0, 1]; "scale": they are divided by the
            largest; "ignore": every edge has probability 1; None: "given", or "scale" with a
            warning where a weight is above 1, and a warning where all are below `LIKELY`.
        name, weight_name: of the arguments with the edges and with their weights, in messages.

    Returns:
        float32 symmetric CSR `(n_nodes, n_nodes)` without loops and stored zeros, indices sorted.

    Raises:
        TypeError: weights are not real numbers.
        ValueError: a weight is negative or not finite, or above 1 where weights are "given".
    """
    check_weights(weights)
    if weight is None or weights == "ignore":
        weight = np.ones(row.size)
    if weight.dtype.kind not in "biuf":
        raise TypeError(f"{weight_name} must hold real numbers, got {weight.dtype}")
    apart = row != col
    row, col, value = row[apart], col[apart], weight[apart].astype(np.float64)
    bad = ~(np.isfinite(value) & (value >= 0))
    if bad.any():
        at = int(bad.argmax())
        raise ValueError(
            f"{weight_name} must be finite and 0 or more, got {value[at]:g} at edge "
            f"({row[at]}, {col[at]})"
        )
    value = _probabilities(row, col, value, weights, weight_name)
    low, high = np.minimum(row, col), np.maximum(row, col)
    key, pair = np.unique(low * n_nodes + high, return_inverse=True)
    largest, smallest = np.zeros(key.size), np.full(key.size, np.inf)
    np.maximum.at(largest, pair, value)
    np.minimum.at(smallest, pair, value)
    forward = np.bincount(pair[row < col], minlength=key.size) > 0
    back = np.bincount(pair[row > col], minlength=key.size) > 0
    _warn_one_way(int((forward != back).sum()), key.size, name)
    differ = np.flatnonzero(largest - smallest > ROUNDING * largest)
    if differ.size:
        at = key[differ[0]]
        others = f", and {differ.size - 1:,} more such pairs" if differ.size > 1 else ""
        warnings.warn(
            f"{name} has the pair ({at // n_nodes}, {at % n_nodes}) with weights "
            f"{smallest[differ[0]]:g} and {largest[differ[0]]:g}{others}; the largest weight of a "
            "pair is taken",
            UserWarning,
            stacklevel=2,
        )
    half = sp.coo_array(
        (largest.astype(np.float32), (key // n_nodes, key % n_nodes)), shape=(n_nodes, n_nodes)
    )
    matrix = sp.csr_array(half + half.T)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def check_weights(weights: object) -> None:
    """Refuse a value that is neither None nor one of `Weights`.

    Raises:
        ValueError: it is neither.
    """
    if weights is not None and weights not in get_args(Weights):
        raise ValueError(f"edge_weight must be None or one of {get_args(Weights)}, got {weights!r}")


def _probabilities(
    row: NDArray[np.int64],
    col: NDArray[np.int64],
    value: NDArray[np.float64],
    weights: Weights | None,
    name: str,
) -> NDArray[np.float64]:
    """Convert weights to probabilities."""
    largest = float(value.max(initial=0))
    if weights == "given" and largest > 1:
        at = int(value.argmax())
        raise ValueError(
            f"{name} must be in [0, 1] where it is a probability as given, got {largest:g} at edge "
            f"({row[at]}, {col[at]}); edge_weight='scale' divides by the largest"
        )
    if weights is None and largest > 1:
        warnings.warn(
            f"{name} goes up to {largest:g}; each is divided by that to be a probability: a larger "
            "weight is a more probable edge, so distances must be turned into similarities first",
            UserWarning,
            stacklevel=3,
        )
    if weights is None and 0 < largest < LIKELY:
        warnings.warn(
            f"{name} is at most {largest:g} and is taken as the probability of an edge: no edge is "
            f"likelier than not; divide it by {largest:g} if larger only means more probable, or "
            "leave it out if every edge is there",
            UserWarning,
            stacklevel=3,
        )
    scaled = weights == "scale" or largest > 1
    return value / largest if scaled and largest > 0 else value


def _warn_one_way(n_one_way: int, n_pairs: int, name: str) -> None:
    if n_one_way:
        of = "" if n_one_way == n_pairs else f" of {n_pairs:,}"
        edges = "edge" if n_pairs == 1 else "edges"
        warnings.warn(
            f"{name} holds {n_one_way:,}{of} {edges} in one direction only; each is taken as "
            "undirected",
            UserWarning,
            stacklevel=3,
        )


def refuse_outside(ends: NDArray[Any], n_nodes: int, name: str, unit: str, place: str = "") -> None:
    """Refuse ends of edges that are no nodes.

    Arguments:
        ends: integers `(2, n_edges)`.
        n_nodes: how many nodes there are.
        name: beginning of the message.
        unit: what an edge is called there.
        place: where in `name` the edges are, such as " in its edges".

    Raises:
        ValueError: an end is outside [0, n_nodes).
    """
    outside = (ends < 0) | (ends >= n_nodes)
    if outside.any():
        at = int(outside.any(axis=0).argmax())
        raise ValueError(
            f"{name} must number nodes from 0 to {n_nodes - 1}{place}, got "
            f"{ends[outside[:, at].argmax(), at]} in {unit} {at}"
        )


def entries_of(matrix: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return rows, columns and weights of a matrix: repeated entries are summed, zeros left out.

    Arguments:
        matrix: dense or of any sparse format of scipy, of real numbers; it is not changed.
    """
    csr = sp.csr_array(widened(matrix), dtype=np.float64, copy=True)
    csr.sum_duplicates()
    csr.eliminate_zeros()
    entries = sp.coo_array(csr)
    return entries.row.astype(np.int64), entries.col.astype(np.int64), entries.data
