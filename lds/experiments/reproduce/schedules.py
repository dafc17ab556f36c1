"""Learning rates that are learned while training goes on (chapter 8, Algorithm 6).

mnist, cifar10: a convolutional network with momentum 0.9, mini-batches of 128; every run has the
same CPU time, so the cheaper methods take more steps (§8.5). cifar10 is a subset of 5,000 images.

mlp: the network of §8.4 on 7,000 digits, 700 more for validation, T = 512 steps of gradient descent
for every method, and LRS-OPT, the offline optimum of the whole schedule: T hyperparameters, each
outer iteration a whole training and one reverse sweep.
"""

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lds.bilevel as bilevel
from lds.experiments.reproduce.chapter8 import BETA, DECAY, FIXED
from lds.experiments.reproduce.entry import Row

ONLINE = {"HD": 0.0, "RTHO": 1.0, "MARTHE": 0.99}


class Budget(NamedTuple):
    """Seconds, rows and steps of a run."""

    seconds: float  # CPU time of a run, mnist and cifar10
    n_rows: int  # at most, of each role
    n_steps: int  # T, mlp
    units: int  # of a hidden layer, mlp
    n_outer: int  # of LRS-OPT
    outer_lr: float  # of LRS-OPT's Adam


BUDGETS = {
    "tiny": Budget(0.1, 500, 8, 10, 2, 1e-2),
    "cpu": Budget(5.0, 50000, 512, 100, 10, 2e-2),
    "full": Budget(1800.0, 50000, 512, 500, 5000, 1e-3),
}


class Problem(NamedTuple):
    """A network with first weights, rows for three roles, and its dynamics."""

    apply: Callable[..., Tensor]
    params: Any
    rows: dict[str, tuple[Tensor, Tensor]]
    dynamics: Callable[..., bilevel.Dynamics]
    batch: int

    def loss(self, role: str, size: int | None = None) -> Callable[..., Tensor]:
        """Cross-entropy of a mini-batch, or of all rows: the core seeds the draw of each step."""
        x, y = self.rows[role]

        def loss(w: Any, hyper: Any) -> Tensor:
            some = slice(None) if size is None else torch.randint(len(x), (size,))
            return F.cross_entropy(self.apply(w, x[some]), y[some])

        return loss

    def training(self, lr: Callable[..., Tensor]) -> bilevel.Dynamics:
        """Φ with a learning rate that is a function of (hyper[, step])."""
        return self.dynamics(self.loss("train", self.batch), lr=lr)

    @torch.no_grad()
    def accuracy(self, params: Any, role: str) -> float:
        """Share of right answers."""
        x, y = self.rows[role]
        right = [self.apply(params, part).argmax(1) for part in x.split(1000)]
        return float((torch.cat(right) == y).float().mean())


FILES = {"cifar10": "cifar10_subset/cifar10_subset.npz"}
SIZES = {"mnist": (50000, 5000), "cifar10": (4000, 1000), "mlp": (7000, 700)}


def problem(data: str, root: Path, budget: Budget, device: str) -> Problem:
    """Rows of train, validation and test, and the network for them."""
    stored = np.load(root / FILES.get(data, "mnist/mnist.npz"))
    x, y = (torch.from_numpy(stored[f"{part}_train"]) for part in "xy")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    n_train, n_validation = SIZES[data]
    train, validation = order[:n_train], order[n_train:][:n_validation]
    rows = {
        "train": (x[train], y[train]),
        "validation": (x[validation], y[validation]),
        "test": (torch.from_numpy(stored["x_test"]), torch.from_numpy(stored["y_test"])),
    }
    rows = {
        role: (_images(x[: budget.n_rows]).to(device), y[: budget.n_rows].long().to(device))
        for role, (x, y) in rows.items()
    }
    units = budget.units
    channels, size = rows["test"][0].shape[1:3]
    if data == "mlp":
        net = nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, units),
            nn.ReLU(),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Linear(units, 10),
        )
        return Problem(*bilevel.functional(net.to(device)), rows, bilevel.GradientDescent, 100)
    net = nn.Sequential(
        nn.Conv2d(channels, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (size // 4) ** 2, 10),
    )
    return Problem(*bilevel.functional(net.to(device)), rows, bilevel.Momentum, 128)


def _images(x: Tensor) -> Tensor:
    """`(n, channels, height, width)`, about standardised."""
    channels_first = x[:, None] if x.dim() == 3 else x.permute(0, 3, 1, 2)
    return ((channels_first.float() / 255 - 0.3) / 0.3).contiguous()


class Run(NamedTuple):
    """Weights at the end, and the learning rate of every step."""

    params: Any
    schedule: list[float]


Until = Callable[[int], bool]
"""Whether training ends after so many steps."""


def limit(seconds: float, n_steps: int) -> Until:
    """CPU seconds from now, or steps, whichever is first."""
    started = time.process_time()
    return lambda t: t >= n_steps or time.process_time() - started >= seconds


def given(p: Problem, schedule: Callable[[int], float], until: Until, seed: int) -> Run:
    """Training with a schedule that is known in advance."""
    torch.manual_seed(seed)
    dynamics = p.training(lr=lambda hyper: hyper)
    rates: list[float] = []
    with torch.no_grad():
        state = dynamics.start(p.params, None)
        while not until(len(rates)):
            rates.append(schedule(len(rates)))
            state = dynamics.step(state, rates[-1], len(rates) - 1)
    return Run(dynamics.params(state), rates)


def online(p: Problem, discount: float, beta: float, until: Until, seed: int) -> Run:
    """MARTHE, and with discount 0 and 1 its ends (Algorithm 6)."""
    solution = bilevel.solve_online(
        p.training(lr=lambda hyper: hyper),
        p.loss("validation", p.batch),
        p.params,
        torch.tensor(min(FIXED)).to(p.rows["train"][0].device),
        n_steps=10**9,
        discount=discount,
        optimizer=functools.partial(torch.optim.SGD, lr=beta),
        projection=bilevel.projections.non_negative(),
        callback=lambda record: until(record.iteration),
        seed=seed,
        keep="last",
    )
    return Run(solution.last.params, [float(record.hyper) for record in solution.history])


def offline(p: Problem, budget: Budget, seed: int) -> Run:
    """LRS-OPT: ∇f_T(η) by reverse mode, other mini-batches in each outer iteration (§8.4)."""
    solution = bilevel.solve(
        p.training(lr=lambda hyper, t: hyper[t]),
        p.loss("validation"),
        p.params,
        torch.full((budget.n_steps,), min(FIXED)).to(p.rows["train"][0].device),
        budget.n_steps,
        method=bilevel.Reverse(checkpoint="sqrt"),
        n_outer=budget.n_outer,
        optimizer=functools.partial(torch.optim.Adam, lr=budget.outer_lr),
        projection=bilevel.projections.non_negative(),
        seed=seed,
        evaluate=p.loss("validation"),
    )
    return Run(solution.params, solution.hyper.tolist())


Train = Callable[[Until], Run]


def runs(p: Problem, data: str, budget: Budget, seed: int) -> Iterator[tuple[str, float, Train]]:
    """Yield (method, setting, a function of `until`), one a run."""
    for lr in FIXED:
        yield "fixed", lr, _decaying(p, lr, 1.0, seed)
    for gamma in DECAY:
        yield "exponential", gamma, _decaying(p, max(FIXED), gamma, seed)
    for (name, mu), beta in itertools.product(ONLINE.items(), BETA):
        yield name, beta, _online(p, mu, beta, seed)
    if data == "mlp":
        yield "LRS-OPT", budget.outer_lr, lambda until: offline(p, budget, seed)


def _decaying(p: Problem, lr: float, gamma: float, seed: int) -> Train:
    return lambda until: given(p, lambda t: lr * gamma**t, until, seed)


def _online(p: Problem, mu: float, beta: float, seed: int) -> Train:
    return lambda until: online(p, mu, beta, until, seed)


def run(row: Row, budget: str, root: Path) -> dict[str, Any]:
    """Run one method with one setting; the schedule is kept at 64 places."""
    sizes, data = BUDGETS[budget], row["data"]
    with torch.random.fork_rng():
        torch.manual_seed(row["seed"])  # of the first weights
        p = problem(ROLES[data], root, sizes, "cpu")
    wanted = row["method"], row["setting"]
    (train,) = (
        train
        for method, setting, train in runs(p, ROLES[data], sizes, row["seed"])
        if (method, setting if method != "LRS-OPT" else None) == wanted
    )
    mlp = data == "mnist"
    found = train(limit(float("inf") if mlp else sizes.seconds, sizes.n_steps if mlp else 10**9))
    places = np.linspace(0, len(found.schedule) - 1, min(64, len(found.schedule))).astype(int)
    return {
        "value": p.accuracy(found.params, "test"),
        "validation": p.accuracy(found.params, "validation"),
        "steps": len(found.schedule),
        "schedule": [found.schedule[place] for place in places],
    }


ROLES = {"mnist": "mlp", "cifar10": "cifar10"}
"""Problems of this file by the data set that they read: §8.4 and §8.5."""
