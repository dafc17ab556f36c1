"""The refit of the default method: a committee trained on a distribution that stays as it is.

It trains in turns. In later turns networks learn from two teachers: the labels, and what the
committee so far predicts for all nodes (distillation). A network of few labels is sure of little
else; the committee knows what its members agree on.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from joblib import effective_n_jobs
from torch import Tensor

from lds._jobs import one_thread_each
from lds._random import mix
from lds._weights import relative
from lds.edges.free import FreeEdges
from lds.edges.logistic import LogisticEdges, with_agreement
from lds.edges.numbered_draws import NumberedDraws
from lds.edges.support import as_list
from lds.graphs.batch import GraphBatch, weighted_graph
from lds.nn.ensemble import Ensemble, Network
from lds.structure.methods.committee import Committee
from lds.structure.methods.committee_members import (
    CLOSED_FORM,
    Member,
    fit_member,
    groups,
    train_members,
)
from lds.structure.predict import losses, score, softmax
from lds.structure.seeds import DRAWS, MEMBER
from lds.structure.task import Task

HARM = 3.0
"""Standard errors by which the early-stopping loss may grow before agreement is refused."""

SHARPEN = 0.5
"""Temperature of the committee as a teacher, as in MixMatch (Berthelot et al., 2019)."""

N_FAMILIES = 1 + len(CLOSED_FORM)
"""Families of members, see `_family`."""


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
            mine = mix(self.seed, turn, k, MEMBER)
            if isinstance(first, CLOSED_FORM):
                calls.append((fit_member, (task, first, *where, mine)))
            else:
                how = self.method, mine, report
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

    Members trained by gradients, models of the features, models that read labels along the graph
    and forests are four families with different assumptions; families count alike beforehand.
    Within a family, and between the families as wholes, weights are proportional to
    exp(-√n · mean loss on the n early-stopping rows): with few rows they differ little.

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
    """Return 0 where it is trained by gradients, else 1 + its place in `CLOSED_FORM`."""
    for family, kind in enumerate(CLOSED_FORM, 1):
        if isinstance(network, kind):
            return family
    return 0


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


def expected_graph(edges: LogisticEdges | FreeEdges) -> GraphBatch:
    """Return the graph with every pair as an edge, its probability as weight."""
    pairs = as_list(edges.pairs)
    row, col = pairs.pairs(pairs.positions().to(edges.probs.device))
    return weighted_graph(row, col, edges.probs[: pairs.n_pairs], edges.n_nodes)
