"""The refit of the default method: a committee trained on a distribution that stays as it is.

It trains in turns. In later turns networks learn from two teachers: the labels, and what the
committee so far predicts for all nodes (distillation). A network of few labels is sure of little
else; the committee knows what its members agree on.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, cast

import torch
from joblib import effective_n_jobs
from torch import Tensor

from lds._jobs import one_thread_each
from lds._random import mix
from lds._weights import relative
from lds.bilevel.checks import NonFiniteError
from lds.edges.free import FreeEdges
from lds.edges.logistic import LogisticEdges, with_agreement
from lds.edges.numbered_draws import NumberedDraws
from lds.edges.recorder import GivenGraph
from lds.edges.support import as_list
from lds.graphs.batch import GraphBatch, weighted_graph
from lds.nn.base import Backbone
from lds.nn.discriminant import Discriminant, fit_discriminant
from lds.nn.ensemble import Ensemble, Network
from lds.nn.label_pagerank import LabelPageRank, fit_label_pagerank
from lds.nn.stack import Stack, Stackable
from lds.structure.methods.committee import Committee
from lds.structure.predict import losses, score, softmax
from lds.structure.seeds import DRAWS, MEMBER
from lds.structure.task import Params, Task
from lds.structure.training import train

PATIENCE, EVERY = 60, 4
"""Training steps of a member without a better early-stopping score that end it, and steps between
scores."""

TAUGHT_PATIENCE = 24
"""The patience of a member that also fits the committee's predictions for all nodes: its score
changes little once it fits them."""

TEMPERATURES = tuple(1.1**k for k in range(-7, 18))
"""Temperatures tried for the logits of a member, 0.5 to 5."""

STACK_BYTES = 1 << 20
"""Bytes of the hidden layers of networks that train side by side, at most: beyond the cache of a
processor, one after another is faster."""

HARM = 3.0
"""Standard errors by which the early-stopping loss may grow before agreement is refused."""

SHARPEN = 0.5
"""Temperature of the committee as a teacher, as in MixMatch (Berthelot et al., 2019)."""

N_FAMILIES = 3
"""Families of members, see `_family`."""


CLOSED_FORM = (Discriminant, LabelPageRank)
"""Members that are fitted, not trained."""


@dataclass(frozen=True)
class Member:
    """A trained network of the committee.

    Attributes:
        network, params: with the weights of its best early-stopping score.
        steps: training steps it took; 0 where it is fitted in closed form.
    """

    network: Network
    params: Params
    steps: int


@dataclass(frozen=True)
class Refitted:
    """A committee on the distribution it was accepted on.

    Attributes:
        members: of all turns.
        log_weights: `(n_members,)`, logarithms of weights that sum to 1.
        edges: the distribution.
        agreement: the coefficient of agreement; 0 where it was refused.
    """

    members: Sequence[Member]
    log_weights: Tensor
    edges: LogisticEdges
    agreement: float


@dataclass(frozen=True)
class Refit:
    """Trains a committee on a distribution, then again with its own predictions.

    They are a feature of pairs (agreement), and what networks fit beside the labels (distillation).

    Arguments:
        task: whose network is the committee, an `Ensemble`.
        rows: labelled rows that train.
        stopping: early-stopping rows.
        method: the options.
        seed: of the run.
        on_member: called at the start, and each time that members are trained, with their number
            and the number of all.
        n_jobs: processes that train the networks of a turn, with one thread each, as of joblib;
            None without `joblib.parallel_config` trains them here, with torch's threads. On a
            device that is no CPU one process works.
    """

    task: Task
    ensemble: Ensemble
    rows: Tensor
    stopping: Tensor
    method: Committee
    seed: int
    on_member: Callable[[int, int], None] | None = None
    n_jobs: int | None = None

    def __call__(self, edges: LogisticEdges) -> Refitted:
        """Refit on `edges`, and with agreement unless the early-stopping rows refuse it."""
        task, stopping, method = self.task, self.stopping, self.method
        last, expected, agreement = edges, expected_graph(edges), 0.0
        self._report(0)
        members = before = self._turn(task, last, expected, 0)
        for turn in range(1, self.ensemble.n_times):
            if method.agreement:
                _, found = weigh(task, before, expected, stopping)
                agreeing = with_agreement(edges, found, method.agreement)
                with_it = expected_graph(agreeing)
                _, moved = weigh(task, before, with_it, stopping)
                if not harms(found, moved, task, stopping):
                    last, expected, agreement = agreeing, with_it, method.agreement
            taught = task
            if method.distillation:
                _, teacher = weigh(task, members, expected, stopping)
                sharp = sharpened(teacher, SHARPEN)
                taught = replace(task, teacher=sharp, distillation=method.distillation)
            before = self._turn(taught, last, expected, turn)
            members = [*members, *before]
        log_weights, _ = weigh(task, members, expected, stopping)
        return Refitted(members, log_weights, last, agreement)

    def _turn(
        self, task: Task, edges: LogisticEdges, expected: GraphBatch, turn: int
    ) -> list[Member]:
        """Train one member of each kind; `expected` is the expected graph of `edges`."""
        kinds, done = self.ensemble.kinds, turn * len(self.ensemble.kinds)
        n_processes = effective_n_jobs(self.n_jobs) if self.rows.device.type == "cpu" else 1
        where = expected, self.rows, self.stopping
        draws = NumberedDraws(edges, mix(self.seed, turn, DRAWS))
        report = None if n_processes != 1 else lambda n: self._report(done + n)
        calls: list[tuple[Callable[..., Member | list[Member]], tuple[Any, ...]]] = []
        for k, (first, *others) in enumerate(groups(kinds, task)):
            if isinstance(first, CLOSED_FORM):
                calls.append((fit_member, (task, first, *where)))
            else:
                how = self.method, mix(self.seed, turn, k, MEMBER), report
                calls.append((train_members, (task, [first, *others], draws, *where, *how)))
        if n_processes != 1:
            parts = one_thread_each(_called, calls, self.n_jobs)
            self._report(done + len(kinds))
            return [member for part in parts for member in part]
        members: list[Member] = []
        for call in calls:
            alone = self.n_jobs is None
            members += _called(*call) if alone else one_thread_each(_called, [call], 1)[0]
            self._report(done + len(members))
        return members

    def _report(self, done: int) -> None:
        """Report how many members are trained."""
        if self.on_member is not None:
            self.on_member(done, len(self.ensemble.members))


def groups(kinds: Sequence[Network], task: Task) -> Iterator[list[Network]]:
    """Group networks that train side by side; each other network is a group of its own.

    Arguments:
        kinds: networks, those that a stack may have one after another.
        task: what they train on; where that is large, no networks are grouped.
    """
    for stacks, some in groupby(kinds, lambda kind: isinstance(kind, Stackable)):
        found = list(some)
        n_bytes = task.features.dtype.itemsize * task.features.shape[0] * _channels(found)
        yield from [found] if stacks and n_bytes <= STACK_BYTES else ([kind] for kind in found)


def _channels(networks: Sequence[Network]) -> int:
    """Count the hidden channels of networks."""
    return sum(network.sizes[1] for network in networks if isinstance(network, Stackable))


def _called(
    function: Callable[..., Member | list[Member]], arguments: tuple[Any, ...]
) -> list[Member]:
    """Call a function, in any process."""
    found = function(*arguments)
    return found if isinstance(found, list) else [found]


@torch.no_grad()
def weigh(
    task: Task, members: Sequence[Member], graph: GraphBatch, stopping: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute weights of the members on a graph, and the weighted mean of their predictions.

    Members trained by gradients, models of the features and models that read labels along the graph
    are three families with different assumptions; families count alike beforehand. Within a family,
    and between the families as wholes, weights are proportional to exp(-√n · mean loss on the n
    early-stopping rows): with few rows they differ little.

    Arguments:
        task: of the run.
        members: trained.
        graph: on which they are judged, the expected graph of a distribution.
        stopping: rows.

    Returns:
        Logarithms of weights that sum to 1, `(n_members,)`, and class probabilities
        `(n_nodes, n_classes)`.
    """
    each = torch.stack(
        [softmax(m.network(m.params, task.features, graph, training=False)[0]) for m in members]
    )

    def loss(probabilities: Tensor) -> float:
        return score(probabilities, task.labels, stopping, task.weights).loss

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


def sharpened(probabilities: Tensor, temperature: float) -> Tensor:
    """Raise probabilities to the power 1 / temperature, and divide them by their sum.

    References:
        Berthelot et al., 2019, eq. 7, https://arxiv.org/abs/1905.02249; Feng et al., 2020, for
        graphs, https://arxiv.org/abs/2005.11079.

    Arguments:
        probabilities: `(n, n_classes)`, rows sum to 1.
        temperature: above 0; below 1 makes them surer.
    """
    powers = probabilities ** (1 / temperature)
    return powers / powers.sum(1, keepdim=True)


def _family(network: Network) -> int:
    """Return 0: trained by gradients; 1: a model of the features; 2: labels along the graph."""
    return 1 if isinstance(network, Discriminant) else 2 * isinstance(network, LabelPageRank)


def harms(before: Tensor, after: Tensor, task: Task, rows: Tensor, errors: float = HARM) -> bool:
    """Say whether the mean loss on rows grows by more than so many standard errors, paired by row.

    With a single row the answer is False.

    Arguments:
        before, after: class probabilities, `(n_nodes, n_classes)`.
        task: with the labels and weights of rows.
        rows: to judge by.
        errors: standard errors.
    """
    growth = losses(after, task.labels, rows) - losses(before, task.labels, rows)
    if (mine := relative(task.weights, rows)) is not None:
        growth = mine * growth
    return len(rows) > 1 and bool(growth.mean() > errors * growth.std() / len(rows) ** 0.5)


def fit_member(
    task: Task,
    network: Discriminant | LabelPageRank,
    expected: GraphBatch,
    rows: Tensor,
    stopping: Tensor,
) -> Member:
    """Fit a member in closed form; other arguments as of `train_members`."""
    with torch.no_grad():
        if isinstance(network, LabelPageRank):
            params = fit_label_pagerank(network, task.features, task.labels, rows, task.weights)
        else:
            params = fit_discriminant(
                network, task.features, task.labels, rows, expected, task.weights
            )
    return calibrated(task, Member(network, params, 0), expected, stopping)


@torch.no_grad()
def calibrated(task: Task, member: Member, expected: GraphBatch, stopping: Tensor) -> Member:
    """Divide the logits of a member by a temperature chosen on the n early-stopping rows.

    The temperature τ minimises n · mean loss + 2 (log τ)² there: with few rows it stays near 1.

    References:
        Guo, Pleiss, Sun and Weinberger, 2017, "On calibration of modern neural networks".
    """
    logits = member.network(member.params, task.features, expected, training=False)[0]
    z, labels = logits[stopping].double(), task.labels[stopping]
    tau = z.new_tensor(TEMPERATURES)
    rows = torch.arange(len(z), device=z.device)
    each = losses((z / tau.view(-1, 1, 1)).softmax(2), labels, rows)
    if (mine := relative(task.weights, stopping)) is not None:
        each = mine.to(each) * each
    total = each.sum(1)
    best = TEMPERATURES[int((total + 2 * tau.log().square()).argmin())]
    return replace(member, params=member.network.scaled(member.params, 1 / best))


def train_members(
    task: Task,
    networks: Sequence[Network],
    draws: Callable[[int], GivenGraph],
    expected: GraphBatch,
    rows: Tensor,
    stopping: Tensor,
    method: Committee,
    seed: int,
    on_stopped: Callable[[int], None] | None = None,
) -> list[Member]:
    """Train networks on drawn graphs, early stopped by their predictions on the expected graph.

    Arguments:
        task: of the run.
        networks: one group of `groups`.
        draws: the graph of each step.
        expected: the `expected_graph` of their distribution.
        rows: that train.
        stopping: early-stopping rows.
        method: the options.
        seed: of fresh weights and dropout.
        on_stopped: as of `train`.

    Raises:
        NonFiniteError: no loss of a network was finite.
    """
    alike = [network for network in networks if isinstance(network, Stackable)]
    stack = Stack(alike) if len(alike) > 1 else None
    # Neither a hidden layer nor new nodes are asked of it here.
    network = cast(Backbone, stack) if stack else networks[0]

    @torch.no_grad()
    def predict(w: Params, t: int) -> Tensor:
        return softmax(network(w, task.features, expected, training=False))

    found = train(
        replace(task, network=network),
        draws,
        rows,
        stopping,
        method.inner_lr,
        (seed,),
        predict,
        max_steps=method.refit_steps,
        patience=PATIENCE if task.teacher is None else TAUGHT_PATIENCE,
        every=EVERY,
        on_stopped=on_stopped,
    )
    members = []
    for k, (one, best) in enumerate(zip(networks, found, strict=True)):
        if best is None:
            raise NonFiniteError(
                "the loss of a member of the committee was never finite; try a smaller inner_lr"
            )
        params = stack.of_network(best.params, k) if stack else best.params
        members.append(calibrated(task, Member(one, params, best.steps), expected, stopping))
    return members


def expected_graph(edges: LogisticEdges | FreeEdges) -> GraphBatch:
    """Return the graph with every pair as an edge, its probability as weight."""
    pairs = as_list(edges.pairs)
    row, col = pairs.pairs(pairs.positions().to(edges.probs.device))
    return weighted_graph(row, col, edges.probs[: pairs.n_pairs], edges.n_nodes)
