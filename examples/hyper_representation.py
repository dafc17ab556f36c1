"""Hyper-representation on Omniglot, compared with MAML: few-shot learning by hypergradients (§7.2).

    python examples/hyper_representation.py --shots 1 --root DATA

The weights of a convolutional network are hyperparameters λ. The inner problem of an episode trains
a linear classifier of five characters on top of it, from 0, by T steps of gradient descent on the
support set; the outer objective is its loss on the query set (Algorithm 5). MAML has
another inner problem: all weights train, from Φ_0(λ) = λ. Every outer iteration has a new batch of
episodes, all at once by vmap. T and the iteration to stop at are chosen on meta-validation
(Figure 7.3); the test accuracy is of characters of meta-test, with its 95 % interval.

`--budget full` is of the thesis's size (64 filters, 15 queries a class), for a GPU: `--device
cuda`. Pools as Santoro et al. (2016): characters at random, 423 for meta-test, rotations by 90
degrees as characters of their own.
"""

import argparse
import json
import os
from pathlib import Path

import torch

from lds.experiments.reproduce.few_shot import (
    BUDGETS,
    WAYS,
    hyper_representation,
    learn,
    maml,
    pools,
)

DATA = Path(os.environ.get("LDS_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def main() -> None:
    """Print the table, and for each learner the horizon chosen."""
    arguments = parse()
    budget = BUDGETS[arguments.budget]
    data = pools(arguments.root, arguments.device)
    print(f"Omniglot, {WAYS}-way {arguments.shots}-shot")
    print("| learner | T | meta-validation | stopped at | meta-test | CPU s |")
    print("|---|---:|---:|---:|---:|---:|")
    chosen = []
    for make, horizons in (
        (hyper_representation, budget.horizons),
        (maml, budget.maml_horizons),
    ):
        rows = []
        for n_steps in horizons:
            torch.manual_seed(arguments.seed)
            learner = make(budget.width, arguments.device)
            row = learn(learner, data, arguments.shots, n_steps, budget, arguments.seed)
            row |= {"learner": make.__name__, "n_steps": n_steps}
            rows.append(row)
            print(
                f"| {make.__name__} | {n_steps} | {row['validation']:.1%} | {row['iteration']} "
                f"| {row['test']:.1%} ± {row['half_width']:.1%} | {row['cpu_seconds']:.0f} |",
                flush=True,
            )
            if arguments.out:
                settings = {name: getattr(arguments, name) for name in ("budget", "shots", "seed")}
                with arguments.out.open("a") as file:
                    file.write(json.dumps(settings | row) + "\n")
        chosen.append(max(rows, key=lambda row: row["validation"]))
    for row in chosen:
        print(
            f"{row['learner']}: T = {row['n_steps']} is best on meta-validation, "
            f"{row['test']:.1%} ± {row['half_width']:.1%} on meta-test"
        )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=DATA)
    parser.add_argument("--budget", choices=BUDGETS, default="cpu")
    parser.add_argument("--shots", type=int, choices=(1, 5), default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON lines are added to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
