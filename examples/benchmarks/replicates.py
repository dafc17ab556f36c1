"""Compare R runs side by side in one batch with a loop over the same R runs.

    python examples/benchmarks/replicates.py --data cora --root DATA --runs 10
    python examples/benchmarks/replicates.py --data iris --runs 80 --support sparse --device cuda

Both sides learn with the seeds 0, 1, ... and step sizes in turn, each run with the same number of
inner steps, in one process and in turns; seconds and CPU seconds are medians of all that a run
does, with loading the data onto the device and predictions. `operations` is how many operations
torch starts for an inner step of all R runs, with its share of a hypergradient and without views.
A GPU that executes small operations waits for them to be started.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

import hyperstep
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

INNER_LRS = (0.005, 0.01, 0.02)


class Count(TorchDispatchMode):
    """Counts operations in its block."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One operation, counted and done."""
        self.operations += not func.is_view
        return func(*args, **(kwargs or {}))


def main() -> None:
    """Print one JSON object."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    from lds.structure.learn import learn
    from lds.structure.learn_many import learn_many

    runs = problem(arguments)

    def batch(runs: list[Any]) -> list[Any]:
        return learn_many(runs, batch=arguments.batch, device=arguments.device)

    def loop(runs: list[Any]) -> list[Any]:
        return [
            learn(run.problem, run.method, seed=run.seed, device=arguments.device) for run in runs
        ]

    sides: dict[str, Callable[[list[Any]], list[Any]]] = {"batch": batch, "loop": loop}
    wall: dict[str, list[float]] = {name: [] for name in sides}
    busy: dict[str, list[float]] = {name: [] for name in sides}
    accuracy = {}
    for side in sides.values():  # once apart from the measurement: libraries, tables, caches
        side([with_steps(run, arguments.truncation) for run in runs[:2]])
    for _ in range(arguments.repeats):
        for name, side in sides.items():
            synchronize(arguments.device)
            started, worked = time.perf_counter(), time.process_time()
            results = side(runs)
            synchronize(arguments.device)
            wall[name].append(time.perf_counter() - started)
            busy[name].append(time.process_time() - worked)
            accuracy[name] = mean_accuracy(results, runs)
    report: dict[str, Any] = {"runs": len(runs), "device": arguments.device}
    for key, of in (("", wall), ("cpu_", busy)):
        middle = {name: sorted(values)[len(values) // 2] for name, values in of.items()}
        report |= {f"{key}seconds": middle, f"{key}ratio": middle["loop"] / middle["batch"]}
    report["accuracy"] = accuracy
    report["operations"] = {name: operations(side, runs, arguments) for name, side in sides.items()}
    print(json.dumps(report))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    hyperstep.add_problem_options(parser)
    parser.add_argument("--runs", type=int, default=10, help="R")
    parser.add_argument("--batch", type=int, help="runs side by side at most; all by default")
    parser.add_argument("--steps", type=int, default=100, help="inner steps of an outer iteration")
    parser.add_argument("--iterations", type=int, default=1, help="outer iterations of each run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    return parser.parse_args()


def problem(arguments: argparse.Namespace) -> list[Any]:
    """Runs on the same features and labels."""
    from lds._types import Split
    from lds.structure.learn_many import Run
    from lds.structure.methods.thesis import Thesis
    from lds.structure.problem import Problem

    if arguments.data:
        from lds.datasets.registry import load
        from lds.experiments.table import CITATION
        from lds.graphs.knn import knn_adjacency

        kept = 0 if arguments.data in CITATION else None
        data = [
            load(arguments.data, seed=seed, root=arguments.root, retain=kept)
            for seed in range(arguments.runs)
        ]
        features, labels = data[0].features, data[0].labels
        start, splits = knn_adjacency(features, 10, "cosine"), [one.split for one in data]
    else:
        features, labels, train, validation, start = hyperstep.problem(arguments)
        half = len(validation) // 2
        rest = np.setdiff1d(np.arange(len(labels)), np.concatenate([train, validation]))
        splits = [Split(train, validation[:half], validation[half:], rest)] * arguments.runs
    runs = []
    for seed, split in enumerate(splits):
        method = Thesis(
            inner_lr=INNER_LRS[seed % 3],
            truncation=arguments.truncation,
            support=arguments.support,
            pairs_per_node=arguments.pairs_per_node,
            max_inner=arguments.steps,
            inner_patience=arguments.steps,
            max_iter=arguments.iterations,
        )
        runs.append(Run(Problem(features, labels, split, start), method, seed))
    return runs


def with_steps(run: Any, n_steps: int) -> Any:
    """The same run with another number of inner steps, in one outer iteration."""
    method = dataclasses.replace(run.method, max_inner=max(1, n_steps), max_iter=1)
    return dataclasses.replace(run, method=method)


def operations(side: Any, runs: list[Any], arguments: argparse.Namespace) -> float:
    """Operations started for one more inner step of all runs, from what 10 more windows take."""
    window, counts = max(1, arguments.truncation), []
    for n_windows in (2, 12):
        with Count() as count:
            side([with_steps(run, n_windows * window) for run in runs])
        counts.append(count.operations)
    return (counts[1] - counts[0]) / (10 * window)


def mean_accuracy(results: list[Any], runs: list[Any]) -> float:
    """Over the runs, on the rows without a role."""
    right = [
        result.probabilities.argmax(1) == run.problem.labels
        for result, run in zip(results, runs, strict=True)
    ]
    of_runs = zip(right, runs, strict=True)
    return float(np.mean([rows[run.problem.split.test].mean() for rows, run in of_runs]))


def synchronize(device: str) -> None:
    """Wait for a GPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
