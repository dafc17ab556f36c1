"""Hypergradient descent and RTHO on two test functions of the plane (Figure 8.1)."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lds.bilevel as bilevel
from lds.bilevel.checks import NonFiniteError
from lds.experiments.reproduce.entry import Row

N_STEPS = {"tiny": 40, "cpu": 500, "full": 500}
DISCOUNT = {"HD": 0.0, "RTHO": 1.0}


def beale(w: Tensor) -> Tensor:
    """Sharp peaks and large plateaus; 0 at (3, 1/2)."""
    x, y = w[0], w[1]
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def bukin(w: Tensor, eps: float = 1e-2) -> Tensor:
    """The smoothed and simplified Bukin N.6 of footnote 5: a valley along y = 0.01 x."""
    return torch.sqrt(((w[1] - 0.01 * w[0]) ** 2 + eps) ** 0.5 + eps)


FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[float, float], float]] = {
    "beale": (beale, (-1.0, 1.5), 1e-3),
    "bukin": (bukin, (-8.0, 1.0), 1e-2),
}
"""Function, start and first learning rate."""


def run(row: Row, budget: str, root: Path) -> dict[str, Any]:
    """The best value within the steps, and the learning rates, for one β."""
    function, start, lr = FUNCTIONS[row["function"]]
    values: list[float] = []

    def note(record: bilevel.Record) -> None:
        values.append(record.value)

    reason = ""
    try:
        solution = bilevel.solve_online(
            bilevel.GradientDescent(lambda w, eta: function(w), lr=lambda eta: eta),
            lambda w, eta: function(w),
            torch.tensor(start, dtype=torch.float64),
            torch.tensor(lr, dtype=torch.float64),
            N_STEPS[budget],
            discount=DISCOUNT[row["method"]],
            optimizer=functools.partial(torch.optim.SGD, lr=row["beta"]),
            projection=bilevel.projections.non_negative(),
            keep="last",
            callback=note,
        )
        rates = [float(record.hyper) for record in solution.history]
        reason = solution.reason
    except NonFiniteError as error:
        rates, reason = [], f"diverged: {error}"
    first = float(function(torch.tensor(start, dtype=torch.float64)))
    diverged = "finite" in reason or (bool(values) and max(values) > 10 * first)
    return {
        "value": min(values) if values else first,
        "last": values[-1] if values else first,
        "diverged": diverged,
        "largest_rate": max(rates) if rates else lr,
        "last_rate": rates[-1] if rates else lr,
    }
