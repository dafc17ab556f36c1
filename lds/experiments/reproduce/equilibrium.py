"""A convolutional equilibrium model (§6.3.4, Figure 6.5).

Every image x has a state w = tanh(C * w + pool(C' * x) + c) of ten 14x14 maps (eq. 6.16), read by a
multiclass logistic classifier (V, b). Iterating the map is the inner problem; C, C', c, V and b are
the hyperparameters. Reverse mode, the fixed point method and conjugate gradient on the normal
equations each train it, with and without projecting C onto the ball in which Φ contracts.
"""

import functools
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import lds.bilevel as bilevel
from lds.bilevel.projections import convolution_ball
from lds.experiments.reproduce.entry import Row
from lds.experiments.reproduce.pictures import mnist

MAPS, SIDE, STEPS = 10, 14, 20  # h; T = K
# Zeros around the maps: the convolution is a part of a circular one that is one pixel larger.
TORUS = (SIDE + 1, SIDE + 1)
BALL = convolution_ball(TORUS, radius=0.99)


class Budget(NamedTuple):
    """Digits to train on, to validate and to test; outer iterations; their step sizes to try."""

    sizes: tuple[int, int, int]
    n_outer: int
    rates: tuple[float, ...]


BUDGETS = {
    "tiny": Budget((20, 20, 50), 6, (0.1,)),
    "cpu": Budget((200, 1_000, 2_000), 20, (0.05, 0.1)),
    "wide": Budget((5_000, 1_000, 2_000), 10, (0.1,)),
    "full": Budget((5_000, 5_000, 10_000), 1_500, (0.02, 0.05, 0.1, 0.2)),
}
METHODS: dict[str, bilevel.AbstractHypergradient] = {
    "reverse": bilevel.Reverse(),
    "fixed point": bilevel.FixedPoint(n_iter=STEPS),
    "CG": bilevel.ConjugateGradient(n_iter=STEPS, normal_equations=True),
}
Hyper = dict[str, Tensor]


def equilibrium(images: Tensor) -> bilevel.Dynamics:
    """Φ on these images; its states are the maps `(n_images, 10, 14, 14)`."""

    def step(state: Tensor, hyper: Hyper, t: int) -> Tensor:
        drive = F.max_pool2d(F.conv2d(images, hyper["C'"], padding=1), 2)
        return torch.tanh(F.conv2d(state, hyper["C"], hyper["c"], padding=1) + drive)

    return bilevel.Dynamics(lambda params, hyper: params, step, lambda state: state)


def zeros(images: Tensor) -> Tensor:
    """States to start from."""
    return images.new_zeros(len(images), MAPS, SIDE, SIDE)


def logits(state: Tensor, hyper: Hyper) -> Tensor:
    """The classifier on pooled maps."""
    return F.linear(F.max_pool2d(state, 2).flatten(1), hyper["V"], hyper["b"])


def initial(seed: int) -> Hyper:
    """Random kernels, C within the ball; a classifier of 0."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "C": BALL(0.1 * torch.randn(MAPS, MAPS, 3, 3, generator=generator)),
        "C'": 0.3 * torch.randn(MAPS, 1, 3, 3, generator=generator),
        "c": torch.zeros(MAPS),
        "V": torch.zeros(10, MAPS * 7 * 7),
        "b": torch.zeros(10),
    }


@torch.no_grad()
def accuracy(images: Tensor, labels: Tensor, hyper: Hyper) -> float:
    """Of the predictions at the states after T steps, in blocks of 1,000 images."""
    right = 0
    for x, y in zip(images.split(1_000), labels.split(1_000), strict=True):
        phi, state = equilibrium(x), zeros(x)
        for t in range(STEPS):
            state = phi.step(state, hyper, t)
        right += int((logits(state, hyper).argmax(1) == y).sum())
    return right / len(labels)


def norm(kernel: Tensor) -> float:
    """The largest singular value of the circular convolution."""
    return float(torch.linalg.svdvals(torch.fft.fft2(kernel, s=TORUS).permute(2, 3, 0, 1)).max())


def train(
    method: str, projected: bool, rate: float, data: Any, seed: int, n_outer: int
) -> dict[str, Any]:
    """One run, as a row of the table: what the last hyperparameters give."""
    (x, y), (x_val, y_val), (x_test, y_test) = data
    phi, began = equilibrium(x), time.process_time()
    hyper = {name: leaf.to(x.device) for name, leaf in initial(seed).items()}
    solution = bilevel.solve(
        phi,
        lambda state, hyper: F.cross_entropy(logits(state, hyper), y),
        zeros(x),
        hyper,
        STEPS,
        method=METHODS[method],
        n_outer=n_outer,
        optimizer=functools.partial(torch.optim.SGD, lr=rate, momentum=0.9, nesterov=True),
        projection=(lambda hyper: hyper | {"C": BALL(hyper["C"])}) if projected else None,
    )
    seconds, hyper = time.process_time() - began, solution.last.hyper
    return {
        "method": method,
        "projected": projected,
        "rate": rate,
        "seed": seed,
        "iterations": len(solution.history),
        "reason": solution.reason,
        "loss": solution.history[-1].value,
        "validation": accuracy(x_val, y_val, hyper),
        "test": accuracy(x_test, y_test, hyper),
        "rho": bilevel.contraction(phi, zeros(x), hyper, STEPS),
        "norm": norm(hyper["C"]),
        "seconds": seconds,
    }


def run(row: Row, budget: str, root: Path) -> dict[str, Any]:
    """Train with one method and step size."""
    sizes = BUDGETS[budget]
    data = [(images[:, None], labels) for images, labels in mnist(root, sizes.sizes, row["seed"])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bilevel.ContractionWarning)  # what rho shows
        found = train(
            row["method"], row["projected"], row["rate"], data, row["seed"], sizes.n_outer
        )
    kept = ("iterations", "reason", "loss", "validation", "rho", "norm")
    return {"value": found["test"], **{name: found[name] for name in kept}}
