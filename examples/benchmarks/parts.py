"""Time the parts of a hyperstep, and compare each with the least that its work can take.

    python examples/benchmarks/parts.py --data cora --root DATA --support all

Operations and bytes are counted from the problem's sizes, each operand once per use and every
result once; the floor of a part is the longer time of the two on one core of this machine, whose
speed is measured at the start: a float32 matrix product, and a copy of 256 MB. `seconds` of a part
leave out the parts inside it; they are CPU time, the median of the hypersteps.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hyperstep
import numpy as np
import torch

PARTS = ("sampling", "inner steps", "reverse sweep", "factors", "factor product", "update of θ")


class Clock:
    """CPU seconds of nested parts, each without those inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack: list[str] = []
        self._since = time.process_time()

    def _switch(self) -> None:
        now = time.process_time()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time spent in this block belongs to `name`."""
        self._switch()
        self._stack.append(name)
        try:
            yield
        finally:
            self._switch()
            self._stack.pop()

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Let every call of a function belong to `name`."""
        function: Callable[..., Any] = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        setattr(owner, attribute, timed)


def main() -> None:
    """Print the table."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    problem = hyperstep.problem(arguments)
    run = hyperstep.lds_side(*problem, arguments)
    restarts = run.restarts
    grow_to_budget(restarts, run)
    for warm in range(3):
        run(warm)
    clock = watched()
    seconds: dict[str, list[float]] = defaultdict(list)
    for seed in range(arguments.repeats):
        clock.seconds.clear()
        with clock.part("rest"):
            run(3 + seed)
        for name, value in clock.seconds.items():
            seconds[name].append(value)
    measured = {name: float(np.median(values)) for name, values in seconds.items()}
    peak, bandwidth = machine()
    print(f"{peak / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.1f} GB/s, {arguments.support} pairs")
    print("| part | MFLOP | MB | floor ms | measured ms | times the floor |")
    print("|---|---:|---:|---:|---:|---:|")
    total_floor = total = 0.0
    for name in PARTS:
        flops, size = needed(name, restarts, problem, arguments)
        floor = max(flops / peak, size / bandwidth)
        total_floor, total = total_floor + floor, total + measured[name]
        print(row(name, f"{flops / 1e6:.0f}", f"{size / 1e6:.1f}", floor, measured[name]))
    rest = sum(measured.values()) - total
    print(f"| weights, bookkeeping | | | | {1e3 * rest:.1f} | |")
    print(row("hyperstep", "", "", total_floor, total + rest))


def row(name: str, flops: str, size: str, floor: float, seconds: float) -> str:
    """A line of the table."""
    return (
        f"| {name} | {flops} | {size} | {1e3 * floor:.2f} | {1e3 * seconds:.1f} "
        f"| {seconds / floor:.1f} |"
    )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    hyperstep.add_problem_options(parser)
    parser.add_argument("--repeats", type=int, default=30)
    return parser.parse_args()


def grow_to_budget(restarts: Any, run: Callable[[int], Any]) -> None:
    """Fill a sparse support, and let it grow no more."""
    growth = getattr(restarts.variables.edges, "growth", None)
    if growth is not None:
        growth.every = 1
        run(10_000)
        growth.every = 1 << 60


def watched() -> Clock:
    """A clock on the functions that do each part."""
    import lds.edges.recorder
    import lds.structure.inner_run
    from lds.bilevel.reverse import Reverse
    from lds.bilevel.step import Step
    from lds.bilevel.taped import TapedStep
    from lds.edges.free import FreeEdges
    from lds.edges.sampler import EdgeSampler
    from lds.graphs.candidates import AllPairs, PairList

    clock = Clock()
    for step in (Step, TapedStep):
        clock.watch(step, "run", "inner steps")
    clock.watch(Reverse, "gradient", "reverse sweep")
    clock.watch(lds.structure.inner_run, "evaluate", "reverse sweep")
    clock.watch(lds.edges.recorder, "factored_gradient", "factors")
    clock.watch(EdgeSampler, "_build", "sampling")
    clock.watch(FreeEdges, "step", "update of θ")
    for kind in (AllPairs, PairList):
        clock.watch(kind, "add_products", "factor product")
    return clock


def machine() -> tuple[float, float]:
    """Operations and bytes a second of one core: the best of several tries."""
    a = torch.rand(1500, 1500)
    source = torch.rand(1 << 25)
    target = torch.empty_like(source)
    product = best(lambda: torch.mm(a, a))
    copy = best(lambda: target.copy_(source))
    return 2 * 1500**3 / product, 8 * source.numel() / copy


def best(work: Callable[[], Any]) -> float:
    """CPU seconds of the fastest of ten calls."""
    seconds = []
    for _ in range(10):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def needed(name: str, restarts: Any, problem: Any, arguments: Any) -> tuple[float, float]:
    """Operations and bytes of a part, over the whole hyperstep."""
    features = problem[0]
    tau = arguments.truncation
    edges, h = restarts.variables.edges, restarts.options.hidden_channels
    n, c = features.shape[0], int(problem[1].max()) + 1
    nnz_x = int(np.count_nonzero(features.data if hasattr(features, "indptr") else features))
    n_weights = features.shape[1] * h + h * c
    n_edges = edges.expected_edges
    entries = 2 * n_edges + n
    # One product with Â, or with X: its entries (4 + 4 bytes each), thin input and output.
    a_hat = np.array([2 * entries * h, 8 * entries + 8 * n * h])
    a_out = np.array([2 * entries * c, 8 * entries + 8 * n * c])
    x_w = np.array([2 * nnz_x * h, 8 * nnz_x + 4 * n * h + 4 * features.shape[1] * h])
    h_w = np.array([2 * n * h * c, 4 * n * (h + c)])
    # Forward: X W1, Â, ReLU and dropout, W2, Â. Backward: Â, two with W2, mask, Â, Xᵀ.
    thin = np.array([4 * n * h, 16 * n * h])
    gradient = 2 * x_w + 2 * a_hat + 2 * a_out + 3 * h_w + 2 * thin
    masks = np.array([nnz_x + n * h, 8 * (nnz_x + n * h)])
    adam = np.array([12 * n_weights, 28 * n_weights])
    width = 2 * (h + c)
    stored = edges.probs.numel()
    pairs = edges.pairs
    n_pairs = getattr(pairs, "n_pairs", n * (n - 1) // 2)
    rank = 2 * (width * tau + h + c) + 2  # both orders of each factor, and the two of c
    counts = {
        # Uniforms and places of the edges, both directions sorted into CSR, values and degrees.
        "sampling": (tau + 1) * np.array([3 * entries, 16 * n_edges + 16 * entries + 8 * n]),
        "inner steps": tau * (gradient + masks + adam),
        # One derivative of every product and of Adam, and E forward and back.
        "reverse sweep": tau * (gradient + 2 * adam) + gradient,
        # The scaled U and V; c, from those and the products with both, made before.
        "factors": (tau + 1) * np.array([8 * n * width, 24 * n * width]),
        "factor product": np.array([2 * n_pairs * rank, 8 * n * rank + 8 * n_pairs]),
        # Clip, and read once more for the sums that drawing needs.
        "update of θ": np.array([3 * n_pairs, 12 * stored]),
    }
    flops, size = counts[name]
    return float(flops), float(size)


if __name__ == "__main__":
    main()
