"""The accuracy table: settings chosen on early-stopping accuracy, controls beside (§9.4).

    python -m lds.experiments.table wine breast_cancer digits --seeds 5 --out table.jsonl
    python -m lds.experiments.table cora citeseer --retain 0 --seeds 3 --root DATA --out table.jsonl

Every finished run is a line of the output file; a run found there is not run again.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from lds.config import LDSConfig
from lds.datasets.base import NodeDataset, load
from lds.experiments.fit import quality_on_test, starting_graph
from lds.structure.baselines import CONTROLS, run_controls
from lds.structure.learner import learn

Settings = dict[str, Any]
Records = list[dict[str, Any]]

KEYS = ("data", "retain", "seed", "setting", "what")
"""What identifies a run."""

GRIDS: dict[str, list[Settings]] = {
    "tabular": [
        {"n_neighbors": 10, "metric": "cosine", "truncation": 5, "outer_lr": 1.0},
        {"n_neighbors": 20, "metric": "cosine", "truncation": 10, "outer_lr": 1.0},
        {"n_neighbors": 10, "metric": "euclidean", "truncation": 10, "outer_lr": 0.3},
        {"n_neighbors": 20, "metric": "euclidean", "truncation": 5, "outer_lr": 0.3},
    ],
    "cora": [{}, {"weight_decay": 5e-5}],
}
"""What is tuned: k, metric, τ and η on tables, each at two values, in the half of the factorial
design that four runs can cover; ρ on Cora without its graph; nothing elsewhere."""

CITATION = ("cora", "citeseer", "pubmed")


def grid(name: str, retain: float) -> list[Settings]:
    """The settings tried on a data set; each says only what it changes of the default."""
    default = LDSConfig().to_dict()
    points = (
        GRIDS["tabular"] if name not in CITATION else GRIDS.get(name if not retain else "", [{}])
    )
    return [{k: v for k, v in point.items() if default[k] != v} for point in points]


def run_one(
    name: str, retain: float, seed: int, setting: Settings, what: str, root: str | None
) -> dict[str, Any]:
    """One run, `what` being "lds" or "controls", as a JSON-able record."""
    import torch

    torch.set_num_threads(1)
    data = load(name, seed=seed, root=root, retain=retain if name in CITATION else None)
    config = LDSConfig(seed=seed, **setting)
    start = starting_graph(data, config)
    record = {
        "data": name, "retain": retain, "seed": seed, "setting": setting, "what": what
    }  # fmt: skip
    arguments = (data.features, data.labels, data.split, start, config)
    started = time.perf_counter()
    if what == "controls":
        controls = run_controls(*arguments)
        seconds = time.perf_counter() - started
        found = {name: control.probabilities for name, control in controls.items()}
        return record | _on_test(found, data) | {"seconds": seconds}
    result = learn(*arguments)
    best = result.history[result.best]
    return record | {
        **_on_test({"lds": result.probabilities}, data),
        "seconds": time.perf_counter() - started,
        "stopping_accuracy": best.stopping_accuracy,
        "stopping_loss": best.stopping_loss,
        "iterations": len(result.history),
        "starting_edges": start.nnz // 2,
        "expected_edges": best.expected_edges,
    }


def _on_test(found: dict[str, NDArray[np.floating[Any]]], data: NodeDataset) -> dict[str, Any]:
    qualities = {name: quality_on_test(probs, data) for name, probs in found.items()}
    return {
        "test": {name: q and q.accuracy for name, q in qualities.items()},
        "quality": {name: q and q.to_dict() for name, q in qualities.items()},
    }


class Store:
    """Records by what was run, kept as JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.records = {self.key(record): record for record in map(json.loads, lines)}

    @staticmethod
    def key(record: dict[str, Any]) -> str:
        """The identity of a run."""
        parts = [record[name] for name in KEYS]
        return json.dumps(parts, sort_keys=True)

    def add(self, record: dict[str, Any]) -> None:
        """Keep one finished run."""
        self.records[self.key(record)] = record
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def run(self, jobs: list[tuple[Any, ...]], n_jobs: int) -> Records:
        """Run what is not there yet; returns the records of all `jobs` in order."""
        keys = [self.key(dict(zip(KEYS, job[:5], strict=True))) for job in jobs]
        missing = [job for job, key in zip(jobs, keys, strict=True) if key not in self.records]
        pool = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
        for record in pool(delayed(run_one)(*job) for job in missing):
            self.add(record)
            print(json.dumps(record), file=sys.stderr, flush=True)
        return [self.records[key] for key in keys]


def table(
    names: list[str],
    retain: float,
    seeds: range,
    selection_seeds: range,
    root: str | None,
    store: Store,
    n_jobs: int,
) -> Iterator[str]:
    """Markdown lines, one a data set, as they are ready.

    For each data set one setting is chosen for all seeds, by mean early-stopping accuracy over the
    selection seeds (ties by mean early-stopping loss); controls run with the chosen setting.
    """
    yield (
        "| data | setting | stopping | on test rows | LDS | (a) train | (b) + val | (c) frozen "
        "| default LDS |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for name in names:

        def run(settings: list[Settings], seeds: range, what: str, name: str = name) -> Records:
            jobs = [(name, retain, seed, point, what, root) for point in settings for seed in seeds]
            return store.run(jobs, n_jobs)

        points, n = grid(name, retain), len(selection_seeds)
        tried = run(points, selection_seeds, "lds") if len(points) > 1 else []
        groups = [tried[k : k + n] for k in range(0, len(tried), n)]
        chosen: Settings = max(groups, key=_mean_score)[0]["setting"] if groups else points[0]
        best = run([chosen], seeds, "lds")
        controls = run([chosen], seeds, "controls")
        default = run([{}], seeds, "lds")
        columns = [(best, "lds"), *((controls, column) for column in CONTROLS), (default, "lds")]
        label = name if name not in CITATION else f"{name}, {retain:.0%} of edges"
        chosen_text = ", ".join(f"{k}={v}" for k, v in chosen.items()) or "default"
        stopping = _cell([record["stopping_accuracy"] for record in best], percent=True)
        cells = [_cell([r["test"][what] for r in group], percent=True) for group, what in columns]
        yield f"| {label} | {chosen_text} | {stopping} | accuracy, % | " + " | ".join(cells) + " |"
        for measure, unit in (("nll", "NLL, nats"), ("ece", "ECE, %")):
            cells = [
                _cell([_measure(r, what, measure) for r in group], percent=measure == "ece")
                for group, what in columns
            ]
            if any(cell != "-" for cell in cells):
                yield f"| | | | {unit} | " + " | ".join(cells) + " |"


def _mean_score(records: Records) -> tuple[float, float]:
    accuracy = float(np.mean([record["stopping_accuracy"] for record in records]))
    return accuracy, -float(np.mean([record["stopping_loss"] for record in records]))


def _measure(record: dict[str, Any], what: str, measure: str) -> float | None:
    """NLL or ECE; None for a record written before they were kept."""
    return (record.get("quality", {}).get(what) or {}).get(measure)


def _cell(values: list[float | None], *, percent: bool) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "-"
    if percent:
        return f"{100 * np.mean(known):.1f} ± {100 * np.std(known):.1f}"
    return f"{np.mean(known):.3f} ± {np.std(known):.3f}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--retain", type=float, default=0.0, help="share of edges kept (citations)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--selection-seeds", type=int, default=3, help="seeds a choice is made on")
    parser.add_argument("--root", help="folder with the data sets")
    parser.add_argument("--out", type=Path, default=Path("table.jsonl"))
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    store = Store(arguments.out)
    seeds = range(arguments.seeds)
    selection = range(min(arguments.seeds, arguments.selection_seeds))
    lines = table(
        arguments.names, arguments.retain, seeds, selection, arguments.root, store, arguments.jobs
    )
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
