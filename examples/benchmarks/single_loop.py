"""CPU seconds to a validation loss: the core's fast recipes beside single-loop methods by hand.

Run:
    python examples/benchmarks/single_loop.py [--budget tiny] [--data mnist.npz]

Two problems on MNIST: logistic regression of even against odd digits with one decay a feature, and
data cleaning with one weight a training digit, half of whose labels are wrong. SOBA (Dagréou et
al., 2022), AmIGO (Arbel and Mairal, 2022) and stocBiO (Ji et al., 2021) are written out here from
their papers, with plain steps of λ as there; the core's take Adam's unless said. The step sizes of
every method are those of one grid of six that reach the lowest goal first, with another seed. Then
all methods run in turns, once a seed. Losses on all validation rows are computed off the clock.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from lds import bilevel

BATCH = 64
LIMIT = 5.0  # CPU seconds after which a method is given up
GRID_LIMIT = 2.5  # the same while step sizes are chosen
LRS = (0.1, 0.3)  # step sizes of w and of the linear system
Loss = Callable[..., Tensor]


@dataclass
class Problem:
    """Losses of (w, λ[, rows]) that draw a batch without rows, first values, and step sizes."""

    inner: Loss
    outer: Loss
    whole: Callable[[Tensor], Tensor]
    n_rows: tuple[int, int]  # of training and validation
    w: Tensor
    lam: Tensor
    goals: tuple[float, ...]
    outer_lrs: tuple[float, ...]  # of plain outer steps, those of the papers
    adam_lrs: tuple[float, ...]
    most: float  # largest λ: a step of gradient descent on a larger decay diverges
    lr: float = 0.0  # of w and of the linear system
    outer_lr: float = 0.0  # of λ
    limit: float = LIMIT


class Clock:
    """CPU seconds, but for those spent looking, and when each goal was first met."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.met = problem, {}
        self.spent, self._since = 0.0, time.process_time()

    def look(self, w: Tensor) -> bool:
        """Whether every goal is met, or time is up."""
        self.spent += time.process_time() - self._since
        with torch.no_grad():
            value = float(self.problem.whole(w))
        for goal in self.problem.goals:
            if value <= goal:
                self.met.setdefault(goal, round(self.spent, 3))
        self._since = time.process_time()
        return len(self.met) == len(self.problem.goals) or self.spent > self.problem.limit


def drawn(n: int) -> Tensor:
    return torch.randint(n, (BATCH,))


def decay_a_feature(x: Tensor, odd: Tensor, n: int) -> Problem:
    train, judge = (x[:n], odd[:n]), (x[n:], odd[n:])

    def inner(w: Tensor, lam: Tensor, rows: Tensor | None = None) -> Tensor:
        rows = drawn(n) if rows is None else rows
        fit = binary_cross_entropy_with_logits(train[0][rows] @ w, train[1][rows])
        return fit + 0.5 * (lam.exp() * w * w).sum()

    def outer(w: Tensor, lam: Tensor, rows: Tensor | None = None) -> Tensor:
        rows = drawn(len(judge[1])) if rows is None else rows
        return binary_cross_entropy_with_logits(judge[0][rows] @ w, judge[1][rows])

    def whole(w: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(judge[0] @ w, judge[1])

    d = x.shape[1]
    goals = (0.320, 0.312, 0.310)
    first = torch.zeros(d), torch.full((d,), -2.0)
    steps = (100.0, 300.0, 1000.0), (0.1, 0.3, 1.0)
    return Problem(inner, outer, whole, (n, len(judge[1])), *first, goals, *steps, most=1.0)


def data_cleaning(x: Tensor, digit: Tensor, n: int, rng: torch.Generator) -> Problem:
    m = n // 3
    given = digit[:n].clone()
    wrong = torch.rand(n, generator=rng) < 0.5
    given[wrong] = torch.randint(10, (int(wrong.sum()),), generator=rng)
    judge = x[n : n + m], digit[n : n + m]
    d = x.shape[1]

    def inner(w: Tensor, lam: Tensor, rows: Tensor | None = None) -> Tensor:
        rows = drawn(n) if rows is None else rows
        losses = cross_entropy(x[rows] @ w, given[rows], reduction="none")
        return (lam[rows].sigmoid() * losses).mean() + 0.5e-3 * w.square().sum()

    def outer(w: Tensor, lam: Tensor, rows: Tensor | None = None) -> Tensor:
        rows = drawn(m) if rows is None else rows
        return cross_entropy(judge[0][rows] @ w, judge[1][rows])

    def whole(w: Tensor) -> Tensor:
        return cross_entropy(judge[0] @ w, judge[1])

    first = torch.zeros(d, 10), torch.zeros(n)
    steps = (100.0, 300.0, 1000.0), (0.1, 0.3, 1.0)
    return Problem(inner, outer, whole, (n, m), *first, (1.0, 0.9), *steps, most=10.0)


def products(problem: Problem, w: Tensor, lam: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """∇_w L, v ∂²L/∂w² and v ∂²L/∂w∂λ on one batch."""
    w, lam = w.detach().requires_grad_(), lam.detach().requires_grad_()
    g = torch.autograd.grad(problem.inner(w, lam), w, create_graph=True)[0]
    by_w, by_lam = torch.autograd.grad((g * v).sum(), (w, lam))
    return g.detach(), by_w, by_lam


def slopes(loss: Loss, w: Tensor, lam: Tensor) -> Tensor:
    w = w.detach().requires_grad_()
    return torch.autograd.grad(loss(w, lam), w)[0]


def kept_in(problem: Problem, lam: Tensor) -> Tensor:
    """The box of all methods."""
    return lam.clamp(-10.0, problem.most)


def soba(problem: Problem, n: int, every: int) -> Clock:
    """Algorithm 1 of Dagréou et al.: three directions at one point, then three steps."""
    w, lam, v, clock = problem.w, problem.lam, torch.zeros_like(problem.w), Clock(problem)
    for k in range(n):
        g, by_w, by_lam = products(problem, w, lam, v)
        b = slopes(problem.outer, w, lam)
        w, v = w - problem.lr * g, v - problem.lr * (by_w - b)
        lam = kept_in(problem, lam + problem.outer_lr * by_lam)
        if (k + 1) % every == 0 and clock.look(w):
            break
    return clock


def amigo(problem: Problem, n: int, every: int, inner: int = 10) -> Clock:
    """Warm-started inner steps, then warm-started steps of the linear system, then one of λ."""
    w, lam, v, clock = problem.w, problem.lam, torch.zeros_like(problem.w), Clock(problem)
    for k in range(n):
        for _ in range(inner):
            w = w - problem.lr * slopes(problem.inner, w, lam)
        b = slopes(problem.outer, w, lam)
        for _ in range(inner):
            v = v - problem.lr * (products(problem, w, lam, v)[1] - b)
        step = inner * problem.outer_lr * products(problem, w, lam, v)[2]
        lam = kept_in(problem, lam + step)
        if (k + 1) % max(1, every // inner) == 0 and clock.look(w):
            break
    return clock


def stocbio(problem: Problem, n: int, every: int, inner: int = 10) -> Clock:
    """Inner steps, then a Neumann series of fresh batches, begun anew, then a step of λ."""
    w, lam, clock = problem.w, problem.lam, Clock(problem)
    for k in range(n):
        for _ in range(inner):
            w = w - problem.lr * slopes(problem.inner, w, lam)
        term = slopes(problem.outer, w, lam)
        v = problem.lr * term
        for _ in range(inner):
            term = term - problem.lr * products(problem, w, lam, term)[1]
            v = v + problem.lr * term
        step = inner * problem.outer_lr * products(problem, w, lam, v)[2]
        lam = kept_in(problem, lam + step)
        if (k + 1) % max(1, every // inner) == 0 and clock.look(w):
            break
    return clock


def ours(
    problem: Problem,
    n: int,
    every: int,
    make: Callable[..., Any],
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
) -> Clock:
    """The core's loop: a step an iteration, with everything kept from one to the next."""
    clock = Clock(problem)

    def look(w: Tensor, lam: Tensor) -> float:
        done.append(clock.look(w))
        return 0.0

    done: list[bool] = []
    method, inner, outer = make(problem)
    bilevel.solve(
        bilevel.GradientDescent(inner, lr=problem.lr),
        outer,
        problem.w,
        problem.lam,
        1,
        method=method,
        n_outer=n,
        warm_start="state",
        optimizer=functools.partial(optimizer, lr=problem.outer_lr),
        projection=bilevel.projections.box(-10, problem.most),
        evaluate=look,
        evaluate_every=every,
        stopping=lambda history: "goals" if done and done[-1] else None,
    )
    return clock


def drawing(method: Callable[[float], bilevel.AbstractHypergradient]) -> Callable[..., Any]:
    """A method with rows drawn at random."""
    return lambda problem: (method(problem.lr), problem.inner, problem.outer)


def saba(problem: Problem) -> Any:
    """SABA with rows in batches that stay the same."""
    batches = [torch.randperm(n).split(BATCH) for n in problem.n_rows]
    a, b = map(len, batches)
    return (
        bilevel.SABA(problem.lr, n_batches=a, n_outer_batches=b),
        lambda w, lam, step: problem.inner(w, lam, batches[0][step % a]),
        lambda w, lam, step: problem.outer(w, lam, batches[1][step % b]),
    )


METHODS: dict[str, Callable[[Problem, int, int], Clock]] = {
    "SOBA by hand": soba,
    "AmIGO by hand": amigo,
    "stocBiO by hand": stocbio,
    "lds SOBA, plain steps of λ": functools.partial(
        ours, make=drawing(bilevel.SOBA), optimizer=torch.optim.SGD
    ),
    "lds SOBA": functools.partial(ours, make=drawing(bilevel.SOBA)),
    "lds SABA": functools.partial(ours, make=saba),
    "lds FixedPoint(1)": functools.partial(
        ours, make=drawing(lambda lr: bilevel.FixedPoint(1, stochastic=True))
    ),
}


def chosen(problem: Problem, method: str, n: int) -> Problem:
    """The problem with the step sizes that reach the most goals, and the last of them first."""
    outer_lrs = problem.outer_lrs if "hand" in method or "plain" in method else problem.adam_lrs
    best, found = (0, 0.0), problem
    for lr in LRS:
        for outer_lr in outer_lrs:
            trial = replace(problem, lr=lr, outer_lr=outer_lr, limit=GRID_LIMIT)
            met = run_once(trial, method, n, seed=100)
            score = (len(met), -max(met.values(), default=0.0))
            if found is problem or score > best:
                best, found = score, replace(problem, lr=lr, outer_lr=outer_lr)
    return found


def run_once(problem: Problem, method: str, n: int, seed: int) -> dict[float, float]:
    """CPU seconds to each goal that is met; none if the method diverges."""
    torch.manual_seed(seed)
    slow = 10 if method.startswith(("AmIGO", "stocBiO")) else 1
    try:
        return METHODS[method](problem, n // slow, 20).met
    except ArithmeticError:
        return {}


def problems(data: Path, n: int, components: int) -> dict[str, Problem]:
    """Both, on the first digits of a seeded order."""
    with np.load(data) as archive:
        x, y = archive["x_train"], archive["y_train"]
        x_test, y_test = archive["x_test"], archive["y_test"]
    m = n // 4  # validation rows of the logistic regression: the first test digits
    order = np.random.default_rng(0).permutation(len(x))[: n + n // 4]
    x = torch.tensor(x[order].reshape(len(order), -1) / 255, dtype=torch.float32)
    y = torch.tensor(y[order].astype(np.int64))
    x_judge = torch.tensor(x_test[:m].reshape(-1, x.shape[1]) / 255, dtype=torch.float32)
    y_judge = torch.tensor(y_test[:m].astype(np.int64))
    mean = x[:n].mean(0)
    axes = torch.linalg.eigh((x[:n] - mean).T @ (x[:n] - mean))[1].flip(1)[:, :components]
    features = (torch.cat([x[:n], x_judge]) - mean) @ axes
    features = torch.cat([features, torch.ones(len(features), 1)], 1)  # with an intercept
    odd = (torch.cat([y[:n], y_judge]) % 2).float()
    rng = torch.Generator().manual_seed(0)
    return {
        "decay a feature": decay_a_feature(features, odd, n),
        "data cleaning": data_cleaning(x, y, 6000 if n > 8000 else n // 2, rng),
    }


def main() -> None:
    """Print CPU seconds to each goal, by problem and method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", choices=("full", "tiny"), default="full")
    parser.add_argument("--data", type=Path, default=Path("data/mnist/mnist.npz"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="a part of the name of one problem")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tiny = arguments.budget == "tiny"
    torch.optim.Adam([torch.zeros(1)])  # its first use imports for seconds
    n, seeds = (40, range(1)) if tiny else (60_000, range(arguments.seeds))
    for name, problem in problems(arguments.data, 400 if tiny else 40_000, 50).items():
        if arguments.only not in name:
            continue
        ready = {method: chosen(problem, method, n) for method in METHODS}
        met: dict[str, list[dict[float, float]]] = {method: [] for method in METHODS}
        for seed in seeds:
            for method, with_steps in ready.items():
                met[method].append(run_once(with_steps, method, n, seed))
        for method, with_steps in ready.items():
            seconds = {}
            for goal in problem.goals:
                times = [one.get(goal, float("inf")) for one in met[method]]
                middle = statistics.median(times)
                seconds[str(goal)] = None if middle == float("inf") else round(middle, 3)
            steps = {"lr": with_steps.lr, "outer_lr": with_steps.outer_lr}
            row = {"problem": name, "method": method, **steps, "median_seconds": seconds}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
