"""Hide labels."""

import numpy as np
from numpy.typing import NDArray


def only_labels(labels: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the labels of `rows`, -1 elsewhere."""
    known = np.full(len(labels), -1, dtype=np.int64)
    known[rows] = labels[rows]
    return known
