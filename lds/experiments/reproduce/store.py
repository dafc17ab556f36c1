"""Keep the records of rows as JSON lines, and run what is not there yet. Imports nothing heavy."""

import time
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from lds.experiments.records import JsonLines, key
from lds.experiments.reproduce.entry import Entry, Found, Record, Row

TASKS = {
    "bounds": "lds.experiments.reproduce.bounds",
    "horizon": "lds.experiments.reproduce.horizon",
    "scalar": "lds.experiments.reproduce.scalar",
    "modes": "lds.experiments.reproduce.modes",
    "equilibrium": "lds.experiments.reproduce.equilibrium",
    "interactions": "lds.experiments.reproduce.interactions",
    "phonemes": "lds.experiments.reproduce.phonemes",
    "few-shot": "lds.experiments.reproduce.few_shot",
    "surfaces": "lds.experiments.reproduce.surfaces",
    "schedules": "lds.experiments.reproduce.schedules",
    "classify": "lds.experiments.reproduce.classify",
    "estimators": "lds.experiments.reproduce.estimators",
}
"""Modules that run rows: each has a function `run(row, budget, root)` that returns a dictionary."""


class Store(JsonLines):
    """Records by row and budget, kept as JSON lines; several commands may add to one file.

    Arguments:
        path: of the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, ("row", "budget"))

    def found(self, entry: Entry, budget: str) -> Found:
        """Return what there is of an entry."""
        keys = [key(row, budget) for row in entry.rows(budget)]
        return Found(self.records[each] for each in keys if each in self.records)


def run_row(row: Row, budget: str, root: Path) -> Record:
    """Run one row.

    Arguments:
        row: names its task, one of `TASKS`, and what to run.
        budget: one of `entry.BUDGETS`.
        root: folder of the data sets.

    Returns:
        The record: the row, the budget, CPU seconds, and what the task returned.
    """
    task = import_module(TASKS[row["task"]])
    started = time.process_time()
    outcome: dict[str, Any] = task.run(row, budget, root)
    return {"row": row, "budget": budget, "seconds": time.process_time() - started, **outcome}


def run_entry(
    entry: Entry,
    budget: str,
    root: Path,
    store: Store,
    *,
    wanted: Callable[[Row], bool] = lambda row: True,
    on_row: Callable[[Row, Record | str], None] = lambda row, record: None,
) -> Iterator[Record]:
    """Run the rows of an entry that the store does not have, and keep each at once.

    The store's file is read again before each row, for other commands may add to it.

    Arguments:
        entry: of the registry.
        budget: one of `entry.BUDGETS`.
        root: folder of the data sets; rows whose file is not there are left out.
        store: what was run before.
        wanted: which rows to run.
        on_row: called with each row and its record, or the file that it lacks.

    Yields:
        The records of rows that were run now.
    """
    for row in missing_rows([entry], budget, store, wanted):
        lacking = entry.lacks(row, root)
        if lacking is not None:
            on_row(row, lacking)
            continue
        store.refresh()
        if store.has(row, budget):
            continue
        record = run_row(row, budget, root)
        store.add(record)
        on_row(row, record)
        yield record


def run_side_by_side(
    entries: Iterable[Entry],
    budget: str,
    root: Path,
    store: Store,
    n_jobs: int,
    *,
    wanted: Callable[[Row], bool] = lambda row: True,
    on_row: Callable[[Row, Record | str], None] = lambda row, record: None,
) -> None:
    """Run the rows of entries in processes; a row of several entries is run once.

    Arguments:
        entries: of the registry.
        budget, root, store, wanted, on_row: as for `run_entry`; rows that lack a file are left out
            silently.
        n_jobs: processes, each of which runs a row at a time; -1 is one a core.
    """
    from joblib import Parallel, delayed  # slow to import, and the list needs none

    entries = list(entries)
    rows = [
        row
        for row in missing_rows(entries, budget, store, wanted)
        if all(entry.lacks(row, root) is None for entry in entries)
    ]
    pool = Parallel(n_jobs=n_jobs, prefer="processes", return_as="generator_unordered")
    for record in pool(delayed(run_row)(row, budget, root) for row in rows):
        store.add(record)
        on_row(record["row"], record)


def missing_rows(
    entries: Iterable[Entry], budget: str, store: Store, wanted: Callable[[Row], bool]
) -> Iterable[Row]:
    """Return the wanted rows that the store does not have, each once."""
    rows = {key(row, budget): row for entry in entries for row in entry.rows(budget)}
    return [row for row in rows.values() if wanted(row) and not store.has(row, budget)]
