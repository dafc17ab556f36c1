"""Find the row of each end of an edge: by a column of identifiers, or by row numbers from 0.

| the table has | ends | rows |
|---|---|---|
| a column `id` with p1, p2 | p1, p2 | those with these cells |
| a column `id` with 001, 002 | 1, 2 | those with these numbers, which is said |
| no column with most of the ends | 0, 1 | by their numbers from 0, which is said |
| a column `id` with most of the ends | p1, p9 | refused: p9 is named |
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lds.datasets.edge_list import EdgeList, texts_of_ids
from lds.datasets.identifiers import DIFFERENT
from lds.datasets.notes import listed

SHOWN = 3
"""Number of unknown nodes that a message lists."""

_WHOLE = {
    mark: re.compile(
        rf"([+-]?(?:[0-9]{{1,99}}|[1-9][0-9]{{0,2}}(?:[{other}][0-9]{{3}})+))"
        rf"(?:[{mark}]0*|[{other}]0{{1,2}})?"
    )
    for mark, other in ((".", ","), (",", "."))
}
"""A whole number as programs write it, by decimal mark, perhaps with marks between thousands."""


@dataclass(frozen=True)
class Naming:
    """The rows that the ends of edges are, found by the cells of a column.

    Attributes:
        column: its name; None for row numbers.
        rows: by end; ends that no cell is equal to are left out.
        twice: cells of two rows that are equal, as text or as numbers; "" where all differ.
        n_different: how many different cells there are, in `n_rows`.
        n_rows: of the column.
        said: how nodes are named, for the user.
    """

    column: str | None
    rows: dict[str, int]
    twice: str
    n_different: int
    n_rows: int
    said: str


def by_column(name: str, cells: Sequence[str], decimal: str, edges: EdgeList) -> Naming:
    """Find ends among the cells of a column: as text, or as numbers if more are found so.

    Arguments:
        name: of the column.
        cells: its text.
        decimal: decimal mark of the table.
        edges: that have the ends.
    """
    as_text = {end: end for end in edges.nodes}
    found = _found(name, cells, as_text, cells)
    if len(found.rows) == len(as_text):
        return found
    as_numbers = _found(
        name,
        cells,
        {end: _number(end, edges.decimal) for end in as_text},
        [_number(cell, decimal) for cell in cells],
    )
    return as_numbers if len(as_numbers.rows) > len(found.rows) else found


def naming_column(frame: Any, decimal: str, edges: EdgeList) -> Naming | None:
    """Find the column by whose cells edges name nodes.

    Arguments:
        frame: of the nodes, without the target.
        decimal: its decimal mark.
        edges: between its rows.

    Returns:
        The ends found in a column whose cells all differ and that has every end; None: no column
        has most ends.

    Raises:
        ValueError: two such columns mean different rows; or the nearest column has most ends but
            not all, or cells that two rows share.
    """
    ends = edges.nodes
    columns = {str(name): texts_of_ids(frame[name]) for name in frame.columns}
    each = [
        by_column(name, cells, decimal, edges)
        for name, cells in columns.items()
        if len(set(cells)) > DIFFERENT * len(cells)
    ]
    fitting = [one for one in each if not one.twice and len(one.rows) == len(ends)]
    for other in fitting[1:]:
        if other.rows != fitting[0].rows:
            raise ValueError(
                f"identifier must name the column by which {edges.path} names nodes, got none: "
                f"{fitting[0].column!r} and {other.column!r} both have every end, in different rows"
            )
    if fitting:
        return fitting[0]
    near = [
        one
        for one in each
        if one.n_different > DIFFERENT * one.n_rows and len(one.rows) > len(ends) / 2
    ]
    if not near:
        return None
    check(
        max(near, key=lambda one: len(one.rows)),
        edges,
        "; if edges number the rows from 0, add a column of these numbers",
    )
    return None


def by_row_number(n_rows: int, edges: EdgeList) -> Naming:
    """Read ends as row numbers from 0.

    Raises:
        ValueError: an end is no row number.
    """
    numbers = list(map(str, range(n_rows)))
    found = _found(None, numbers, {end: end for end in edges.nodes}, numbers)
    if "0" in edges.nodes or "1" not in edges.nodes:
        check(found, edges)
        return found
    way_out = "if edges number the rows from 1, add a column of these numbers to the table of nodes"
    check(found, edges, f"; no edge has node 0: {way_out}")
    return replace(found, said=f"{found.said}; no edge has node 0: {way_out}")


def check(naming: Naming, edges: EdgeList, way_out: str = "") -> None:
    """Refuse cells that two rows share, and ends that no row has.

    Arguments:
        naming: of the ends.
        edges: that have them.
        way_out: end of the message.

    Raises:
        ValueError: there are such cells or ends.
    """
    path: Path = edges.path
    if naming.twice:
        raise ValueError(
            f"identifiers must differ between rows where {path} names nodes by them, got "
            f"{naming.n_different} different ones in {naming.n_rows} rows of column "
            f"{naming.column!r} ({naming.twice})"
        )
    unknown = {end: row for end, row in edges.nodes.items() if end not in naming.rows}
    if not unknown:
        return
    by = f"by the column {naming.column!r}"
    if naming.column is None:
        by = f"by a column with all of them, or by row numbers from 0 to {naming.n_rows - 1}"
    shown = list(unknown.items())[:SHOWN]
    more = ", ..." if len(unknown) > SHOWN else ""
    where = listed([str(row) for row in dict.fromkeys(row for _, row in shown)]) + more
    raise ValueError(
        f"{path} must name nodes {by}; in row{'s' * (',' in where)} {where} got {len(unknown)} "
        f"that no row has ({', '.join(repr(end) for end, _ in shown)}{more}); --id names the "
        f"column of identifiers{way_out}"
    )


def _found(
    name: str | None, cells: Sequence[str], ends: dict[str, str], keys: Sequence[str]
) -> Naming:
    """Find ends by keys that are equal.

    Arguments:
        name: of the column.
        cells: its text.
        ends: the key of each.
        keys: of the cells.
    """
    place = {one: row for row, one in reversed(list(enumerate(keys)))}
    rows = {end: place[key] for end, key in ends.items() if key in place}
    twice = next(
        (
            f"{cells[place[one]]!r} in row {place[one]}, {cells[row]!r} in row {row}"
            for row, one in enumerate(keys)
            if place[one] != row
        ),
        "",
    )
    said = "edge ends are row numbers, from 0"
    if name is not None:
        said = f"edges name nodes by the column {name!r}"
        unlike = next(((end, cells[row]) for end, row in rows.items() if end != cells[row]), None)
        if unlike is not None:
            said += f", as numbers: {unlike[0]!r} is {unlike[1]!r} there"
    return Naming(name, rows, twice, len(Counter(keys)), len(cells), said)


def _number(text: str, decimal: str) -> str:
    """Write a whole number as digits alone; other text stays as it is."""
    match = _WHOLE[decimal].fullmatch(text)
    return text if match is None else str(int(re.sub("[.,]", "", match[1])))
