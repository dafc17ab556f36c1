"""Equilibrium model: features are the fixed point of a convolutional map, which is learned.

    python examples/equilibrium.py --budget cpu               # 200 digits, 20 outer iterations
    python examples/equilibrium.py --device cuda              # 5,000 and 1,500, as in the thesis

Every image x has a state w = tanh(C * w + pool(C' * x) + c) of ten 14x14 maps (eq. 6.16), read by a
multiclass logistic classifier (V, b). Iterating the map is the inner problem: there is no inner
loss, Φ is a dynamics of the example's own; C, C', c, V and b are the hyperparameters. Reverse mode,
the fixed point method and conjugate gradient on the normal equations (∂Φ/∂w is not symmetric) each
train it, with and without projecting C onto the ball in which Φ contracts.

`rho` is the largest modulus of an eigenvalue of ∂Φ/∂w at the training images' states, `norm` the
largest singular value of the convolution with C: below 1, Φ contracts. All runs start there.
`seconds` are CPU seconds of the outer loop.

References:
    Franceschi, 2021, section 6.3.4, figure 6.5; Grazzi et al., 2020,
    https://arxiv.org/abs/2006.16218
"""

import warnings

from common import command_line, mnist, write

from lds import bilevel
from lds.experiments.reproduce.equilibrium import BUDGETS, METHODS, train


def main() -> None:
    """Print the table."""
    parser = command_line(__doc__, BUDGETS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--rates", type=float, nargs="*", help="outer step sizes to try")
    arguments = parser.parse_args()
    budget = BUDGETS[arguments.budget]
    data = [
        (images[:, None].to(arguments.device), labels.to(arguments.device))
        for images, labels in mnist(arguments.root, budget.sizes, arguments.seed)
    ]
    warnings.simplefilter("ignore", bilevel.ContractionWarning)  # what rho shows
    print(
        f"{'method':12s} {'ball':4s} {'rate':>5s} {'loss':>7s} {'valid':>7s} {'test':>7s} "
        f"{'rho':>6s} {'norm':>6s} {'seconds':>8s}"
    )
    for method in arguments.methods:
        for projected in (True, False):
            for rate in arguments.rates or budget.rates:
                row = train(method, projected, rate, data, arguments.seed, budget.n_outer)
                print(
                    f"{method:12s} {'yes' if projected else 'no':4s} {rate:5g} "
                    f"{row['loss']:7.4f} {row['validation']:7.2%} {row['test']:7.2%} "
                    f"{row['rho']:6.3f} {row['norm']:6.3f} {row['seconds']:8.1f}"
                    f"{'' if row['reason'] == 'n_outer' else '  ended: ' + row['reason']}",
                    flush=True,
                )
                write({"budget": arguments.budget} | row, arguments.out)


if __name__ == "__main__":
    main()
