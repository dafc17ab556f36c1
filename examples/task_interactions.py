"""Task interactions: which classes should share strength is learned with the classifier.

    python examples/task_interactions.py

A linear model of K classes (tasks) is trained on 50 digits with the penalty
sum_jk C_jk |w_j - w_k|^2 + sum_k rho_k |w_k|^2; C and rho are hyperparameters, moved by `Reverse`
to lower the loss on 50 further digits:

    STL     C = 0, rho_k for each task
    NMTT    C_jk = a: all tasks are equally related; a and one rho
    HMTT    C symmetric and non-negative, and one rho
    HMTT-S  the same with sum_jk C_jk <= R (--bound)

All splits are trained side by side, as the first dimension of every tensor. Accuracies are means
over splits ± standard deviation; `over STL` is the paired difference ± its standard error.
Features are the leading principal components of other, unlabelled digits. The bound was chosen on
splits 100 to 107.

References:
    Franceschi, 2021, section 7.1.1, table 7.1; Evgeniou et al., 2005
"""

from common import command_line, write

from lds.experiments.reproduce.interactions import (
    BOUND,
    BUDGETS,
    LR,
    N_FEATURES,
    K,
    methods,
    solve,
    splits,
)


def main() -> None:
    """Print the table, and the strongest interactions."""
    parser = command_line(__doc__, BUDGETS)
    parser.add_argument("--seed", type=int, default=0, help="of the first split")
    parser.add_argument("--features", type=int, default=N_FEATURES, help="principal components")
    parser.add_argument("--bound", type=float, default=BOUND, help="R")
    parser.add_argument("--lr", type=float, default=LR, help="of the outer Adam")
    arguments = parser.parse_args()
    budget = BUDGETS[arguments.budget]
    train, validation, test = splits(
        arguments.root, budget.n_splits, budget.n_test, arguments.features, arguments.seed
    )
    print(f"{'method':8s} {'validation loss':>15s} {'test accuracy':>15s} {'over STL':>15s}")
    first = None
    for name, method in methods(budget.n_splits, arguments.bound, rho=1e-3, a=1e-4).items():
        solution = solve(method, train, validation, budget, arguments.lr)
        scores = test.x @ solution.params["W"] + solution.params["b"]
        accuracy = (scores.argmax(2) == test.y).double().mean(1)
        value = solution.value / budget.n_splits
        first = accuracy if first is None else first
        gain, root = accuracy - first, budget.n_splits**0.5
        print(
            f"{name:8s} {value:15.4f} {accuracy.mean():7.2%} ± {accuracy.std():.2%} "
            f"{gain.mean():+8.2%} ± {gain.std() / root:.2%}",
            flush=True,
        )
        learned = method.C(solution.hyper).expand(budget.n_splits, K, K)
        write(
            {
                "method": name,
                "budget": arguments.budget,
                "seed": arguments.seed,
                "validation loss": value,
                "test": accuracy.tolist(),
                "C": learned.mean(0).tolist(),
                "sums": learned.sum((1, 2)).tolist(),
            },
            arguments.out,
        )
    upper = learned.mean(0).triu()
    pairs = [(int(p) // K, int(p) % K) for p in upper.flatten().argsort(descending=True)[:5]]
    print("strongest interactions:", ", ".join(f"{j}-{k}" for j, k in pairs))


if __name__ == "__main__":
    main()
