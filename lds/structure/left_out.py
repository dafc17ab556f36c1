"""Predictions of labels that were left out in turn: what judges a method without roles of rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Predictions of labelled rows by fits that had not read their labels.

    Attributes:
        rows: int64 `(n,)`.
        probabilities: class probabilities `(n, n_classes)`.
        gained: rows that only the predictions with a graph have right.
        lost: rows that only those of the members without one have right.
    """

    rows: NDArray[np.int64]
    probabilities: NDArray[np.floating[Any]]
    gained: int
    lost: int

    @property
    def counts(self) -> tuple[int, int, int]:
        """`gained`, `lost`, and the number of rows: what a verdict needs."""
        return self.gained, self.lost, len(self.rows)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return arrays by name, for the predictions of a run folder."""
        return {"left_out_rows": self.rows, "left_out_probabilities": self.probabilities}

    @classmethod
    def from_run(
        cls, summary: dict[str, Any], predictions: dict[str, NDArray[Any]]
    ) -> "LeftOut | None":
        """Read them back; None where the method left out no labels."""
        if "left_out" not in summary:
            return None
        gained, lost, _ = summary["left_out"]
        rows, probabilities = (predictions[f"left_out_{n}"] for n in ("rows", "probabilities"))
        return cls(rows, probabilities, gained, lost)
