"""Meta-Weight-Net: learn, beside the training, how much an example counts from its loss alone.

    python examples/meta_weight_net.py [--data noisy]

A network of two layers is trained on MNIST digits, of which some labels are wrong ("noisy"), or
some classes are rare ("imbalanced"). A small second network maps the loss of an example to its
weight in [0, 1]; its parameters are the hyperparameters, moved after every step to lower the loss
on a few clean, balanced digits (the meta digits). It is one training: `n_steps=1` with
`warm_start="state"` continues from the weights, the momentum and the batch of the step before.

Beside it, for as many steps: plain training on the same digits, on the meta digits alone, and on
both together. The last is the one to beat, for it uses the meta labels, too. With rare classes also
weights inverse to the size of a class, which no loss has to tell apart.

References:
    Shu et al., 2019, Algorithm 1, https://arxiv.org/abs/1902.07379
"""

import functools
import time
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from common import command_line, mnist, write
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lds import bilevel

WRONG = 0.5  # share of wrong labels, each another digit at random
IMBALANCE = 0.01  # size of the rarest class as a share of the largest; between them geometric


class Budget(NamedTuple):
    """Digits to train on, meta digits, and digits to test on; steps."""

    sizes: tuple[int, int, int]
    n_steps: int


BUDGETS = {
    "tiny": Budget((600, 200, 500), n_steps=20),
    "full": Budget((10_000, 500, 10_000), n_steps=2_000),
}


class WeightNet(nn.Module):
    """The weight of an example from its loss: a multi-layer perceptron with one input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 100), nn.ReLU(), nn.Linear(100, 1), nn.Sigmoid())

    def forward(self, losses: Tensor) -> Tensor:
        return self.layers(losses[:, None])[:, 0]


def classifier() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))


def batches(x: Tensor, y: Tensor) -> DataLoader:
    return DataLoader(TensorDataset(x, y), 100, shuffle=True, drop_last=len(y) > 100)


def optimizer(n_steps: int) -> Any:
    """Momentum whose step size falls to a tenth after three fifths of the steps."""
    return functools.partial(
        bilevel.Momentum,
        lr=lambda hyper, step: 0.1 if step < 0.6 * n_steps else 0.01,
        momentum=0.9,
        weight_decay=5e-4,
    )


def accuracy(training: bilevel.Training, params: Any, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((training.apply.eval(params, x).argmax(1) == y).double().mean())


def plain(
    rows: tuple[Tensor, Tensor], n_steps: int, seed: int, by_class: bool = False
) -> tuple[bilevel.Training, Any]:
    """Train on all rows alike, or on rows weighted by the inverse size of their class."""
    torch.manual_seed(seed)
    loss: Any = F.cross_entropy
    if by_class:
        weight = 1 / rows[1].bincount(minlength=10).clamp(min=1)
        loss = functools.partial(F.cross_entropy, weight=weight)  # torch divides by the sum
    training = bilevel.Training(classifier(), loss, batches(*rows), optimizer(n_steps))
    return training, bilevel.run(training.dynamics, training.params, (), n_steps).params


def reweighted(
    rows: tuple[Tensor, Tensor], meta: tuple[Tensor, Tensor], n_steps: int, seed: int
) -> tuple[bilevel.Training, Any, Any]:
    """Train on weighted rows; return the training, its last weights, and those of the other net."""
    torch.manual_seed(seed)
    weight_of, hyper = bilevel.functional(WeightNet())

    def weighted_loss(outputs: Tensor, targets: Tensor, hyper: Any) -> Tensor:
        losses = F.cross_entropy(outputs, targets, reduction="none")
        return bilevel.weighted_mean(losses, weight_of(hyper, losses.detach()))

    training = bilevel.Training(classifier(), weighted_loss, batches(*rows), optimizer(n_steps))
    solution = bilevel.solve(
        training.dynamics,
        training.judged_by(batches(*meta), F.cross_entropy, n_batches=1),
        training.params,
        hyper,
        n_steps=1,
        n_outer=n_steps,
        warm_start="state",
        keep="last",
        optimizer=functools.partial(torch.optim.Adam, lr=1e-4),
    )
    return training, solution.params, functools.partial(weight_of, solution.last.hyper)


def corrupted(x: Tensor, truth: Tensor, data: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make wrong labels or rare classes; return digits, labels, and which labels are wrong."""
    g = torch.Generator().manual_seed(seed)
    n = len(truth)
    if data == "noisy":
        wrong = torch.rand(n, generator=g) < WRONG
        shift = torch.randint(1, 10, (n,), generator=g)
        return x, torch.where(wrong, (truth + shift) % 10, truth), wrong
    keep = torch.rand(n, generator=g) < IMBALANCE ** (truth / 9)
    return x[keep], truth[keep], torch.zeros(int(keep.sum()), dtype=torch.bool)


def main() -> None:
    """Print the table."""
    parser = command_line(__doc__, BUDGETS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", choices=("noisy", "imbalanced"), default="noisy")
    arguments = parser.parse_args()
    sizes, n_steps = BUDGETS[arguments.budget]
    (x, truth), meta, (x_test, y_test) = (
        (images.flatten(1), labels)
        for images, labels in mnist(arguments.root, sizes, arguments.seed)
    )
    x, y, wrong = corrupted(x, truth, arguments.data, arguments.seed)
    both = torch.cat([x, meta[0]]), torch.cat([y, meta[1]])
    print(f"{'trained on':22s} {'digits':>6s} {'test':>7s} {'seconds':>8s}")
    for name, rows in {"meta digits": meta, "all alike": (x, y), "all and meta": both}.items():
        since = time.process_time()
        training, params = plain(rows, n_steps, arguments.seed)
        report(arguments, name, len(rows[1]), training, params, (x_test, y_test), since)
    if arguments.data == "imbalanced":
        since = time.process_time()
        training, params = plain((x, y), n_steps, arguments.seed, by_class=True)
        report(arguments, "by class size", len(y), training, params, (x_test, y_test), since)
    since = time.process_time()
    training, params, weight_of = reweighted((x, y), meta, n_steps, arguments.seed)
    report(arguments, "weighted", len(y), training, params, (x_test, y_test), since)
    with torch.no_grad():
        losses = F.cross_entropy(training.apply.eval(params, x), y, reduction="none")
        weights = weight_of(losses)
    if wrong.any():
        print(
            f"mean weight of right labels {weights[~wrong].mean():.3f}, "
            f"of wrong ones {weights[wrong].mean():.3f}"
        )


def report(
    arguments: Any,
    name: str,
    n: int,
    training: bilevel.Training,
    params: Any,
    test: Any,
    since: float,
) -> None:
    """Print and write a row."""
    row = {
        "trained on": name,
        "data": arguments.data,
        "budget": arguments.budget,
        "seed": arguments.seed,
        "digits": n,
        "seconds": round(time.process_time() - since, 1),
        "test": accuracy(training, params, *test),
    }
    print(f"{name:22s} {n:6d} {row['test']:7.2%} {row['seconds']:8.1f}", flush=True)
    write(row, arguments.out)


if __name__ == "__main__":
    main()
