"""`lds report`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lds._files import check_output_file
from lds._run_files import REPORT, check_finished
from lds.cli.console import Json, bar, line, print_json, print_path

EXAMPLES = (
    "lds report runs/wine-0\n\n"
    "lds report runs/cora50 --out cora50.html --no-values\n\n"
    "lds report runs/wine-0 runs/wine-1 --out wine.html    (compares)"
)


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders; several are compared.")
    ],
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="HTML file; default: report.html in the folder, or comparison.html here.",
        ),
    ] = None,
    values: Annotated[
        bool,
        typer.Option(
            "--values/--no-values",
            help="Whether the page of a run holds the cells of its rows and their identifiers.",
        ),
    ] = True,
    quiet: Annotated[bool, typer.Option(help="No progress bar.")] = False,
    as_json: Json = False,
) -> None:
    """Write one HTML page of a run: verdict, pictures, settings, edges, why a row got its class.

    The page of a run holds cells of its table; --no-values leaves them out of a page to be shared.
    Of several runs, the page compares their numbers and options, and the predictions of each with
    those of the first one.
    """
    only = runs[0] if len(runs) == 1 else None
    path = out_file or (Path("comparison.html") if only is None else only / REPORT)
    for run in runs:
        check_finished(run)  # a wrong path is refused before what takes seconds to import
    check_output_file(path, "the report's file", (".html",))
    if only is None:
        _compare(runs, path, as_json)
        return

    with bar(quiet or as_json) as progress:
        task = progress.add_task("", total=None, state="loading matplotlib")

        from lds.report.page import write_report  # matplotlib is an extra

        def drawing(name: str, done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, state=f"drawing: {name}")

        write_report(only, path, values=values, on_picture=drawing)
    if as_json:
        print_json({"path": str(path), "bytes": path.stat().st_size})
    else:
        print_path("report", path)


def _compare(folders: list[Path], path: Path, as_json: bool) -> None:
    """Write the page of several runs, and print how each differs from the first."""
    from lds.report.comparison import difference, facts, names_of, write_comparison
    from lds.run_folder import load_run

    write_comparison(folders, path)
    first, *others = [load_run(folder) for folder in folders]
    differences = [None, *(difference(first, other) for other in others)]
    names = names_of(folders)
    if as_json:
        lines = [
            {"run": str(folder), **facts(run), "against_the_first": d and asdict(d)}
            for folder, run, d in zip(folders, [first, *others], differences, strict=True)
        ]
        print_json({"path": str(path), "bytes": path.stat().st_size, "runs": lines})
        return
    for name, found in zip(names[1:], differences[1:], strict=True):
        text = "not the same test rows" if found is None else str(found)
        line(f"{name} against {names[0]}: {text}")
    print_path("comparison", path)
