"""Bias of the straight-through estimator, by enumeration of all outcomes (Appendix D)."""

from pathlib import Path
from typing import Any

import torch

from lds.experiments.gradient_estimators import FUNCTIONS, moments, true_gradient
from lds.experiments.reproduce.entry import Row


def run(row: Row, budget: str, root: Path) -> dict[str, Any]:
    """Relative bias of one estimator on one function, at probabilities drawn by the seed."""
    h, n = FUNCTIONS[row["function"]]
    generator = torch.Generator().manual_seed(row["seed"] + n)
    theta = 0.1 + 0.8 * torch.rand(n, dtype=torch.float64, generator=generator)
    true = true_gradient(h, theta)
    mean, variance, _ = moments(row["estimator"], h, theta, 1, row["seed"])
    return {
        "value": float((mean - true).norm()),
        "gradient": float(true.norm()),
        "deviation": float(variance.sum().clamp(min=0).sqrt()),
    }
