"""Peak memory of 10 million hyperparameters, in multiples of their size.

Run:
    python examples/benchmarks/many_hyperparameters.py [--count 10000000] [--method ...]

A weight for each example of a linear regression on one feature, so that nothing but the weights is
large; inner batches are fixed slices. `plain` is a loop of torch's own on the same problem: the
gradient of a loss by as many numbers, and the optimiser. Each row is a process of its own, and
counts the resident memory above that before the loop, which includes the data and the first values
of the hyperparameters.
"""

import argparse
import functools
import json
import resource
import subprocess
import sys

import psutil
import torch

from lds import bilevel

OPTIMIZERS = {
    "SGD": torch.optim.SGD,
    "Adam": torch.optim.Adam,
    "fused Adam": functools.partial(torch.optim.Adam, fused=True),
}
"""The last is the default of `solve` for a million hyperparameters or more."""

METHODS = {
    "Reverse": (bilevel.Reverse(), 3, False),
    "SOBA": (bilevel.SOBA(0.1), 1, "state"),
    "FixedPoint": (bilevel.FixedPoint(1), 1, "state"),
}
"""Method, inner steps and warm start."""

BATCH = 1000


def measured(name: str, optimizer: str, keep: str, count: int, n_outer: int) -> float:
    """The extra peak of a loop, in multiples of the size of the hyperparameters."""
    torch.set_num_threads(1)
    x = torch.randn(BATCH, generator=torch.Generator().manual_seed(0))

    def inner(w, weights, step):
        first = step * BATCH % (len(weights) - BATCH + 1)
        return (weights[first : first + BATCH] * (w * x - 2 * x).square()).mean() + 0.1 * w**2

    def outer(w, weights):
        return (w * x - x).square().mean()

    make = functools.partial(OPTIMIZERS[optimizer], lr=1e-2)

    def loop(weights: torch.Tensor) -> None:
        if name == "plain":
            weights = weights.clone().requires_grad_()
            steps = make([weights])
            for k in range(n_outer):
                loss = inner(torch.tensor(1.0), weights, k)
                (weights.grad,) = torch.autograd.grad(loss, weights)
                steps.step()
            return
        method, n_steps, warm = METHODS[name]
        bilevel.solve(
            bilevel.GradientDescent(inner, lr=0.1),
            outer,
            torch.tensor(0.0),
            weights,
            n_steps,
            method=method,
            n_outer=n_outer,
            optimizer=make,
            warm_start=warm,
            keep=keep,
        )

    loop(torch.ones(2 * BATCH))  # imports, and small blocks that stay
    weights = torch.ones(count)
    before = psutil.Process().memory_info().rss
    loop(weights)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return (peak - before) / (weights.numel() * weights.element_size())


def main() -> None:
    """Print a line of JSON a configuration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--outer", type=int, default=4)
    parser.add_argument("--method", choices=("plain", *METHODS))
    parser.add_argument("--optimizer", choices=tuple(OPTIMIZERS), default="SGD")
    parser.add_argument("--keep", choices=("best", "last", "averaged"), default="last")
    arguments = parser.parse_args()
    if arguments.method:
        row = {"method": arguments.method, "optimizer": arguments.optimizer}
        if arguments.method != "plain":
            row["keep"] = arguments.keep
        times = measured(
            arguments.method,
            arguments.optimizer,
            arguments.keep,
            arguments.count,
            arguments.outer,
        )
        print(json.dumps(row | {"peak": round(times, 2)}), flush=True)
        return
    for optimizer in OPTIMIZERS:
        for method in ("plain", *METHODS):
            for keep in ("best", "last") if method == "Reverse" else ("last",):
                options = ["--method", method, "--optimizer", optimizer, "--keep", keep]
                options += ["--count", str(arguments.count), "--outer", str(arguments.outer)]
                subprocess.run([sys.executable, __file__, *options], check=True)


if __name__ == "__main__":
    main()
