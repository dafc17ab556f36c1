"""The library's own way to learn a graph: few shared hyperparameters, several networks.

1. Measurements are seen in a metric in which classes are spread like balls (`nn.whitening`).
   Near neighbours and given edges start with probabilities by a calibrated map (`shared`).
2. Algorithm 7 moves its few coefficients by hypergradients of labels that are redrawn at every
   restart, once the inner training has settled (`learner`).
3. Refit: a committee trains on every label but the early-stopping ones, on graphs drawn from the
   learned distribution: networks, and discriminants that model the features of all nodes. Members
   are calibrated on the early-stopping rows and count by what they reach there.
4. What the committee takes the nodes for says which pairs are of one class: with this as a further
   feature of pairs they train again, twice; all of them sit on the committee, on the last
   distribution. Where edges join unlike nodes this would undo them, and the early-stopping rows
   refuse it (`harms`).

The thesis's own method spends a free probability on every pair, and the edges of labelled nodes are
memorised; a few coefficients cannot memorise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._random import mix
from lds._types import Features, Split
from lds.bilevel.checks import NonFiniteError
from lds.config import LDSConfig
from lds.edges.free import EdgeDistribution
from lds.edges.logistic import SharedEdges, new_edges, starting_edges, with_agreement
from lds.graphs.batch import GraphBatch, weighted_graph
from lds.graphs.candidates import PairList
from lds.graphs.directions import Directions
from lds.graphs.similarity import AUTO, Similarity
from lds.nn.discriminant import Discriminant, fit_discriminant
from lds.nn.ensemble import Ensemble, Network
from lds.nn.label_pagerank import LabelPageRank, fit_label_pagerank
from lds.nn.new_nodes import NewEdges
from lds.nn.preparation import FeaturePreparation
from lds.nn.whitening import whitened, whitening
from lds.structure.learner import LDSResult, Learner
from lds.structure.predict import losses, predict_proba_new, score
from lds.structure.task import Task, nodes_tensor, task_on
from lds.structure.train import train

MAX_STEPS, PATIENCE, EVERY = 300, 60, 2
"""Of a member's training: most steps, steps without a better early-stopping score, and how often
that is looked at."""


TEMPERATURES = tuple(1.1**k for k in range(-7, 18))
"""By which the logits of a member may be divided, 0.5 to 5."""

COEFFICIENTS = "edge_coefficients"
"""β among the params of a result: what new nodes' edges follow from."""

AGREEMENT = "edge_agreement"
"""Among them: the coefficient of agreement, 0 where it was refused."""

HARM = 3.0
"""Standard errors by which the loss of a committee may grow where edges follow what it says."""

WHITENING = "whitening"
"""Among them where features are measurements: the metric they are seen in (see `nn.whitening`)."""


@dataclass(frozen=True)
class Member:
    """A trained network.

    Attributes:
        network, params: its weights are those of its best early-stopping score.
        steps: inner steps it took; a discriminant takes none.
    """

    network: Network
    params: dict[str, Tensor]
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
        edges: SharedEdges | None = None,
    ) -> None:
        prepared = FeaturePreparation(features)
        inputs, self.whitening = prepared.transform(features), None
        if prepared.measured and config.metric == AUTO:  # another is the user's own choice
            rows = np.concatenate([split.train, split.validation])
            self.whitening = whitening(inputs, labels, rows)
            inputs = whitened(inputs, self.whitening)
        self.whole = task_on(inputs, labels, config, dtype, device)
        if edges is None:
            similar, directions = pair_features(inputs, config)
            edges = starting_edges(
                similar, graph, split.validation.size, dtype, device, directions
            )  # fmt: skip
        assert isinstance(self.whole.network, Ensemble)
        one = replace(self.whole, network=self.whole.network.kinds[1])
        super().__init__(
            inputs, labels, split, edges.to_csr(), config, device, dtype, held_out,
            one, edges,
        )  # fmt: skip

    def result(self, reason: str) -> LDSResult:
        """The committee on the distribution as it is: one noisy score is no reason to go back."""
        config, task, edges = self.config, self.whole, self.edges
        assert isinstance(edges, SharedEdges)
        assert isinstance(task.network, Ensemble)
        last, expected, agreement = edges, expected_graph(edges), 0.0
        members = before = self.refit(last, expected, 0)
        for turn in range(1, task.network.n_times):  # with what the turn before took the nodes for
            _, found = weigh(task, before, expected, self.stopping)
            agreeing = with_agreement(edges, found, config.agreement)
            further = expected_graph(agreeing)
            _, moved = weigh(task, before, further, self.stopping)
            if not harms(found, moved, task.labels, self.stopping):
                last, expected, agreement = agreeing, further, config.agreement
            before = self.refit(last, expected, turn)
            members = [*members, *before]
        self.tell(len(members))
        log_weights, _ = weigh(task, members, expected, self.stopping)
        params = task.network.join([member.params for member in members], log_weights)
        params[COEFFICIENTS] = edges.coefficients
        params[AGREEMENT] = edges.coefficients.new_tensor(agreement)
        if self.whitening is not None:
            params[WHITENING] = self.whitening
        n_done = len(self.history)
        result = self.outcome(task, params, last, n_done, reason)
        found = torch.from_numpy(result.probabilities).to(task.labels.device)
        now = score(found, task.labels, self.stopping)
        record = replace(
            self.history[-1], iteration=n_done, inner_steps=sum(m.steps for m in members),
            stopping_accuracy=now.accuracy, stopping_loss=now.loss,
            expected_edges=last.expected_edges, group_probs=self.groups.means(last), improved=True,
        )  # fmt: skip
        return replace(result, history=[*self.history, record])

    def refit(self, edges: SharedEdges, expected: GraphBatch, turn: int) -> list[Member]:
        """A member of each kind on a distribution, of which `expected` is the expected graph."""
        task = self.whole
        assert isinstance(task.network, Ensemble)
        rows = nodes_tensor(
            np.concatenate([self.split.train, self.split.validation]), task.labels.device
        )
        members: list[Member] = []
        for k, network in enumerate(task.network.kinds):
            self.tell(turn * len(task.network.kinds) + k)
            one = replace(task, network=network)
            if isinstance(network, Discriminant | LabelPageRank):
                member = fit_member(one, expected, rows, self.stopping)
            else:
                seed = mix(self.config.seed, turn, k, -8)
                member = train_member(
                    one, edges, expected, rows, self.stopping, self.config, seed
                )  # fmt: skip
            members.append(member)
        return members

    def tell(self, done: int) -> None:
        """How many members are trained, to whom it may concern."""
        if self.on_member is not None:
            assert isinstance(self.whole.network, Ensemble)
            self.on_member(done, len(self.whole.network.members))


@torch.no_grad()
def weigh(
    task: Task, members: Sequence[Member], graph: GraphBatch, stopping: Tensor
) -> tuple[Tensor, Tensor]:
    """How much each member counts on a distribution, and what they say together.

    Those trained by gradients, those that model the features and those that read labels along the
    graph are families of their own, as each takes other things for granted: all count alike
    beforehand. Within a family, and of the families as wholes, weights are proportional to
    exp(-√n · mean loss on the n early-stopping rows): with few rows to tell them apart they count
    alike.

    Arguments:
        task: of the run.
        members: trained.
        graph: what they are judged on, the expected one of a distribution.
        stopping: rows.

    Returns:
        Logarithms of weights that sum to 1, `(n_members,)`, and class probabilities
        `(n_nodes, n_classes)`.
    """
    each = torch.stack(
        [m.network(m.params, task.features, graph, training=False)[0].softmax(1) for m in members]
    )

    def loss(probabilities: Tensor) -> float:
        return score(probabilities, task.labels, stopping).loss

    alone = torch.tensor([loss(probs) for probs in each], dtype=torch.float64)
    family_of = torch.tensor([_family(m.network) for m in members])
    log_weights = torch.full_like(alone, -math.inf)
    for family in (family_of == number for number in range(N_FAMILIES)):
        if family.any():
            shared = (-(len(stopping) ** 0.5) * alone[family]).log_softmax(0)
            together = torch.einsum(
                "m,mnc->nc", shared.exp().to(each), each[family.to(each.device)]
            )
            log_weights[family] = shared - len(stopping) ** 0.5 * loss(together)
    log_weights = log_weights.log_softmax(0).to(each)
    return log_weights, (log_weights.exp().view(-1, 1, 1) * each).sum(0)


N_FAMILIES = 3
"""Ways in which members come to what they say, see `_family`."""


def _family(network: Network) -> int:
    """0: trained by gradients; 1: a model of the features; 2: labels along the graph."""
    return 1 if isinstance(network, Discriminant) else 2 * isinstance(network, LabelPageRank)


def harms(before: Tensor, after: Tensor, labels: Tensor, rows: Tensor) -> bool:
    """Whether the mean loss on rows grows by more than `HARM` standard errors, paired by row.

    One row alone tells nothing.

    Arguments:
        before, after: class probabilities, `(n_nodes, n_classes)`.
        labels: `(n_nodes,)`.
        rows: to judge by.
    """
    growth = losses(after, labels, rows) - losses(before, labels, rows)
    return len(rows) > 1 and bool(growth.mean() > HARM * growth.std() / len(rows) ** 0.5)


def fit_member(task: Task, expected: GraphBatch, rows: Tensor, stopping: Tensor) -> Member:
    """A member that is not trained by gradients; arguments as of `train_member`."""
    network = task.network
    with torch.no_grad():
        if isinstance(network, LabelPageRank):
            params = fit_label_pagerank(network, task.features, task.labels, rows)
        else:
            assert isinstance(network, Discriminant)
            params = fit_discriminant(network, task.features, task.labels, rows, expected)
    return calibrated(task, Member(network, params, 0), expected, stopping)


@torch.no_grad()
def calibrated(task: Task, member: Member, expected: GraphBatch, stopping: Tensor) -> Member:
    """The member as sure of itself as the n early-stopping rows justify.

    Its logits are divided by the temperature τ that minimises n · mean loss + 2 (log τ)² there: few
    rows change little.

    References:
        Guo, Pleiss, Sun and Weinberger, 2017, "On calibration of modern neural networks".
    """
    logits = member.network(member.params, task.features, expected, training=False)[0]
    z, labels = logits[stopping].double(), task.labels[stopping]
    tau = z.new_tensor(TEMPERATURES)
    rows = torch.arange(len(z), device=z.device)
    total = losses((z / tau.view(-1, 1, 1)).softmax(2), labels, rows).sum(1)
    best = TEMPERATURES[int((total + 2 * tau.log().square()).argmin())]
    return replace(member, params=member.network.scaled(member.params, 1 / best))


def train_member(
    task: Task, edges: SharedEdges, expected: GraphBatch, rows: Tensor, stopping: Tensor,
    config: LDSConfig, seed: int,
) -> Member:  # fmt: skip
    """One network on graphs drawn from `edges`, early stopped by what it says on the expected one.

    Arguments:
        task: with the network.
        edges: drawn from, not changed.
        expected: their `expected_graph`.
        rows, stopping: that train, and that decide when to stop.
        config: the options.
        seed: of fresh weights, graphs and dropout.

    Raises:
        NonFiniteError: no loss was finite.
    """

    @torch.no_grad()
    def predict(w: dict[str, Tensor], t: int) -> Tensor:
        return task.network(w, task.features, expected, training=False)[0].softmax(1)

    found = train(
        task, edges, rows, stopping, config.inner_lr, (seed,), predict,
        max_steps=MAX_STEPS, patience=PATIENCE, every=EVERY,
    )  # fmt: skip
    if found is None:
        raise NonFiniteError("a member of the committee met no finite loss; try a smaller inner_lr")
    assert isinstance(task.network, Network)
    return calibrated(task, Member(task.network, found.params, found.steps), expected, stopping)


def expected_graph(edges: SharedEdges) -> GraphBatch:
    """Every pair an edge, with its probability as weight: one graph in the place of many draws."""
    assert isinstance(edges.pairs, PairList)
    row, col = edges.pairs.pairs(edges.pairs.positions().to(edges.probs.device))
    return weighted_graph(row, col, edges.probs[: edges.pairs.n_pairs], edges.n_nodes)


def pair_features(inputs: Features, config: LDSConfig) -> tuple[Similarity, Directions | None]:
    """What probabilities of edges follow from, as networks see the rows of the fit."""
    similar = Similarity(inputs, config.metric, min(config.n_neighbors, inputs.shape[0] - 1))
    return similar, Directions(inputs, config.metric_rank) if config.metric_rank else None


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
    prepared = FeaturePreparation(features)
    fitted, inputs = (
        whitened(prepared.transform(rows), params.get(WHITENING)) for rows in (features, new)
    )
    task = task_on(fitted, labels, config, edges.probs.dtype, edges.probs.device)
    similar, directions = pair_features(fitted, config)
    known = torch.as_tensor(probabilities, dtype=edges.probs.dtype, device=edges.probs.device)

    def classify(attached: NewEdges) -> Tensor:
        return predict_proba_new(task, params, edges, inputs, attached, config.n_draws, seed)

    beta = params[COEFFICIENTS].to(known.device)
    agreement = float(params.get(AGREEMENT, config.agreement))  # older runs could not refuse it
    attached = new_edges(similar, inputs, beta, known, classify, agreement, directions)
    return classify(attached)
