"""Refuse arguments of a fit whose labels of rows do not stand as those of X do."""

from collections import Counter
from typing import Any

ROW_NUMBERS = ("validation", "stopping")
"""Arguments that may be row numbers."""


def check_index(X: Any, **others: Any) -> None:
    """Refuse what has the index of X in another order, because rows go by position.

    Arguments:
        X: of pandas, or of another kind, which has no index.
        others: by the name of the argument: labels, weights, masks, row numbers, a graph.

    Raises:
        ValueError: one of them has the index of X in another order or in part, or a square one has
            such columns; or it gives labels of the index where row numbers are meant.
    """
    if not hasattr(X, "iloc"):
        return
    for name, other in others.items():
        _check_labels(X.index, name, other)
        if not hasattr(other, "iloc"):
            continue
        square = getattr(other, "shape", ()) == (len(X), len(X))
        if not square and _overlaps(X.index, other.index):
            raise ValueError(
                f"{name} must have the index of X, got one of which only a part is the same; "
                f"{name}.reindex(X.index) brings it in line; pass {name}.to_numpy() to match "
                "rows by position"
            )
        if not square and _reordered(X.index, other.index):
            way = f"{name}.loc[X.index] brings it in line"
            if not X.index.is_unique:
                way = "its labels repeat, so they do not tell which row is which"
            raise ValueError(
                f"{name} must have the index of X in its order, got it in another; {way}; pass "
                f"{name}.to_numpy() to match rows by position"
            )
        axes = {"rows": other.index, "columns": other.columns} if square else {}
        if wrong := [axis for axis, labels in axes.items() if _is_of_others(X.index, labels)]:
            raise ValueError(
                f"{name} must have the index of X on both axes, got one of which only a part is "
                f"the same in its {' and '.join(wrong)}; {name}.reindex(index=X.index, "
                f"columns=X.index, fill_value=0) brings it in line; pass {name}.to_numpy() to "
                "match rows and columns by position"
            )
        if wrong := [axis for axis, labels in axes.items() if _reordered(X.index, labels)]:
            both = all(set(labels) == set(X.index) for labels in axes.values())
            way = f"{name}.loc[X.index, X.index] brings it in line"
            if not X.index.is_unique:
                way = "its labels repeat, so they do not tell which row is which"
            elif not both:
                way = f"with the labels of X on both axes, {way}"
            raise ValueError(
                f"{name} must have the index of X in its order, got it in "
                f"another in its {' and '.join(wrong)}; {way}; pass {name}.to_numpy() to match "
                "rows and columns by position"
            )


def _check_labels(index: Any, name: str, other: Any) -> None:
    """Refuse labels of an index where row numbers are meant, unless they are the same."""
    n_rows = len(index)
    numbers = name in ROW_NUMBERS and hasattr(other, "get_indexer") and other.dtype != bool
    if numbers and not _counts(index):
        raise ValueError(
            f"{name} must be row numbers or a mask, got a pandas Index, and the index of X is not "
            f"0 to {n_rows - 1}: X.index.get_indexer({name}) gives the row numbers of its labels; "
            f"pass {name}.to_numpy() if they are row numbers"
        )
    if hasattr(other, "edges") and _reordered(index, range(n_rows)):
        raise ValueError(
            f"{name} must have the row numbers as nodes, and they may be labels of X, whose index "
            f"is 0 to {n_rows - 1} in another order; pass networkx.to_scipy_sparse_array({name}, "
            f"nodelist=X.index) if they are labels, with nodelist=range({n_rows}) if row numbers"
        )


def _counts(index: Any) -> bool:
    """Whether an index of pandas is the numbers from 0, in their order."""
    found: bool = index.tolist() == list(range(len(index)))
    return found


def _reordered(index: Any, labels: Any) -> bool:
    """Whether labels are those of an index of pandas in another order."""
    if len(index) != len(labels) or index.tolist() == list(labels):
        return False
    return Counter(index) == Counter(labels)


def _overlaps(index: Any, labels: Any) -> bool:
    """Whether labels of as many rows are those of an index of pandas in part."""
    if index.equals(labels) or len(index) != len(labels):
        return False
    return 0 < len(set(index) & set(labels)) < len(set(index))


def _is_of_others(index: Any, labels: Any) -> bool:
    """Whether labels are those of other rows in part, and not the numbers from 0."""
    return _overlaps(index, labels) and not _counts(labels)
