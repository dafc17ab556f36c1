"""Deal labelled rows to training and validation anew (Appendix B)."""

import numpy as np
from numpy.typing import NDArray

from lds._types import Split

Rows = NDArray[np.int64]


def redrawn(split: Split, labels: NDArray[np.int64], seed: int) -> tuple[Rows, Rows]:
    """Deal the train and validation rows of a split to the two roles at random, class by class.

    Stochastic cross-validation: over many restarts every labelled row trains and every one
    validates. Each class gives half of its rows to each role; an odd row goes to either at random.
    Early-stopping rows keep their role.

    References:
        Franceschi, 2021, Appendix B.

    Arguments:
        split: the roles before.
        labels: `(n_nodes,)`, read at both roles' rows.
        seed: of the deal.

    Returns:
        Train and validation rows, ascending; each has one row at least.
    """
    rows = np.concatenate([split.train, split.validation])
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(rows)
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    first = int(rng.integers(2)) if len(rows) > 2 else 0
    train, validation = order[first::2], order[1 - first :: 2]
    return np.sort(train), np.sort(validation)
