"""Find the columns that the user names: the target, the identifier, the columns to drop."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lds.datasets.text_table import one_line

MANY_COLUMNS = 24
"""Most names of columns that an error lists."""


@dataclass(frozen=True)
class Roles:
    """Names of the columns that become no features.

    Arguments:
        target: the column of labels; None where it was not found.
        drop: columns left out.
        identifier: the column that names the rows, or None.
        found: which column each position means, in short sentences.
    """

    target: str | None
    drop: tuple[str, ...]
    identifier: str | None
    found: tuple[str, ...]

    @classmethod
    def of(
        cls,
        columns: Sequence[str],
        target: str | int | None,
        drop: Sequence[str | int],
        identifier: str | int | None,
        faults: list[str],
    ) -> "Roles":
        """Find columns by name or position.

        Arguments:
            columns: names of all columns.
            target, identifier: a name or a position.
            drop: names or positions; one text may hold several, separated by commas.
            faults: gets a sentence for each that is no column.
        """
        found: list[str] = []

        def column(given: str | int | None, what: str) -> str | None:
            name = find_column(columns, given)
            if name is None:
                faults.append(_unknown_column(columns, given, what))
            elif name != given:
                found.append(f"{what.split()[0]} {given} is the column {name!r}")
            return name

        named = column(target, "target must name the column of labels")
        out = [
            column(one, "drop must name columns to leave out")
            for entry in drop
            for one in ([entry] if find_column(columns, entry) else str(entry).split(","))
        ]
        rows = None
        if identifier is not None:
            rows = column(identifier, "identifier must name the column that names the rows")
        for name, what in ((named, "target"), (rows, "identifier")):
            if name is not None and name in out:
                faults.append(f"drop must not name the {what}, got {name!r}")
        if rows is not None and rows == named:
            faults.append(f"target and identifier must be two columns, got {rows!r} for both")
        return cls(named, tuple(name for name in out if name is not None), rows, tuple(found))

    @property
    def no_features(self) -> list[str]:
        """Names of all these columns."""
        return [name for name in (self.target, self.identifier, *self.drop) if name is not None]


def find_column(columns: Sequence[str], given: str | int | None) -> str | None:
    """Find a column by name, or else by position (0 is the first, -1 the last); None if none."""
    if given is None or given in columns:
        return None if given is None else str(given)
    text = one_line(str(given))
    alike = {one_line(name): name for name in columns}
    if text in alike and isinstance(given, str):
        return alike[text]
    if not re.fullmatch(r"[-+]?\d+", text):
        return None
    position = int(text)
    return columns[position] if -len(columns) <= position < len(columns) else None


def _unknown_column(columns: Sequence[str], given: str | int | None, what: str) -> str:
    """Write the fault of a name that is no column."""
    shown = ", ".join(columns[:MANY_COLUMNS])
    if len(columns) > MANY_COLUMNS:
        shown += f", ... {columns[-1]} ({len(columns)} columns)"
    text = f"{what}, one of {shown}, got {'none' if given is None else repr(given)}"
    lower = {name.lower(): name for name in columns}
    near = difflib.get_close_matches(str(given).strip().lower(), lower, 1)
    if given is not None and near:
        name = lower[near[0]]
        text += f"; the nearest is {name!r}, at position {columns.index(name)}"
    return f"{text}; or a position: 0 to {len(columns) - 1}, or -1 for the last"
