"""Data hyper-cleaning: half the training labels are wrong; a weight for each finds which ones.

    python examples/hyper_cleaning.py

Softmax regression on MNIST is trained on weighted examples; the weights in [0, 1] are
hyperparameters, moved by `Reverse` to lower the loss on validation digits whose labels are right.
Examples whose weight ends at 0 count as wrong. A bound on the sum of the weights (--bound) makes
them sparse.

Accuracy is that of a regression trained again on the examples kept, alone and together with the
validation digits. The method has used the validation labels, so the second is the one to compare.

References:
    Franceschi et al., 2017, section 5.1, https://arxiv.org/abs/1703.01785
"""

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from common import command_line, mnist, write
from torch import Tensor

from lds import bilevel
from lds.bilevel import projections


class Budget(NamedTuple):
    """Digits to train on, to validate and to test; inner steps and outer iterations."""

    sizes: tuple[int, int, int]
    n_steps: int
    n_outer: int


BUDGETS = {
    "tiny": Budget((300, 300, 1_000), n_steps=20, n_outer=20),
    "full": Budget((5_000, 5_000, 10_000), n_steps=50, n_outer=30),
}


def losses(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of every example."""
    return F.cross_entropy(x @ params["W"] + params["b"], y, reduction="none")


def start(x: Tensor) -> dict[str, Tensor]:
    """Weights and biases of 0."""
    return {"W": x.new_zeros(x.shape[1], 10), "b": x.new_zeros(10)}


def clean(x: Tensor, y: Tensor, x_val: Tensor, y_val: Tensor, bound: float, budget: Budget):
    """The learned weight of every training example."""

    def training(params, weights):
        return (weights * losses(params, x, y)).mean()

    def validation(params, weights):
        return losses(params, x_val, y_val).mean()

    # From a point of the box the ball is reached by lowering every weight alike, down to 0: the
    # result lies in both.
    box, ball = projections.box(0, 1), projections.l1_ball(bound)
    return bilevel.solve(
        bilevel.Momentum(training, lr=0.1, momentum=0.9),
        validation,
        start(x),
        ball(torch.ones_like(y, dtype=x.dtype)),
        budget.n_steps,
        method=bilevel.Reverse(),
        n_outer=budget.n_outer,
        optimizer=functools.partial(torch.optim.Adam, lr=0.1),
        projection=lambda weights: ball(box(weights)),
    ).hyper


def accuracy(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, n_steps: int = 300) -> float:
    """On the test digits, of regression trained on (x, y)."""
    phi = bilevel.Momentum(lambda params, _: losses(params, x, y).mean(), lr=0.1)
    state = phi.start(start(x), ())
    for t in range(n_steps):
        state = phi.step(state, (), t)
    params = phi.params(state)
    return float(((x_test @ params["W"] + params["b"]).argmax(1) == y_test).double().mean())


def f1(found: Tensor, wrong: Tensor) -> float:
    """Of the examples found to be wrong."""
    return float(2 * (found & wrong).sum() / (found.sum() + wrong.sum()))


def main() -> None:
    """Print the table."""
    parser = command_line(__doc__, BUDGETS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bound", type=float, nargs="*", help="on the sum of the weights")
    arguments = parser.parse_args()
    budget = BUDGETS[arguments.budget]
    (x, truth), (x_val, y_val), (x_test, y_test) = (
        (images.flatten(1).to(arguments.device), labels.to(arguments.device))
        for images, labels in mnist(arguments.root, budget.sizes, arguments.seed)
    )
    n = len(truth)
    generator = torch.Generator().manual_seed(arguments.seed)
    wrong = (torch.randperm(n, generator=generator) < n // 2).to(truth.device)
    shift = torch.randint(1, 10, (n,), generator=generator).to(truth.device)
    y = torch.where(wrong, (truth + shift) % 10, truth)

    kept = {"everything": torch.ones_like(wrong), "clean half": ~wrong, "nothing": wrong & ~wrong}
    # Without a bound of its own the sum cannot exceed n.
    for bound in [n, *(arguments.bound or [0.4 * n])]:
        kept[f"cleaned, bound {bound:g}"] = clean(x, y, x_val, y_val, bound, budget) > 0
    print(f"{'trained on':22s} {'kept':>5s} {'F1':>6s} {'test':>7s} {'with validation':>16s}")
    for name, rows in kept.items():
        row = {
            "trained on": name,
            "budget": arguments.budget,
            "seed": arguments.seed,
            "kept": int(rows.sum()),
            "f1": f1(~rows, wrong),
            "test": accuracy(x[rows], y[rows], x_test, y_test) if rows.any() else None,
            "test with validation": accuracy(
                torch.cat([x[rows], x_val]), torch.cat([y[rows], y_val]), x_test, y_test
            ),
        }
        alone = "-" if row["test"] is None else f"{row['test']:.2%}"
        print(
            f"{name:22s} {row['kept']:5d} {row['f1']:6.3f} {alone:>7s} "
            f"{row['test with validation']:>16.2%}"
        )
        write(row, arguments.out)


if __name__ == "__main__":
    main()
