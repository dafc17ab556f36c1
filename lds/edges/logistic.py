"""Edge probabilities as a function of few shared hyperparameters.

θ_ij = σ(Σ_k β_k φ_k(i, j)): a logistic model of what is known of a pair. Where free probabilities
memorise the edges of labelled nodes, a handful of coefficients cannot: what they learn around
labelled nodes holds for all the others, and for nodes that come later.

| feature | of | starts at |
|---|---|---|
| "candidate" | a pair of near neighbours: 1 | 0, beside a given graph `BESIDE_GRAPH` |
| "similarity" | the same: a (s - b), how similar they are | 1 |
| "direction k" | a pair of near neighbours: u_ik u_jk / rank (see `graphs.directions`) | 0 |
| "given" | a pair joined in the given graph: 1 | logit of its weight, at most `GIVEN` |
| "agreement" | any pair: log-odds that its nodes are of one class (see `with_agreement`) | 1 |
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from lds._types import Features
from lds.edges.free import EdgeDistribution, EdgeGradient
from lds.graphs.candidates import PairList
from lds.graphs.directions import Directions
from lds.graphs.similarity import Similarity
from lds.nn.new_nodes import NewEdges

GIVEN = 0.9
"""The largest starting probability of a given edge: it may be wrong."""

SLOPE = 10.0
MIDDLE_COSINE, MIDDLE_KERNEL = 0.25, 0.37
"""a and b of the map σ(a (s - b)) from similarities to probabilities, for both kinds of them."""

BESIDE_GRAPH = -4.0
"""Where there is a graph, a near neighbour starts unlikely, by this in log-odds: features may say
nothing of who is of one class, and few labels cannot take neighbours away again."""

SMOOTH = 0.02
"""Keeps the log-odds of agreement within ±4."""

DEVIATION, TRUST_DEVIATION = 0.25, 1.0
"""Of the prior on β: what a coefficient may well move by, and what trust in a given graph, in the
neighbours beside it and in a direction may: they may help or harm."""

BETAS, EPS = (0.9, 0.99), 1e-8
"""Of the Adam that moves the coefficients."""


class SharedEdges(EdgeDistribution):
    """Independent edges with probabilities σ(φ β) on a list of pairs.

    To the bilevel core it is what `EdgeDistribution` is. A hypergradient by the probabilities is
    carried on to β by the chain rule and moves it by Adam: its scale does not matter. What few
    labels say counts for little: β has a normal prior around where it starts, beside n losses.

    Arguments:
        pairs: who may be joined.
        names: of the features.
        features: φ, `(n_pairs, n_features)`.
        coefficients: β, `(n_features,)`, where it starts.
        n_judges: n, rows whose mean loss the hypergradients are of; 0 forgets where β started.
        deviation: of the prior, one number or `(n_features,)`.
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
        empty: Any = sp.csr_array((pairs.n_nodes, pairs.n_nodes), dtype=np.float32)
        super().__init__(empty, coefficients.dtype, coefficients.device, pairs)
        self.names, self.features = tuple(names), features
        self.coefficients, self._start = coefficients, coefficients
        self._n_judges = n_judges
        self._deviation = torch.as_tensor(deviation, dtype=torch.float64)
        self._moments = torch.zeros(2, *coefficients.shape, dtype=torch.float64)
        self._steps = 0
        self._put()

    def logits(self) -> Tensor:
        """Log-odds of every pair, `(n_pairs,)`."""
        return self.features @ self.coefficients

    def descend(self, gradient: EdgeGradient, lr: float) -> None:
        """β ← β - lr · Adam(∂E/∂β)."""
        n_pairs = self.features.shape[0]
        theta = self.probs[:n_pairs].clone()
        by_theta = torch.zeros_like(self.probs)
        self._add(by_theta, gradient, 1.0)
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
        self._put()

    def _put(self) -> None:
        self.probs[: self.features.shape[0]] = self.logits().sigmoid()
        self._changed()

    def copy(self) -> "SharedEdges":
        """An independent copy."""
        assert isinstance(self.pairs, PairList)
        other = SharedEdges(
            self.pairs, self.names, self.features, self._start, self._n_judges, self._deviation
        )
        other.coefficients = self.coefficients
        other._put()
        other._moments, other._steps = self._moments.clone(), self._steps
        other._entries = self._entries
        return other

    def state(self) -> dict[str, Any]:
        """The coefficients and what moves them; pairs and features follow from the data."""
        return {
            "coefficients": self.coefficients.cpu(),
            "moments": self._moments.clone(),
            "steps": self._steps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` was taken from: a distribution over the same data."""
        self.coefficients = state["coefficients"].to(self.probs.device)
        self._moments, self._steps = state["moments"].clone(), state["steps"]
        self._put()


def starting_edges(
    similar: Similarity,
    graph: sp.csr_array | None,
    n_judges: int,
    dtype: torch.dtype,
    device: torch.device,
    directions: Directions | None = None,
) -> SharedEdges:
    """The distribution before learning: near neighbours by likeness, given edges by their weight.

    Arguments:
        similar: of the nodes.
        graph: symmetric CSR of given edges, weights in [0, 1]; None is none.
        n_judges: rows whose loss judges the edges.
        dtype, device: of θ.
        directions: of the nodes' features, as further features of pairs; None has none.
    """
    near = similar.matrix(ties=graph is None)  # a graph is not drowned in arbitrary neighbours
    n = similar.n_nodes
    pattern = sp.csr_array((np.ones(near.nnz), near.indices, near.indptr), shape=near.shape)
    given: Any = graph if graph is not None else sp.csr_array((n, n), dtype=np.float32)
    pairs = PairList.of(sp.csr_array(pattern + (given != 0)))
    weight, alike = (
        pairs.scatter(matrix, torch.float64)[: pairs.n_pairs].numpy() for matrix in (given, near)
    )
    candidate = (weight == 0).astype(np.float64)
    logit = np.log(np.clip(weight, 1e-3, GIVEN)) - np.log1p(-np.clip(weight, 1e-3, GIVEN))
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
    return SharedEdges(
        pairs,
        list(columns),
        torch.tensor(np.stack(list(columns.values()), 1), dtype=dtype, device=device),
        torch.tensor(starts, dtype=dtype, device=device),
        n_judges,
        torch.tensor(deviations),
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
    """Expected edges of nodes that come later: the same function of the same features of pairs.

    Arguments:
        similar: of the nodes of training.
        new: features of the new nodes, `(n_new, n_features)`.
        coefficients: β, "candidate" and "similarity" first, those of directions last.
        probabilities: class probabilities of the nodes of training.
        classify: class probabilities of the new nodes, given edges.
        agreement: coefficient of agreement; 0: it was not learned with.
        directions: that were learned with.
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
    found = NewEdges(nodes, logit.sigmoid())
    if not agreement:
        return found
    same = (classify(found).unsqueeze(1) * probabilities[nodes]).sum(2)
    return NewEdges(nodes, (logit + agreement * _log_odds(same)).sigmoid())


def middle(similar: Similarity) -> float:
    """b, the similarity at which a pair is as likely an edge as not."""
    return MIDDLE_COSINE if similar.cosine else MIDDLE_KERNEL


def _log_odds(same: Tensor) -> Tensor:
    return ((same + SMOOTH) / (1 - same + SMOOTH)).log()


def with_agreement(edges: SharedEdges, probabilities: Tensor, weight: float = 1.0) -> SharedEdges:
    """The distribution that also knows what its nodes were taken for.

    The chance that the nodes of a pair are of one class, Σ_c p_ic p_jc, joins the features as
    log-odds: edges within a predicted class gain, edges between classes lose.

    Arguments:
        edges: so far.
        probabilities: p, `(n_nodes, n_classes)`, rows sum to 1.
        weight: the coefficient.
    """
    assert isinstance(edges.pairs, PairList)
    row, col = edges.pairs.pairs(edges.pairs.positions().to(probabilities.device))
    same = (probabilities.index_select(0, row) * probabilities.index_select(0, col)).sum(1)
    odds = _log_odds(same)
    return SharedEdges(
        edges.pairs,
        (*edges.names, "agreement"),
        torch.cat([edges.features, odds.unsqueeze(1).to(edges.features)], 1),
        torch.cat([edges.coefficients, edges.coefficients.new_tensor([weight])]),
    )
