"""The effect of T (§6.2.1): a linear feature map H for ridge regression on Omniglot.

The inner problem has a closed form, so approximate problems of any horizon stand beside the exact
one (Figure 6.3, Table 6.1).
"""

import functools
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import lds.bilevel as bilevel
from lds.experiments.reproduce.entry import Row


class Budget(NamedTuple):
    """Classes, features, outer iterations."""

    n_classes: int
    n_features: int
    n_outer: int


BUDGETS = {"tiny": Budget(10, 16, 8), "cpu": Budget(100, 64, 300), "full": Budget(100, 256, 2000)}
MU = 0.1


def data_of(root: Path, budget: Budget, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Draw three pictures a class to train, three to validate, fourteen to test, by components.

    The thesis's features come from a network that was trained on few-shot episodes.
    """
    images = np.load(root / "omniglot" / "omniglot28.npz")["background"]
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(images))[: budget.n_classes]
    x = torch.from_numpy(images[chosen]).double().flatten(2) / 255
    order = torch.from_numpy(rng.permutation(20))
    flat = x.flatten(0, 1)
    mean = flat.mean(0)
    basis = torch.pca_lowrank(flat - mean, budget.n_features, niter=4)[2]
    features = (x - mean) @ basis
    features = features / features.std()
    parts = features[:, order].split([3, 3, 14], dim=1)
    return [
        (
            part.flatten(0, 1),
            torch.arange(budget.n_classes).repeat_interleave(part.shape[1]),
        )
        for part in parts
    ]


def solution(z: Tensor, y: Tensor) -> Tensor:
    """w_H = (ZᵀZ + µI)⁻¹ ZᵀY with Z = XH (§6.2.1)."""
    w: Tensor = torch.linalg.solve(z.T @ z + MU * torch.eye(z.shape[1], dtype=z.dtype), z.T @ y)
    return w


def run(row: Row, budget: str, root: Path) -> dict[str, Any]:
    """Optimise H with horizon T, or exactly where T is 0."""
    sizes = BUDGETS[budget]
    with torch.random.fork_rng():
        torch.manual_seed(row["seed"])  # of the randomised decomposition
        (x, c), (x_val, c_val), (x_test, c_test) = data_of(root, sizes, row["seed"])
    y, y_val = (torch.eye(sizes.n_classes, dtype=x.dtype)[classes] for classes in (c, c_val))
    d, n = sizes.n_features, len(x)

    def inner(w: Tensor, h: Tensor) -> Tensor:
        return ((y - x @ h @ w).square().sum() + MU * w.square().sum()) / n

    def outer(w: Tensor, h: Tensor) -> Tensor:
        return (y_val - x_val @ h @ w).square().sum() / len(x_val)

    first = torch.eye(d, dtype=x.dtype)
    optimizer = functools.partial(torch.optim.SGD, lr=0.02, momentum=0.9)
    started = time.process_time()
    curve: list[float]
    if row["T"]:
        largest = float(torch.linalg.matrix_norm(x, 2)) ** 2 + MU
        found = bilevel.solve(
            bilevel.GradientDescent(inner, lr=n / (4 * largest)),
            outer,
            torch.zeros(d, sizes.n_classes, dtype=x.dtype),
            first,
            row["T"],
            method=bilevel.Reverse(),
            n_outer=sizes.n_outer,
            optimizer=optimizer,
            keep="last",
        )
        curve = [record.value for record in found.history]
        h, w = found.last.hyper, found.last.params
    else:
        h = first.clone().requires_grad_()
        steps, curve = optimizer([h]), []
        for _ in range(sizes.n_outer):
            loss = outer(solution(x @ h, y), h)
            steps.zero_grad()
            loss.backward()
            curve.append(float(loss.detach()))
            steps.step()
        h = h.detach()
        w = solution(x @ h, y)
    seconds = time.process_time() - started
    right = ((x_test @ h @ w).argmax(1) == c_test).double().mean()
    return {
        "value": float(right),
        "outer": curve[-1],
        "solve_seconds": seconds,
        "curve": curve[:: max(1, len(curve) // 40)],
    }
