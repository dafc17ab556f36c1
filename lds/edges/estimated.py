"""θ with another gradient estimator than straight-through.

Straight-through needs no number for a pair that is not an edge; these others do: `reinmax` and
`gumbel_softmax` weigh ∂E/∂A_ij by a slope that differs from pair to pair and draw to draw, and
`score_function` and `disarm` weigh outcomes by their probability. So each works on one tensor over
all candidate pairs, and starts in and projects onto [ε, 1-ε]: at 0 or 1 an outcome would never be
drawn, and its gradient would be infinite or lost.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import scipy.sparse as sp
import torch
from torch import Tensor

from lds.config import LDSConfig
from lds.discrete.bernoulli import Bernoulli
from lds.discrete.gradient_estimators import disarm, gumbel_softmax, reinmax, score_function
from lds.edges.free import EdgeDistribution
from lds.graphs.batch import GraphBatch, Products
from lds.graphs.candidates import Candidates
from lds.graphs.connected import Pairs
from lds.graphs.product import factored_gradient

MARGIN = 1e-3
"""ε: probabilities stay in [ε, 1-ε]."""

TEMPERATURE = 0.5
"""Of Gumbel-softmax."""

MOST_NUMBERS = 1 << 24
"""Candidate pairs times draws held at once, before a run is refused."""

PATHWISE: dict[str, Callable[..., Tensor]] = {
    "reinmax": reinmax,
    "gumbel_softmax": functools.partial(gumbel_softmax, temperature=TEMPERATURE, hard=True),
}
"""Estimators that differentiate E by the drawn graph."""

BLACK_BOX = ("score_function", "disarm")
"""Estimators that take values of E alone."""


def edge_distribution(
    start: sp.csr_array,
    dtype: torch.dtype,
    device: torch.device,
    candidates: Candidates,
    config: LDSConfig,
    tree: Pairs | None = None,
) -> EdgeDistribution:
    """θ as the estimator of `config` needs it; see `EdgeDistribution` for the arguments.

    Raises:
        ValueError: the estimator would need more numbers than `MOST_NUMBERS`.
    """
    if config.estimator == "straight_through":
        return EdgeDistribution(start, dtype, device, candidates, tree)
    needed = candidates.positions().numel()
    if config.estimator in BLACK_BOX:
        needed *= config.n_draws
    if needed > MOST_NUMBERS:
        raise ValueError(
            f"estimator={config.estimator!r} keeps a number for every candidate pair and graph of "
            f"an estimate, {needed:,} here and {MOST_NUMBERS:,} at most; support='sparse' has "
            "fewer pairs, and 'straight_through' needs none of them"
        )
    kind = BlackBoxEdges if config.estimator in BLACK_BOX else PathwiseEdges
    return kind(start, dtype, device, candidates, config.estimator)


class InteriorEdges(EdgeDistribution):
    """θ in [ε, 1-ε] on all candidates, with a gradient that is a tensor over them.

    Arguments:
        start, dtype, device, candidates: as of `EdgeDistribution`.
        estimator: by name.
    """

    def __init__(
        self,
        start: sp.csr_array,
        dtype: torch.dtype,
        device: torch.device | str,
        candidates: Candidates,
        estimator: str,
    ) -> None:
        super().__init__(start, dtype, device, candidates)
        self.estimator = estimator
        self._where = candidates.positions().to(device)
        self._put(self.probs[self._where])

    @property
    def distribution(self) -> Bernoulli:
        """θ of the candidates, flat."""
        return Bernoulli(self.probs[self._where])

    def descend(self, gradient: Tensor, lr: float) -> None:  # type: ignore[override]
        """θ ← Proj_[ε,1-ε](θ - lr · gradient), in place; the gradient is one number a candidate."""
        self._put(self.probs[self._where] - lr * gradient)

    def _put(self, theta: Tensor) -> None:
        self.probs.index_copy_(0, self._where, theta.clamp(MARGIN, 1 - MARGIN))
        self._changed()

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self.probs.device).manual_seed(seed)

    def _graph(self, z: Tensor) -> GraphBatch:
        """The graph whose edges are the candidates where z is 1."""
        index = self._where[z > 0.5]
        return self._of_keys(index, 1)


class PathwiseEdges(InteriorEdges):
    """Every single draw is z of the estimator, with ∂z/∂θ of the same draw, pair by pair."""

    def path(self, seed: int) -> tuple[Tensor, Tensor]:
        """The draw of a seed, z over the candidates, and its slope ∂z/∂θ."""
        with torch.enable_grad():
            theta = self.distribution.parameter.requires_grad_()
            draw = PATHWISE[self.estimator]
            z = draw(Bernoulli(theta), generator=self._generator(seed))
            (slope,) = torch.autograd.grad(z.sum(), theta)
        return z.detach(), slope

    def _build(self, n_draws: int, seed: int) -> GraphBatch:
        if n_draws > 1:  # predictions need no slope
            return super()._build(n_draws, seed)
        return self._graph(self.path(seed)[0])

    def record(self) -> "_PathRecorder":  # type: ignore[override]
        """What Φ_t and E meet in the place of this leaf while they are being differentiated."""
        return _PathRecorder(self)


@dataclass
class _PathRecorder:
    """Draws as its distribution does, and notes the products made with each draw, and its seed."""

    edges: PathwiseEdges
    _drawn: list[tuple[int, GraphBatch, Products]] = field(default_factory=list)

    def draw(self) -> GraphBatch:
        seed, products = self.edges.next_seed(), Products()
        graph = replace(self.edges.drawn(1, seed), products=products)
        self._drawn.append((seed, graph, products))
        return graph

    def inputs(self) -> list[Tensor]:
        return [probe for _, _, products in self._drawn for probe in products.probes]

    def gradient(self, grads: "list[Tensor | None]") -> Tensor | None:
        total: Tensor | None = None
        rest = list(grads)
        for seed, graph, products in self._drawn:
            mine, rest = rest[: len(products.probes)], rest[len(products.probes) :]
            by_edges = factored_gradient(graph, products, mine)
            if by_edges is None:
                continue
            pairs = self.edges.pairs
            flat = torch.zeros_like(self.edges.probs)
            pairs.add_products(flat, by_edges.left, by_edges.right, 1.0)
            part = flat[self.edges._where] * self.edges.path(seed)[1]
            total = part if total is None else total + part
        return total


class BlackBoxEdges(InteriorEdges):
    """The gradient is made of values of h at drawn graphs."""

    def estimate(self, h: Callable[["GivenGraph"], float], n_draws: int, seed: int) -> Tensor:
        """∇_θ E[h(A)], one number a candidate, from `n_draws` graphs (in pairs for disarm).

        Arguments:
            h: a graph, standing in for this leaf of λ, to a value.
            n_draws: graphs; at least 2, and pairs of them for disarm.
            seed: of the graphs.
        """

        def values(z: Tensor) -> Tensor:
            found = [h(GivenGraph(self._graph(row))) for row in z]
            return torch.tensor(found, dtype=z.dtype, device=z.device)

        generator = self._generator(seed)
        if self.estimator == "disarm":
            return disarm(self.distribution, values, max(1, n_draws // 2), generator=generator)
        return score_function(self.distribution, values, max(2, n_draws), generator=generator)


@dataclass(frozen=True)
class GivenGraph:
    """One graph in the place of a distribution: every draw is it."""

    graph: GraphBatch

    def draw(self) -> GraphBatch:
        """The graph."""
        return self.graph
