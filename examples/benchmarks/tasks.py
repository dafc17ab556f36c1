"""Compare a batch of few-shot inner problems by vmap with a loop over tasks (Algorithm 5).

    python examples/benchmarks/tasks.py

Each problem is the hypergradient of a representation (convolutions of stride 2) through T steps of
a linear classifier on the support set of a 5-way episode, averaged over the tasks. Both sides
compute the same numbers, which is checked in float64; CPU seconds are the least of the repeats, on
one thread.
A loop has the overhead of every operation once a task, so the time that vmap saves depends on the
work of an operation: `--width` (filters) and `--queries` set it. One JSON line a problem.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from lds import bilevel

WAYS = 5


def main() -> None:
    """Measure every width asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=32)
    parser.add_argument("--width", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--queries", type=int, default=1, help="a class")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for width in arguments.width:
        settings = {name: value for name, value in vars(arguments).items() if name != "repeats"}
        print(json.dumps(settings | {"width": width} | measure(arguments, width)), flush=True)


def measure(arguments: argparse.Namespace, width: int) -> dict[str, float]:
    """Seconds of both sides, their ratio, and how far the hypergradients are apart."""
    torch.manual_seed(0)
    n = arguments.tasks
    apply, hyper = bilevel.functional(network(width))
    tasks = {
        "support": torch.rand(n, WAYS * arguments.shots, 1, 28, 28),
        "query": torch.rand(n, WAYS * arguments.queries, 1, 28, 28),
    }
    first = {"weight": torch.zeros(4 * width, WAYS), "bias": torch.zeros(WAYS)}
    given = (tasks, first, hyper)

    def loss(w: Any, lam: Any, images: Tensor) -> Tensor:
        classes = torch.arange(WAYS, device=images.device).repeat(len(images) // WAYS)
        return F.cross_entropy(apply(lam, images) @ w["weight"] + w["bias"], classes)

    def inner(w: Any, lam: Any, task: Any) -> Tensor:
        return loss(w, lam, task["support"])

    def outer(w: Any, lam: Any, task: Any) -> Tensor:
        return loss(w, lam, task["query"])

    def by_vmap(tasks: Any, first: Any, hyper: Any) -> Any:
        total, mean = bilevel.over_tasks(inner, outer, tasks)
        dynamics = bilevel.GradientDescent(total, lr=0.4)
        start = bilevel.stacked(first, n)
        return bilevel.hypergradient(dynamics, mean, start, hyper, arguments.steps).grad

    def by_loop(tasks: Any, first: Any, hyper: Any) -> Any:
        summed = tree_map(torch.zeros_like, hyper)
        for k in range(n):
            one = tree_map(lambda images, k=k: images[k], tasks)
            grad = bilevel.hypergradient(
                bilevel.GradientDescent(lambda w, lam, one=one: inner(w, lam, one), lr=0.4),
                lambda w, lam, one=one: outer(w, lam, one),
                first,
                hyper,
                arguments.steps,
            ).grad
            summed = tree_map(torch.add, summed, grad)
        return tree_map(lambda leaf: leaf / n, summed)

    precise = tree_map(lambda leaf: leaf.double(), given)
    ours, theirs = by_vmap(*precise), by_loop(*precise)
    apart = max(float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in hyper)
    if not apart < 1e-9:
        raise ArithmeticError(f"the hypergradients differ by {apart:.1e}")
    given = tree_map(lambda leaf: leaf.to(arguments.device), given)
    vmap = seconds(lambda: by_vmap(*given), arguments)
    loop = seconds(lambda: by_loop(*given), arguments)
    return {"vmap": vmap, "loop": loop, "ratio": loop / vmap, "difference": apart}


def network(width: int) -> nn.Sequential:
    """Four convolutions of stride 2, from 28 x 28 to 2 x 2."""
    blocks: list[nn.Module] = []
    for channels in (1, width, width, width):
        blocks += [nn.Conv2d(channels, width, 3, 2, 1), nn.GroupNorm(1, width), nn.ReLU()]
    return nn.Sequential(*blocks, nn.Flatten())


def seconds(work: Callable[[], Any], arguments: argparse.Namespace) -> float:
    """Least time of a call, after one to warm up; on a GPU, of the wall clock."""
    gpu = torch.device(arguments.device).type == "cuda"
    clock = time.perf_counter if gpu else time.process_time
    found = []
    for _ in range(1 + arguments.repeats):
        started = clock()
        work()
        if gpu:
            torch.cuda.synchronize()
        found.append(clock() - started)
    return min(found[1:])


if __name__ == "__main__":
    main()
