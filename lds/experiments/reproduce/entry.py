"""A table or figure of the thesis: what is run for it, and what the thesis found.

An entry is a list of rows. A row is a small dictionary, such as ``{"task": "classify", "data":
"wine", "method": "LogReg", "seed": 0}``: its task names the module that runs it, and the rest says
what to run. Rows are run one by one and kept, so that a run can be stopped at any row. Entries may
share rows. Imports nothing heavy.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lds.experiments.reproduce.verdicts import Comparison

Row = dict[str, Any]
Record = dict[str, Any]
"""A row that was run: `row`, `budget`, `seconds` of CPU time, and what its task returned."""

BUDGETS = ("tiny", "cpu", "full")
"""Sizes of an entry: seconds, for tests; hours on a CPU; the size of the thesis."""


class Found:
    """The records of an entry, asked by what their rows say.

    Arguments:
        records: of one budget.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = list(records)

    def where(self, **wanted: Any) -> list[Record]:
        """Return the records whose rows have these values, in the order in which they were run."""
        return [
            record
            for record in self.records
            if all(record["row"].get(name) == value for name, value in wanted.items())
        ]

    def values(self, column: str = "value", by: str = "seed", **wanted: Any) -> dict[Any, float]:
        """Return a column of the records by the value of `by` in their rows."""
        return {
            record["row"].get(by): record[column]
            for record in self.where(**wanted)
            if record.get(column) is not None
        }

    def best_setting(self, **wanted: Any) -> list[Record]:
        """Return the records of one setting: the best mean accuracy on the early-stopping rows.

        Ties go to the lower mean loss there. A setting counts where all seeds have been run that
        another setting has; without such a one, where most have.
        """
        groups: dict[str, list[Record]] = {}
        for record in self.where(**wanted):
            groups.setdefault(repr(sorted(record["row"]["setting"].items())), []).append(record)
        if not groups:
            return []
        most = max(len(group) for group in groups.values())
        if len(groups) > 1:  # a choice is made on seeds that all settings have
            seeds = set.intersection(*({r["row"]["seed"] for r in g} for g in groups.values()))
        else:
            seeds = {record["row"]["seed"] for record in next(iter(groups.values()))}

        def score(group: list[Record]) -> tuple[float, float]:
            judged = [record for record in group if record["row"]["seed"] in seeds] or group
            n = len(judged)
            return (
                sum(record["stopping_accuracy"] for record in judged) / n,
                -sum(record["stopping_loss"] for record in judged) / n,
            )

        complete = [group for group in groups.values() if seeds or len(group) == most]
        return max(complete, key=score)


def no_rows(budget: str) -> list[Row]:
    """Return no rows: an entry that cannot be run."""
    return []


@dataclass(frozen=True)
class Entry:
    """A table or figure of the thesis.

    Attributes:
        name: for the command, such as "table-9.2".
        title: what it shows.
        place: where it stands in the thesis.
        protocol: how it is run, in one sentence.
        rows: the rows of a budget.
        check: compares the records of a budget with the thesis.
        needs: files below the data root that its rows read, by data set; a row names its data set
            in "data".
        minutes: CPU minutes by budget of the rows that no entry before it has, measured or
            estimated; entries share rows, and a row is run once.
        departures: what differs from the thesis, and why.
        missing: what cannot be run here, and why.
        reasons: why a comparison came out as it did, by its `what`, in which * stands for any text;
            found by looking at the runs.
    """

    name: str
    title: str
    place: str
    protocol: str
    rows: Callable[[str], list[Row]] = no_rows
    check: Callable[[Found], list[Comparison]] = lambda found: []
    needs: Mapping[str, str] = field(default_factory=dict)
    minutes: Mapping[str, float] = field(default_factory=dict)
    departures: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)

    def lacks(self, row: Row, root: Path) -> str | None:
        """Return the file that a row reads and that is not there, or None."""
        needed = self.needs.get(str(row.get("data")))
        return needed if needed is not None and not (root / needed).exists() else None
