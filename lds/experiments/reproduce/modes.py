"""Time and memory of forward and reverse mode (§6.1.1, Figure 6.1)."""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import lds.bilevel as bilevel
from lds.bilevel.tensors import leaves
from lds.experiments.reproduce.entry import Row
from lds.experiments.reproduce.pictures import mnist

N_STEPS = {"tiny": 3, "cpu": 30, "full": 1000}
N_ROWS = {"tiny": 50, "cpu": 200, "full": 5000}


def run(row: Row, budget: str, root: Path) -> dict[str, Any]:
    """CPU seconds of a hypergradient, and the numbers that the method keeps.

    Three layers and momentum; the learning rate, the momentum factor and `n_hyper` - 2 weights of
    groups of training examples are hyperparameters.
    """
    (x, y), (x_val, y_val) = mnist(root, (N_ROWS[budget], N_ROWS[budget]), row["seed"])
    width, n_groups = row["width"], row["n_hyper"] - 2
    net = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(784, width),
        torch.nn.ReLU(),
        torch.nn.Linear(width, width),
        torch.nn.ReLU(),
        torch.nn.Linear(width, 10),
    )
    apply, params = bilevel.functional(net)
    group = torch.arange(len(y)) % max(1, n_groups)
    hyper = {"lr": torch.tensor(0.01), "momentum": torch.tensor(0.5)}
    if n_groups:
        hyper["weights"] = torch.ones(n_groups)

    def inner(w: Any, h: dict[str, Tensor]) -> Tensor:
        each = cross_entropy(apply(w, x), y, reduction="none")
        return (h["weights"][group] * each).mean() if n_groups else each.mean()

    dynamics = bilevel.Momentum(inner, lr=lambda h: h["lr"], momentum=lambda h: h["momentum"])
    forward = row["method"] == "forward"

    def go_through(n_steps: int) -> float:
        """Compute a hypergradient, and return its CPU seconds."""
        started = time.process_time()
        bilevel.hypergradient(
            dynamics,
            lambda w, h: cross_entropy(apply(w, x_val), y_val),
            params,
            hyper,
            n_steps,
            bilevel.Forward() if forward else bilevel.Reverse(),
        )
        return time.process_time() - started

    go_through(1)  # the first call of a process also sets up torch's tracing
    seconds = go_through(N_STEPS[budget])
    n_state = 2 * sum(leaf.numel() for leaf in leaves(params))  # weights and momentum
    kept = row["n_hyper"] * n_state if forward else N_STEPS[budget] * n_state
    return {"value": seconds, "kept": kept, "weights": n_state // 2}
