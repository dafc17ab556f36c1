"""Overhead on tiny problems: CPU time of a hypergradient and of an outer loop beside plain torch.

Run:
    python examples/benchmarks/tiny_problems.py [--budget tiny]

Logistic regression with 20 weights, an intercept and one decay a feature on 100 rows: a step takes
a third of a millisecond, nearly all of it to start operations. Plain torch differentiates the
unrolled loop, with the same Adam and the same bounds of the hyperparameters. All run in turns; the
least CPU time of each counts.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lds import bilevel

T, LR, OUTER_LR = 100, 0.1, 1e-2
BOUND = 2.5  # of log decays: with LR exp(BOUND) < 2 the steps of w stay stable
Weights = list[Tensor]


def problem() -> tuple[Callable[..., Tensor], Callable[..., Tensor], Weights, Tensor]:
    """Inner and outer loss, first weights, first hyperparameters."""
    g = torch.Generator().manual_seed(0)
    x, x_val = torch.randn(100, 20, generator=g), torch.randn(100, 20, generator=g)
    y, y_val = (torch.randint(0, 2, (100,), generator=g).float() for _ in range(2))

    def inner(w: Weights, h: Tensor) -> Tensor:
        fit = binary_cross_entropy_with_logits(x @ w[0] + w[1], y)
        return fit + 0.5 * (h.exp() * w[0] ** 2).sum()

    def outer(w: Weights, h: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(x_val @ w[0] + w[1], y_val)

    return inner, outer, [torch.zeros(20), torch.zeros(())], torch.full((20,), -2.0)


INNER, OUTER, W, H = problem()
DYNAMICS = bilevel.GradientDescent(INNER, LR)


def unrolled(w: Weights, h: Tensor, n_steps: int) -> tuple[Tensor, Weights]:
    """The gradient of E by h through the steps, and the last weights."""
    w = [leaf.detach().requires_grad_() for leaf in w]
    for _ in range(n_steps):
        grads = torch.autograd.grad(INNER(w, h), w, create_graph=True)
        w = [leaf - LR * g for leaf, g in zip(w, grads, strict=True)]
    return torch.autograd.grad(OUTER(w, h), h)[0], w


def plain_loop(n_outer: int, n_steps: int, *, warm: bool) -> Tensor:
    """The outer loop in plain torch."""
    h, w = H.clone().requires_grad_(), W
    adam = torch.optim.Adam([h], lr=OUTER_LR)
    for _ in range(n_outer):
        h.grad, last = unrolled(w, h, n_steps)
        w = last if warm else W
        adam.step()
        with torch.no_grad():
            h.clamp_(-BOUND, BOUND)
    return h.detach()


def our_loop(
    n_outer: int, n_steps: int, *, warm: bool, method: bilevel.AbstractHypergradient | None = None
) -> Tensor:
    """The outer loop of the core."""
    return bilevel.solve(
        DYNAMICS,
        OUTER,
        W,
        H,
        n_steps,
        method=method,
        n_outer=n_outer,
        warm_start="state" if warm else False,
        keep="last",
        projection=bilevel.projections.box(-BOUND, BOUND),
    ).last.hyper


def main() -> None:
    """Print CPU microseconds a step (or an iteration), and ratios to plain torch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", choices=("full", "tiny"), default="full")
    tiny = parser.parse_args().budget == "tiny"
    torch.set_num_threads(1)
    n, single, repeats = (1, 5, 1) if tiny else (5, 500, 20)
    parts = {
        "one hypergradient, T = 100": (
            T,
            lambda: unrolled(W, H.clone().requires_grad_(), T)[0],
            lambda: bilevel.hypergradient(DYNAMICS, OUTER, W, H, T).grad,
        ),
        "solve, T = 100": (
            n * T,
            lambda: plain_loop(n, T, warm=False),
            lambda: our_loop(n, T, warm=False),
        ),
        "solve, T = 1, warm start": (
            single,
            lambda: plain_loop(single, 1, warm=True),
            lambda: our_loop(single, 1, warm=True),
        ),
    }
    for name, (count, plain, ours) in parts.items():
        torch.testing.assert_close(ours(), plain(), rtol=1e-3, atol=1e-5)
        least = [float("inf")] * 2
        for _ in range(repeats):
            for k, run in enumerate((plain, ours)):
                since = time.process_time()
                run()
                least[k] = min(least[k], (time.process_time() - since) / count * 1e6)
        row = {"what": name, "plain_us": round(least[0]), "lds_us": round(least[1])}
        print(json.dumps(row | {"ratio": round(least[1] / least[0], 2)}), flush=True)


if __name__ == "__main__":
    main()
