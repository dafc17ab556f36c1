"""Classify the rows of a file with a run that was saved in a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lds.datasets.encoding import TableEncoding
from lds.datasets.reading import FileFormat, read_cells, with_mark
from lds.datasets.table import Rows, load_rows
from lds.estimators.new_nodes import refuse_made
from lds.run_folder import load_encoding, load_settings
from lds.structure.result import Learned


@dataclass(frozen=True)
class FilePredictions:
    """The predictions of a run for the rows of a file.

    Attributes:
        probabilities: `(n_rows, n_classes)`.
        classes: class c has the name classes[c].
        identifiers: of the rows; None where the run's table or the file has none.
        found: what was guessed about the file, in short sentences.
    """

    probabilities: NDArray[np.floating[Any]]
    classes: tuple[str, ...]
    identifiers: tuple[str, ...] | None
    found: tuple[str, ...]


def predict_from_run(
    folder: Path,
    rows: Path,
    *,
    separator: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
) -> FilePredictions:
    """Compute the class probabilities of the rows of a file.

    The folder keeps only the edge probabilities above its cut-off, so the other pairs are never
    drawn as edges; the summary has the sum of their probabilities.

    Arguments:
        folder: of a run: of `lds fit` on a table, or of `save` of a classifier.
        rows: the file (see `reading.read_cells`). Its columns are found by name; by position where
            the classifier was fitted on an array.
        separator, encoding, header: how the file is written; None detects it.

    Raises:
        FileNotFoundError: the folder is not of a finished run on a table or a dense array, or the
            file does not exist.
        ValueError: a file is damaged, the run had features made from its graph, or the rows do not
            fit the table (see `table.load_rows`).
    """
    learned = Learned.load(folder)
    settings = load_settings(folder)
    refuse_made(settings.get("made_features", False))
    table = TableEncoding.from_arrays(load_encoding(folder))
    names = table.names
    if "file" not in settings and names == tuple(map(str, range(len(names)))):
        read = _rows_by_position(rows, table, separator, encoding, header)
    else:
        read = load_rows(
            rows,
            table,
            *_format_and_source(settings, table),
            separator=separator,
            text_encoding=encoding,
            header=header,
        )
    probabilities = learned.predict_new(read.features)
    return FilePredictions(probabilities, tuple(settings["classes"]), read.identifiers, read.found)


def _format_and_source(
    settings: dict[str, Any], table: TableEncoding
) -> tuple[FileFormat, dict[str, Any]]:
    """How the table of the fit was read, and which columns are no features.

    A data frame was not read from a file: its columns have names, and all of them are features.
    """
    if "file" in settings:
        return FileFormat.from_dict(settings["file"]), settings["source"]
    source: dict[str, Any] = {"target": None, "drop": [], "identifier": None}
    return FileFormat(None, None, True, None, "", table.names, ()), source


def _rows_by_position(
    path: Path,
    table: TableEncoding,
    separator: str | None,
    encoding: str | None,
    header: bool | None,
) -> Rows:
    """Read rows whose columns are those of an array, in their order, whatever their names."""
    frame, how = read_cells(path, separator=separator, encoding=encoding, header=header)
    wanted = list(table.names)
    if frame.empty:
        raise ValueError(f"{path} must have at least one row below its header, got none")
    if not set(wanted) <= set(frame.columns):
        if len(frame.columns) != len(wanted):
            raise ValueError(
                f"{path} must have the {len(wanted)} columns of the array of the fit, in their "
                f"order, got {len(frame.columns)} columns"
            )
        frame.columns = wanted
    said = "columns go by their position: the fit had an array, whose columns have no names"
    how = with_mark(frame, how, wanted)
    features = table.encode(frame, decimal=how.decimal or ".")
    return Rows(features, None, (*how.found, said))
