"""Which examples to trust: half the labels are wrong, a small clean set judges.

    python examples/trusted_examples.py --data mnist --root DATA    # DATA/mnist/mnist.npz
    python examples/trusted_examples.py                             # scikit-learn's digits

The inner problem is softmax regression in which each training example counts with a probability of
its own (a coin); the outer one is the loss on the clean examples (data hyper-cleaning, Franceschi
et al., 2017, with a discrete hyperparameter). Coins with two gradient estimators are compared with
the continuous weights of hyper-cleaning and with two methods that need no hypergradient: to
distrust labels that a model trained on the clean examples disagrees with, or one trained on the
other folds.

F1 is that of finding the wrong labels; the accuracy is that of a model refitted on the trusted and
the clean examples; a call is one inner training (with its hypergradient, where there is one).
"""

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy

from lds import bilevel, discrete

N_OUTER, N_STEPS = 30, 50
Method = Callable[["Problem", int], Tensor]


@dataclass
class Problem:
    """Training examples with wrong labels among them; clean ones; and those of the test."""

    x: Tensor
    y: Tensor
    wrong: Tensor
    x_clean: Tensor
    y_clean: Tensor
    x_test: Tensor
    y_test: Tensor


def load(data: str, root: Path | None, n_train: int, n_clean: int, seed: int) -> Problem:
    if data == "digits":
        pixels, labels = load_digits(return_X_y=True)
        x, y = torch.as_tensor(pixels, dtype=torch.float32) / 16, torch.as_tensor(labels)
    else:
        if root is None:
            raise SystemExit("--data mnist needs --root, the folder that holds mnist/mnist.npz")
        stored = np.load(root / "mnist" / "mnist.npz")
        images = np.concatenate([stored["x_train"], stored["x_test"]])
        pixels = torch.as_tensor(images, dtype=torch.float32).view(-1, 1, 28, 28) / 255
        x = avg_pool2d(pixels, 2).flatten(1)  # 14 × 14 is enough to tell digits apart
        y = torch.as_tensor(np.concatenate([stored["y_train"], stored["y_test"]])).long()
    rng = np.random.default_rng(seed)
    order = torch.from_numpy(rng.permutation(len(x)))
    train, clean, test = order.tensor_split([n_train, n_train + n_clean])
    test = test[:10_000]
    labels = y[train].clone()
    changed = torch.from_numpy(rng.permutation(n_train)[: n_train // 2])
    labels[changed] = (labels[changed] + torch.from_numpy(rng.integers(1, 10, len(changed)))) % 10
    return Problem(x[train], labels, labels != y[train], x[clean], y[clean], x[test], y[test])


def weights(problem: Problem) -> dict[str, Tensor]:
    return {"W": torch.zeros(problem.x.shape[1], 10), "b": torch.zeros(10)}


def logits(w: dict[str, Tensor], x: Tensor) -> Tensor:
    return x @ w["W"] + w["b"]


def by_hypergradients(
    count: Callable[[Tensor], Tensor], n_outer: int, problem: Problem, seed: int
) -> Tensor:
    """The hyperparameter of each example; `count` says what it does to the example's loss."""

    def inner(w: dict[str, Tensor], hyper: Tensor) -> Tensor:
        losses = cross_entropy(logits(w, problem.x), problem.y, reduction="none")
        return (count(hyper) * losses).mean()

    def outer(w: dict[str, Tensor], hyper: Tensor) -> Tensor:
        return cross_entropy(logits(w, problem.x_clean), problem.y_clean)

    solution = bilevel.solve(
        bilevel.Adam(inner, lr=0.02),
        outer,
        weights(problem),
        torch.full((len(problem.x),), 0.5),
        n_steps=N_STEPS,
        n_outer=n_outer,
        optimizer=functools.partial(torch.optim.Adam, lr=0.05),
        projection=bilevel.projections.box(0.01, 0.99),
        seed=seed,
    )
    return solution.last.hyper


def coins_straight_through(probs: Tensor) -> Tensor:
    return discrete.straight_through(discrete.Bernoulli(probs))


def coins_relaxed(probs: Tensor) -> Tensor:
    return discrete.gumbel_softmax(discrete.Bernoulli(probs), temperature=0.5)


def fit(problem: Problem, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    w = {name: value.requires_grad_() for name, value in weights(problem).items()}
    adam = torch.optim.Adam(w.values(), lr=0.02)
    for _ in range(200):
        adam.zero_grad()
        (cross_entropy(logits(w, x), y) + 1e-3 * w["W"].square().sum()).backward()
        adam.step()
    return {name: value.detach() for name, value in w.items()}


def agrees_with_clean(problem: Problem, seed: int) -> Tensor:
    w = fit(problem, problem.x_clean, problem.y_clean)
    return (logits(w, problem.x).argmax(1) == problem.y).float()


def agrees_out_of_fold(problem: Problem, seed: int) -> Tensor:
    agrees = torch.zeros(len(problem.x))
    for fold in torch.arange(len(problem.x)).tensor_split(5):
        rest = torch.ones(len(problem.x), dtype=torch.bool)
        rest[fold] = False
        x = torch.cat([problem.x[rest], problem.x_clean])
        w = fit(problem, x, torch.cat([problem.y[rest], problem.y_clean]))
        agrees[fold] = (logits(w, problem.x[fold]).argmax(1) == problem.y[fold]).float()
    return agrees


def methods(n_outer: int) -> dict[str, tuple[Method, int]]:
    """What is compared, with its number of calls."""

    def tuned(count: Callable[[Tensor], Tensor]) -> tuple[Method, int]:
        return functools.partial(by_hypergradients, count, n_outer), n_outer

    return {
        "coins, straight-through": tuned(coins_straight_through),
        "coins, Gumbel-softmax": tuned(coins_relaxed),
        "continuous weights": tuned(lambda weight: weight),
        "disagreement out of fold": (agrees_out_of_fold, 5),
        "disagreement with the clean": (agrees_with_clean, 1),
        "trust all": (lambda problem, seed: torch.ones(len(problem.x)), 0),
        "trust the right ones (not known)": (lambda problem, seed: (~problem.wrong).float(), 0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--budget", choices=["full", "tiny"], default="full")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tiny = arguments.budget == "tiny"
    sizes = (5000, 1000) if arguments.data == "mnist" else (1000, 200)
    seeds, sizes, n_outer = (1, (200, 100), 2) if tiny else (3, sizes, N_OUTER)
    compared = methods(n_outer)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in compared}
    for seed in range(seeds):
        problem = load(arguments.data, arguments.root, *sizes, seed)
        for name, (method, _) in compared.items():
            started = time.process_time()
            trusted = method(problem, seed) > 0.5
            seconds = time.process_time() - started
            hits = int((~trusted & problem.wrong).sum())
            f1 = 2 * hits / max(1, int((~trusted).sum()) + int(problem.wrong.sum()))
            x = torch.cat([problem.x[trusted], problem.x_clean])
            w = fit(problem, x, torch.cat([problem.y[trusted], problem.y_clean]))
            right = logits(w, problem.x_test).argmax(1) == problem.y_test
            found[name].append((f1, 100 * float(right.float().mean()), seconds))
    n_train, n_clean = sizes
    print(f"{arguments.data}: {n_train} examples, {n_clean} clean, {seeds} seeds\n")
    print("| method | F1 of wrong labels | test accuracy, % | calls | seconds |")
    print("|---|---|---|---|---|")
    for name, rows in found.items():
        f1, accuracy, seconds = np.array(rows).T
        print(
            f"| {name} | {f1.mean():.3f} ± {f1.std():.3f} "
            f"| {accuracy.mean():.1f} ± {accuracy.std():.1f} "
            f"| {compared[name][1]} | {seconds.mean():.1f} |"
        )


if __name__ == "__main__":
    main()
