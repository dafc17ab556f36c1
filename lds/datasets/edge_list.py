"""Read a file of edges: two columns of node identifiers, perhaps one of weights."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds.datasets.cells import Numbers, is_number, read_numbers
from lds.datasets.columns import note_reading
from lds.datasets.dialect import VALUE
from lds.datasets.dtypes import cells_of, decoded
from lds.datasets.graph_arrays import symmetric
from lds.datasets.notes import Notes, listed
from lds.datasets.reading import FileFormat, read_table
from lds.datasets.text_table import IF_A_HEADER, IF_A_ROW, UnclearHeaderError

ENDS = (
    ("source", "target"),
    ("source", "destination"),
    ("src", "dst"),
    ("src", "dest"),
    ("src", "tgt"),
    ("from", "to"),
    ("start", "end"),
    ("head", "tail"),
    ("u", "v"),
    ("i", "j"),
    ("node1", "node2"),
    ("nodea", "nodeb"),
    ("vertex1", "vertex2"),
    ("nodeid1", "nodeid2"),
    ("id1", "id2"),
)
"""Names of the two columns with the ends of edges, as `_plain` writes them."""

EDGE_NUMBERS = ("id", "edge", "edgeid", "index", "idx", "row", "no", "nr", "number")
"""Names of a first column that numbers the edges, as `_plain` writes them."""

WEIGHTS = ("weight", "probability")
"""Names of a column of weights, in lower case."""


IF_AN_EDGE = "; if it is an edge, write the line source,target above it"
IF_NAMES = "; if it is a header, call the columns of ends source and target"
"""What to do where a guess about the first line is wrong."""


class EdgeList:
    """Edges by the identifiers of their ends, as text.

    Arguments:
        path: of a text file or a parquet file. The columns "source" and "target" (or `ENDS`) hold
            the ends; without such names the first two do, or those after a column that numbers the
            edges, and the first line is an edge if its ends are nodes, or all its cells numbers. A
            column with a name of `WEIGHTS` holds weights; without that name a third and last column
            does if most of its cells are numbers. They are read as numbers of a table of nodes are.
            Other columns are left out.
        nodes: identifiers of nodes, which name no columns.

    Attributes:
        ends: text of both ends of each edge.
        nodes: the identifiers of all ends, and the first row of the file that has each.
        decimal: decimal mark of the file.
        found: what was guessed about the file, in short sentences.

    Raises:
        FileNotFoundError, ImportError: as for `read_table`.
        ValueError: the file cannot be read, or has one column; an end is blank; a cell of the
            weights is no number, negative or infinite; or a third column without a name of
            weights holds nodes.
    """

    def __init__(self, path: Path, nodes: Collection[str] = ()) -> None:
        frame, how = _read(path, nodes)
        names = [str(name) for name in frame.columns]
        if len(names) < 2:
            raise ValueError(
                f"{path} must have a column for each end of an edge, source and target, got one"
            )
        places = _named_ends(names)
        named, counted = places is not None, list[str]()
        if places is None:
            places = (0, 1)
            if _numbers_edges(frame):
                places = (1, 2)
                counted = [
                    f"the first column {names[0]!r} numbers the edges, so that "
                    f"{names[1]!r} and {names[2]!r} hold their ends"
                ]
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
        taken = (0, 1, 2) if counted else places
        others = [name for k, name in enumerate(names) if k not in taken]
        if not named and len(others) == 1 and _plain(others[0]) not in WEIGHTS:
            self._refuse_nodes(others[0], texts_of_ids(frame[others[0]]), names)
        self.weight, said = _weights(path, frame, others, self.decimal)
        self.found = tuple(
            f"in {path.name} {text.replace(IF_A_ROW, IF_AN_EDGE).replace(IF_A_HEADER, IF_NAMES)}"
            for text in (*how.found, *counted, *said)
        )

    def _refuse_nodes(self, name: str, cells: list[str], names: Sequence[str]) -> None:
        """Refuse numbers as weights that are nodes, about as many as the second ends."""
        numbers = not read_numbers(cells, self.decimal).odd
        if numbers and set(cells) <= set(self.nodes) and _as_many(cells, self.ends[1]):
            raise ValueError(
                f"{self.path} must say which columns hold the ends of edges, got nodes in the "
                f"columns {listed([repr(one) for one in names])}; call those of the ends source "
                f"and target, and {name!r} weight if it holds weights"
            )

    def adjacency(self, rows: dict[str, int], n_nodes: int) -> sp.csr_array:
        """Make a symmetric matrix; weights above 1 are divided by the largest, with a warning.

        Arguments:
            rows: of the nodes' table, by identifier; it has every end.
            n_nodes: how many rows the table has.
        """
        row, col = (np.array([rows[e] for e in ends], dtype=np.int64) for ends in self.ends)
        return symmetric(row, col, n_nodes, self.weight, str(self.path))


def _read(path: Path, nodes: Collection[str]) -> tuple[Any, FileFormat]:
    """Read the file; its first line is a header unless it holds an edge."""
    try:
        frame, how = read_table(path)
    except UnclearHeaderError:
        frame, how = read_table(path, header=True)
    names = [str(name) for name in frame.columns]
    if how.separator is None or not how.header or _named_ends(names) is not None:
        return frame, how
    below = {text for name in names[:2] for text in texts_of_ids(frame[name])}
    numbers = all(map(VALUE.fullmatch, names))
    if numbers or set(names[:2]) <= set(nodes) or set(names[:2]) & below:
        return read_table(path, header=False)
    return frame, how


def _plain(name: str) -> str:
    """Write a name without case and separators, and "source node id" as "source"."""
    text = re.sub(r"[\W_]", "", name.lower())
    if text in EDGE_NUMBERS:
        return text
    return re.sub("(?<=.)(node|vertex)?(id|name)?$", "", text)


def _named_ends(names: Sequence[str]) -> tuple[int, int] | None:
    """Find the columns of ends by their names: as they are written, or else as `_plain` does."""
    for plain in ([name.lower() for name in names], [_plain(name) for name in names]):
        for one, other in ENDS:
            if one in plain and other in plain:
                return plain.index(one), plain.index(other)
    return None


def _numbers_edges(frame: Any) -> bool:
    """Whether the first of three columns or more numbers the edges, by its name or its cells."""
    names = [str(name) for name in frame.columns]
    if len(names) < 3 or _plain(names[2]) in WEIGHTS:
        return False
    first, one, other = (texts_of_ids(frame[name]) for name in names[:3])
    if len(set(first)) < len(first):
        return False
    if _plain(names[0]) in EDGE_NUMBERS:
        numbers = read_numbers(other, ".").values
        return not (np.isfinite(numbers) & (numbers != numbers.round())).any()  # of weights
    counts = any(first == [str(k + start) for k in range(len(first))] for start in (0, 1))
    return counts and _as_many(other, one) and 2 * len(set(other) & set(one)) >= len(set(other))


def _as_many(cells: Sequence[str], ends: Sequence[str]) -> bool:
    """Whether a column has three different cells, and more than half as many as one of ends."""
    return len(set(cells)) > max(2, len(set(ends)) / 2)


def texts_of_ids(column: Any) -> list[str]:
    """Return cells as text; whole floats, as a column with blanks has them, without ".0"."""
    values = column.to_numpy(dtype=object, na_value=None).tolist()
    return [
        "" if v is None else str(int(v) if isinstance(v, float) and v.is_integer() else decoded(v))
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
    named = [name for name in others if _plain(name) in WEIGHTS]
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
