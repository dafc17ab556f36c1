"""What `lds fit` prints of a finished run."""

import math
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from lds._verdict import FROZEN, QUALITIES, best_of, quality_text, verdict
from lds._words import CONTROLS, plural
from lds.cli.console import line, out, percent, print_path

if TYPE_CHECKING:
    from lds.datasets.base import NodeDataset
    from lds.experiments.fit import FitReport
    from lds.structure.metrics import Quality


def print_summary(report: "FitReport", summary: dict[str, Any]) -> None:
    """Print the table of the method and its controls, the verdict, and how the run ended.

    The best number of a column is bold.
    """
    result, test = report.result, report.test_quality
    split = result.problem.split
    table = Table(box=SIMPLE_HEAD, title=f"{Path(report.dataset.name).name}, seed {result.seed}")
    table.add_column("method")
    judges, tested = f"stopping,\n{plural(split.stopping.size, 'row')}", split.test.size
    if result.left_out is not None:
        judges = f"left out,\n{plural(len(result.left_out.rows), 'label')}"
    if result.problem.weights is not None:
        judges = f"{judges},\nweighted"
    more = (name.replace(", ", ",\n") for name in list(QUALITIES.values())[1:])
    for column in (judges, f"test,\n{plural(tested, 'row')}", *more):
        table.add_column(column, justify="right")
    found = {"lds": result.history[result.best].stopping_accuracy}
    for name, control in report.controls.items():  # a GCN has early-stopping rows
        alike = result.left_out is None or name == FROZEN
        found[name] = control.stopping_accuracy if alike else math.nan
    letters = dict(zip(report.controls, "abc", strict=False))
    best = best_of(test)
    for name, accuracy in found.items():
        title = f"({letters[name]}) {CONTROLS[name]}" if name in letters else result.method.title
        shown = Text("" if math.isnan(accuracy) else percent(accuracy))
        if len(found) > 1 and accuracy == max(v for v in found.values() if not math.isnan(v)):
            shown.stylize("bold")
        table.add_row(title, shown, *_cells(test[name], best))
    out.print(table)
    line(verdict(summary))
    line(result.ending(report.seconds))
    line(
        f"expected edges (sum of probabilities): {result.starting_edges:,.0f} before learning, "
        f"{result.expected_edges:,.0f} after it"
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
                line(f"rows are numbered there; --id {names[0]!r} adds the column to it")
    print_path("pictures and the edges of any row", f"lds report {quote(str(folder))}")
    if data.encoding is not None:
        print_path(
            "predictions for a file of new rows", f"lds predict {quote(str(folder))} NEW_ROWS.csv"
        )


def _cells(found: "Quality | None", best: dict[str, float]) -> list[Text]:
    each: dict[str, float | None] = {} if found is None else {**found.to_dict()}
    texts = {name: quality_text(name, each.get(name)) for name in QUALITIES}
    return [
        Text(text, style="bold" if name in best and each.get(name) == best[name] else "")
        for name, text in texts.items()
    ]
