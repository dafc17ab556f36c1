"""Cross-validation of partly labelled rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import BaseCrossValidator, StratifiedGroupKFold, StratifiedKFold
from sklearn.utils.validation import _num_samples

from lds._labels import counted, is_missing, numbered, read_labels


class LabelledKFold(BaseCrossValidator):
    """Divide the labelled rows into folds, class by class; unlabelled rows train in every fold.

    Scikit-learn's splitters treat "no label" as a class: they score rows whose class is unknown,
    and leave unlabelled rows out of each fit. Here each labelled row is in one test set, and all
    other rows are in its train set. If every row has a label, the folds are those of
    `StratifiedKFold`. With `groups`, all labelled rows of a group are in one test set, and the
    folds are those of `StratifiedGroupKFold`; unlabelled rows of that group train, too.

    Arguments:
        n_splits: number of folds, at least 2.
        shuffle: True shuffles the rows of a class; False keeps their order.
        random_state: None, an int or a RandomState, of the shuffling.

    Examples:
        >>> import numpy as np
        >>> from lds import LabelledKFold
        >>> y = [0, 1, -1, 0, 1, -1]
        >>> for train, test in LabelledKFold(2, shuffle=False).split(np.zeros((6, 1)), y):
        ...     print(train.tolist(), test.tolist())
        [2, 3, 4, 5] [0, 1]
        [0, 1, 2, 5] [3, 4]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def _iter_test_indices(
        self, X: ArrayLike | None = None, y: ArrayLike | None = None, groups: Any = None
    ) -> Iterator[NDArray[np.int64]]:
        """Yield the labelled rows of each fold; `split` of the base class trains on all others."""
        if y is None:
            raise ValueError("y must be given to LabelledKFold.split, got None")
        codes, classes = numbered(read_labels(y, _num_samples(y if X is None else X)))
        labelled = np.flatnonzero(codes >= 0)
        most = int(np.bincount(codes[labelled]).max(initial=0))
        if most < self.n_splits:
            raise ValueError(
                f"n_splits must be at most {most}, the labelled rows of the most frequent class, "
                f"got n_splits={self.n_splits} for {counted(codes, classes)}"
            )
        state = self.random_state if self.shuffle else None
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        folds = kind(self.n_splits, shuffle=self.shuffle, random_state=state)
        of_labelled = None if groups is None else _of_rows(groups)[labelled]
        for _, test in folds.split(labelled, codes[labelled], of_labelled):
            yield labelled[test]

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""
        return self.n_splits


def _of_rows(groups: Any) -> NDArray[Any]:
    """Convert groups to an array; refuse a row without one."""
    found: NDArray[Any] = np.asarray(groups)
    missing = np.array([is_missing(group) for group in found.tolist()], dtype=bool)
    if missing.any():
        raise ValueError(
            f"groups must name the group of each row, got {found[missing][0]} in row "
            f"{missing.argmax()}; a row that belongs to none may have one of its own"
        )
    return found
