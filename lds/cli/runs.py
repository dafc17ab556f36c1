"""`lds runs`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lds._run_list import runs_in
from lds._verdict import points
from lds.cli.console import Json, line, out, percent, print_json

EXAMPLES = "lds runs\n\nlds runs experiments\n\nlds report runs/wine-0 runs/wine-1    (compares)"


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder of run folders.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs in a folder: data, method, seed, state, accuracy, gain over the frozen graph.

    The gain is in percentage points of accuracy on the test rows, with its 95 % interval.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder} of runs; `lds fit` makes runs, and `lds runs FOLDER` "
            "lists those of another folder"
        )
    found = runs_in(folder)
    if as_json:
        print_json(found)
        return
    if not found:
        line(f"no runs in {folder}")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("run", "data", "method"):
        table.add_column(name, overflow="fold")
    table.add_column("seed", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("test rows right", "gain, points"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found:
        table.add_row(*_cells(each))
    out.print(table)


def _cells(run: dict[str, Any]) -> list[str]:
    """Format a run; "-" stands for what is not known."""
    first = [Path(run["folder"]).name, *(str(run.get(k, "-")) for k in ("data", "method", "seed"))]
    accuracy, gain = run.get("test_accuracy"), run.get("gain")
    shown = "-"
    if gain is not None:
        difference, low, high = map(points, gain)
        shown = f"{difference} ({low} to {high})"
    return [
        *first,
        run["state"],
        "-" if accuracy is None else f"{percent(accuracy)} of {run['test_rows']:,}",
        shown,
    ]
