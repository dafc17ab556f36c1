"""`lds reproduce`."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lds.cli.console import Json, err, line, log, out, print_json
from lds.cli.table_options import Root
from lds.structure.options import check_jobs

EXAMPLES = (
    "lds reproduce\n\nlds reproduce table-9.2 --budget tiny\n\n"
    "lds reproduce table-9.2 --budget cpu --only data=wine --out rows.jsonl\n\n"
    "lds reproduce table-9.1 table-9.2 figure-9.2 --budget cpu --jobs 2 --out rows.jsonl"
)

EVERYTHING = "all"
"""The name that stands for every entry."""


def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Tables or figures, such as table-9.2, or all; none lists them.",
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(help="tiny: seconds; cpu: hours on a CPU; full: the size of the thesis."),
    ] = "tiny",
    root: Root = None,
    output: Annotated[
        Path, typer.Option("--out", help="File of records, JSON lines; rows in it are not rerun.")
    ] = Path("reproduce.jsonl"),
    only: Annotated[
        list[str] | None,
        typer.Option(help="Run rows with this value alone, such as data=wine; may be repeated."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(help="Processes that run a row each, side by side; -1: all cores.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Reproduce a table or figure of the thesis, and set our numbers beside its own.

    Every finished row is kept at once; the same command again runs only what is missing. Entries
    share rows, and a row in the file is not run again for another entry.
    """
    from lds._files import check_output_file
    from lds.experiments.reproduce.entry import BUDGETS
    from lds.experiments.reproduce.registry import ENTRIES, entry_of
    from lds.experiments.reproduce.store import Store, run_entry, run_side_by_side

    if budget not in BUDGETS:
        raise ValueError(f"--budget must be one of {', '.join(BUDGETS)}, got {budget!r}")
    check_jobs(jobs, "--jobs")
    wanted = _filter(only or [])
    check_output_file(output, "--out")
    folder = _data_root(root)
    store = Store(output)
    if not names:
        _list(ENTRIES.values(), folder, store, as_json)
        return
    every = EVERYTHING in names
    entries = list(ENTRIES.values()) if every else [entry_of(name) for name in dict.fromkeys(names)]
    if not any(wanted(row) for entry in entries for row in entry.rows(budget)):
        raise ValueError(
            f"--only must be a name and a value of some row, and no row of {', '.join(names)} has "
            f"{', '.join(only or [])} at the budget {budget}"
        )
    lacking: set[str] = set()

    def on_row(row: dict[str, Any], record: Any) -> None:
        if isinstance(record, str):
            lacking.add(record)
        else:
            text = f"{record['value']:.4g} in {record['seconds']:.0f} s"
            log(f"{_row_text(row)}: {text}", as_json)

    if jobs != 1:
        run_side_by_side(entries, budget, folder, store, jobs, wanted=wanted, on_row=on_row)
    shown = []
    for entry in entries:
        lacking.clear()
        for _ in run_entry(entry, budget, folder, store, wanted=wanted, on_row=on_row):
            pass
        for path in sorted(lacking):
            line(f"{entry.name}: {folder / path} is not there; its rows are left out", err)
        found = store.found(entry, budget)
        compared = [each.because(entry.reasons) for each in entry.check(found)]
        n_rows = len(entry.rows(budget))
        shown.append(
            {
                "name": entry.name,
                "budget": budget,
                "rows": n_rows,
                "done": len(found.records),
                "comparisons": [vars(each) for each in compared],
            }
        )
        if not as_json:
            line(f"{entry.name}: {entry.title} ({entry.place})", style="bold")
            line(f"{len(found.records)} of {n_rows} rows, budget {budget}")
            _print(compared)
    if as_json:
        print_json(shown)


def _filter(only: list[str]) -> Callable[[dict[str, Any]], bool]:
    """Make a test of rows from texts such as data=wine."""
    pairs = [text.partition("=") for text in only]
    for text, (key, equals, _) in zip(only, pairs, strict=True):
        if not (key and equals):
            raise ValueError(f"--only must be NAME=VALUE, such as data=wine, got {text!r}")
    return lambda row: all(str(row.get(key)) == value for key, _, value in pairs)


def _data_root(root: Path | None) -> Path:
    from lds.datasets.registry import data_root

    return data_root(root)


def _row_text(row: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in row.items() if key != "task")


def _list(entries: Iterable[Any], root: Path, store: Any, as_json: bool) -> None:
    from lds.experiments.reproduce.entry import BUDGETS

    found = []
    for entry in entries:
        missing = sorted({path for path in entry.needs.values() if not (root / path).exists()})
        found.append(
            {
                "name": entry.name,
                "title": entry.title,
                "place": entry.place,
                "missing": missing,
                "minutes": dict(entry.minutes),
                "rows": {budget: len(entry.rows(budget)) for budget in BUDGETS},
                "done": {budget: len(store.found(entry, budget).records) for budget in BUDGETS},
            }
        )
    if as_json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "what", "data"):
        table.add_column(column, overflow="fold", no_wrap=column != "what")
    for budget in BUDGETS:
        table.add_column(f"{budget}, min", justify="right", no_wrap=True)
    for each in found:
        times = (_minutes(each["minutes"].get(budget)) for budget in BUDGETS)
        data = "missing" if each["missing"] else "there"
        table.add_row(each["name"], each["title"], data, *times)
    table.add_section()
    sums = (sum(each["minutes"][budget] for each in found) for budget in BUDGETS)
    table.add_row("all", "", "", *(_minutes(total) for total in sums))
    out.print(table)
    line("min: CPU minutes of the rows that no entry above has; a row is run once")
    if lacking := sorted({path for each in found for path in each["missing"]}):
        line(f"missing under {root}:")
        for path in lacking:
            line(f"  {path}")


def _minutes(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _print(compared: list[Any]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("what", "thesis", "ours", "verdict"):
        table.add_column(column, overflow="fold")
    run = [each for each in compared if each.verdict != "not run"]
    for each in run:
        table.add_row(each.what, each.thesis, each.ours, each.verdict)
    out.print(table)
    if len(run) < len(compared):
        line(f"{len(compared) - len(run)} comparisons wait for rows")
