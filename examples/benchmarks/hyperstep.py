"""Compare one hypergradient step of LDS with dense autograd, in time and memory, on the same work.

A hyperstep is τ inner Adam steps, a fresh graph drawn at each, the hypergradient of θ through all
of them, and the projected update of θ. Each side runs in a process of its own, in turns:

    python examples/benchmarks/hyperstep.py --data cora --root DATA --threads 1
    python examples/benchmarks/hyperstep.py --nodes 4000 --features 500 --classes 5 --degree 10

`seconds` is the median over the repeats; `cpu_seconds` the same for CPU time, which depends
less on other processes of the machine. `extra_mb` is the peak of resident memory in the steps
minus the memory before them, with data and θ in place, `peak_mb` the peak itself.

A sparse support is first grown to its budget. `growth_seconds` is the further CPU time of a
hyperstep that grows the support (every fifth does), and is not part of `seconds`. `scaling.py` runs
this at several sizes.

Without `--data` the problem is a stochastic block model: of a node's edges seven in ten stay within
its class; 20 training and 36 validation rows a class; features around class means, dense up to 200
of them, else 50 random words a row.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIDES = ("lds", "dense")


def main() -> None:
    """Run both sides in processes of their own and print the comparison."""
    arguments = parse()
    if arguments.side:
        print(json.dumps(measure(arguments)))
        return
    report: dict[str, Any] = {"support": arguments.support, "truncation": arguments.truncation}
    for side in SIDES if arguments.dense else SIDES[:1]:
        measured = run_side(side)
        if measured is not None:
            report[side] = measured
    if "dense" in report:
        for name in ("seconds", "cpu_seconds"):
            report[f"ratio_{name}"] = report["dense"][name] / report["lds"][name]
        report["ratio_extra_mb"] = report["lds"]["extra_mb"] / report["dense"]["extra_mb"]
    if arguments.json:
        print(json.dumps(report))
        return
    for side in SIDES:
        if side in report:
            row = report[side]
            print(
                f"{side:6s} {row['seconds']:8.3f} s a hyperstep ({row['cpu_seconds']:.3f} s CPU)"
                f"   peak {row['peak_mb']:8.0f} MB"
                f"   extra {row['extra_mb']:8.0f} MB"
            )
    if "growth_seconds" in report["lds"]:
        print(
            f"growth {report['lds']['growth_seconds']:8.3f} s each time, "
            f"{report['lds']['pairs']:,} pairs"
        )
    if "dense" in report:
        print(
            f"lds is {report['ratio_seconds']:.1f} times faster "
            f"({report['ratio_cpu_seconds']:.1f} by CPU time) and needs "
            f"{100 * report['ratio_extra_mb']:.0f} % of the extra memory"
        )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_problem_options(parser)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dense", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def add_problem_options(parser: argparse.ArgumentParser) -> None:
    """What is worked on; `problem` and `lds_side` read these."""
    parser.add_argument("--data", help="a data set by name, e.g. cora; without it one is generated")
    parser.add_argument("--root", help="folder with the data sets")
    parser.add_argument("--nodes", type=int, default=2708)
    parser.add_argument("--features", type=int, default=1433)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument(
        "--degree", type=float, default=15, help="mean degree of the generated graph"
    )
    parser.add_argument("--support", choices=["all", "sparse"], default="all")
    parser.add_argument("--pairs-per-node", type=int, default=20, help="of the sparse support")
    parser.add_argument("--truncation", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)


def run_side(side: str) -> dict[str, float] | None:
    """One side in a fresh process; None where dense matrices do not fit into memory."""
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        if side == "dense" and ("memory" in result.stderr or result.returncode < 0):
            return None
        sys.exit(f"{side} failed:\n{result.stderr}")
    measured: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return measured


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds and memory of one side, in this process."""
    import psutil
    import torch

    torch.set_num_threads(arguments.threads)
    features, labels, train, validation, start = problem(arguments)
    if (
        arguments.side == "dense"
        and features.shape[0] ** 2 * 80 > psutil.virtual_memory().available
    ):
        raise SystemExit("dense matrices do not fit into memory")
    make = lds_side if arguments.side == "lds" else dense_side
    hyperstep = make(features, labels, train, validation, start, arguments)
    before = psutil.Process().memory_info().rss
    restarts = getattr(hyperstep, "restarts", None)
    growth = getattr(restarts and restarts.variables.edges, "growth", None)
    if growth is not None:
        fill(hyperstep, growth, arguments.repeats + 1)
    reset_peak()
    hyperstep(0)
    found = median_seconds(hyperstep, range(1, arguments.repeats + 1))
    peak = peak_bytes()
    found |= {"peak_mb": peak / 2**20, "extra_mb": (peak - before) / 2**20}
    if growth is not None:
        growth.every = 1
        growing = median_seconds(hyperstep, range(100, 103))
        found["growth_seconds"] = growing["cpu_seconds"] - found["cpu_seconds"]
        found["growth_peak_mb"] = peak_bytes() / 2**20
        found["pairs"] = restarts.variables.edges.pairs.n_pairs
    return found


def fill(hyperstep: Any, growth: Any, seed: int) -> None:
    """Grow at every hyperstep until the support has all the pairs it may have; then no more."""
    edges = hyperstep.restarts.variables.edges
    growth.every = 1
    for k in range(10):
        if edges.pairs.n_pairs >= growth.budget:
            break
        hyperstep(seed + k)
    growth.every = sys.maxsize


def median_seconds(hyperstep: Any, seeds: range) -> dict[str, float]:
    """The medians of the seconds and CPU seconds of one hyperstep a seed."""
    wall, cpu = [], []
    for seed in seeds:
        started, busy = time.perf_counter(), time.process_time()
        hyperstep(seed)
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - busy)
    middle = len(wall) // 2
    return {"seconds": sorted(wall)[middle], "cpu_seconds": sorted(cpu)[middle]}


def reset_peak() -> None:
    """Forget the peak of resident memory so far (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Peak of resident memory since `reset_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc/self/status: memory is measured on Linux only")


def problem(arguments: argparse.Namespace) -> tuple[Any, Any, Any, Any, Any]:
    """Features, labels, train and validation rows, and the starting graph."""
    import numpy as np
    import scipy.sparse as sp

    from lds.graphs.knn import knn_adjacency

    if arguments.data:
        from lds.datasets.registry import load

        data = load(arguments.data, root=arguments.root, retain=0)
        split = data.split
        start = knn_adjacency(data.features, 10, "cosine")
        return data.features, data.labels, split.train, split.validation, start
    rng = np.random.default_rng(0)
    n, classes = arguments.nodes, arguments.classes
    labels = rng.integers(0, classes, n)
    if arguments.features <= 200:
        means = rng.standard_normal((classes, arguments.features), dtype=np.float32)
        features = means[labels] + rng.standard_normal((n, arguments.features), dtype=np.float32)
    else:
        words = rng.integers(0, arguments.features, (n, 50))
        parts = (np.full(words.size, 0.02, np.float32), words.ravel(), np.arange(0, 50 * n + 1, 50))
        features = sp.csr_array(parts, shape=(n, arguments.features))
        features.sum_duplicates()
    half = round(n * arguments.degree / 2)
    row, col = rng.integers(0, n, half), rng.integers(0, n, half)
    order = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[order], np.arange(classes + 1))
    size = np.diff(first)[labels[row]]
    same = order[first[labels[row]] + (rng.random(half) * size).astype(np.int64)]
    col = np.where(rng.random(half) < 0.7, same, col)
    graph = sp.coo_array((np.ones(half, np.float32), (row, col)), (n, n)).tocsr()
    start = sp.csr_array((graph + graph.T) > 0).astype(np.float32)
    start.setdiag(0)
    start.eliminate_zeros()
    rows = rng.permutation(n)
    return features, labels, rows[: 20 * classes], rows[20 * classes : 56 * classes], start


def lds_side(
    features: Any, labels: Any, train: Any, validation: Any, start: Any, arguments: Any
) -> Any:
    """One inner run of the library, of one window: a function of the number of the iteration.

    Its attribute `restarts` has the task and the distribution of edges.
    """

    from lds._types import Split
    from lds.structure.context import RunContext
    from lds.structure.inner_run import SequentialInnerRun
    from lds.structure.methods.thesis import Thesis
    from lds.structure.methods.thesis_run import restarts_of
    from lds.structure.problem import Problem

    method = Thesis(
        truncation=arguments.truncation,
        max_inner=arguments.truncation,
        support=arguments.support,
        pairs_per_node=arguments.pairs_per_node,
    )
    half = len(validation) // 2  # a problem has early-stopping rows; an inner run reads none
    split = Split(train, validation[:half], validation[half:], validation[:0])
    given = Problem(features, labels, split, start)
    restarts = restarts_of(method, given, start, RunContext())
    inner_run = SequentialInnerRun(restarts.task, restarts.variables, method, 0)

    def hyperstep(seed: int) -> Any:
        return inner_run(seed, train, validation)

    hyperstep.restarts = restarts
    return hyperstep


def dense_side(
    features: Any, labels: Any, train: Any, validation: Any, start: Any, arguments: Any
) -> Any:
    """The same step written plainly: dense matrices, and autograd through the whole window."""
    import math

    import scipy.sparse as sp
    import torch
    from torch.nn.functional import cross_entropy, dropout

    features = sp.csr_array(features)
    x = torch.sparse_csr_tensor(
        *(torch.tensor(part) for part in (features.indptr, features.indices, features.data)),
        features.shape,
    )
    y, n = torch.as_tensor(labels), features.shape[0]
    tr, va = torch.as_tensor(train), torch.as_tensor(validation)
    theta = torch.tensor(start.toarray())

    def draw() -> torch.Tensor:
        upper = (torch.rand(n, n) < theta).float().triu(1)
        return (upper + upper.T).requires_grad_()

    def logits(a: torch.Tensor, w: list[torch.Tensor], p: float) -> torch.Tensor:
        looped = a + torch.eye(n)
        scale = looped.sum(1).rsqrt()
        a_hat = scale[:, None] * looped * scale[None, :]
        z = SparseLinear.apply(w[0], x, dropout(x.values(), p) if p else x.values())
        hidden = dropout(torch.relu(a_hat @ z), p)
        return a_hat @ (hidden @ w[1])

    class SparseLinear(torch.autograd.Function):
        """X W with sparse X, so that the comparison is about the graph and not about X."""

        @staticmethod
        def forward(ctx: Any, weight: Any, pattern: Any, values: Any, flip: bool = False) -> Any:
            ctx.rest = (pattern, values, flip)
            matrix = torch.sparse_csr_tensor(
                pattern.crow_indices(), pattern.col_indices(), values, pattern.shape
            )
            return (matrix.t() if flip else matrix) @ weight

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            pattern, values, flip = ctx.rest
            return SparseLinear.apply(grads[0], pattern, values, not flip), None, None, None

    def hyperstep(seed: int) -> None:
        torch.manual_seed(seed)
        shapes = [(features.shape[1], 16), (16, int(labels.max()) + 1)]
        w = [((2 * torch.rand(s) - 1) * math.sqrt(6 / sum(s))).requires_grad_() for s in shapes]
        m, v = ([torch.zeros(s) for s in shapes] for _ in range(2))
        graphs = []
        for t in range(1, arguments.truncation + 1):
            graphs.append(draw())
            loss = cross_entropy(logits(graphs[-1], w, 0.5)[tr], y[tr])
            loss = loss + 5e-4 * 0.5 * w[0].square().sum()
            grads = torch.autograd.grad(loss, w, create_graph=True)
            m = [0.9 * a + 0.1 * g for a, g in zip(m, grads, strict=True)]
            v = [0.999 * a + 0.001 * g * g for a, g in zip(v, grads, strict=True)]
            w = [
                a
                - 0.01 * (b / (1 - 0.9**t)) / ((c + 1e-16).sqrt() / math.sqrt(1 - 0.999**t) + 1e-8)
                for a, b, c in zip(w, m, v, strict=True)
            ]
        graphs.append(draw())
        outer = cross_entropy(logits(graphs[-1], w, 0.0)[va], y[va])
        total = sum(torch.autograd.grad(outer, graphs))
        theta.sub_(total + total.T).clamp_(0, 1)

    return hyperstep


if __name__ == "__main__":
    main()
