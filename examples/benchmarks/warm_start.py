"""Count the products of linear solves that start from 0 or from the solution before.

    python examples/benchmarks/warm_start.py

Logistic regression on digits with one L2 weight for each of 640 weights, tuned on a validation set
by implicit hypergradients solved to a relative residual of 1e-6. Prints one JSON object.
"""

import argparse
import functools
import json

import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

from lds import bilevel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-outer", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(x / 16)[order], torch.tensor(y)[order]

    def train_loss(w, log_decay):
        return cross_entropy(x[:900] @ w, y[:900]) + 0.5 * (log_decay.exp() * w**2).sum()

    def validation_loss(w, log_decay):
        return cross_entropy(x[900:1300] @ w, y[900:1300])

    report = {}
    for name, method in {
        "fixed_point": bilevel.FixedPoint(n_iter=5000, tol=1e-6),
        "conjugate_gradient": bilevel.ConjugateGradient(n_iter=5000, tol=1e-6),
    }.items():
        for warm in (False, True):
            solution = bilevel.solve(
                bilevel.GradientDescent(train_loss, lr=1.0),
                validation_loss,
                torch.zeros(64, 10, dtype=torch.float64),
                torch.full((64, 10), -4.0, dtype=torch.float64),
                n_steps=100,
                method=type(method)(method.n_iter, method.tol, warm_start=warm),
                n_outer=arguments.n_outer,
                optimizer=functools.partial(torch.optim.Adam, lr=0.05),
                warm_start="params",
            )
            products = [int(record.info["n_iter"]) for record in solution.history]
            report[f"{name} {'warm' if warm else 'cold'}"] = {
                "products": sum(products),
                "first": products[0],
                "last": products[-1],
                "residual": max(float(record.info["residual"]) for record in solution.history),
                "value": solution.value,
            }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
