"""What `lds fit` prints of a finished run."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from rich.table import Table

from lds._words import plural
from lds.cli.console import out, percent, print_path

if TYPE_CHECKING:
    from lds.datasets.base import NodeDataset
    from lds.experiments.fit import FitReport
    from lds.structure.metrics import Quality


def print_summary(report: "FitReport") -> None:
    """Print the table of the method and its controls, how the run ended, and the edges."""
    from lds.structure.controls import CONTROLS

    result, test = report.result, report.test_quality
    best = result.history[result.best]
    table = Table(title=f"{Path(report.dataset.name).name}, seed {result.seed}")
    table.add_column("method")
    table.add_column("early-stopping rows", justify="right")
    for column in ("test rows", "NLL, nats", "ECE"):
        table.add_column(column, justify="right")
    mine = (result.method.title, percent(best.stopping_accuracy), *_cells(test["lds"]))
    table.add_row(*mine, style="bold")
    for letter, (name, control) in zip("abc", report.controls.items(), strict=False):
        label = f"({letter}) {CONTROLS[name]}"
        table.add_row(label, percent(control.stopping_accuracy), *_cells(test[name]))
    out.print(table)
    out.print(f"{result.ending(report.seconds)}", highlight=False, soft_wrap=True)
    out.print(
        f"expected edges (sum of probabilities): {result.starting_edges:,.0f} before learning, "
        f"{result.expected_edges:,.0f} after it",
        highlight=False,
        soft_wrap=True,
    )


def print_next(data: "NodeDataset", folder: Path, written: Path) -> None:
    """Print which files there are and which commands take them."""
    print_path("run folder", folder)
    if written.exists():
        n_rows = plural(int((data.labels < 0).sum()), "row")
        print_path(f"predictions of {n_rows} without a label, with class probabilities", written)
        if data.encoding is not None and data.identifiers is None:
            columns = data.encoding.summary()
            names = [c["name"] for c in columns if c["kind"] == "left out: identifier"]
            if names:
                hint = f"rows are numbered there; --id {names[0]!r} adds the column to it"
                out.print(hint, soft_wrap=True, highlight=False, markup=False)
    print_path("pictures and the edges of any row", f"lds report {quote(str(folder))}")
    if data.encoding is not None:
        print_path(
            "predictions for a file of new rows", f"lds predict {quote(str(folder))} NEW_ROWS.csv"
        )


def _cells(found: "Quality | None") -> tuple[str, str, str]:
    if found is None:
        return ("-", "-", "-")
    return percent(found.accuracy), f"{found.nll:.3f}", percent(found.ece)
