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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed
from numpy.typing import NDArray

from lds.bilevel.checks import NonFiniteError
from lds.datasets.base import NodeDataset
from lds.datasets.registry import load
from lds.experiments.arguments import (
    check_retain,
    count,
    data_set,
    existing_folder,
    output_file,
    share,
)
from lds.experiments.fit import problem_of, quality_on_test
from lds.experiments.records import JsonLines, key
from lds.experiments.reproduce.grids import CITATION, Settings, grid
from lds.structure.controls import CONTROLS, run_controls
from lds.structure.learn import learn
from lds.structure.learn_many import Run, learn_many
from lds.structure.methods.thesis import Thesis
from lds.structure.result import Learned

Records = list[dict[str, Any]]

KEYS = ("data", "retain", "seed", "setting", "what")
"""What identifies a run."""


def run_one(
    name: str, retain: float, seed: int, setting: Settings, what: str, root: str | None
) -> dict[str, Any]:
    """One run, `what` being "lds" or "controls", as a JSON-able record."""
    import torch

    torch.set_num_threads(1)
    data = load(name, seed=seed, root=root, retain=retain if name in CITATION else None)
    problem, method = problem_of(data), Thesis(**setting)
    record = dict(zip(KEYS, (name, retain, seed, setting, what), strict=True))
    started = time.perf_counter()
    if what == "controls":
        controls = run_controls(problem, method, seed=seed)
        seconds = time.perf_counter() - started
        found = {name: control.probabilities for name, control in controls.items()}
        return record | _on_test(found, data) | {"seconds": seconds}
    result = learn(problem, method, seed=seed)
    return record | _outcome(result, data) | {"seconds": time.perf_counter() - started}


def run_batch(jobs: list[tuple[Any, ...]], device: str = "cpu") -> Records:
    """Runs of LDS on one data set side by side; `seconds` of each is its share.

    Jobs are the arguments of `run_one`, with what="lds". Seeds whose features differ (a data set
    that is itself drawn by the seed) run one by one.
    """
    import torch

    torch.set_num_threads(1)
    name, retain, *_, root = jobs[0]
    kept = retain if name in CITATION else None
    seeds = dict.fromkeys(job[2] for job in jobs)
    data = {seed: load(name, seed=seed, root=root, retain=kept) for seed in seeds}
    first, *others = data.values()
    if not all(_same_nodes(first, other) for other in others):
        return run_each(jobs)
    runs = []
    for _, _, seed, setting, *_ in jobs:
        mine = problem_of(data[seed])
        shared = replace(mine, features=first.features, labels=first.labels)
        runs.append(Run(shared, Thesis(**setting), seed))
    started = time.perf_counter()
    results = learn_many(runs, device=device)
    seconds = (time.perf_counter() - started) / len(jobs)
    records = []
    for job, result in zip(jobs, results, strict=True):
        if isinstance(result, NonFiniteError):
            raise result
        record = dict(zip(KEYS, job[:5], strict=True))
        record |= _outcome(result, data[job[2]])
        records.append(record | {"seconds": seconds})
    return records


def _same_nodes(one: NodeDataset, other: NodeDataset) -> bool:
    """Whether features and labels are the same."""
    if one.features.shape != other.features.shape or not np.array_equal(one.labels, other.labels):
        return False
    return bool(abs(sp.csr_array(one.features) - sp.csr_array(other.features)).max() == 0)


def _outcome(result: Learned, data: NodeDataset) -> dict[str, Any]:
    best = result.history[result.best]
    return {
        **_on_test({"lds": result.probabilities}, data),
        "stopping_accuracy": best.stopping_accuracy,
        "stopping_loss": best.stopping_loss,
        "iterations": len(result.history),
        "starting_edges": result.starting_edges,
        "expected_edges": best.expected_edges,
    }


def _on_test(found: dict[str, NDArray[np.floating[Any]]], data: NodeDataset) -> dict[str, Any]:
    qualities = {name: quality_on_test(probs, data) for name, probs in found.items()}
    return {
        "test": {name: q and q.accuracy for name, q in qualities.items()},
        "quality": {name: q and q.to_dict() for name, q in qualities.items()},
    }


class Store(JsonLines):
    """Records by what was run, kept as JSON lines."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, KEYS)

    def run(
        self, jobs: list[tuple[Any, ...]], n_jobs: int, batch: int = 1, device: str = "cpu"
    ) -> Records:
        """Run what is not there yet; returns the records of all `jobs` in order.

        Arguments:
            jobs: arguments of `run_one`, of one data set.
            n_jobs: processes.
            batch: runs of LDS side by side in each.
            device: of those.
        """
        keys = [key(*job[:5]) for job in jobs]
        missing = [job for job in jobs if not self.has(*job[:5])]
        pool = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
        for records in pool(_calls(missing, batch, device)):
            for record in records:
                self.add(record)
                print(json.dumps(record), file=sys.stderr, flush=True)
        return [self.records[each] for each in keys]


def _calls(jobs: list[tuple[Any, ...]], batch: int, device: str) -> Iterator[Any]:
    """What joblib is to run, each call with a list of records."""
    side = [job for job in jobs if job[4] == "lds"] if batch > 1 else []
    for first in range(0, len(side), batch):
        yield delayed(run_batch)(side[first : first + batch], device)
    for job in jobs:
        if job not in side:
            yield delayed(run_each)([job])


def run_each(jobs: list[tuple[Any, ...]]) -> Records:
    """`run_one`, one after the other."""
    return [run_one(*job) for job in jobs]


def table(
    names: list[str],
    retain: float,
    seeds: range,
    selection_seeds: range,
    root: str | None,
    store: Store,
    n_jobs: int,
    batch: int = 1,
    device: str = "cpu",
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
            return store.run(jobs, n_jobs, batch, device)

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
    parser.add_argument("names", nargs="+", type=data_set)
    parser.add_argument("--retain", type=share, help="share of edges kept (citations); default: 0")
    parser.add_argument("--seeds", type=count, default=3)
    parser.add_argument(
        "--selection-seeds", type=count, default=3, help="seeds a choice is made on"
    )
    parser.add_argument("--root", type=existing_folder, help="folder with the data sets")
    parser.add_argument("--out", type=output_file, default=Path("table.jsonl"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--batch", type=count, default=1, help="runs of LDS side by side in a job")
    parser.add_argument("--device", default="cpu", help="of runs side by side")
    arguments = parser.parse_args()
    check_retain(parser, arguments.retain, arguments.names, CITATION)
    store = Store(arguments.out)
    seeds = range(arguments.seeds)
    selection = range(min(arguments.seeds, arguments.selection_seeds))
    lines = table(
        arguments.names,
        0.0 if arguments.retain is None else arguments.retain,
        seeds,
        selection,
        None if arguments.root is None else str(arguments.root),
        store,
        arguments.jobs,
        arguments.batch,
        arguments.device,
    )
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
