"""The rows of a large table on which views are learned; the others are predicted like new rows."""

import warnings

import numpy as np
from numpy.typing import NDArray

from lds._random import mix
from lds.structure.problem import Problem
from lds.structure.seeds import SAMPLE


def learning_rows(problem: Problem, max_rows: int, seed: int) -> NDArray[np.int64]:
    """Draw the rows that learn: every labelled one, and others at random up to `max_rows`.

    Arguments:
        problem: with roles of its labelled rows.
        max_rows: rows that learn, if no more are labelled.
        seed: of the draw.

    Returns:
        Row numbers, ascending; all rows if there are at most `max_rows`.
    """
    n, split = problem.n_nodes, problem.split
    if n <= max_rows:
        return np.arange(n)
    learns = np.zeros(n, dtype=bool)
    learns[split.learning] = True
    others = np.flatnonzero(~learns)
    n_more = min(len(others), max(0, max_rows - int(learns.sum())))
    rng = np.random.default_rng(mix(seed, SAMPLE))
    learns[rng.choice(others, n_more, replace=False)] = True
    return np.flatnonzero(learns)


def warn_of_sample(n_rows: int, n_learning: int, max_rows: int) -> None:
    """Say how many rows of a table do not learn."""
    if n_learning < n_rows:
        warnings.warn(
            f"views are learned on {n_learning:,} of {n_rows:,} rows, all labelled ones and a "
            f"sample of the others; the rest have no edges and are predicted like new rows "
            f"(max_rows={max_rows})",
            UserWarning,
            stacklevel=5,
        )
