"""Read a file of edges: two columns of node identifiers, perhaps a third of weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds.datasets.reading import read_table
from lds.graphs.undirected import undirected

ENDS = (("source", "target"), ("src", "dst"), ("from", "to"), ("u", "v"))
"""Names of the two columns with the ends of edges, in lower case."""

SHOWN = 3
"""Number of unknown nodes that a message lists."""


class EdgeList:
    """Edges by the identifiers of their ends, as text.

    Arguments:
        path: of a text file or a parquet file. The columns "source" and "target" (or `ENDS`) hold
            the ends; without such names the first two do. A column "weight" holds weights; without
            that name a third column of numbers does. Other columns are left out.

    Raises:
        FileNotFoundError, ImportError: as for `read_table`.
        ValueError: the file cannot be read, or has one column.
    """

    def __init__(self, path: Path) -> None:
        frame, how = read_table(path)
        names = [str(name) for name in frame.columns]
        if len(names) < 2:
            raise ValueError(
                f"{path} must have a column for each end of an edge, source and target, got one"
            )
        lower = [name.lower() for name in names]
        pair = next((p for p in ENDS if set(p) <= set(lower)), None)
        first, second = (0, 1) if pair is None else (lower.index(pair[0]), lower.index(pair[1]))
        self.path, self.header = path, how.header
        self.ends = tuple(_texts(frame[names[k]]) for k in (first, second))
        others = [k for k in range(len(names)) if k not in (first, second)]
        named = [k for k in others if lower[k] in ("weight", "probability")]
        chosen = (named or others[:1]) if len(others) == 1 or named else []
        self.weight: NDArray[np.float64] | None = None
        if chosen:
            self.weight = _numbers(frame[names[chosen[0]]])
            if self.weight is None and named:
                raise ValueError(
                    f"{path} must have numbers in its column {names[chosen[0]]!r}, the weights"
                )

    @property
    def nodes(self) -> set[str]:
        """The identifiers of all ends."""
        return set(self.ends[0]) | set(self.ends[1])

    def adjacency(self, identifiers: Sequence[str]) -> sp.csr_array:
        """Make a symmetric matrix; weights above 1 are divided by the largest, with a warning.

        Arguments:
            identifiers: of the rows of the nodes' table, all different.

        Raises:
            ValueError: an end is no identifier, two rows share one, or a weight is negative.
        """
        number = {name: k for k, name in enumerate(identifiers)}
        if len(number) < len(identifiers):
            raise ValueError(
                f"identifiers must differ between rows where {self.path} names nodes by them, got "
                f"{len(number)} different ones in {len(identifiers)} rows"
            )
        unknown = sorted(self.nodes - set(number))
        if unknown:
            listed = ", ".join(map(repr, unknown[:SHOWN]))
            raise ValueError(
                f"{self.path} must name nodes by the identifiers of the rows, got {len(unknown)} "
                f"that no row has ({listed}{', ...' if len(unknown) > SHOWN else ''}); --id names "
                "the column of identifiers, and without one rows count from 0"
            )
        row, col = (np.array([number[e] for e in ends], dtype=np.int64) for ends in self.ends)
        both = np.concatenate([row, col]), np.concatenate([col, row])
        weight = None if self.weight is None else np.tile(self.weight, 2)
        return undirected(
            *both, weight, len(identifiers), name=str(self.path), weight_name=f"{self.path} weight"
        )


def identifier_column(frame: Any, nodes: set[str]) -> str | None:
    """Find the first column whose cells all differ and hold every node; None: there is none."""
    for name in frame.columns:
        texts = _texts(frame[name])
        if nodes <= set(texts) and len(set(texts)) == len(texts):
            return str(name)
    return None


def _texts(column: Any) -> list[str]:
    """Return cells as text; whole floats, as a column with blanks has them, without ".0"."""
    values = column.to_numpy(dtype=object, na_value=None).tolist()
    return [
        str(int(v)) if isinstance(v, float) and v.is_integer() else "" if v is None else str(v)
        for v in values
    ]


def _numbers(column: Any) -> NDArray[np.float64] | None:
    try:
        return np.array([float(text) for text in _texts(column)])
    except ValueError:
        return None
