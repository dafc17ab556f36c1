"""A graph that is not learned for a network: which variables of a linear model cause which.

    python examples/dependency_mask.py

Data follow x = Wᵀx + noise with a sparse acyclic W. The inner problem fits all weights to training
rows by the likelihood of such a model, log|det(I - W)| included, with a penalty on cycles (Ng,
Ghassami and Zhang, 2020, GOLEM with equal variances), through a mask z ~ Ber(θ) on the directed
edges. The outer problem is the same on other rows, plus log(n) / (2n) for every edge kept, the
penalty of BIC.

It is compared with the graphical lasso, chosen by cross-validation: the usual method. That finds
which variables depend on each other given all others, without directions, so undirected edges are
compared, and also those of the best threshold on its partial correlations.
"""

import argparse
import functools
import math
import time
import warnings

import numpy as np
import torch
from sklearn.covariance import GraphicalLassoCV
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from lds import bilevel, discrete


def planted(n_variables: int, n_edges: int, n_rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of a linear structural model, and its directed edges."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(n_variables)
    pairs = np.array([(i, j) for i in range(n_variables) for j in range(i + 1, n_variables)])
    chosen = pairs[rng.choice(len(pairs), n_edges, replace=False)]
    weights = np.zeros((n_variables, n_variables))
    signs = rng.choice([-1, 1], n_edges)
    weights[order[chosen[:, 0]], order[chosen[:, 1]]] = signs * rng.uniform(0.5, 1.5, n_edges)
    noise = rng.standard_normal((n_rows, n_variables))
    x = noise @ np.linalg.inv(np.eye(n_variables) - weights)
    return torch.as_tensor(x - x.mean(0), dtype=torch.float32), torch.as_tensor(weights != 0)


def mask_by_hypergradients(x: Tensor, n_outer: int, seed: int) -> Tensor:
    """Directed edges whose coin ended above 1/2."""
    n_rows, d = x.shape
    train, validation = x[: n_rows // 2], x[n_rows // 2 :]
    off_diagonal = 1 - torch.eye(d)
    price = math.log(n_rows) / (2 * n_rows)

    def negative_log_likelihood(w: Tensor, probs: Tensor, rows: Tensor, n_draws: int) -> Tensor:
        coins = discrete.Bernoulli(probs.expand(n_draws, d, d))
        edges = discrete.gumbel_softmax(coins, temperature=0.5) * off_diagonal * w
        residuals = rows - rows @ edges
        variance = residuals.square().mean((1, 2))
        log_det = torch.linalg.slogdet(torch.eye(d) - edges)[1]
        cycles = torch.linalg.matrix_exp(edges.square()).diagonal(dim1=-2, dim2=-1).sum(-1) - d
        return (d / 2 * variance.log() - log_det + 5 * cycles).mean()

    solution = bilevel.solve(
        bilevel.Adam(lambda w, probs: negative_log_likelihood(w, probs, train, 4), lr=0.05),
        lambda w, probs: (
            negative_log_likelihood(w, probs, validation, 16) + price * (off_diagonal * probs).sum()
        ),
        torch.zeros(d, d),
        torch.full((d, d), 0.5),
        n_steps=40,
        n_outer=n_outer,
        optimizer=functools.partial(torch.optim.Adam, lr=0.1),
        projection=bilevel.projections.box(0.01, 0.99),
        keep="last",  # E draws masks: the lowest value would be a lucky draw
        seed=seed,
    )
    return (solution.last.hyper * off_diagonal) > 0.5


def graphical_lasso(x: Tensor) -> np.ndarray:
    """Absolute partial correlations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # a penalty at which a fold diverges
        precision = GraphicalLassoCV().fit(x.numpy()).precision_
    scale = np.sqrt(np.diag(precision))
    partial = np.abs(precision / np.outer(scale, scale))
    np.fill_diagonal(partial, 0)
    return partial


def f1(found: Tensor, truth: Tensor) -> float:
    return 2 * float((found & truth).sum()) / max(1, int(found.sum() + truth.sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", choices=["full", "tiny"], default="full")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.budget == "full":
        seeds, d, n_edges, n_rows, n_outer = 3, 20, 30, 1000, 40
    else:
        seeds, d, n_edges, n_rows, n_outer = 1, 6, 6, 200, 3
    ours, lasso, best, directed, seconds = [], [], [], [], []
    for seed in range(seeds):
        x, truth = planted(d, n_edges, n_rows, seed)
        undirected = truth | truth.T
        started = time.process_time()
        found = mask_by_hypergradients(x, n_outer, seed)
        middle = time.process_time()
        partial = torch.as_tensor(graphical_lasso(x / x.std(0)))
        seconds.append((middle - started, time.process_time() - middle))
        directed.append(f1(found, truth))
        ours.append(f1(found | found.T, undirected))
        lasso.append(f1(partial > 0, undirected))
        best.append(max(f1(partial > level, undirected) for level in np.linspace(0, 0.5, 51)))
    time_ours, time_lasso = np.mean(seconds, axis=0)
    print(f"{d} variables, {n_edges} edges, {n_rows} rows, {seeds} seeds\n")
    print("| method | F1, directed edges | F1, undirected edges | seconds |")
    print("|---|---|---|---|")
    print(
        f"| mask by hypergradients | {np.mean(directed):.3f} ± {np.std(directed):.3f} "
        f"| {np.mean(ours):.3f} ± {np.std(ours):.3f} | {time_ours:.1f} |"
    )
    for name, values in (("graphical lasso", lasso), ("graphical lasso, best threshold", best)):
        print(f"| {name} | | {np.mean(values):.3f} ± {np.std(values):.3f} | {time_lasso:.1f} |")


if __name__ == "__main__":
    main()
