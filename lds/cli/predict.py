"""`lds predict`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lds._files import check_output_file
from lds._run_files import check_finished
from lds._sources import check_table
from lds.cli.console import Json, line, print_json, print_path, say_found
from lds.cli.table_options import Encoding, Header, Separator

EXAMPLES = (
    "lds fit table.csv --target label --out runs/table\n\n"
    "lds predict runs/table new_rows.csv --out predictions.csv"
)


def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a run on a table.")],
    rows: Annotated[Path, typer.Argument(help="A table with the columns of the fit.")],
    out_file: Annotated[
        Path | None, typer.Option("--out", help="CSV file to write; default: the rows are printed.")
    ] = None,
    separator: Separator = None,
    encoding: Encoding = None,
    header: Header = None,
    quiet: Annotated[bool, typer.Option(help="Do not print how the table is read.")] = False,
    as_json: Json = False,
) -> None:
    """Classify rows that were not in the fit.

    Each row is encoded with the means and categories of the fit, gets edges to its nearest rows of
    the fit in drawn graphs, and is classified by the trained network. A row equal to a row of the
    fit gets the answer it got there. The table of the fit is not needed. Columns are found by name,
    or by position where neither file has a header.
    """
    check_finished(run)  # a wrong path is refused before what takes seconds to import
    check_table(rows)
    if out_file is not None:
        check_output_file(out_file, "--out")

    from lds.datasets.table import write_predictions
    from lds.estimators.saved_run import predict_from_run

    new = predict_from_run(run, rows, separator=separator, encoding=encoding, header=header)
    say_found(rows, new.found, quiet)
    classes, identifiers = new.classes, new.identifiers
    named = [
        {
            **({} if identifiers is None else {"id": identifiers[row]}),
            "row": row,
            "prediction": classes[int(p.argmax())],
            "probability": round(float(p.max()), 6),
            "probabilities": {name: round(float(q), 6) for name, q in zip(classes, p, strict=True)},
        }
        for row, p in enumerate(new.probabilities)
    ]
    if out_file is not None:
        write_predictions(out_file, range(len(named)), new.probabilities, classes, identifiers)
    if as_json:
        found: dict[str, Any] = {"classes": list(classes), "predictions": named}
        print_json({**found, "path": None if out_file is None else str(out_file)})
    elif out_file is not None:
        print_path(f"{len(named):,} rows", out_file)
    else:
        for each in named:
            name = each.get("id") or each["row"]
            line(f"{name}: {each['prediction']} ({each['probability']:.3f})")
