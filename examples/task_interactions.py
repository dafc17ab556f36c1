"""Task interactions: which classes should share strength is learned with the classifier.

    python examples/task_interactions.py

A linear model of K classes (tasks) is trained on 50 digits with the penalty
sum_jk C_jk |w_j - w_k|^2 + sum_k rho_k |w_k|^2; C and rho are hyperparameters, moved by `Reverse`
to lower the loss on 50 further digits:

    STL     C = 0, rho_k for each task
    NMTT    C_jk = a: all tasks are equally related; a and one rho
    HMTT    C symmetric and non-negative, and one rho
    HMTT-S  the same with sum_jk C_jk <= R (--bound)

All splits are trained side by side, as the first dimension of every tensor. Accuracies are means
over splits ± standard deviation; `over STL` is the paired difference ± its standard error.
Features are the leading principal components of other, unlabelled digits. The bound was chosen on
splits 100 to 107.

References:
    Franceschi, 2021, section 7.1.1, table 7.1; Evgeniou et al., 2005
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from common import command_line, mnist, write
from torch import Tensor

from lds import bilevel
from lds.bilevel.projections import l1_ball, non_negative, symmetric_non_negative

K = 10
Hyper = dict[str, Tensor]


class Budget(NamedTuple):
    """Splits, digits to test on, inner steps, outer iterations."""

    n_splits: int
    n_test: int
    n_steps: int
    n_outer: int


BUDGETS = {"tiny": Budget(2, 500, 30, 8), "full": Budget(20, 5_000, 60, 40)}


class Split(NamedTuple):
    """Features `(n_splits, n, d)` and labels `(n_splits, n)`."""

    x: Tensor
    y: Tensor


def splits(root: Path, n: int, n_test: int, n_features: int, seed: int) -> list[Split]:
    """Training, validation and test digits of every split, on the same scale."""
    found = []
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


def solve(method: Method, train: Split, validation: Split, budget: Budget, lr: float):
    """The hyperparameters and weights of the lowest mean validation error."""

    def training(params, hyper):
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


def main() -> None:
    """Print the table, and the strongest interactions."""
    parser = command_line(__doc__, BUDGETS)
    parser.add_argument("--seed", type=int, default=0, help="of the first split")
    parser.add_argument("--features", type=int, default=30, help="principal components")
    parser.add_argument("--bound", type=float, default=0.002, help="R")
    parser.add_argument("--lr", type=float, default=3e-4, help="of the outer Adam")
    arguments = parser.parse_args()
    budget = BUDGETS[arguments.budget]
    train, validation, test = splits(
        arguments.root, budget.n_splits, budget.n_test, arguments.features, arguments.seed
    )
    print(f"{'method':8s} {'validation loss':>15s} {'test accuracy':>15s} {'over STL':>15s}")
    first = None
    for name, method in methods(budget.n_splits, arguments.bound, rho=1e-3, a=1e-4).items():
        solution = solve(method, train, validation, budget, arguments.lr)
        scores = test.x @ solution.params["W"] + solution.params["b"]
        accuracy = (scores.argmax(2) == test.y).double().mean(1)
        value = solution.value / budget.n_splits
        first = accuracy if first is None else first
        gain, root = accuracy - first, budget.n_splits**0.5
        print(
            f"{name:8s} {value:15.4f} {accuracy.mean():7.2%} ± {accuracy.std():.2%} "
            f"{gain.mean():+8.2%} ± {gain.std() / root:.2%}",
            flush=True,
        )
        learned = method.C(solution.hyper).expand(budget.n_splits, K, K)
        write(
            {
                "method": name,
                "budget": arguments.budget,
                "seed": arguments.seed,
                "validation loss": value,
                "test": accuracy.tolist(),
                "C": learned.mean(0).tolist(),
                "sums": learned.sum((1, 2)).tolist(),
            },
            arguments.out,
        )
    upper = learned.mean(0).triu()
    pairs = [(int(p) // K, int(p) % K) for p in upper.flatten().argsort(descending=True)[:5]]
    print("strongest interactions:", ", ".join(f"{j}-{k}" for j, k in pairs))


if __name__ == "__main__":
    main()
