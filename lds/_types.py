"""Types that every layer may name."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Features = NDArray[np.floating[Any]] | sp.csr_array
"""X, `(n_nodes, n_features)`: dense, or CSR where most entries are 0."""


ROLES = ("train", "validation", "stopping", "test")
"""Roles of rows."""


@dataclass(frozen=True, eq=False)
class Split:
    """The roles of rows: disjoint int64 index arrays, any of which may be empty.

    Arguments:
        train: labels of the inner objective.
        validation: labels of the outer objective; (A) in §9.4.2.
        stopping: labels of early stopping; (B) in §9.4.2.
        test: labels nobody sees before the final accuracy.
        dealt: True where the first three roles were dealt at random and stand for nothing: a
            method may give a row several of them.

    Raises:
        ValueError: a role is not a one-dimensional int64 array, holds a negative index, or shares a
            row with another role or with itself.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    stopping: NDArray[np.int64]
    test: NDArray[np.int64]
    dealt: bool = field(default=False, kw_only=True)

    @property
    def learning(self) -> NDArray[np.int64]:
        """Train, validation and stopping rows, in that order."""
        return np.concatenate([self.train, self.validation, self.stopping])

    def __post_init__(self) -> None:
        seen: dict[int, str] = {}
        for role in ROLES:
            rows = getattr(self, role)
            if not isinstance(rows, np.ndarray) or rows.dtype != np.int64 or rows.ndim != 1:
                raise ValueError(
                    f"split.{role} must be a one-dimensional int64 array of row numbers, "
                    f"got {_kind(rows)}"
                )
            if rows.size and rows.min() < 0:
                raise ValueError(
                    f"split.{role} must hold row numbers from 0, got {int(rows.min())}"
                )
            for row in rows.tolist():
                if row in seen:
                    raise ValueError(
                        f"split must use each row once, got row {row} in {seen[row]} and {role}"
                    )
                seen[row] = role


def _kind(rows: object) -> str:
    if isinstance(rows, np.ndarray):
        return f"a {rows.dtype} array of shape {rows.shape}"
    return type(rows).__name__
