"""Bias and variance of every gradient estimator, by enumeration of all outcomes (Appendix D).

    python -m lds.experiments.gradient_estimators

Four functions of n <= 10 Bernoulli variables: the thesis's (az - b)²/2; products of distinct edges,
as in paths of a graph; the loss of a two-layer GCN over the 10 pairs of 5 nodes; and the validation
loss after an inner training of 3 steps on the features that z leaves. Expectations are sums over
all 2^n outcomes (all pairs of them where an estimate takes two), so a bias of rounding size is
none. Gumbel-softmax and REBAR draw from a continuum: their bias has a standard error.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lds.bilevel.descent import GradientDescent
from lds.discrete.bernoulli import Bernoulli
from lds.discrete.gradient_estimators import gumbel_softmax, reinmax, straight_through
from lds.discrete.rebar import each_draw
from lds.experiments.arguments import count

Values = Callable[[Tensor], Tensor]
"""h, `(n_draws, n)` to `(n_draws,)`, differentiable."""

TEMPERATURE = 0.5
STEP = 1.0
_CHUNK = 20_000


@dataclass(frozen=True)
class Row:
    """One estimator on one function.

    Attributes:
        function, estimator: by name.
        evaluations: of h in one estimate.
        gradient: norm of the true gradient.
        bias: norm of the estimate's mean minus the true gradient.
        error: standard error of the bias; 0 where it was enumerated.
        deviation: root of the variances of all entries of one estimate, added up.
    """

    function: str
    estimator: str
    evaluations: int
    gradient: float
    bias: float
    error: float
    deviation: float


def square(a: float = 1.5, b: float = 0.4) -> Values:
    """(az - b)²/2, whose gradient is a²/2 - ab, and θa² - ab by straight-through."""
    return lambda z: 0.5 * (a * z - b).square().sum(1)


def paths() -> Values:
    """Weighted paths of one to three edges from node 0 to node 3 of four nodes; n = 6."""
    edges = list(itertools.combinations(range(4), 2))

    def value(z: Tensor) -> Tensor:
        edge = {pair: z[:, k] for k, pair in enumerate(edges)}
        total = 0.5 * edge[0, 3]
        for between in (1, 2):
            total = total + edge[0, between] * edge[between, 3]
        long = edge[0, 1] * edge[1, 2] * edge[2, 3] - edge[0, 2] * edge[1, 2] * edge[1, 3]
        return total + 2 * long

    return value


def gcn_loss() -> Values:
    """Cross-entropy of a two-layer GCN on 5 nodes as a function of the 10 pairs (eq. 9.2)."""
    generator = torch.Generator().manual_seed(0)
    x, w1, w2 = (
        torch.randn(shape, dtype=torch.float64, generator=generator)
        for shape in ((5, 3), (3, 4), (4, 2))
    )
    labels = torch.tensor([0, 1, 0, 1, 1])
    row, col = torch.triu_indices(5, 5, 1)

    def value(z: Tensor) -> Tensor:
        a = torch.eye(5, dtype=torch.float64).repeat(len(z), 1, 1)
        a = a.index_put((torch.arange(len(z)).unsqueeze(1), row, col), z)
        a = a.index_put((torch.arange(len(z)).unsqueeze(1), col, row), z)
        scale = a.sum(2).rsqrt()
        a = scale.unsqueeze(2) * a * scale.unsqueeze(1)
        logits = 3 * (a @ (a @ (x @ w1)).relu() @ w2)
        losses = cross_entropy(logits.flatten(0, 1), labels.repeat(len(z)), reduction="none")
        return losses.view(len(z), 5).mean(1)

    return value


def after_training() -> Values:
    """Validation loss of linear regression on those of 6 features that z leaves, after 3 steps."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 12, 6, dtype=torch.float64, generator=generator)
    truth = torch.tensor([1.5, -1.0, 0.8], dtype=torch.float64)
    noise = torch.randn(2, 12, dtype=torch.float64, generator=generator)
    y = x[:, :, :3] @ truth + 0.3 * noise

    def loss(w: Tensor, z: Tensor, part: int) -> Tensor:
        return 0.5 * ((z * w) @ x[part].T - y[part]).square().mean(1)

    # One training a row of z, side by side: the sum of losses moves each on its own.
    dynamics = GradientDescent(lambda w, z: loss(w, z, 0).sum(), lr=0.5)

    def value(z: Tensor) -> Tensor:
        state = dynamics.start(torch.full_like(z, 0.1), z)
        for t in range(3):
            state = dynamics.step(state, z, t)
        return loss(dynamics.params(state), z, 1)

    return value


FUNCTIONS: dict[str, tuple[Values, int]] = {
    "(az - b)²/2": (square(), 1),
    "products of edges": (paths(), 6),
    "GCN on 5 nodes": (gcn_loss(), 10),
    "3-step training": (after_training(), 6),
}
"""h and n, by name."""

ESTIMATORS = {
    "straight_through": 1,
    "reinmax": 1,
    f"gumbel_softmax({TEMPERATURE}, soft)": 1,
    f"gumbel_softmax({TEMPERATURE}, hard)": 1,
    f"imle({STEP})": 1,
    "score_function(n_draws=2)": 2,
    "disarm(n_draws=1)": 2,
    f"rebar({TEMPERATURE}, n_draws=1)": 3,
}
"""Evaluations of h in an estimate, by name."""


def outcomes(n: int) -> Tensor:
    """All of {0, 1}^n, `(2^n, n)`, counting upwards."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


def chances(theta: Tensor, z: Tensor) -> Tensor:
    """P_θ of each outcome."""
    return torch.where(z > 0.5, theta, 1 - theta).prod(1)


def true_gradient(h: Values, theta: Tensor) -> Tensor:
    """∇_θ Σ_z P_θ(z) h(z)."""
    z = outcomes(len(theta))
    theta = theta.detach().requires_grad_()
    (grad,) = torch.autograd.grad(chances(theta, z) @ h(z), theta)
    return grad


def moments(
    estimator: str, h: Values, theta: Tensor, n_draws: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of one estimate, entry by entry, and the standard error of the mean."""
    nothing = torch.zeros_like(theta)
    if estimator.startswith("gumbel"):
        generator = torch.Generator().manual_seed(seed)
        hard = "hard" in estimator

        def relaxed(probs: Tensor) -> Tensor:
            return gumbel_softmax(
                Bernoulli(probs), temperature=TEMPERATURE, hard=hard, generator=generator
            )

        sizes = [min(_CHUNK, n_draws - k) for k in range(0, n_draws, _CHUNK)]
        found = torch.cat([_slopes(h, theta.expand(size, -1), relaxed) for size in sizes])
        return found.mean(0), found.var(0), found.std(0) / math.sqrt(n_draws)
    if estimator.startswith("rebar"):
        found = each_draw(
            Bernoulli(theta),
            h,
            n_draws,
            temperature=TEMPERATURE,
            generator=torch.Generator().manual_seed(seed),
        )
        return found.mean(0), found.var(0), found.std(0) / math.sqrt(n_draws)
    if estimator.startswith("imle"):
        return *_of_imle(h, theta), nothing
    if estimator.startswith("score"):
        return *_of_score_function(h, theta), nothing
    if estimator.startswith("disarm"):
        return *_of_disarm(h, theta), nothing
    draw = {"straight_through": straight_through, "reinmax": reinmax}[estimator]
    z = outcomes(len(theta))
    found = _slopes(h, theta.expand(len(z), -1), lambda probs: draw(_Planted(probs, z)))
    mean, second = chances(theta, z) @ found, chances(theta, z) @ found.square()
    return mean, second - mean.square(), nothing


class _Planted(Bernoulli):
    """A Bernoulli that draws a given outcome."""

    def __init__(self, probs: Tensor, z: Tensor) -> None:
        super().__init__(probs)
        self._z = z

    def draw(
        self, n_draws: int | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._z


def _slopes(h: Values, theta: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
    """∇h through a draw, one estimate a row."""
    probs = theta.clone().requires_grad_()
    (grad,) = torch.autograd.grad(h(draw(probs)).sum(), probs)
    return grad


def _of_imle(h: Values, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Over z, and whether the step against ∇h(z) takes each variable across 0."""
    z = outcomes(len(theta))
    p = chances(theta, z)
    given = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(h(given).sum(), given)
    moved = (theta.logit() - STEP * slope).sigmoid()
    away = torch.where(z > 0.5, (theta - moved) / theta, (moved - theta) / (1 - theta)).clamp(min=0)
    found = (2 * z - 1) / STEP / (theta * (1 - theta))  # what a crossing gives
    mean = p @ (away * found)
    return mean, p @ (away * found.square()) - mean.square()


def _of_score_function(h: Values, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Of ½ (h(z) - h(z')) (s(z) - s(z')), s = ∇_θ log P, z and z' independent."""
    z = outcomes(len(theta))
    p = chances(theta, z)
    score = (z - theta) / (theta * (1 - theta))
    centred = h(z) - p @ h(z)
    mean = (p * centred) @ score
    product = (p * centred.square()) @ score.square()
    apart = (p @ centred.square()) * (p @ score.square())
    return mean, (product + apart) / 2  # E[ĝ²] has (E[hs])² besides


def _of_disarm(h: Values, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Over the three kinds of pairs (z_i, z'_i): (0, 1), (1, 0), and both alike."""
    n = len(theta)
    values = h(outcomes(n))
    place = 2 ** torch.arange(n - 1, -1, -1)
    kind = torch.tensor(list(itertools.product(range(3), repeat=n)))
    same = (theta > 0.5).long()  # what both are where they are alike
    first = torch.where(kind == 2, same, kind)
    second = torch.where(kind == 2, same, 1 - kind)
    rare = torch.minimum(theta, 1 - theta)
    p = torch.where(kind == 2, 1 - 2 * rare, rare).prod(1)
    change = (values[first @ place] - values[second @ place]) / 2
    sign = torch.where(kind == 2, 0, first - second)
    found = change.unsqueeze(1) * sign * torch.maximum(theta, 1 - theta) / (theta * (1 - theta))
    mean = p @ found
    return mean, p @ found.square() - mean.square()


def rows(theta_seed: int = 0, n_draws: int = 100_000) -> Iterator[Row]:
    """All estimators on all functions, at probabilities drawn from [0.1, 0.9]."""
    for function, (h, n) in FUNCTIONS.items():
        generator = torch.Generator().manual_seed(theta_seed + n)
        theta = 0.1 + 0.8 * torch.rand(n, dtype=torch.float64, generator=generator)
        true = true_gradient(h, theta)
        for estimator, evaluations in ESTIMATORS.items():
            mean, variance, error = moments(estimator, h, theta, n_draws, theta_seed)
            yield Row(
                function,
                estimator,
                evaluations,
                float(true.norm()),
                float((mean - true).norm()),
                float(error.norm()),
                float(variance.sum().clamp(min=0).sqrt()),
            )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--n-draws", type=count, default=100_000, help="of Gumbel-softmax and REBAR"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the probabilities")
    arguments = parser.parse_args()
    print("| function | estimator | evaluations | gradient | bias | deviation |")
    print("|---|---|---|---|---|---|")
    for row in rows(arguments.seed, arguments.n_draws):
        bias = f"{row.bias:.4f} ± {row.error:.4f}" if row.error else f"{row.bias:.1e}"
        if not row.error and row.bias > 1e-6:
            bias = f"{row.bias:.4f}"
        print(
            f"| {row.function} | `{row.estimator}` | {row.evaluations} | {row.gradient:.4f} "
            f"| {bias} | {row.deviation:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
