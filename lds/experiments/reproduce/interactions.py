"""Task interactions: which classes should share strength is learned (§7.1.1, Table 7.1).

A linear model of K classes (tasks) is trained on 50 pictures with the penalty
sum_jk C_jk |w_j - w_k|^2 + sum_k rho_k |w_k|^2; C and rho are hyperparameters. All splits are
trained side by side, as the first dimension of every tensor.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import lds.bilevel as bilevel
from lds.bilevel.projections import l1_ball, non_negative, symmetric_non_negative
from lds.experiments.reproduce.entry import Row
from lds.experiments.reproduce.pictures import mnist

K = 10
N_FEATURES = 30
BOUND = 0.002
"""R, chosen on splits 100 to 107."""

LR = 3e-4
Hyper = dict[str, Tensor]


class Budget(NamedTuple):
    """Splits, digits to test on, inner steps, outer iterations."""

    n_splits: int
    n_test: int
    n_steps: int
    n_outer: int


BUDGETS = {
    "tiny": Budget(2, 500, 30, 5),
    "cpu": Budget(20, 5_000, 60, 40),
    "full": Budget(20, 5_000, 60, 40),
}


class Split(NamedTuple):
    """Features `(n_splits, n, d)` and labels `(n_splits, n)`."""

    x: Tensor
    y: Tensor


@functools.lru_cache(maxsize=1)
def splits(root: Path, n: int, n_test: int, n_features: int, seed: int) -> list[Split]:
    """Training, validation and test digits of every split, on the same scale; kept."""
    found: list[list[tuple[Tensor, Tensor]]] = []
    for k in range(n):
        other, *parts = mnist(root, (5_000, 50, 50, n_test), seed + k)
        mean = other[0].flatten(1).mean(0)
        _, sizes, basis = torch.linalg.svd(other[0].flatten(1) - mean, full_matrices=False)
        basis = basis[:n_features].T / sizes[:n_features].square().sum().div(5_000).sqrt()
        found.append([((x.flatten(1) - mean) @ basis, y) for x, y in parts])
    return [
        Split(*(torch.stack(tensors) for tensors in zip(*part, strict=True)))
        for part in zip(*found, strict=True)
    ]


def error(params: dict[str, Tensor], data: Split) -> Tensor:
    """The sum over splits of the mean cross-entropy."""
    scores = data.x @ params["W"] + params["b"]
    return F.cross_entropy(scores.flatten(0, 1), data.y.flatten()) * len(data.y)


def interactions(C: Tensor, W: Tensor) -> Tensor:
    """C_jk |w_j - w_k|^2, summed; C `(n_splits, K, K)`."""
    size = W.square().sum(1)
    gaps = size.unsqueeze(2) + size.unsqueeze(1) - 2 * W.mT @ W
    return (C * gaps).sum()


class Method(NamedTuple):
    """C as a function of the hyperparameters, where they start and what they are projected onto."""

    C: Callable[[Hyper], Tensor]
    hyper: Hyper
    projection: dict[str, Callable[[Tensor], Tensor]]


def methods(n: int, bound: float, rho: float, a: float) -> dict[str, Method]:
    """The four of Table 7.1, on n splits."""
    apart = 1 - torch.eye(K)  # Adam would make steps of the rounding on the diagonal
    one, each, C = torch.full((n, 1), rho), torch.full((n, K), rho), a * apart.expand(n, K, K)
    positive, symmetric, ball = non_negative(), symmetric_non_negative(), l1_ball(bound)

    def sparse(C: Tensor) -> Tensor:
        return torch.stack([ball(one) for one in symmetric(C)])

    return {
        "STL": Method(lambda h: 0 * apart, {"rho": each}, {"rho": positive}),
        "NMTT": Method(
            lambda h: h["a"] * apart,
            {"a": torch.full((n, 1, 1), a), "rho": one},
            {"a": positive, "rho": positive},
        ),
        "HMTT": Method(
            lambda h: h["C"] * apart, {"C": C, "rho": one}, {"C": symmetric, "rho": positive}
        ),
        "HMTT-S": Method(
            lambda h: h["C"] * apart, {"C": sparse(C), "rho": one}, {"C": sparse, "rho": positive}
        ),
    }


def solve(
    method: Method, train: Split, validation: Split, budget: Budget, lr: float
) -> bilevel.Solution:
    """The hyperparameters and weights of the lowest mean validation error."""

    def training(params: dict[str, Tensor], hyper: Hyper) -> Tensor:
        W = params["W"]
        return (
            error(params, train)
            + interactions(method.C(hyper), W)
            + (hyper["rho"] * W.square().sum(1)).sum()
        )

    n, _, d = train.x.shape
    return bilevel.solve(
        bilevel.Momentum(training, lr=1.0, momentum=0.9),
        lambda params, hyper: error(params, validation),
        {"W": torch.zeros(n, d, K), "b": torch.zeros(n, 1, K)},
        method.hyper,
        budget.n_steps,
        method=bilevel.Reverse(),
        n_outer=budget.n_outer,
        optimizer=functools.partial(torch.optim.Adam, lr=lr),
        projection=method.projection,
    )


def run(row: Row, budget: str, root: Path) -> dict[str, Any]:
    """Learn the interactions of all splits by one method; accuracies are a list over splits."""
    sizes = BUDGETS[budget]
    train, validation, test = splits(root, sizes.n_splits, sizes.n_test, N_FEATURES, row["seed"])
    method = methods(sizes.n_splits, BOUND, rho=1e-3, a=1e-4)[row["method"]]
    solution = solve(method, train, validation, sizes, LR)
    scores = test.x @ solution.params["W"] + solution.params["b"]
    accuracy = (scores.argmax(2) == test.y).double().mean(1)
    learned = method.C(solution.hyper).expand(sizes.n_splits, K, K)
    return {
        "value": float(accuracy.mean()),
        "splits": accuracy.tolist(),
        "validation_loss": solution.value / sizes.n_splits,
        "C": learned.mean(0).tolist(),
    }
