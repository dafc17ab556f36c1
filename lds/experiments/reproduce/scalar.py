"""The scalar example of §6.2.2: tuning the learning rate with too short a horizon (Figure 6.4).

min over λ in [-1, 1] of λ² - (w_T - λ/2)², w_t = w_{t-1} - η (w_{t-1} - λ), w_0 = 1.
"""

import functools
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lds.bilevel as bilevel
from lds.experiments.reproduce.entry import Row

W0, FIRST_LAMBDA, FIXED_LR, BOX = 1.0, 0.5, 0.1, 1.0
N_OUTER = {"tiny": 20, "cpu": 400, "full": 2000}


def outer_value(lam: float, n_steps: int, lr: float) -> float:
    """f_T(λ) in closed form: w_T = λ + (1 - η)^T (w_0 - λ)."""
    w = lam + (1 - lr) ** n_steps * (W0 - lam)
    return lam**2 - (w - lam / 2) ** 2


def run(row: Row, budget: str, root: Path) -> dict[str, Any]:
    """Optimise λ, and η too where the row says so, by Forward-HG."""
    n_steps, tuned = row["T"], row["tune"]
    options: dict[str, Any] = {"dtype": torch.float64}

    def inner(w: Tensor, hyper: dict[str, Tensor]) -> Tensor:
        return 0.5 * (w - hyper["lambda"]) ** 2

    def outer(w: Tensor, hyper: dict[str, Tensor]) -> Tensor:
        lam = hyper["lambda"]
        return lam**2 - (w - lam / 2) ** 2

    hyper = {"lambda": torch.tensor(FIRST_LAMBDA, **options)}
    projection: dict[str, Any] = {"lambda": bilevel.projections.box(-BOX, BOX)}
    if tuned:
        hyper["eta"] = torch.tensor(FIXED_LR, **options)
        projection["eta"] = bilevel.projections.non_negative()
    rate = (lambda hyper: hyper["eta"]) if tuned else FIXED_LR
    solution = bilevel.solve(
        bilevel.GradientDescent(inner, lr=rate),
        outer,
        torch.tensor(W0, **options),
        hyper,
        n_steps,
        method=bilevel.Forward(),
        n_outer=N_OUTER[budget],
        optimizer=functools.partial(torch.optim.SGD, lr=0.05),
        projection=projection,
        keep="last",
    )
    gaps = [abs(float(record.hyper["lambda"])) for record in solution.history]
    lam = float(solution.last.hyper["lambda"])
    eta = float(solution.last.hyper["eta"]) if tuned else FIXED_LR
    points = sorted({round(10 ** (k / 8)) for k in range(8 * math.ceil(math.log10(len(gaps))) + 1)})
    return {
        "value": abs(lam),
        "eta": eta,
        "objective": outer_value(lam, n_steps, eta),
        "gaps": [gaps[k - 1] for k in points if k <= len(gaps)],
    }
