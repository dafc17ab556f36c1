"""θ with another gradient estimator than straight-through.

Straight-through needs no number for a pair that is not an edge; these others do. `reinmax` and
`gumbel_softmax` weigh ∂E/∂A_ij by a slope that differs between pairs and draws. `score_function`
and `disarm` weigh values of E by the probability of the drawn graph. So each works on one tensor
over all candidate pairs, with θ in [ε, 1-ε]: at 0 or 1 one outcome is never drawn, and its gradient
is infinite or lost.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from lds.discrete.bernoulli import Bernoulli
from lds.discrete.gradient_estimators import disarm, gumbel_softmax, reinmax, score_function
from lds.edges.base import EdgeDistribution, dense_gradient, packed, unpacked
from lds.edges.estimator_names import BLACK_BOX
from lds.edges.free import FreeEdges
from lds.edges.recorder import EdgeGradient, EdgeRecorder, GivenGraph, GraphRecorder
from lds.edges.sampler import EdgeSampler, next_seed
from lds.graphs.batch import GraphBatch, Products
from lds.graphs.candidates import Candidates
from lds.graphs.edge_weights import PairGradient
from lds.graphs.product import factored_gradient

MARGIN = 1e-3
"""ε: probabilities stay in [ε, 1-ε]."""

TEMPERATURE = 0.5
"""Temperature of Gumbel-softmax, above 0."""

MOST_NUMBERS = 1 << 24
"""Numbers that an estimate may keep, at most: one for each candidate pair, and for each drawn graph
where the estimator takes values of E. A run that needs more is refused."""

_DRAWS: dict[str, Callable[..., Tensor]] = {
    "reinmax": reinmax,
    "gumbel_softmax": functools.partial(gumbel_softmax, temperature=TEMPERATURE, hard=True),
}


def estimated_edges(
    estimator: str,
    start: sp.csr_array,
    dtype: torch.dtype,
    device: torch.device | str,
    candidates: Candidates,
    n_draws: int,
) -> EdgeDistribution:
    """Make the distribution that an estimator needs.

    Arguments:
        estimator: a name in `estimator_names`.
        start, dtype, device, candidates: as of `FreeEdges`.
        n_draws: graphs of an estimate, where it is made of values.

    Raises:
        ValueError: the estimator would need more numbers than `MOST_NUMBERS`.
    """
    needed = candidates.positions().numel()
    if estimator in BLACK_BOX:
        needed *= n_draws
    if needed > MOST_NUMBERS:
        raise ValueError(
            f"estimator={estimator!r} keeps a number for every candidate pair and graph of "
            f"an estimate, {needed:,} here and {MOST_NUMBERS:,} at most; support='sparse' has "
            "fewer pairs, and 'straight_through' needs none of them"
        )
    kind = ValueEdges if estimator in BLACK_BOX else PathwiseEdges
    return kind(start, dtype, device, candidates, estimator)


class InteriorEdges(EdgeDistribution):
    """θ in [ε, 1-ε] on all candidates, with a gradient of one number for each of them.

    It holds what `PathwiseEdges` and `ValueEdges` share and is not used by itself.

    Arguments:
        start, dtype, device, candidates: as of `FreeEdges`.
        estimator: its name.
    """

    def __init__(
        self,
        start: sp.csr_array,
        dtype: torch.dtype,
        device: torch.device | str,
        candidates: Candidates,
        estimator: str,
    ) -> None:
        super().__init__(EdgeSampler(candidates, candidates.scatter(start, dtype).to(device)))
        self.estimator = estimator
        self._candidates = candidates.positions().to(device)
        self._put(self.probs[self._candidates])

    @property
    def distribution(self) -> Bernoulli:
        """θ of the candidates, flat."""
        return Bernoulli(self.probs[self._candidates])

    def descend(self, gradient: EdgeGradient, lr: float, seed: int = 0) -> None:
        """θ ← Proj_[ε,1-ε](θ - lr · gradient), in place."""
        by_theta = dense_gradient(gradient, self.pairs, self.probs)
        self._put(self.probs[self._candidates] - lr * by_theta[self._candidates])

    def _put(self, theta: Tensor) -> None:
        self.probs.index_copy_(0, self._candidates, theta.clamp(MARGIN, 1 - MARGIN))
        self._sampler.refresh()

    def copy(self) -> FreeEdges:
        """Copy θ, to draw from: the copy does not depend on the estimator."""
        n_nodes = self.n_nodes
        nothing: Any = sp.csr_array((n_nodes, n_nodes), dtype=np.float32)
        other = FreeEdges(nothing, self.probs.dtype, self.probs.device, self.pairs)
        other.put(self.probs.clone())
        return other

    def state(self) -> dict[str, Any]:
        """θ and its pairs."""
        return packed(self.pairs, self.probs)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state()` of a distribution over the same candidates."""
        self.probs.copy_(unpacked(state, self.pairs, self.probs)[1])
        self._sampler.refresh()

    def graph_of(self, z: Tensor) -> GraphBatch:
        """Return the graph whose edges are the candidates where z is 1, `(n_candidates,)`."""
        return self._sampler.graph_at(self._candidates[z > 0.5])

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self.probs.device).manual_seed(seed)


class PathwiseEdges(InteriorEdges):
    """θ with an estimator that differentiates E by the drawn graph.

    Every single draw is the z of the estimator, so that a step meets the graph whose slope ∂z/∂θ
    its gradient is weighed by.
    """

    def path(self, seed: int) -> tuple[Tensor, Tensor]:
        """Draw z over the candidates from a seed, and return its slope ∂z/∂θ with it."""
        with torch.enable_grad():
            theta = self.distribution.parameter.requires_grad_()
            draw = _DRAWS[self.estimator]
            z = draw(Bernoulli(theta), generator=self._generator(seed))
            (slope,) = torch.autograd.grad(z.sum(), theta)
        return z.detach(), slope

    def drawn(self, n_draws: int, seed: int) -> GraphBatch:
        """Draw the S graphs of a seed; several at once are for predictions and need no slope."""
        if n_draws > 1:
            return super().drawn(n_draws, seed)
        return self._sampler.recent.graph(seed, lambda seed: self.graph_of(self.path(seed)[0]))

    def gradient_of(
        self, seed: int, graph: GraphBatch, products: Products, grads: Sequence[Tensor | None]
    ) -> PairGradient | None:
        """∂E/∂θ through one draw; None where E does not depend on it.

        Arguments:
            seed, graph: of the draw.
            products: that were made with the graph.
            grads: ∂E/∂H of each product.
        """
        by_edges = factored_gradient(graph, products, grads)
        if by_edges is None:
            return None
        flat = dense_gradient(by_edges, self.pairs, self.probs)
        return PairGradient(flat[self._candidates] * self.path(seed)[1])

    def record(self) -> EdgeRecorder:
        """Make the stand-in for this leaf during one application of Φ_t or E."""
        return _PathRecorder(self)


class _PathRecorder(GraphRecorder):
    """Keep the seed of each drawn graph besides: it gives the slope again."""

    def __init__(self, edges: PathwiseEdges) -> None:
        super().__init__()
        self._edges = edges
        self._seeds: list[int] = []

    def draw(self) -> GraphBatch:
        self._seeds.append(next_seed())
        return self.recorded(self._edges.drawn(1, self._seeds[-1]))

    def _by_graph(
        self, place: int, graph: GraphBatch, products: Products, grads: Sequence[Tensor | None]
    ) -> PairGradient | None:
        return self._edges.gradient_of(self._seeds[place], graph, products, grads)


class ValueEdges(InteriorEdges):
    """θ with an estimator whose gradient is made of values of E on drawn graphs."""

    needs_values: ClassVar[bool] = True

    def estimate(
        self, values: Callable[[GivenGraph], float], n_draws: int, seed: int
    ) -> PairGradient:
        """Estimate ∂E[h(A)]/∂θ from values of h on drawn graphs.

        Arguments:
            values: h, from a graph in the place of this distribution to a number.
            n_draws: graphs; at least 2 are drawn, and an even number by "disarm".
            seed: of the graphs.
        """

        def of_rows(z: Tensor) -> Tensor:
            found = [values(GivenGraph(self.graph_of(row))) for row in z]
            return torch.tensor(found, dtype=z.dtype, device=z.device)

        generator, theta = self._generator(seed), self.distribution
        if self.estimator == "disarm":
            found = disarm(theta, of_rows, max(1, n_draws // 2), generator=generator)
        else:
            found = score_function(theta, of_rows, max(2, n_draws), generator=generator)
        return PairGradient(found)
