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

from lds.config import LDSConfig
from lds.datasets.base import load
from lds.experiments.fit import accuracy, starting_graph
from lds.structure.baselines import CONTROLS, run_controls
from lds.structure.learner import learn

Settings = dict[str, Any]

KEYS = ("data", "retain", "seed", "setting", "what")
"""What identifies a run."""

GRIDS: dict[str, list[Settings]] = {
    "tabular": [
        {"n_neighbors": k, "metric": metric, "truncation": tau, "outer_lr": eta}
        for k in (10, 20)
        for metric in ("cosine", "euclidean")
        for tau, eta in ((5, 1.0), (10, 0.3))
    ],
    "no graph": [{"n_neighbors": k} for k in (10, 20)],
    "graph": [{}],
}
"""What is tuned: k, metric, τ and η on tables, k on citation features without their graph."""

CITATION = ("cora", "citeseer", "pubmed")


def settings(name: str, retain: float) -> list[Settings]:
    """The default setting first, then the rest of the data set's grid."""
    kind = "tabular" if name not in CITATION else "graph" if retain > 0 else "no graph"
    return [{}] + [point for point in GRIDS[kind] if LDSConfig(**point) != LDSConfig()]


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
        test = {key: accuracy(control.probabilities, data) for key, control in controls.items()}
        return record | {"test": test, "seconds": time.perf_counter() - started}
    result = learn(*arguments)
    best = result.history[result.best]
    return record | {
        "test": {"lds": accuracy(result.probabilities, data)},
        "seconds": time.perf_counter() - started,
        "stopping_accuracy": best.stopping_accuracy,
        "stopping_loss": best.stopping_loss,
        "iterations": len(result.history),
        "starting_edges": start.nnz // 2,
        "expected_edges": best.expected_edges,
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

    def run(self, jobs: list[tuple[Any, ...]], n_jobs: int) -> list[dict[str, Any]]:
        """Run what is not there yet; returns the records of all `jobs` in order."""
        keys = [self.key(dict(zip(KEYS, job[:5], strict=True))) for job in jobs]
        missing = [job for job, key in zip(jobs, keys, strict=True) if key not in self.records]
        pool = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
        for record in pool(delayed(run_one)(*job) for job in missing):
            self.add(record)
            print(json.dumps(record), file=sys.stderr, flush=True)
        return [self.records[key] for key in keys]


def table(
    names: list[str], retain: float, n_seeds: int, root: str | None, store: Store, n_jobs: int
) -> Iterator[str]:
    """Markdown lines, one a data set, as they are ready.

    For each data set one setting is chosen for all seeds, by mean early-stopping accuracy (ties by
    mean early-stopping loss); the controls run with the chosen setting.
    """
    yield "| data | setting | stopping | LDS | (a) train | (b) train+val | (c) frozen | default LDS |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in names:
        grid = settings(name, retain)
        seeds = range(n_seeds)
        tried = store.run(
            [(name, retain, seed, point, "lds", root) for point in grid for seed in seeds], n_jobs
        )
        by_setting = [tried[k : k + n_seeds] for k in range(0, len(tried), n_seeds)]
        best = max(by_setting, key=_mean_score)
        chosen = best[0]["setting"]
        controls = store.run(
            [(name, retain, seed, chosen, "controls", root) for seed in seeds], n_jobs
        )
        cells = [_cell([record["test"]["lds"] for record in best])] + [
            _cell([record["test"][column] for record in controls]) for column in CONTROLS
        ]
        default = _cell([record["test"]["lds"] for record in by_setting[0]])
        label = name if name not in CITATION else f"{name}, {retain:.0%} of edges"
        chosen_text = ", ".join(f"{k}={v}" for k, v in chosen.items()) or "default"
        stopping = _cell([record["stopping_accuracy"] for record in best])
        yield f"| {label} | {chosen_text} | {stopping} | " + " | ".join([*cells, default]) + " |"


def _mean_score(records: list[dict[str, Any]]) -> tuple[float, float]:
    accuracy = float(np.mean([record["stopping_accuracy"] for record in records]))
    return accuracy, -float(np.mean([record["stopping_loss"] for record in records]))


def _cell(values: list[float]) -> str:
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--retain", type=float, default=0.0, help="share of edges kept (citations)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--root", help="folder with the data sets")
    parser.add_argument("--out", type=Path, default=Path("table.jsonl"))
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    store = Store(arguments.out)
    lines = table(
        arguments.names, arguments.retain, arguments.seeds, arguments.root, store, arguments.jobs
    )
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
