"""Several runs side by side: their numbers, what differs in their settings, and a page of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lds._files import check_output_file, write_atomically
from lds._verdict import QUALITIES, best_of, gain_interval, n_test, points, quality_text
from lds._words import plural
from lds.plots.style import beside, class_colours, legend_name, series, styled_figure
from lds.report.page import framed, quality_cells, quality_headings, svg
from lds.run_folder import Run, as_run
from lds.structure.methods.registry import METHODS


@dataclass(frozen=True)
class Difference:
    """The first run against another one on the same test rows.

    Attributes:
        gained, lost: rows that only the other run has right, and that only the first has right.
        n_rows: test rows.
        changed: rows of all, with or without a label, that the two predict differently.
    """

    gained: int
    lost: int
    n_rows: int
    changed: int

    def __str__(self) -> str:
        low, high = gain_interval(self.gained, self.lost, self.n_rows)
        difference = (self.gained - self.lost) / self.n_rows
        return (
            f"{points(difference)} points on {plural(self.n_rows, 'test row')} (95 % interval "
            f"{points(low)} to {points(high)}); {plural(self.changed, 'row')} predicted differently"
        )


def names_of(folders: Sequence[str | Path]) -> list[str]:
    """Name runs by the ends of their paths that tell them apart."""
    paths = [Path(folder).resolve().parts for folder in folders]
    for n in range(1, max(map(len, paths)) + 1):
        short = ["/".join(parts[-n:]) for parts in paths]
        if len(set(short)) == len(set(paths)):
            return short
    return [str(folder) for folder in folders]


def difference(first: Run, other: Run) -> Difference | None:
    """Compare two runs on their test rows; None where rows or labels are not the same."""
    a, b = first.predictions, other.predictions
    same = all(np.array_equal(a[name], b[name]) for name in ("test_rows", "labels"))
    if (
        not same
        or not _same_rows(first, other)
        or not a["test_rows"].size
        or first.settings["classes"] != other.settings["classes"]
    ):
        return None
    mine, theirs = (found["probabilities"].argmax(1) for found in (a, b))
    rows, labels = a["test_rows"], a["labels"]
    right, their_right = mine[rows] == labels[rows], theirs[rows] == labels[rows]
    return Difference(
        int((their_right & ~right).sum()),
        int((right & ~their_right).sum()),
        rows.size,
        int((mine != theirs).sum()),
    )


def _same_rows(first: Run, other: Run) -> bool:
    """Whether runs are on the same rows: by identifiers, else of one file or of equal features."""
    mine, theirs = (run.predictions.get("identifiers") for run in (first, other))
    if mine is not None and theirs is not None:
        return np.array_equal(mine, theirs)
    names = [run.settings.get("source", {}).get("name") for run in (first, other)]
    features = [run.settings.get("features_crc32") for run in (first, other)]
    return any(one is not None and one == two for one, two in (names, features))


def facts(run: Run) -> dict[str, Any]:
    """Collect the numbers of a run that a comparison shows; None: unknown."""
    summary, settings = run.summary, run.settings
    quality = summary["test_quality"]["lds"] or {}
    return {
        "data": Path(str(settings["data"])).name,
        "method": settings["method"],
        "seed": settings["seed"],
        "test_rows": n_test(summary) or int(run.predictions["test_rows"].size),
        **{name: quality.get(name) for name in QUALITIES},
        "frozen_accuracy": summary["test_accuracy"].get("frozen"),
        "starting_edges": summary["starting_edges"],
        "expected_edges": summary["expected_edges"],
        "seconds": summary.get("seconds"),
    }


def changed_options(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Collect the options that are not the same in all runs: a value of each run, None: no such."""
    names = dict.fromkeys(name for run in runs for name in run.settings["options"])
    values = {name: [run.settings["options"].get(name) for run in runs] for name in names}
    return {name: each for name, each in values.items() if len(set(map(repr, each))) > 1}


def write_comparison(folders: Sequence[str | Path], path: str | Path) -> None:
    """Write one HTML page that compares runs.

    Arguments:
        folders: of two runs or more.
        path: of the file, .html.

    Raises:
        FileNotFoundError, ValueError: a folder does not hold a whole run, there are fewer than two,
            or `path` cannot be written.
    """
    if len(folders) < 2:
        raise ValueError(f"a comparison must have at least 2 runs, got {len(folders)}")
    path, runs = Path(path), [as_run(folder) for folder in folders]
    check_output_file(path, "the comparison's file", (".html",))
    page = comparison_html(runs, names_of(folders))
    write_atomically(path, lambda file: file.write(page.encode()))


def comparison_html(runs: Sequence[Run], names: Sequence[str]) -> str:
    """Make the page as text."""
    return framed(
        "comparison.html",
        "Comparison of runs",
        {
            "title": escape(", ".join(names)),
            "quality_headings": quality_headings(),
            "numbers": _numbers(runs, names),
            "differences": _differences(runs, names),
            "options": _options(runs, names),
            "picture": svg(stopping_curves(runs, names), "stopping"),
        },
    )


def stopping_curves(runs: Sequence[Run], names: Sequence[str]) -> Figure:
    """Draw the accuracy of each run over its outer iterations, on the rows that judge it."""
    with styled_figure():
        figure = Figure()
        axes = figure.subplots()
        for run, name, colour in zip(runs, names, class_colours(len(runs)), strict=True):
            values = 100 * series(run, "stopping_accuracy")
            t = np.arange(1, len(values) + 1)
            axes.plot(t, values, color=colour, label=legend_name(name), marker="o", markersize=3)
        axes.set(xlabel="outer iteration, and the refit", ylabel="accuracy, %")
        rows = {"left-out labels" if "left_out" in run.summary else "stopping rows" for run in runs}
        axes.set_title(f"Accuracy on {' or '.join(sorted(rows, reverse=True))}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        beside(axes)
        return figure


def _numbers(runs: Sequence[Run], names: Sequence[str]) -> str:
    """Make the rows of the table of numbers; the best of each column is bold."""
    found = [facts(run) for run in runs]
    measured = [run.summary["test_quality"]["lds"] for run in runs]
    best = best_of(dict(zip(names, measured, strict=True)))
    rows = []
    for name, each in zip(names, found, strict=True):
        cells = [
            f"<td>{escape(str(each['data']))}</td>",
            f"<td>{escape(METHODS[each['method']].title)}</td>",
            f"<td>{each['seed']}</td>",
            f"<td>{each['test_rows']:,}</td>",
        ]
        cells.append(quality_cells({name: each[name] for name in QUALITIES}, best))
        cells.append(f"<td>{quality_text('accuracy', each['frozen_accuracy'])}</td>")
        edges = f"{each['starting_edges']:,.0f} → {each['expected_edges']:,.0f}"
        seconds = "-" if each["seconds"] is None else f"{each['seconds']:,.0f}"
        cells += [f"<td>{edges}</td>", f"<td>{seconds}</td>"]
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    return "".join(rows)


def _differences(runs: Sequence[Run], names: Sequence[str]) -> str:
    rows = []
    for run, name in zip(runs[1:], names[1:], strict=True):
        found = difference(runs[0], run)
        text = "other test rows or labels: not comparable row by row" if found is None else found
        rows.append(f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(text))}</td></tr>')
    return "".join(rows)


def _options(runs: Sequence[Run], names: Sequence[str]) -> str:
    changed = changed_options(runs)
    if not changed:
        return "<p>All options are the same.</p>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{escape(option)}</th>'
        + "".join(f"<td>{'-' if v is None else escape(str(v))}</td>" for v in values)
        + "</tr>"
        for option, values in changed.items()
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>"
