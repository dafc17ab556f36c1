"""What `lds fit` writes of a report, see `lds.run_folder` for the files."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lds._version import __version__
from lds.datasets.table import write_predictions
from lds.experiments.fit import FitReport
from lds.run_folder import save_run
from lds.structure.metrics import entropy

CUTOFF = 1e-4
"""Edge probabilities at or below this are not written to the run folder; their sum is."""


def save(folder: Path, report: FitReport, settings: dict[str, Any]) -> dict[str, Any]:
    """Write a run, or write it again with more in it.

    Arguments:
        folder: of the run.
        report: what the fit came to.
        settings: what it was made of.

    Returns:
        The summary, as in the folder.
    """
    data, result = report.dataset, report.result
    edges = result.edges.to_csr(CUTOFF)
    kept = float(edges.sum()) / 2
    best = result.history[result.best]
    known: dict[str, Any] = {"classes": list(data.classes), "versions": _versions()}
    if data.encoding is not None:
        known["table"] = data.encoding.summary()
    if data.file is not None:
        known["file"] = data.file.to_dict()
    summary = {
        "reason": result.reason,
        "best_iteration": result.best,
        "stopping_accuracy": best.stopping_accuracy,
        "test_accuracy": report.test_accuracy,
        "test_quality": {name: q and q.to_dict() for name, q in report.test_quality.items()},
        "starting_edges": report.starting_edges,
        "expected_edges": best.expected_edges,
        "edge_cutoff": CUTOFF,
        "expected_edges_below_cutoff": max(0.0, result.edges.expected_edges - kept),
        "seconds": report.seconds,
    }
    save_run(
        folder,
        settings={**settings, **known},
        metrics=[asdict(record) for record in result.history],
        summary=summary,
        start=report.start,
        edge_probs=edges,
        weights=result.params,
        predictions={
            "probabilities": result.probabilities,
            "entropy": entropy(result.probabilities),
            "mutual_information": result.mutual_information,
            "hidden": result.hidden,
            "labels": data.labels,
            **({} if data.identifiers is None else {"identifiers": np.array(data.identifiers)}),
            **{f"{role}_rows": rows for role, rows in vars(data.split).items()},
        },
        features=np.asarray(data.features) if data.encoding is not None else None,
        encoding=data.encoding.to_arrays() if data.encoding is not None else None,
    )
    blank = np.flatnonzero(data.labels < 0)
    if blank.size:
        path = folder / "predictions.csv"
        write_predictions(
            path, blank.tolist(), result.probabilities[blank], data.classes, data.identifiers
        )
    return summary


def _versions() -> dict[str, str]:
    return {"lds": __version__, "torch": torch.__version__}
