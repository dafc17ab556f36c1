"""Read a file of edges: two columns of node identifiers, perhaps one of weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds.datasets.cells import Numbers, is_number, read_numbers
from lds.datasets.columns import note_reading
from lds.datasets.dtypes import cells_of
from lds.datasets.notes import Notes, listed
from lds.datasets.reading import read_table
from lds.graphs.undirected import undirected

ENDS = (("source", "target"), ("src", "dst"), ("from", "to"), ("u", "v"))
"""Names of the two columns with the ends of edges, in lower case."""

WEIGHTS = ("weight", "probability")
"""Names of a column of weights, in lower case."""


class EdgeList:
    """Edges by the identifiers of their ends, as text.

    Arguments:
        path: of a text file or a parquet file. The columns "source" and "target" (or `ENDS`) hold
            the ends; without such names the first two do. A column with a name of `WEIGHTS` holds
            weights; without that name a third and last column does if most of its cells are
            numbers. They are read as numbers of a table of nodes are. Other columns are left out.

    Attributes:
        ends: text of both ends of each edge.
        nodes: the identifiers of all ends, and the first row of the file that has each.
        decimal: decimal mark of the file.
        found: what was guessed about the file, in short sentences.

    Raises:
        FileNotFoundError, ImportError: as for `read_table`.
        ValueError: the file cannot be read, or has one column; an end is blank; or a cell of the
            weights is no number, negative or infinite.
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
        places = (0, 1) if pair is None else (lower.index(pair[0]), lower.index(pair[1]))
        self.path, self.decimal = path, how.decimal or "."
        self.ends = tuple(texts_of_ids(frame[names[k]]) for k in places)
        for k, texts in zip(places, self.ends, strict=True):
            if "" in texts:
                raise ValueError(
                    f"{path} must name a node at both ends of each edge, got a blank cell in row "
                    f"{texts.index('')} of column {names[k]!r}; leave out a row that is no edge"
                )
        self.nodes: dict[str, int] = {}
        for row, both in enumerate(zip(*self.ends, strict=True)):
            for end in both:
                self.nodes.setdefault(end, row)
        others = [name for k, name in enumerate(names) if k not in places]
        self.weight, said = _weights(path, frame, others, self.decimal)
        self.found = tuple(f"in {path.name} {text}" for text in (*how.found, *said))

    def adjacency(self, rows: dict[str, int], n_nodes: int) -> sp.csr_array:
        """Make a symmetric matrix; weights above 1 are divided by the largest, with a warning.

        Arguments:
            rows: of the nodes' table, by identifier; it has every end.
            n_nodes: how many rows the table has.
        """
        row, col = (np.array([rows[e] for e in ends], dtype=np.int64) for ends in self.ends)
        both = np.concatenate([row, col]), np.concatenate([col, row])
        weight = None if self.weight is None else np.tile(self.weight, 2)
        return undirected(
            *both, weight, n_nodes, name=str(self.path), weight_name=f"{self.path} weight"
        )


def texts_of_ids(column: Any) -> list[str]:
    """Return cells as text; whole floats, as a column with blanks has them, without ".0"."""
    values = column.to_numpy(dtype=object, na_value=None).tolist()
    return [
        str(int(v)) if isinstance(v, float) and v.is_integer() else "" if v is None else str(v)
        for v in values
    ]


def _weights(
    path: Path, frame: Any, others: Sequence[str], decimal: str
) -> tuple[NDArray[np.float64] | None, list[str]]:
    """Find and read the weights, None if there are none; say what each further column is.

    Arguments:
        path: of the file, for messages.
        frame: of the edges.
        others: names of its columns besides those of the ends.
        decimal: its decimal mark.
    """
    named = [name for name in others if name.lower() in WEIGHTS]
    chosen = (named or (list(others) if len(others) == 1 else []))[:1]
    weight: NDArray[np.float64] | None = None
    for name in chosen:
        numbers = _numbers(frame[name], decimal)
        n_read = int((~np.isnan(numbers.values)).sum())
        if named or n_read > len(numbers.odd):
            _check(path, name, frame[name], numbers.values)
            notes = Notes()
            note_reading(name, numbers, decimal, notes)
            notes.say()
            weight = numbers.values
    used = chosen if weight is not None else []
    said = [f"the column {name!r} holds the weights" for name in used]
    if left := [repr(name) for name in others if name not in used]:
        what = "further columns are" if len(left) > 1 else "a further column is"
        why = "" if used else f" (weights are numbers in a column called {WEIGHTS[0]!r})"
        said.append(f"{what} left out: {listed(left)}{why}")
    return weight, said


def _numbers(column: Any, decimal: str) -> Numbers:
    cells = [c if c is None or is_number(c) else str(c) for c in cells_of(column)]
    return read_numbers(cells, decimal)


def _check(path: Path, name: str, column: Any, values: NDArray[np.float64]) -> None:
    """Refuse weights that are missing, unreadable, negative or infinite."""
    for wrong, must in (
        (np.isnan(values), f"numbers in its column {name!r}, the weights"),
        (~np.isfinite(values) | (values < 0), f"finite weights of 0 or more in column {name!r}"),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            text = texts_of_ids(column)[row]
            got = repr(text) if text else "a blank cell"
            more = f" and {wrong.sum() - 1} more" if wrong.sum() > 1 else ""
            raise ValueError(
                f"{path} must have {must}, got {got} in row {row}{more}; fill in the cell, or "
                "leave out the edge or the column"
            )
