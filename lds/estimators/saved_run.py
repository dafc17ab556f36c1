"""Rows of a file, classified by a run that was saved in a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lds.datasets.encoding import TableEncoding
from lds.datasets.reading import FileFormat
from lds.datasets.table import load_rows
from lds.run_folder import load_encoding, load_settings
from lds.structure.result import Learned


@dataclass(frozen=True)
class NewRows:
    """What a run says of the rows of a file.

    Attributes:
        probabilities: `(n_rows, n_classes)`.
        classes: class c has the name classes[c].
        identifiers: of the rows; None where the run's table or the file has none.
        found: what was found out about the file, in short sentences.
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
) -> NewRows:
    """Class probabilities of the rows of a file, by a run of `lds fit` on a table.

    The run keeps probabilities of edges above its cut-off alone, and so draws graphs without the
    others; its summary has their sum.

    Arguments:
        folder: of the run.
        rows: the file (see `reading.read_table`).
        separator, encoding, header: how it is written; None finds it out.

    Raises:
        FileNotFoundError: the folder is not of a finished run on a table, or there is no such file.
        ValueError: a file is damaged, or the rows do not fit the table (see `table.load_rows`).
    """
    learned = Learned.load(folder)
    settings = load_settings(folder)
    table = TableEncoding.from_arrays(load_encoding(folder))
    read = load_rows(
        rows,
        table,
        FileFormat.from_dict(settings["file"]),
        settings["source"],
        separator=separator,
        text_encoding=encoding,
        header=header,
    )
    probabilities = learned.predict_new(read.features)
    return NewRows(probabilities, tuple(settings["classes"]), read.identifiers, read.found)
