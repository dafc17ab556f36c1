"""Architecture by hypergradients: activations, widths and skip connections of a 3-layer network.

    python examples/architecture.py                              # scikit-learn's digits
    python examples/architecture.py --data mnist --root DATA     # DATA/mnist/mnist.npz

Each hidden layer chooses one of four activations (a Categorical), every unit may be left out (a
Bernoulli each), and so may three skip connections. All are relaxed by Gumbel-softmax within the
training of the weights, and moved by the hypergradient of the validation loss. Random search and
Optuna's TPE make the same choices in as many trainings. A training of theirs ends with a validation
loss, one of ours with a hypergradient too (about four times the work).

The architecture that each method chose (ours: the most probable one) is trained again on training
and validation rows; the accuracy is that on the test rows.
"""

import argparse
import functools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy

from lds import bilevel, discrete

WIDTH = 32
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "none": lambda h: h,
}
Architecture = dict[str, Tensor]
"""activation `(2, 4)` one-hot rows, units `(2, WIDTH)` and skips `(3,)` of 0 and 1."""

Rows = tuple[Tensor, Tensor]


def load(data: str, root: Path | None, n_fit: int, seed: int) -> tuple[Rows, Rows, Rows]:
    """Training, validation (half of `n_fit` each) and test rows."""
    if data == "digits":
        pixels, labels = load_digits(return_X_y=True)
        x, y = torch.as_tensor(pixels, dtype=torch.float32) / 16, torch.as_tensor(labels)
    else:
        if root is None:
            raise SystemExit("--data mnist needs --root, the folder that holds mnist/mnist.npz")
        stored = np.load(root / "mnist" / "mnist.npz")
        images = torch.as_tensor(stored["x_train"], dtype=torch.float32).view(-1, 1, 28, 28) / 255
        x, y = avg_pool2d(images, 2).flatten(1), torch.as_tensor(stored["y_train"]).long()
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(x)))
    train, validation, test = order.tensor_split([n_fit // 2, n_fit])
    return (x[train], y[train]), (x[validation], y[validation]), (x[test], y[test])


def weights(n_features: int, seed: int) -> dict[str, Tensor]:
    sizes = {
        "in": (n_features, WIDTH),
        "hidden": (WIDTH, WIDTH),
        "out": (WIDTH, 10),
        "skip 1": (n_features, WIDTH),
        "skip 2": (n_features, 10),
        "skip 3": (WIDTH, 10),
    }
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(n, m, generator=generator) / n**0.5 for name, (n, m) in sizes.items()}


def logits(w: dict[str, Tensor], z: Architecture, x: Tensor) -> Tensor:
    def layer(k: int, h: Tensor) -> Tensor:
        mixed = [z["activation"][k, a] * f(h) for a, f in enumerate(ACTIVATIONS.values())]
        return sum(mixed[1:], mixed[0]) * z["units"][k]

    first = layer(0, x @ w["in"])
    second = layer(1, first @ w["hidden"] + z["skips"][0] * (x @ w["skip 1"]))
    skipped = z["skips"][1] * (x @ w["skip 2"]) + z["skips"][2] * (first @ w["skip 3"])
    return second @ w["out"] + skipped


def loss(w: dict[str, Tensor], z: Architecture, rows: Rows) -> Tensor:
    return cross_entropy(logits(w, z, rows[0]), rows[1])


def train(z: Architecture, rows: Rows, n_steps: int, seed: int) -> dict[str, Tensor]:
    w = {name: v.requires_grad_() for name, v in weights(rows[0].shape[1], seed).items()}
    adam = torch.optim.Adam(w.values(), lr=0.02)
    for _ in range(n_steps):
        adam.zero_grad()
        loss(w, z, rows).backward()
        adam.step()
    return {name: v.detach() for name, v in w.items()}


def by_hypergradients(fit: Rows, judge: Rows, n_trainings: int, n_steps: int, seed: int):
    def distributions(hyper: dict[str, Tensor]) -> dict[str, discrete.AbstractDiscrete]:
        return {
            "activation": discrete.Categorical.from_logits(hyper["activation"]),
            "units": discrete.Bernoulli.from_logits(hyper["units"]),
            "skips": discrete.Bernoulli.from_logits(hyper["skips"]),
        }

    def drawn(hyper: dict[str, Tensor]) -> Architecture:
        return {
            name: discrete.gumbel_softmax(distribution, temperature=0.5)
            for name, distribution in distributions(hyper).items()
        }

    solution = bilevel.solve(
        bilevel.Adam(lambda w, hyper: loss(w, drawn(hyper), fit), lr=0.02),
        lambda w, hyper: loss(w, drawn(hyper), judge),
        weights(fit[0].shape[1], seed),
        {
            "activation": torch.zeros(2, len(ACTIVATIONS)),
            "units": torch.ones(2, WIDTH),
            "skips": torch.zeros(3),
        },
        n_steps=n_steps,
        n_outer=n_trainings,
        optimizer=functools.partial(torch.optim.Adam, lr=0.2),
        keep="last",  # E draws an architecture: the lowest value would be a lucky draw
        seed=seed,
    )
    return {name: d.mode for name, d in distributions(solution.last.hyper).items()}


def searched(trial: optuna.Trial) -> Architecture:
    chosen = [trial.suggest_categorical(f"activation {k}", list(ACTIVATIONS)) for k in (1, 2)]
    widths = [trial.suggest_int(f"width {k}", 1, WIDTH) for k in (1, 2)]
    skips = [trial.suggest_int(f"skip {k}", 0, 1) for k in (1, 2, 3)]
    names = list(ACTIVATIONS)
    return {
        "activation": torch.eye(len(names))[[names.index(name) for name in chosen]],
        "units": (torch.arange(WIDTH) < torch.tensor(widths)[:, None]).float(),
        "skips": torch.tensor(skips).float(),
    }


def by_search(
    sampler: Callable[[int], optuna.samplers.BaseSampler],
    fit: Rows,
    judge: Rows,
    n_trainings: int,
    n_steps: int,
    seed: int,
) -> Architecture:
    def objective(trial: optuna.Trial) -> float:
        z = searched(trial)
        return float(loss(train(z, fit, n_steps, seed), z, judge))

    study = optuna.create_study(sampler=sampler(seed))
    study.optimize(objective, n_trials=n_trainings)
    return searched(optuna.trial.FixedTrial(study.best_params))


METHODS = {
    "hypergradients": by_hypergradients,
    "random search": functools.partial(by_search, lambda s: optuna.samplers.RandomSampler(seed=s)),
    "Optuna, TPE": functools.partial(by_search, lambda s: optuna.samplers.TPESampler(seed=s)),
    "all units, ReLU, no skips": lambda *_: {
        "activation": torch.eye(len(ACTIVATIONS))[[0, 0]],
        "units": torch.ones(2, WIDTH),
        "skips": torch.zeros(3),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--budget", choices=["full", "tiny"], default="full")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trainings", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    n_fit = {"digits": 1200, "mnist": 5000}[arguments.data]
    seeds, n_trainings, n_steps = arguments.seeds, arguments.trainings, 60
    if arguments.budget == "tiny":
        seeds, n_fit, n_trainings, n_steps = 1, 200, 3, 10
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in METHODS}
    for seed in range(seeds):
        fit, judge, test = load(arguments.data, arguments.root, n_fit, seed)
        both = (torch.cat([fit[0], judge[0]]), torch.cat([fit[1], judge[1]]))
        for name, search in METHODS.items():
            started = time.process_time()
            z = search(fit, judge, n_trainings, n_steps, seed)
            seconds = time.process_time() - started
            w = train(z, both, n_steps, 1000 + seed)
            right = logits(w, z, test[0]).argmax(1) == test[1]
            found[name].append((100 * float(right.float().mean()), seconds))
    print(f"{arguments.data}: {n_fit} rows to fit, {n_trainings} trainings, {seeds} seeds\n")
    print("| method | test accuracy, % | seconds |")
    print("|---|---|---|")
    for name, rows in found.items():
        score, seconds = np.array(rows).T
        print(f"| {name} | {score.mean():.1f} ± {score.std():.1f} | {seconds.mean():.1f} |")


if __name__ == "__main__":
    main()
