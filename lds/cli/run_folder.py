"""Write the run folder of `lds fit`; `lds.run_folder` lists the files."""

from pathlib import Path
from typing import Any

import numpy as np

from lds._run_files import PREDICTIONS
from lds.datasets.table import write_predictions
from lds.experiments.fit import FitReport


def paired(report: FitReport) -> dict[str, tuple[int, int]]:
    """Count the test rows on which the method and each control differ.

    Returns:
        For each control the rows that only the method has right, and those that only the control
        has right.
    """
    rows, labels = report.dataset.split.test, report.dataset.labels
    right = report.result.probabilities[rows].argmax(1) == labels[rows]
    found = {}
    for name, control in report.controls.items():
        theirs = control.probabilities[rows].argmax(1) == labels[rows]
        found[name] = (int((right & ~theirs).sum()), int((theirs & ~right).sum()))
    return found


def save(folder: Path, report: FitReport, settings: dict[str, Any]) -> dict[str, Any]:
    """Write a run; called again, add the controls.

    Arguments:
        folder: of the run.
        report: of the fit.
        settings: of the run: data, options, seed, device.

    Returns:
        The summary, as in the folder.
    """
    data, result = report.dataset, report.result
    known: dict[str, Any] = {}
    if data.encoding is not None:
        known["table"] = data.encoding.summary()
    if data.file is not None:
        known["file"] = data.file.to_dict()
    if data.made_features:
        known["made_features"] = True
    run = result.save(
        folder,
        overwrite=True,  # `lds fit` has asked before, and writes twice
        encoding=None if data.encoding is None else data.encoding.to_arrays(),
        settings={**settings, **known},
        summary={
            "test_accuracy": report.test_accuracy,
            "test_quality": {name: q and q.to_dict() for name, q in report.test_quality.items()},
            **({"paired": paired(report)} if report.controls else {}),
            "seconds": report.seconds,
        },
        classes=data.classes,
        identifiers=data.identifiers,
    )
    blank = np.flatnonzero(data.labels < 0)
    if blank.size:
        found = result.probabilities[blank]
        path = folder / PREDICTIONS
        write_predictions(path, blank.tolist(), found, data.classes, data.identifiers)
    else:
        (folder / PREDICTIONS).unlink(missing_ok=True)  # of an earlier run there
    return run.summary
