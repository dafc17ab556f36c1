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
import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lds import bilevel

WAYS = 5
N_TEST, N_VALIDATION = 423, 100  # characters
DATA = Path(os.environ.get("LDS_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


class Budget(NamedTuple):
    width: int  # filters of a layer
    n_tasks: int  # episodes of a batch
    n_queries: int  # a class
    n_outer: int
    every: int  # outer iterations between two looks at meta-validation
    n_judged: int  # episodes of meta-validation, and of meta-test
    horizons: tuple[int, ...]  # T, hyper-representation
    maml_horizons: tuple[int, ...]


BUDGETS = {
    "tiny": Budget(4, 4, 2, 4, 2, 20, (1, 2), (1,)),
    "reduced": Budget(16, 8, 5, 200, 50, 200, (1, 4, 16), (1, 4)),
    "full": Budget(64, 32, 15, 20000, 500, 600, (1, 2, 4, 8, 16), (1, 5)),
}


class Learner(NamedTuple):
    """What is learned within an episode, and what across episodes."""

    logits: Callable[..., Tensor]  # logits(params, hyper, images)
    start: Callable[..., Any]  # first weights of a task, from hyper
    hyper: Any
    lr: float  # of the inner steps


def network(width: int) -> nn.Sequential:
    """Four convolutions of stride 2, from 28 x 28 to 2 x 2."""
    blocks: list[nn.Module] = []
    for channels in (1, width, width, width):
        blocks += [nn.Conv2d(channels, width, 3, 2, 1), nn.GroupNorm(1, width), nn.ReLU()]
    return nn.Sequential(*blocks, nn.Flatten())


def hyper_representation(width: int, device: str) -> Learner:
    """A linear classifier trains, from 0; the representation is λ."""
    represent, hyper = bilevel.functional(network(width).to(device))
    zeros = {"weight": torch.zeros(4 * width, WAYS), "bias": torch.zeros(WAYS)}
    zeros = {name: zero.to(device) for name, zero in zeros.items()}
    return Learner(
        lambda w, lam, x: represent(lam, x) @ w["weight"] + w["bias"], lambda lam: zeros, hyper, 0.4
    )


def maml(width: int, device: str) -> Learner:
    """Every weight trains, from λ."""
    net = nn.Sequential(network(width), nn.Linear(4 * width, WAYS)).to(device)
    apply, hyper = bilevel.functional(net)
    return Learner(lambda w, lam, x: apply(w, x), lambda lam: lam, hyper, 0.4)


def pools(root: Path, device: str) -> list[Tensor]:
    """Characters of meta-test, meta-validation and meta-training, `(characters, 20, 28, 28)`."""
    stored = np.load(root / "omniglot" / "omniglot28.npz")
    images = torch.from_numpy(np.concatenate([stored["background"], stored["evaluation"]]))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    parts = images[order].tensor_split([N_TEST, N_TEST + N_VALIDATION])
    return [torch.cat([part.rot90(k, (2, 3)) for k in range(4)]).to(device) for part in parts]


def episodes(
    pool: Tensor, n_tasks: int, shots: int, n_queries: int, seed: int
) -> dict[str, Tensor]:
    """Images `(n_tasks, images, 1, 28, 28)` of support and query sets, class by class."""
    g = torch.Generator().manual_seed(seed)
    characters = torch.rand(n_tasks, len(pool), generator=g).topk(WAYS).indices
    drawings = torch.rand(n_tasks, WAYS, 20, generator=g).topk(shots + n_queries).indices
    chosen = pool[characters[..., None].to(pool.device), drawings.to(pool.device)].float() / 255
    support, query = chosen.split([shots, n_queries], dim=2)
    return {
        "support": support.reshape(n_tasks, -1, 1, 28, 28),
        "query": query.reshape(n_tasks, -1, 1, 28, 28),
    }


def problem(
    learner: Learner, tasks: dict[str, Tensor]
) -> tuple[bilevel.GradientDescent, Callable[..., Tensor]]:
    """Φ and E of a batch of episodes (Algorithm 5)."""

    def loss(w: Any, lam: Any, images: Tensor) -> Tensor:
        return F.cross_entropy(learner.logits(w, lam, images), labels(images))

    inner, outer = bilevel.over_tasks(
        lambda w, lam, task: loss(w, lam, task["support"]),
        lambda w, lam, task: loss(w, lam, task["query"]),
        tasks,
    )
    n = len(tasks["support"])
    start = lambda _, lam: bilevel.stacked(learner.start(lam), n)  # noqa: E731
    return bilevel.GradientDescent(inner, learner.lr, start=start), outer


def labels(images: Tensor) -> Tensor:
    """0, ..., 0, 1, ..., 1, ... of images that lie class by class."""
    return torch.arange(WAYS, device=images.device).repeat_interleave(len(images) // WAYS)


@torch.no_grad()
def accuracies(learner: Learner, hyper: Any, tasks: dict[str, Tensor], n_steps: int) -> Tensor:
    """Share of right answers on the query set of each episode, after T steps."""
    dynamics, _ = problem(learner, tasks)
    state = dynamics.start(None, hyper)
    for t in range(n_steps):
        state = dynamics.step(state, hyper, t)
    logits = torch.vmap(lambda w, x: learner.logits(w, hyper, x))(state["params"], tasks["query"])
    return (logits.argmax(2) == labels(tasks["query"][0])).float().mean(1)


def learn(
    learner: Learner, data: list[Tensor], shots: int, n_steps: int, budget: Budget, seed: int
) -> dict[str, Any]:
    """Meta-training with T = `n_steps`, stopped where meta-validation was best."""
    test, validation, train = data
    judge = episodes(validation, budget.n_judged, shots, 15, seed=1)
    found: dict[str, Any] = {"validation": 0.0}

    def look(record: bilevel.Record) -> None:
        if (record.iteration + 1) % budget.every == 0:
            value = float(accuracies(learner, record.hyper, judge, n_steps).mean())
            if value > found["validation"]:
                found.update(validation=value, iteration=record.iteration + 1, hyper=record.hyper)

    def batch(k: int) -> tuple[bilevel.GradientDescent, Callable[..., Tensor]]:
        drawn = episodes(train, budget.n_tasks, shots, budget.n_queries, seed=(seed + 1) << 32 | k)
        return problem(learner, drawn)

    started = time.process_time()
    bilevel.solve(
        batch,
        None,
        learner.start(learner.hyper),
        learner.hyper,
        n_steps,
        n_outer=budget.n_outer,
        optimizer=functools.partial(torch.optim.Adam, lr=3e-3),
        keep="last",
        callback=look,
    )
    found["cpu_seconds"] = time.process_time() - started
    tasks = episodes(test, budget.n_judged, shots, 15, seed=2)
    right = accuracies(learner, found.pop("hyper"), tasks, n_steps)
    found["test"] = float(right.mean())
    found["half_width"] = 1.96 * float(right.std()) / len(right) ** 0.5
    return found


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
    parser.add_argument("--budget", choices=BUDGETS, default="reduced")
    parser.add_argument("--shots", type=int, choices=(1, 5), default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON lines are added to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
