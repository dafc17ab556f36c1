"""Split rows into roles: stratified splits of the protocols, and labelled rows in three."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from lds._labels import LEAST, LEAST_BY_ROLE, counted


def stratified(
    labels: NDArray[np.int64], sizes: Sequence[int], seed: int
) -> tuple[NDArray[np.int64], ...]:
    """Draw disjoint sets of rows, each with the class frequencies of all rows.

    Arguments:
        labels: `(n_rows,)`.
        sizes: rows of each set; together fewer than n_rows.
        seed: of the draw.

    Returns:
        One ascending int64 array for each size, and one of the remaining rows.

    Raises:
        ValueError: a set, or the remaining rows, are fewer than the classes, or a class has a
            single row.
    """
    rows, sets = np.arange(labels.size), []
    for count in range(len(sizes), 0, -1):  # from the last set to the first
        rows, drawn = train_test_split(
            rows, train_size=sum(sizes[:count]), stratify=labels[rows], random_state=seed % 2**32
        )
        sets.append(drawn)
    sets.append(rows)
    first, *others = reversed(sets)
    return tuple(np.sort(part).astype(np.int64) for part in (first, *others))


class RolesWarning(UserWarning):
    """The roles of the labelled rows could not be dealt by class."""


def three_way(
    labels: NDArray[np.int64], rows: NDArray[np.int64], seed: int | np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Divide labelled rows evenly into train, validation (A) and early stopping (B).

    Where every class has three rows or more, each role gets a third of each class, rounded up or
    down, and the sizes of the roles differ by at most one. Otherwise roles are drawn without regard
    to classes, with a warning; train still gets a row of every class if two rows then remain for
    the others.

    Arguments:
        labels: `(n_rows,)`.
        rows: the labelled rows, each once.
        seed: of the division, or a generator that draws it.

    Returns:
        Three ascending int64 arrays; train has at least two classes, the others at least one row.

    Raises:
        ValueError: there are fewer than `LEAST` labelled rows, or one class only.
    """
    if rows.size < LEAST or np.unique(labels[rows]).size < 2:
        raise ValueError(
            f"labelled rows must be at least {LEAST} of two classes or more ({LEAST_BY_ROLE}), got "
            f"{counted(labels[rows], range(int(labels.max(initial=0)) + 1))}"
        )
    rng = np.random.default_rng(seed)
    classes, codes, counts = np.unique(labels[rows], return_inverse=True, return_counts=True)
    if counts.min() >= 3:
        # Rows in order of class go to the roles in turn, so each role gets its share of each class.
        deck = np.lexsort((rng.random(rows.size), rng.permutation(classes.size)[codes]))
        dealt = rows[deck].astype(np.int64)
        train, validation, stopping = dealt[0::3], dealt[1::3], dealt[2::3]
    else:
        warnings.warn(
            "the labelled rows cannot be split by class: three roles want 3 of each class, and "
            f"the smallest has {counts.min()}; the roles are drawn without regard to classes",
            RolesWarning,
            stacklevel=2,
        )
        order = each_class_first(labels, rows, rng)
        n_train = min(max(math.ceil(rows.size / 3), classes.size), rows.size - 2)
        train, others = order[:n_train], rng.permutation(order[n_train:])
        validation, stopping = others[0::2], others[1::2]
    return np.sort(train), np.sort(validation), np.sort(stopping)


def halved(
    rows: NDArray[np.int64],
    seed: int | np.random.Generator,
    labels: NDArray[np.int64],
    train: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide rows at random into validation (A) and early stopping (B), which has the odd row.

    Nothing learns the labels of B. So of a class that would be there alone, the first row goes to
    A, unless it is the last of B.

    Arguments:
        rows: each once.
        seed: of the division, or a generator that draws it.
        labels: `(n_rows,)`, read at these and at the training rows.
        train: the training rows.

    Returns:
        Both, ascending.
    """
    dealt = np.random.default_rng(seed).permutation(rows)
    half = dealt.size // 2
    validation, stopping = np.sort(dealt[:half]), np.sort(dealt[half:])
    learned = np.concatenate([labels[train], labels[validation]])
    classes, first = np.unique(labels[stopping], return_index=True)
    moved = first[~np.isin(classes, learned)][: stopping.size - 1]
    return np.sort(np.append(validation, stopping[moved])), np.delete(stopping, moved)


def each_class_first(
    labels: NDArray[np.int64], rows: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Shuffle rows, with one of every class in front."""
    shuffled = rng.permutation(rows).astype(np.int64)
    _, first = np.unique(labels[shuffled], return_index=True)
    return np.concatenate([shuffled[rng.permutation(first)], np.delete(shuffled, first)])
