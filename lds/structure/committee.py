"""The library's own way to learn a graph: few shared hyperparameters, several networks.

1. Near neighbours and given edges start with probabilities by a calibrated map (`shared`).
2. Algorithm 7 moves its few coefficients by hypergradients of labels that are redrawn at every
   restart, once the inner training has settled (`learner`).
3. Refit: a committee of networks trains on every label but the early-stopping ones, on graphs drawn
   from the learned distribution. Members count by what they reach on the early-stopping rows.
4. What the committee takes the nodes for says which pairs are of one class: with this as a further
   feature of pairs the committee trains again, twice.

The thesis's own method spends a free probability on every pair, and the edges of labelled nodes are
memorised; a few coefficients cannot memorise.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._types import Features, Split
from lds.bilevel.adaptive import Adam
from lds.bilevel.step import Start, Step, mix
from lds.config import LDSConfig
from lds.graphs.batch import GraphBatch, weighted_graph
from lds.graphs.candidates import PairList
from lds.graphs.similarity import Similarity
from lds.nn.committee import Committee
from lds.nn.gcn import NewEdges
from lds.structure.edges import EdgeDistribution
from lds.structure.learner import LDSResult, Learner, NonFiniteError
from lds.structure.metrics import mutual_information
from lds.structure.objectives import Task, as_inputs, nodes_tensor, task_on
from lds.structure.predict import (
    WORST,
    Score,
    hidden_layer,
    predict_draws,
    predict_proba_new,
    score,
)
from lds.structure.shared import SharedEdges, new_edges, starting_edges, with_agreement

TURNS = 2
"""Refits with what the refit before took the nodes for."""

MAX_STEPS, PATIENCE, EVERY = 300, 60, 2
"""Of a member's training: most steps, steps without a better early-stopping score, and how often
that is looked at."""


COEFFICIENTS = "edge_coefficients"
"""β among the params of a result: what new nodes' edges follow from."""


@dataclass(frozen=True)
class Fitted:
    """A committee and the distribution it was trained on.

    Attributes:
        params: of the committee.
        edges: the distribution.
        probabilities: `(n_nodes, n_classes)` on the expected graph.
        score: of these on the early-stopping rows.
        steps: inner steps in all.
    """

    params: dict[str, Tensor]
    edges: SharedEdges
    probabilities: Tensor
    score: Score
    steps: int


class CommitteeLearner(Learner):
    """Algorithm 7 on shared hyperparameters, then the refit; see the module."""

    def __init__(
        self,
        features: Features,
        labels: NDArray[np.int64],
        split: Split,
        graph: sp.csr_array | None,
        config: LDSConfig,
        device: torch.device,
        dtype: torch.dtype,
        held_out: sp.csr_array | None = None,
    ) -> None:
        self.whole = task_on(features, labels, config, dtype, device)
        similar = Similarity(features, config.metric, min(config.n_neighbors, len(labels) - 1))
        edges = starting_edges(similar, graph, split.validation.size, dtype, device)
        assert isinstance(self.whole.network, Committee)
        one = replace(self.whole, network=self.whole.network.members[1])
        super().__init__(
            as_inputs(features), labels, split, edges.to_csr(), config, device, dtype, held_out,
            one, edges,
        )  # fmt: skip

    def result(self, reason: str) -> LDSResult:
        """The committee on the best distribution found."""
        config, task = self.config, self.whole
        edges = self.edges  # the last: one noisy score is no reason to go back
        assert isinstance(edges, SharedEdges)
        rows = np.concatenate([self.split.train, self.split.validation])
        train = nodes_tensor(rows, task.labels.device)
        best = refit(task, edges, train, self.stopping, config, 0)
        if config.agreement:
            for turn in range(1, 1 + TURNS):
                more = with_agreement(edges, best.probabilities, config.agreement)
                best = refit(task, more, train, self.stopping, config, turn)
        n_done = len(self.history)
        seed = mix(config.seed, n_done, -3)
        draws = predict_draws(task, best.params, best.edges, config.n_draws, seed)
        probabilities = draws.mean(0)
        now = score(probabilities, task.labels, self.stopping)
        last = self.history[self.best.iteration]
        record = replace(
            last, iteration=n_done, inner_steps=best.steps, stopping_accuracy=now.accuracy,
            stopping_loss=now.loss, expected_edges=best.edges.expected_edges,
            group_probs=self.groups.means(best.edges), improved=True,
        )  # fmt: skip
        hidden = hidden_layer(task, best.params, best.edges, config.n_draws, seed)
        params = {**best.params, COEFFICIENTS: edges.coefficients}
        return LDSResult(
            params, best.edges, probabilities.cpu().numpy(),
            mutual_information(draws.cpu().numpy()), hidden.cpu().numpy(),
            [*self.history, record], n_done, reason, config, self.start,
        )  # fmt: skip


def refit(
    task: Task, edges: SharedEdges, train: Tensor, stopping: Tensor, config: LDSConfig, turn: int
) -> Fitted:
    """Train every member on graphs drawn from `edges`, and weigh them.

    A member's weight is proportional to exp(-√n · its mean loss on the n early-stopping rows): with
    few rows to tell members apart they count alike.

    Arguments:
        task: with a committee as its network.
        edges: drawn from, not changed.
        train, stopping: rows.
        config: the options.
        turn: of the refits of a run, for the seeds.
    """
    network = task.network
    assert isinstance(network, Committee)
    expected = expected_graph(edges)
    fitted = [
        _train_member(
            replace(task, network=member), edges, expected, train, stopping, config,
            mix(config.seed, turn, k, -8),
        )
        for k, member in enumerate(network.members)
    ]  # fmt: skip
    losses = torch.tensor([found.loss for _, _, found, _ in fitted], dtype=torch.float64)
    log_weights = (-(len(stopping) ** 0.5) * losses).log_softmax(0)
    probabilities = sum(w * p for w, (_, p, _, _) in zip(log_weights.exp(), fitted, strict=True))
    assert isinstance(probabilities, Tensor)
    probabilities = probabilities.to(fitted[0][1])
    params = network.join([w for w, _, _, _ in fitted], log_weights.to(probabilities))
    found = score(probabilities, task.labels, stopping)
    return Fitted(params, edges, probabilities, found, sum(steps for *_, steps in fitted))


def _train_member(
    task: Task, edges: SharedEdges, expected: GraphBatch, train: Tensor, stopping: Tensor,
    config: LDSConfig, seed: int,
) -> tuple[dict[str, Tensor], Tensor, Score, int]:  # fmt: skip
    """One network, early stopped: its weights, class probabilities, their score, steps taken."""
    dynamics = Adam(task.inner(train), lr=config.inner_lr)
    fresh = torch.Generator().manual_seed(mix(seed, -1))
    params = task.network.init(fresh, task.features.dtype, task.features.device)
    hyper = {"edges": edges}
    state = Start(dynamics, params, hyper, mix(seed, -2)).run()
    best, kept, waited, t = WORST, None, 0, 0
    while t < MAX_STEPS and waited < PATIENCE:
        state, _ = Step(dynamics, state, hyper, t, mix(seed, t)).run()
        t += 1
        if t % EVERY:
            continue
        waited += EVERY
        with torch.no_grad():
            w = dynamics.params(state)
            probs = task.network(w, task.features, expected, training=False)[0].softmax(1)
        now = score(probs, task.labels, stopping)
        if now.better_than(best):
            best, kept, waited = now, (w, probs), 0
    if kept is None:
        raise NonFiniteError("a member of the committee met no finite loss; try a smaller inner_lr")
    return *kept, best, t


def expected_graph(edges: SharedEdges) -> GraphBatch:
    """Every pair an edge, with its probability as weight: one graph in the place of many draws."""
    assert isinstance(edges.pairs, PairList)
    row, col = edges.pairs.pairs(edges.pairs.positions().to(edges.probs.device))
    return weighted_graph(row, col, edges.probs[: edges.pairs.n_pairs], edges.n_nodes)


def predict_new(
    features: Features,
    labels: NDArray[np.int64],
    new: Features,
    params: dict[str, Tensor],
    edges: EdgeDistribution,
    probabilities: NDArray[np.floating[Any]],
    config: LDSConfig,
    seed: int,
) -> Tensor:
    """Class probabilities of nodes that were not there in training, `(n_new, n_classes)`.

    Their edges follow from the learned coefficients, as those of the others do.

    Arguments:
        features, labels: of the fit.
        new: `(n_new, n_features)`.
        params, edges, probabilities, config: what it came to.
        seed: of the graphs.
    """
    task = task_on(features, labels, config, edges.probs.dtype, edges.probs.device)
    similar = Similarity(features, config.metric, min(config.n_neighbors, len(labels) - 1))
    known = torch.as_tensor(probabilities, dtype=edges.probs.dtype, device=edges.probs.device)
    inputs = as_inputs(new)

    def classify(attached: NewEdges) -> Tensor:
        return predict_proba_new(task, params, edges, inputs, attached, config.n_draws, seed)

    beta = params[COEFFICIENTS].to(known.device)
    return classify(new_edges(similar, new, beta, known, classify, config.agreement))
