"""Time LDS on a GPU, where starting an operation takes longer than executing it.

    python examples/benchmarks/gpu.py --data cora --root DATA --device cuda
    python examples/benchmarks/gpu.py --parts windows predictions --nodes 300 --device cpu

It prints one JSON object for each part:

- `windows`: milliseconds of an inner step, with its share of drawing and of the hypergradient, for
  1 run and for `--runs` side by side; windows recorded as a CUDA graph, in turns with the same
  windows started kernel by kernel. On a GPU also the number of kernels of an inner step and the
  share of the time in which a kernel runs. (On a CPU nothing is recorded.)
- `predictions`: the mean over 16 drawn graphs as one batch and as a loop.
- `run`: the thesis's method from its kNN graph to the early stop, seed 0: seconds in all.
- `grid`: the thesis's 16 settings for graphs that are not given (k, metric, tau, eta) on `--seeds`
  seeds each, in batches.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hyperstep
import numpy as np
import replicates
import torch

GRID = {
    "n_neighbors": (10, 20),
    "metric": ("cosine", "euclidean"),
    "truncation": (5, 10),
    "outer_lr": (1.0, 0.3),
}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    hyperstep.add_problem_options(parser)
    parts: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "windows": windows,
        "predictions": predictions,
        "run": run,
        "grid": grid,
    }
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runs", type=int, default=80, help="side by side in `windows`")
    parser.add_argument("--repeats", type=int, default=10, help="windows, predictions timed")
    parser.add_argument("--seeds", type=int, default=5, help="of every setting in `grid`")
    parser.add_argument("--max-iter", type=int, help="outer iterations of a run at most")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    gpu = torch.device(arguments.device).type == "cuda"
    name = torch.cuda.get_device_name(arguments.device) if gpu else "CPU"
    print(json.dumps({"device": name, "torch": torch.__version__}), flush=True)
    for part in arguments.parts:
        print(json.dumps({part: parts[part](arguments)}), flush=True)


def windows(arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of an inner step, captured and not."""
    report: dict[str, Any] = {}
    for n_runs in sorted({1, arguments.runs}):
        runs = problem(arguments, n_runs)
        sides = {name: batch_of(runs, arguments) for name in ("captured", "one by one")}
        sides["one by one"]._capture = None
        ms: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(arguments.repeats + 2):  # the first ones warm up and capture
            for name, batch in sides.items():
                seconds = timed(lambda batch=batch: window(batch), arguments.device)
                if turn > 1:
                    ms[name].append(1000 * seconds / arguments.truncation)
        found: dict[str, Any] = {name: float(np.median(values)) for name, values in ms.items()}
        found["ratio"] = found["one by one"] / found["captured"]
        found["was captured"] = sides["captured"]._captured is not None
        if torch.device(arguments.device).type == "cuda":
            found["kernels"] = {name: kernels(batch, arguments) for name, batch in sides.items()}
        report[f"{n_runs} runs"] = found
    return report


def batch_of(runs: list[Any], arguments: argparse.Namespace) -> Any:
    """Runs in one batch, none of which ends."""
    from lds.structure.context import RunContext
    from lds.structure.methods.thesis_run import restarts_of, thesis_task
    from lds.structure.side_by_side.batch import Batch, BatchedRun

    device = torch.device(arguments.device)
    context = RunContext(device=device)
    task = thesis_task(runs[0].method, runs[0].problem, context)
    batched = []
    for index, run in enumerate(runs):
        given = (run.method, run.problem, run.problem.graph, replace(context, seed=run.seed))
        variables = restarts_of(*given, task=task).variables
        rows = (run.problem.split.train, run.problem.split.validation)
        batched.append(BatchedRun(index, task, variables, run.method, run.seed, *rows))
    return Batch(batched)


def window(batch: Any) -> None:
    """A window in which no run may end."""
    if batch.window():
        raise SystemExit("a run ended within the measurement")


def kernels(batch: Any, arguments: argparse.Namespace, n_windows: int = 5) -> dict[str, float]:
    """How many kernels an inner step is, and the share of the time in which one runs."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        seconds = timed(lambda: [window(batch) for _ in range(n_windows)], arguments.device)
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiled.events() or []
        if event.device_type == DeviceType.CUDA
    )
    busy, reached = 0.0, 0.0
    for start, end in spans:  # kernels may overlap
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return {
        "of an inner step": len(spans) / (n_windows * arguments.truncation),
        "share of the time": busy / 1e6 / seconds,
    }


def predictions(arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of the mean over 16 graphs."""
    from lds.structure.predict import predict_proba

    batch = batch_of(problem(arguments, 1), arguments)
    task, edges = batch.runs[0].task, batch.runs[0].edges
    params = batch._window.weights(batch._state, 0)
    n_draws = batch.runs[0].method.n_draws

    def together(seed: int) -> None:
        predict_proba(task, params, edges, n_draws, seed)

    def each(seed: int) -> None:
        graphs = range(n_draws * seed, n_draws * (seed + 1))
        torch.stack([predict_proba(task, params, edges, 1, k) for k in graphs]).mean(0)

    ms: dict[str, list[float]] = {"batch": [], "loop": []}
    for seed in range(arguments.repeats + 1):  # the first one warms up
        for name, predict in (("batch", together), ("loop", each)):
            seconds = timed(lambda predict=predict, seed=seed: predict(seed), arguments.device)
            if seed:
                ms[name].append(1000 * seconds)
    found = {name: float(np.median(values)) for name, values in ms.items()}
    return found | {"n_draws": n_draws, "ratio": found["loop"] / found["batch"]}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """One run, nothing made before it: captures and libraries included."""
    from lds.structure.learn import learn

    (only,) = settings(arguments, [{}], 1)
    found: dict[str, Any] = {}

    def whole() -> None:
        found["result"] = learn(only.problem, only.method, seed=only.seed, device=arguments.device)

    seconds = timed(whole, arguments.device)
    result = found["result"]
    n_steps = sum(record.inner_steps for record in result.history)
    return {
        "seconds": seconds,
        "outer_iterations": len(result.history),
        "inner_steps": n_steps,
        "ms_an_inner_step": 1000 * seconds / n_steps,
        "reason": result.reason,
        "test_accuracy": replicates.mean_accuracy([result], [only]),
    }


def grid(arguments: argparse.Namespace) -> dict[str, Any]:
    """All settings and seeds, batches of what can share one."""
    from lds.structure.learn_many import learn_many

    points = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    runs = settings(arguments, points, arguments.seeds)
    found: dict[str, Any] = {}

    def whole() -> None:
        found["results"] = learn_many(runs, device=arguments.device)

    seconds = timed(whole, arguments.device)
    ended = [
        (result, run)
        for result, run in zip(found["results"], runs, strict=True)
        if not isinstance(result, ArithmeticError)
    ]
    results, ended_runs = zip(*ended, strict=True)
    n_steps = [sum(record.inner_steps for record in result.history) for result in results]
    return {
        "runs": len(runs),
        "not_finite": len(runs) - len(ended),
        "seconds": seconds,
        "inner_steps": sum(n_steps),
        "longest": max(n_steps),
        "mean_test_accuracy": replicates.mean_accuracy(results, ended_runs),
    }


def settings(
    arguments: argparse.Namespace, points: list[dict[str, Any]], n_seeds: int
) -> list[Any]:
    """A run to its early stop for each setting and seed."""
    from lds.graphs.knn import knn_adjacency
    from lds.structure.learn_many import Run
    from lds.structure.methods.thesis import Thesis
    from lds.structure.problem import Problem

    seeds = problem(arguments, n_seeds)
    features, labels = seeds[0].problem.features, seeds[0].problem.labels
    limit = {} if arguments.max_iter is None else {"max_iter": arguments.max_iter}
    runs = []
    for point in points:
        options = {"support": arguments.support, "truncation": arguments.truncation} | point | limit
        start = knn_adjacency(features, point.get("n_neighbors", 10), point.get("metric", "cosine"))
        for seed, one in enumerate(seeds):
            given = Problem(features, labels, one.problem.split, start)
            runs.append(Run(given, Thesis(**options), seed))
    return runs


def problem(arguments: argparse.Namespace, n_runs: int) -> list[Any]:
    """Runs on the same features and labels, seeds 0, 1, ..., whose inner runs do not end."""
    options = vars(arguments) | {"runs": n_runs, "steps": 10**9, "iterations": 1}
    return replicates.problem(argparse.Namespace(**options))


def timed(work: Callable[[], Any], device: str) -> float:
    """Seconds of a call, a GPU waited for."""
    replicates.synchronize(device)
    started = time.perf_counter()
    work()
    replicates.synchronize(device)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
