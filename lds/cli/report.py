"""`lds report`."""

from pathlib import Path
from typing import Annotated

import typer

from lds._files import check_output_file
from lds._run_files import check_finished
from lds.cli.console import Json, print_json, print_path

EXAMPLES = "lds report runs/wine-0\n\nlds report runs/cora50 --out cora50.html"


def report(
    run: Annotated[Path, typer.Argument(help="A run folder of `lds fit`.")],
    out_file: Annotated[
        Path | None, typer.Option("--out", help="HTML file; default: report.html in the folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one HTML page of a run: accuracy, pictures, settings, and the edges of any node."""
    path = run / "report.html" if out_file is None else out_file
    check_finished(run)  # a wrong path is refused before what takes seconds to import
    check_output_file(path, "--out")

    from lds.report.page import write_report  # matplotlib is an extra

    write_report(run, path)
    if as_json:
        print_json({"path": str(path), "bytes": path.stat().st_size})
    else:
        print_path("report", path)
