"""Hyper-representation on Omniglot, and MAML: few-shot learning by hypergradients (§7.2).

The weights of a convolutional network are hyperparameters λ. The inner problem of an episode trains
a linear classifier of its characters on top of it, from 0, by T steps of gradient descent on the
support set; the outer objective is its loss on the query set (Algorithm 5). Every outer iteration
has a new batch of episodes, all at once by vmap. Pools as Santoro et al. (2016): characters at
random, 423 for meta-test, rotations by 90 degrees as characters of their own.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lds.bilevel as bilevel
from lds.bilevel.method import Memory
from lds.experiments.reproduce.entry import Row

WAYS = 5
N_TEST, N_VALIDATION = 423, 100  # characters


class Budget(NamedTuple):
    """Sizes of meta-training and of its tests."""

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
    "cpu": Budget(16, 8, 5, 200, 50, 200, (1, 4, 16), (1, 4)),
    "full": Budget(64, 32, 15, 20000, 500, 600, (1, 2, 4, 8, 16), (1, 5)),
}


class Learner(NamedTuple):
    """What is learned within an episode, and what across episodes."""

    logits: Callable[..., Tensor]  # logits(params, hyper, images)
    start: Callable[..., Any]  # first weights of a task, from hyper
    hyper: Any
    lr: float  # of the inner steps
    ways: int = WAYS  # characters of an episode


def network(width: int) -> nn.Sequential:
    """Four convolutions of stride 2, from 28 x 28 to 2 x 2."""
    blocks: list[nn.Module] = []
    for channels in (1, width, width, width):
        blocks += [nn.Conv2d(channels, width, 3, 2, 1), nn.GroupNorm(1, width), nn.ReLU()]
    return nn.Sequential(*blocks, nn.Flatten())


def hyper_representation(width: int, device: str, ways: int = WAYS) -> Learner:
    """A linear classifier trains, from 0; the representation is λ."""
    represent, hyper = bilevel.functional(network(width).to(device))
    zeros = {"weight": torch.zeros(4 * width, ways), "bias": torch.zeros(ways)}
    zeros = {name: zero.to(device) for name, zero in zeros.items()}
    return Learner(
        lambda w, lam, x: represent(lam, x) @ w["weight"] + w["bias"],
        lambda lam: zeros,
        hyper,
        0.4,
        ways,
    )


def maml(width: int, device: str, ways: int = WAYS) -> Learner:
    """Every weight trains, from λ."""
    net = nn.Sequential(network(width), nn.Linear(4 * width, ways)).to(device)
    apply, hyper = bilevel.functional(net)
    return Learner(lambda w, lam, x: apply(w, x), lambda lam: lam, hyper, 0.4, ways)


def pools(root: Path, device: str) -> list[Tensor]:
    """Characters of meta-test, meta-validation and meta-training, `(characters, 20, 28, 28)`."""
    stored = np.load(root / "omniglot" / "omniglot28.npz")
    images = torch.from_numpy(np.concatenate([stored["background"], stored["evaluation"]]))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    parts = images[order].tensor_split([N_TEST, N_TEST + N_VALIDATION])
    return [torch.cat([part.rot90(k, (2, 3)) for k in range(4)]).to(device) for part in parts]


def episodes(
    pool: Tensor, n_tasks: int, shots: int, n_queries: int, seed: int, ways: int = WAYS
) -> dict[str, Tensor]:
    """Images `(n_tasks, images, 1, 28, 28)` of support and query sets, class by class."""
    g = torch.Generator().manual_seed(seed)
    characters = torch.rand(n_tasks, len(pool), generator=g).topk(ways).indices
    drawings = torch.rand(n_tasks, ways, 20, generator=g).topk(shots + n_queries).indices
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
        return F.cross_entropy(learner.logits(w, lam, images), labels(images, learner.ways))

    inner, outer = bilevel.over_tasks(
        lambda w, lam, task: loss(w, lam, task["support"]),
        lambda w, lam, task: loss(w, lam, task["query"]),
        tasks,
    )
    n = len(tasks["support"])
    start = lambda _, lam: bilevel.stacked(learner.start(lam), n)  # noqa: E731
    return bilevel.GradientDescent(inner, learner.lr, start=start), outer


def labels(images: Tensor, ways: int) -> Tensor:
    """0, ..., 0, 1, ..., 1, ... of images that lie class by class."""
    return torch.arange(ways, device=images.device).repeat_interleave(len(images) // ways)


@torch.no_grad()
def accuracies(learner: Learner, hyper: Any, tasks: dict[str, Tensor], n_steps: int) -> Tensor:
    """Share of right answers on the query set of each episode, after T steps."""
    dynamics, _ = problem(learner, tasks)
    state = dynamics.start(None, hyper)
    for t in range(n_steps):
        state = dynamics.step(state, hyper, t)
    logits = torch.vmap(lambda w, x: learner.logits(w, hyper, x))(state["params"], tasks["query"])
    return (logits.argmax(2) == labels(tasks["query"][0], learner.ways)).float().mean(1)


def learn(
    learner: Learner,
    data: list[Tensor],
    shots: int,
    n_steps: int,
    budget: Budget,
    seed: int,
    method: bilevel.AbstractHypergradient | None = None,
    *,
    split: bool = True,
) -> dict[str, Any]:
    """Meta-training with T = `n_steps`, stopped where meta-validation was best.

    Arguments:
        learner: what is learned.
        data: pools of meta-test, meta-validation and meta-training.
        shots: images a class of a support set.
        n_steps: T.
        budget: sizes.
        seed: of the episodes of meta-training.
        method: of the hypergradient; None is reverse mode.
        split: False makes the support set of meta-training its query set too ("-train").
    """
    test, validation, train = data
    judge = episodes(validation, budget.n_judged, shots, 15, 1, learner.ways)
    ways = learner.ways
    found: dict[str, Any] = {"validation": 0.0}

    def look(record: bilevel.Record) -> None:
        if (record.iteration + 1) % budget.every == 0:
            value = float(accuracies(learner, record.hyper, judge, n_steps).mean())
            if value > found["validation"]:
                found.update(validation=value, iteration=record.iteration + 1, hyper=record.hyper)

    def batch(k: int) -> tuple[bilevel.GradientDescent, Callable[..., Tensor]]:
        drawn = episodes(train, budget.n_tasks, shots, budget.n_queries, (seed + 1) << 32 | k, ways)
        if not split:
            drawn["query"] = drawn["support"]
        return problem(learner, drawn)

    started = time.process_time()
    bilevel.solve(
        batch,
        None,
        learner.start(learner.hyper),
        learner.hyper,
        n_steps,
        method=method,
        n_outer=budget.n_outer,
        optimizer=functools.partial(torch.optim.Adam, lr=3e-3),
        keep="last",
        callback=look,
    )
    found["cpu_seconds"] = time.process_time() - started
    tasks = episodes(test, budget.n_judged, shots, 15, 2, learner.ways)
    right = accuracies(learner, found.pop("hyper"), tasks, n_steps)
    found["test"] = float(right.mean())
    found["half_width"] = 1.96 * float(right.std()) / len(right) ** 0.5
    return found


@functools.lru_cache(maxsize=1)
def _pools(root: Path) -> list[Tensor]:
    return pools(root, "cpu")


class Constant(bilevel.AbstractHypergradient):
    """The "Approx" of §7.2.3: the weights at the end are constants, so ∂w_T/∂λ is 0."""

    def start(self, start: Any, n_steps: int | None = None) -> Any:
        """Make a memory that keeps nothing."""
        return Memory()

    def observe(self, memory: Any, step: Any) -> None:
        """Do nothing."""

    def gradient(self, memory: Any, outer: Any) -> list[Any]:
        """Return ∂E/∂λ."""
        return list(outer.direct)


VARIANTS: dict[str, tuple[bilevel.AbstractHypergradient | None, bool]] = {
    "Hyper-representation": (None, True),
    "Bilevel-train": (None, False),
    "Approx": (Constant(), True),
    "Approx-train": (Constant(), False),
}
"""Hypergradient, and whether episodes are split, by the names of Table 7.5."""


def run(row: Row, budget: str, root: Path) -> dict[str, Any]:
    """Meta-train with one horizon, and test on 600 episodes (fewer at a small budget)."""
    sizes = BUDGETS[budget]
    method, split = VARIANTS[row.get("variant", "Hyper-representation")]
    # A support set that is its own query set has 16 drawings a class (§7.2.3).
    shots = row["shots"]
    with torch.random.fork_rng():
        torch.manual_seed(row["seed"])  # of the first weights
        learner = hyper_representation(sizes.width, "cpu", row["ways"])
    found = learn(learner, _pools(root), shots, row["T"], sizes, row["seed"], method, split=split)
    kept = ("validation", "half_width", "iteration")
    return {"value": found["test"], **{name: found[name] for name in kept}}
