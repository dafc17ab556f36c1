"""Which features matter: a probability for each column, tuned by hypergradients, and usual methods.

    python examples/feature_mask.py

The inner problem is logistic regression on the columns a mask z ~ Ber(θ) leaves; the outer one is
the validation loss plus log(n) / (2n) for every column kept, the penalty of BIC. Masks
are relaxed by Gumbel-softmax, several at each inner step.

All methods have the same rows and about as many trainings. L1 chooses its penalty by 5-fold
cross-validation; SelectKBest (mutual information) and RFE choose k on the validation half; the test
accuracy is that of a logistic regression on the columns chosen.
"""

import argparse
import functools
import math
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import RFE, mutual_info_classif
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import binary_cross_entropy_with_logits

from lds import bilevel, discrete

Halves = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Features and labels to train on, then those to validate with."""


def planted(seed: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """20 informative columns among 200."""
    x, y = make_classification(
        n,
        200,
        n_informative=20,
        n_redundant=0,
        n_clusters_per_class=1,
        shuffle=False,
        flip_y=0.01,
        random_state=seed,
    )
    return x, y, np.arange(200) < 20


def padded(seed: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Breast cancer's 30 columns, and 100 of noise."""
    x, y = load_breast_cancer(return_X_y=True)
    noise = np.random.default_rng(seed).standard_normal((len(x), 100))
    return np.hstack([x, noise]), y, np.arange(130) < 30


def mask_by_hypergradients(halves: Halves, n_outer: int, seed: int) -> np.ndarray:
    """The columns whose coin ended above 1/2."""
    x, y, x_val, y_val = (torch.as_tensor(part, dtype=torch.float32) for part in halves)
    price = math.log(len(x) + len(x_val)) / (2 * (len(x) + len(x_val)))

    def loss(w, probs, x, y, n_draws):
        coins = discrete.Bernoulli(probs.expand(n_draws, -1))
        masks = discrete.gumbel_softmax(coins, temperature=0.5)
        logits = x @ (masks * w["weight"]).T + w["bias"]
        return binary_cross_entropy_with_logits(logits, y[:, None].expand(-1, n_draws))

    solution = bilevel.solve(
        bilevel.Adam(lambda w, probs: loss(w, probs, x, y, 8), lr=0.05),
        lambda w, probs: loss(w, probs, x_val, y_val, 32) + price * probs.sum(),
        {"weight": torch.zeros(x.shape[1]), "bias": torch.zeros(())},
        torch.full((x.shape[1],), 0.5),
        n_steps=50,
        n_outer=n_outer,
        optimizer=functools.partial(torch.optim.Adam, lr=0.05),
        projection=bilevel.projections.box(0.01, 0.99),
        keep="last",  # E draws masks: the lowest value would be a lucky draw
        seed=seed,
    )
    return (solution.last.hyper > 0.5).numpy()


def lasso(halves: Halves, budget: int, seed: int) -> np.ndarray:
    """Columns with a weight under an L1 penalty chosen by 5-fold cross-validation."""
    x, y, x_val, y_val = halves
    penalties = np.logspace(-3, 1, max(1, budget // 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)  # names of options change in scikit-learn
        fit = LogisticRegressionCV(
            Cs=penalties, penalty="l1", solver="liblinear", cv=5, tol=1e-3, random_state=seed
        ).fit(np.vstack([x, x_val]), np.concatenate([y, y_val]))
    return np.ravel(fit.coef_) != 0


def best_prefix(halves: Halves, ranking: np.ndarray, budget: int) -> np.ndarray:
    """The first k columns of a ranking, k by validation accuracy."""
    x, y, x_val, y_val = halves
    scores = {}
    for k in np.unique(np.linspace(1, x.shape[1], budget).astype(int)):
        columns = ranking[:k]
        scores[k] = LogisticRegression().fit(x[:, columns], y).score(x_val[:, columns], y_val)
    chosen = np.zeros(x.shape[1], dtype=bool)
    chosen[ranking[: max(scores, key=scores.__getitem__)]] = True
    return chosen


def select_k_best(halves: Halves, budget: int, seed: int) -> np.ndarray:
    """By mutual information with the label."""
    x, y, _, _ = halves
    return best_prefix(halves, np.argsort(-mutual_info_classif(x, y, random_state=seed)), budget)


def rfe(halves: Halves, budget: int, seed: int) -> np.ndarray:
    """By recursive elimination; half of the trainings rank, half choose k."""
    x, y, _, _ = halves
    step = math.ceil(2 * x.shape[1] / budget)
    ranking = RFE(LogisticRegression(), n_features_to_select=1, step=step).fit(x, y).ranking_
    return best_prefix(halves, np.argsort(ranking, kind="stable"), budget // 2)


METHODS: dict[str, Callable[[Halves, int, int], np.ndarray]] = {
    "mask by hypergradients": mask_by_hypergradients,
    "L1 by cross-validation": lasso,
    "SelectKBest, mutual information": select_k_best,
    "RFE": rfe,
}


def compare(problem: str, seeds: int, n_fit: int, budget: int) -> None:
    found: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in METHODS}
    for seed in range(seeds):
        x, y, truth = (planted if problem == "planted" else padded)(seed, n_fit * 3 // 2)
        n_fit = min(n_fit, len(x) * 2 // 3)  # the rest is test
        order = np.random.default_rng(seed).permutation(len(x))
        fit, test = order[:n_fit], order[n_fit:]
        x = StandardScaler().fit(x[fit]).transform(x)
        half = n_fit // 2
        halves = (x[fit[:half]], y[fit[:half]], x[fit[half:]], y[fit[half:]])
        for name, choose in METHODS.items():
            started = time.process_time()
            mask = choose(halves, budget, seed)
            seconds = time.process_time() - started
            f1 = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
            score = 0.0
            if mask.any():
                final = LogisticRegression().fit(x[fit][:, mask], y[fit])
                score = final.score(x[test][:, mask], y[test])
            found[name].append((f1, mask.sum(), 100 * score, seconds))
    print(f"\n{problem}: {seeds} seeds, {n_fit} rows to fit, {budget} trainings\n")
    print(
        "| method | F1 of recovery | columns | test accuracy, % | seconds |\n|---|---|---|---|---|"
    )
    for name, rows in found.items():
        f1, columns, score, seconds = np.array(rows).T
        print(
            f"| {name} | {f1.mean():.3f} ± {f1.std():.3f} | {columns.mean():.1f} "
            f"| {score.mean():.1f} ± {score.std():.1f} | {seconds.mean():.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", choices=["full", "tiny"], default="full")
    parser.add_argument("--rows", type=int, default=2000, help="to fit")
    parser.add_argument("--problem", choices=["planted", "breast_cancer"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    full = arguments.budget == "full"
    seeds, n_fit, budget = (5, arguments.rows, 50) if full else (1, 300, 4)
    for problem in ("planted", "breast_cancer"):
        if arguments.problem in (None, problem):
            compare(problem, seeds, n_fit, budget)


if __name__ == "__main__":
    main()
