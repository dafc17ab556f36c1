"""Learning rates that are learned while training goes on (chapter 8, Algorithm 6).

    python examples/learning_rate_on_the_fly.py --data mnist --plot schedules.png
    python examples/learning_rate_on_the_fly.py --data cifar10
    python examples/learning_rate_on_the_fly.py --data mlp

MARTHE (discount 0.99) is compared with a fixed rate, exponential decay, hypergradient descent (HD,
discount 0) and real-time hyperparameter optimisation (RTHO, discount 1). An update of the online
methods reads a mini-batch of validation rows. Each method has three settings, of which the one with
the best validation accuracy counts.

mnist, cifar10: a convolutional network with momentum 0.9, mini-batches of 128; every run has the
same CPU time, so the cheaper methods take more steps (§8.5). cifar10 is a subset of 5,000 images.

mlp: the network of §8.4 on 7,000 digits, 700 more for validation, T = 512 steps of gradient descent
for every method, and LRS-OPT, the offline optimum of the whole schedule: T
hyperparameters, each outer iteration a whole training and one reverse sweep (`--budget full`: 500
units a layer and 5,000 outer iterations).
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lds.experiments.reproduce.schedules import BUDGETS, limit, problem, runs

DATA = Path(os.environ.get("LDS_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def main() -> None:
    """Print the table of the settings that count."""
    arguments = parse()
    budget = BUDGETS[arguments.budget]
    torch.manual_seed(arguments.seed)
    p = problem(arguments.data, arguments.root, budget, arguments.device)
    best: dict[str, dict[str, Any]] = {}
    for method, setting, run in runs(p, arguments.data, budget, arguments.seed):
        mlp = arguments.data == "mlp"
        started = time.process_time()
        found = run(
            limit(float("inf") if mlp else budget.seconds, budget.n_steps if mlp else 10**9)
        )
        row = {
            "data": arguments.data,
            "budget": arguments.budget,
            "seed": arguments.seed,
            "method": method,
            "setting": setting,
            "steps": len(found.schedule),
            "cpu_seconds": time.process_time() - started,
            "validation": p.accuracy(found.params, "validation"),
            "test": p.accuracy(found.params, "test"),
            "schedule": found.schedule,
        }
        if method not in best or row["validation"] > best[method]["validation"]:
            best[method] = row
        if arguments.out:
            with arguments.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print("| method | setting | steps | CPU s | last rate | validation | test |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for method, row in best.items():
        print(
            f"| {method} | {row['setting']:g} | {row['steps']} | {row['cpu_seconds']:.1f} "
            f"| {row['schedule'][-1]:.4f} | {row['validation']:.1%} | {row['test']:.1%} |"
        )
    if arguments.plot:
        draw(best, arguments.plot)


def draw(best: dict[str, dict[str, Any]], path: Path) -> None:
    """The schedule of every method."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.6))
    for method, row in best.items():
        share = np.linspace(0, 1, len(row["schedule"]))
        axes.plot(share, row["schedule"], label=f"{method}, {row['test']:.1%}", linewidth=1)
    axes.set_xlabel("share of the run")
    axes.set_ylabel("learning rate")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), title="test accuracy", frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=("mnist", "cifar10", "mlp"), default="mnist")
    parser.add_argument("--root", type=Path, default=DATA)
    parser.add_argument("--budget", choices=BUDGETS, default="cpu")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="the schedules, as PNG")
    parser.add_argument("--out", type=Path, help="JSON lines are added to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
