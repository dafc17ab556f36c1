"""Edge probabilities as a logistic function of few coefficients.

θ_ij = σ(Σ_k β_k φ_k(i, j)): a logistic model on features of a pair. Free probabilities memorise the
edges of labelled nodes; a few coefficients cannot, so what they learn around labelled nodes holds
for all other nodes and for new ones.

| feature | its value, and 0 for other pairs | β starts at |
|---|---|---|
| "candidate" | 1 for near neighbours without a given edge | 0; with a graph `BESIDE_GRAPH` |
| "similarity" | a (s - b) for the same pairs, s being their similarity | 1 |
| "direction k" | u_ik u_jk / rank for the same pairs (see `graphs.directions`) | 0 |
| "given" | for given edges the log-odds of their weight, at most those of `GIVEN` | 1 |
| "agreement" | log-odds that the two nodes are of one class (see `with_agreement`) | its weight |
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from lds._types import Features
from lds.edges.base import EdgeDistribution, dense_gradient
from lds.edges.recorder import EdgeGradient
from lds.edges.sampler import EdgeSampler
from lds.graphs.candidates import PairList
from lds.graphs.directions import Directions
from lds.graphs.similarity import Similarity
from lds.nn.new_nodes import NewEdges

GIVEN = 0.9
"""The largest starting probability of a given edge, in (0, 1): the edge may be wrong."""

CERTAIN = 0.9999
"""The same where given edges are not in doubt."""

SLOPE = 10.0
"""a of the map σ(a (s - b)) from the similarity s of a pair to its starting probability."""

MIDDLE_COSINE, MIDDLE_KERNEL = 0.25, 0.37
"""b of that map, the similarity with probability 1/2: for cosines, and for the kernel."""

BESIDE_GRAPH = -4.0
"""Initial log-odds of a near neighbour when a graph is given. Similar features need not mean one
class, and few labels cannot unlearn many wrong neighbours."""

SMOOTH = 0.02
"""Added to the probabilities of agreement and of disagreement; keeps their log-odds within ±4."""

DEVIATION = 0.25
"""Standard deviation of the prior on a coefficient."""

TRUST_DEVIATION = 1.0
"""The same for the coefficients of a given graph, of the neighbours beside it and of directions,
which may help or harm."""

BETAS = (0.9, 0.99)
"""Decay rates of Adam's means of the gradient of β and of its square, in [0, 1)."""

EPS = 1e-8
"""Added to Adam's denominator."""


class LogisticEdges(EdgeDistribution):
    """Independent edges with probabilities σ(φ β) on a list of pairs.

    The chain rule carries a hypergradient by the probabilities on to β, and Adam moves β, so the
    scale of the gradient does not matter. β has a normal prior around its start; beside it stand
    the losses of the rows that the hypergradient is of, so few rows move β little.

    Attributes:
        names: of the features.
        features: φ, `(n_pairs, n_features)`.
        coefficients: β as it is now, `(n_features,)`.

    Arguments:
        pairs: the pairs that may become edges.
        names, features: see above.
        coefficients: β at the start.
        n_judges: rows whose mean loss the hypergradients are of; 0 has no prior.
        deviation: standard deviation of the prior, one number or `(n_features,)`.
    """

    def __init__(
        self,
        pairs: PairList,
        names: Sequence[str],
        features: Tensor,
        coefficients: Tensor,
        n_judges: int = 0,
        deviation: float | Tensor = DEVIATION,
    ) -> None:
        super().__init__(EdgeSampler(pairs, coefficients.new_zeros(pairs.size)))
        self._pairs = pairs
        self.names, self.features = tuple(names), features
        self.coefficients, self._start = coefficients, coefficients
        self._n_judges = n_judges
        self._deviation = torch.as_tensor(deviation, dtype=torch.float64)
        self._moments = torch.zeros(2, *coefficients.shape, dtype=torch.float64)
        self._steps = 0
        self._update_probs()

    @property
    def pairs(self) -> PairList:
        """The pairs that may become edges."""
        return self._pairs

    def logits(self) -> Tensor:
        """Log-odds of every pair, `(n_pairs,)`."""
        return self.features @ self.coefficients

    def descend(self, gradient: EdgeGradient, lr: float, seed: int = 0) -> None:
        """β ← β - lr · Adam(∂E/∂β), the prior included in E."""
        n_pairs = self.pairs.n_pairs
        theta = self.probs[:n_pairs]
        by_theta = dense_gradient(gradient, self.pairs, self.probs)
        by_logit = by_theta[:n_pairs] * theta * (1 - theta)
        g = (by_logit.double() @ self.features.double()).cpu()
        if self._n_judges:
            away = (self.coefficients - self._start).double().cpu()
            g += away / (self._deviation**2 * self._n_judges)
        self._steps += 1
        mean, square = self._moments
        mean.lerp_(g, 1 - BETAS[0])
        square.lerp_(g * g, 1 - BETAS[1])
        step = mean / (1 - BETAS[0] ** self._steps)
        step /= (square / (1 - BETAS[1] ** self._steps)).sqrt() + EPS
        self.coefficients = self.coefficients - lr * step.to(self.coefficients)
        self._update_probs()

    def _update_probs(self) -> None:
        self.probs[: self.pairs.n_pairs] = self.logits().sigmoid()
        self._sampler.refresh()

    def copy(self) -> "LogisticEdges":
        """Copy β and the state of its Adam; pairs and features are shared."""
        other = copy.copy(self)
        other._sampler, other._moments = self._sampler.copy(), self._moments.clone()
        return other

    def state(self) -> dict[str, Any]:
        """β and the state of its Adam; pairs and features follow from the data."""
        return {
            "coefficients": self.coefficients.cpu(),
            "moments": self._moments.clone(),
            "steps": self._steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state()` of a distribution over the same data."""
        self.coefficients = state["coefficients"].to(self.probs.device)
        self._moments, self._steps = state["moments"].clone(), state["steps"]
        self._update_probs()


def starting_edges(
    similar: Similarity,
    graph: sp.csr_array | None,
    n_judges: int,
    dtype: torch.dtype,
    device: torch.device,
    directions: Directions | None = None,
    *,
    alone: bool = False,
) -> LogisticEdges:
    """Make the distribution before learning: near neighbours by similarity, given edges by weight.

    Arguments:
        similar: similarities of the nodes.
        graph: symmetric CSR of given edges, weights in [0, 1]; None where no graph is given.
        n_judges: rows whose mean loss the hypergradients are of.
        dtype, device: of θ.
        directions: directions of the nodes' features, as further features of pairs; None adds none.
        alone: whether the given edges are the only pairs, each with its weight as probability, at
            most `CERTAIN`. Similarity still makes the edges of new nodes (`new_edges`).
    """
    # Ties would add arbitrary neighbours; beside a graph they would outnumber its edges.
    near = similar.matrix(ties=graph is None)
    n = similar.n_nodes
    pattern = sp.csr_array((np.ones(near.nnz), near.indices, near.indptr), shape=near.shape)
    given: Any = graph if graph is not None else sp.csr_array((n, n), dtype=np.float32)
    pairs = PairList.of(sp.csr_array(given != 0 if alone else pattern + (given != 0)))
    known: Any = near.multiply(given != 0) if alone else near
    weight, alike = (
        pairs.scatter(matrix, torch.float64)[: pairs.n_pairs].numpy() for matrix in (given, known)
    )
    candidate = (weight == 0).astype(np.float64)
    at_most = np.clip(weight, 1e-3, CERTAIN if alone else GIVEN)
    logit = np.log(at_most) - np.log1p(-at_most)
    columns = {
        "candidate": candidate,
        "similarity": candidate * SLOPE * (alike - middle(similar)),
    }
    starts, deviations = [0.0, 1.0], [DEVIATION, DEVIATION]
    if graph is not None:
        columns["given"] = np.where(weight > 0, logit, 0)
        starts = [BESIDE_GRAPH, 1.0, 1.0]
        deviations = [TRUST_DEVIATION, DEVIATION, TRUST_DEVIATION]
    if directions is not None:
        row, col = (part.cpu().numpy() for part in pairs.pairs(pairs.positions()))
        products = candidate[:, None] * directions.products(row, col)
        columns |= {f"direction {k}": column for k, column in enumerate(products.T)}
        starts += [0.0] * directions.rank
        deviations += [TRUST_DEVIATION] * directions.rank
    return LogisticEdges(
        pairs,
        list(columns),
        torch.tensor(np.stack(list(columns.values()), 1), dtype=dtype, device=device),
        torch.tensor(starts, dtype=dtype, device=device),
        n_judges,
        torch.tensor(deviations, dtype=torch.float32),
    )


def new_edges(
    similar: Similarity,
    new: Features,
    coefficients: Tensor,
    probabilities: Tensor,
    classify: Callable[[NewEdges], Tensor],
    agreement: float,
    directions: Directions | None = None,
) -> NewEdges:
    """Compute the edge probabilities of new nodes by the function learned on the training nodes.

    Arguments:
        similar: similarities of the training nodes.
        new: features of the new nodes, `(n_new, n_features)`.
        coefficients: β, "candidate" and "similarity" first, those of directions last.
        probabilities: class probabilities of the training nodes, `(n_nodes, n_classes)`.
        classify: edges of the new nodes to their class probabilities, `(n_new, n_classes)`.
        agreement: coefficient of agreement; 0 where training had none.
        directions: those of training; None where it had none.
    """
    near, alike = similar.of_new(new)
    device, dtype = coefficients.device, coefficients.dtype
    nodes = torch.as_tensor(near, device=device)
    logit = coefficients[0] + coefficients[1] * torch.as_tensor(
        SLOPE * (alike - middle(similar)), dtype=dtype, device=device
    )
    if directions is not None:
        products = torch.as_tensor(directions.of_new(new, near), dtype=dtype, device=device)
        logit = logit + products @ coefficients[-directions.rank :]
    related = torch.as_tensor(similar.related(alike), dtype=dtype, device=device)
    found = NewEdges(nodes, logit.sigmoid() * related)
    if not agreement:
        return found
    same = (classify(found).unsqueeze(1) * probabilities[nodes]).sum(2)
    return NewEdges(nodes, (logit + agreement * _log_odds(same)).sigmoid() * related)


def middle(similar: Similarity) -> float:
    """b, the similarity at which a pair starts with probability 1/2."""
    return MIDDLE_COSINE if similar.cosine else MIDDLE_KERNEL


def _log_odds(same: Tensor) -> Tensor:
    """Log-odds of probabilities that two nodes are of one class, kept within ±4."""
    return ((same + SMOOTH) / (1 - same + SMOOTH)).log()


def with_agreement(
    edges: LogisticEdges, probabilities: Tensor, weight: float = 1.0
) -> LogisticEdges:
    """Add agreement of predicted classes to the features of pairs.

    The feature is the log-odds of Σ_c p_ic p_jc, the probability that both nodes of a pair are of
    one class: edges within a predicted class gain, edges between classes lose.

    Arguments:
        edges: the distribution without it; not changed.
        probabilities: p, `(n_nodes, n_classes)`, rows sum to 1.
        weight: coefficient of the new feature.
    """
    row, col = edges.pairs.pairs(edges.pairs.positions().to(probabilities.device))
    same = (probabilities.index_select(0, row) * probabilities.index_select(0, col)).sum(1)
    odds = _log_odds(same)
    return LogisticEdges(
        edges.pairs,
        (*edges.names, "agreement"),
        torch.cat([edges.features, odds.unsqueeze(1).to(edges.features)], 1),
        torch.cat([edges.coefficients, edges.coefficients.new_tensor([weight])]),
    )
