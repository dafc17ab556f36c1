"""`lds predict`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lds._files import check_path
from lds.checkpoints import check_finished
from lds.cli.console import Json, out, print_json, print_path

EXAMPLES = (
    "lds fit table.csv --target label --out runs/table\n\n"
    "lds predict runs/table new_rows.csv --out predictions.csv"
)


def predict(
    run: Annotated[Path, typer.Argument(help="The run folder of a fit on a table.")],
    rows: Annotated[Path, typer.Argument(help="A .csv or .parquet file with its columns.")],
    out_file: Annotated[
        Path | None, typer.Option("--out", help="CSV file to write; none prints the rows.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Classify rows that were not in the table of a fit.

    Each is encoded with the fit's own means and values, joined to its nearest rows of the fit in
    graphs drawn from what was learned, and classified by the trained network. A row equal to one of
    the fit gets the answer it got there. The table itself is not needed.
    """
    check_finished(run)  # a wrong path is refused before what takes seconds to import
    if not rows.is_file():
        raise FileNotFoundError(f"there is no table at {rows}")
    if out_file is not None:
        check_path(out_file, "--out")

    from lds.datasets.table import write_predictions
    from lds.estimators.new_rows import predict_from_run

    probabilities, classes = predict_from_run(run, rows)
    named = [
        {
            "row": row,
            "prediction": classes[int(p.argmax())],
            "probability": round(float(p.max()), 6),
        }
        for row, p in enumerate(probabilities)
    ]
    if out_file is not None:
        write_predictions(out_file, range(len(named)), probabilities, classes)
    if as_json:
        found: dict[str, Any] = {"classes": list(classes), "predictions": named}
        print_json({**found, "path": None if out_file is None else str(out_file)})
    elif out_file is not None:
        print_path(f"{len(named):,} rows", out_file)
    else:
        for line in named:
            out.print(
                f"{line['row']}: {line['prediction']} ({line['probability']:.3f})",
                highlight=False, markup=False,
            )  # fmt: skip
