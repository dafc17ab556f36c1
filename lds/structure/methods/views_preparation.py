"""What learned views are fitted on: similarities of rows, folds of labels, members of each fold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._random import mix
from lds._types import Features
from lds.edges.logistic import LogisticEdges
from lds.graphs.candidates import PairList
from lds.graphs.knn import allowed_neighbors, check_neighbors
from lds.graphs.pairwise import Pattern, weighted_sums
from lds.graphs.views import View
from lds.structure.context import RunContext
from lds.structure.methods.members import Forms, Members, Weights
from lds.structure.methods.views import Views
from lds.structure.methods.views_rows import Rows
from lds.structure.problem import Problem
from lds.structure.seeds import ROLES

START = -2.0
"""Initial log-odds of a pair of average similarity in every view."""

SMOOTHING = 1e-3
"""Mass that every class has everywhere, as a share of the mean mass of a row."""

LABELS = "labels along the views"
"""Name of the member that is the PageRank of the labels."""

ReadAndJudged = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Folds:
    """Folds side by side: labels that the PageRank reads, labels that judge, pairs in all views.

    Each fold has rows and pairs of its own: row i of fold k is row k · n_nodes + i here, and no
    pair joins two folds. One product serves all of them.

    Attributes:
        labels: Y, `(n_folds · n_nodes, n_classes)`: 1 over the size of the class at rows that are
            read.
        judged: rows that are not read and whose class is.
        truth: their classes.
        features: `(n_pairs, 1 + n_views)`, a column of ones and the standardised similarities.
        pattern: of both directions of all pairs.
        entry: the pair of each of its entries.
    """

    labels: Tensor
    judged: Tensor
    truth: Tensor
    features: Tensor
    pattern: Pattern
    entry: Tensor

    def graph(self, beta: Tensor) -> Tensor:
        """The entries of S = D⁻¹ W, W the weights σ(β · features) of the pairs."""
        weight = (self.features @ beta).sigmoid().index_select(0, self.entry)
        degree = weighted_sums(weight, weight.new_ones(len(self.labels), 1), self.pattern)
        crow = self.pattern.crow.long()
        return weight / degree.clamp_min(1e-12).squeeze(1).repeat_interleave(crow.diff())

    def step(self, mass: Tensor, graph: Tensor, teleport: float) -> Tensor:
        """F ← (1 - α) S F + α Y; S has first derivatives only."""
        sums = weighted_sums(graph.detach(), mass, self.pattern)
        if graph.requires_grad:
            # By a product apart, so that derivatives by F alone do not take those by S.
            apart = weighted_sums(graph, mass.detach(), self.pattern)
            sums = sums + (apart - apart.detach())
        return (1 - teleport) * sums + teleport * self.labels

    @torch.no_grad()
    def masses(self, beta: Tensor, method: Views) -> tuple[Tensor, Tensor]:
        """F after the last step but one, and after the last."""
        graph = self.graph(beta)
        before = mass = self.labels
        for _ in range(method.n_hops):
            before, mass = mass, self.step(mass, graph, method.teleport)
        return before, mass


@dataclass(frozen=True)
class Preparation:
    """The views of a problem, for the fit and for later rows.

    Attributes:
        start: coefficients before learning.
        folds: every labelled row is judged in one, if its class has another row.
        whole: with all labels.
        rows: features in the forms that members and views read.
        seen: the pairs of `whole` in every view.
        members: classifiers fitted to all labels.
        judged: predictions of members of each fold for the rows that judge it.
    """

    start: Tensor
    folds: Folds
    whole: Folds
    rows: Rows
    seen: "Seen"
    members: Members
    judged: Sequence[dict[str, NDArray[np.float64]]]

    def mean(
        self, weighing: Weights, of_labels: NDArray[np.float64], forms: Forms
    ) -> NDArray[np.floating[Any]]:
        """The weighted mean of all members for rows, `(n, n_classes)`."""
        return weighing.mean({LABELS: of_labels, **self.members.predict(forms)})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coefficients."""
        return ("any pair", *self.seen.views)

    def edges(self, beta: Tensor) -> LogisticEdges:
        """The distribution with all labels, on given coefficients."""
        return LogisticEdges(self.seen.pairs, self.names, self.whole.features, beta)

    def of_later(
        self, new: Features, n_neighbors: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Later rows, their nearest rows of the fit in any view, and features of these pairs."""
        later, n = self.rows.of_later(new, self.members), self.seen.pairs.n_nodes
        views = [view.of_later(later[name]) for name, view in self.seen.views.items()]
        near = np.concatenate([view.near(min(n_neighbors, n)) for view in views], 1)
        key = np.unique(np.arange(len(near))[:, None] * n + near)
        row, col = key // n, key % n
        return row, col, self.seen.standardised([view.of_pairs(row, col) for view in views])


def prepare(method: Views, problem: Problem, run: RunContext) -> Preparation:
    """Fit the views of a problem, with all labels and without those of each fold."""
    rows = Rows(problem.features, method.n_trees, run.seed)
    split, labels = problem.split, problem.labels
    labelled = np.sort(np.concatenate([split.train, split.validation, split.stopping]))
    k = allowed_neighbors(method.n_neighbors, Views().n_neighbors, problem.n_nodes)
    check_neighbors(problem.n_nodes, k, "euclidean")
    shared = rows.views()
    near = [view.near(k) for view in shared.values()]

    deals = dealt(labels, labelled, method.n_folds, mix(run.seed, ROLES))
    n_least = min(len(read) for read, _ in [*deals, (labelled, empty())])

    def seen_by(read: NDArray[np.int64]) -> tuple[Members, Seen]:
        members = Members.fitted(rows.forms, labels, read, method.n_trees, run.seed, n_least)
        views = shared | rows.label_views(members)
        return members, Seen(views, near, k, problem.n_nodes)

    folds, predictions = [], []
    for read, judged in deals:
        members, seen = seen_by(read)
        folds.append(seen)
        mine = {form: each[judged] for form, each in rows.forms.items()}
        predictions.append(members.predict(mine))
    members, seen = seen_by(labelled)
    start = torch.tensor([START, *[1.0] * len(seen.views)], dtype=run.dtype, device=run.device)
    return Preparation(
        start,
        side_by_side(problem, deals, folds, run),
        side_by_side(problem, [(labelled, labelled[:0])], [seen], run),
        rows,
        seen,
        members,
        predictions,
    )


def dealt(
    labels: NDArray[np.int64], labelled: NDArray[np.int64], n_folds: int, seed: int
) -> list[ReadAndJudged]:
    """Deal labelled rows to folds, class by class: rows that are read and rows that judge.

    A row judges only if another row of its class is read; a class with one labelled row is read
    in all folds but its own, and never judges. A fold that would read one class alone is left out.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(labelled)
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    number = np.arange(len(order)) % n_folds
    found = []
    for fold in range(min(n_folds, len(order))):
        read, judged = np.sort(order[number != fold]), np.sort(order[number == fold])
        judged = judged[np.isin(labels[judged], labels[read])]
        if len(np.unique(labels[read])) > 1:
            found.append((read, judged))
    return found


class Seen:
    """The pairs that are near in any view, and their standardised similarities.

    Each fold has pairs of its own: those of a forest that has read a row's label would tell it.

    Arguments:
        views: by name.
        near: nearest rows in the first of them, as far as they are known.
        k: nearest rows of each view.
        n_nodes: rows.
    """

    def __init__(
        self, views: dict[str, View], near: Sequence[NDArray[np.int64]], k: int, n_nodes: int
    ) -> None:
        self.views = views
        others = [view.near(k) for view in list(views.values())[len(near) :]]
        col = np.concatenate([one.ravel() for one in (*near, *others)])
        row = np.tile(np.repeat(np.arange(n_nodes), k), len(views))
        low, high = np.minimum(row, col), np.maximum(row, col)
        self.pairs = PairList(n_nodes, np.unique((low * n_nodes + high)[low < high]))
        self.row, self.col = self.pairs.keys // n_nodes, self.pairs.keys % n_nodes
        similar = np.stack([view.of_pairs(self.row, self.col) for view in views.values()], 1)
        self._center, self._scale = similar.mean(0), np.maximum(similar.std(0), 1e-9)
        self.features = self.standardised(list(similar.T))

    def standardised(self, similarities: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """A column of ones, and similarities by their mean and deviation over these pairs."""
        columns = (np.stack(similarities, 1) - self._center) / self._scale
        return np.concatenate([np.ones((len(columns), 1)), columns], 1)


def side_by_side(
    problem: Problem, deals: Sequence[ReadAndJudged], seen: Sequence[Seen], run: RunContext
) -> Folds:
    """Put folds side by side.

    Arguments:
        problem: whose rows and labels they have.
        deals: rows that are read and rows that judge, of each fold.
        seen: pairs of each.
        run: where to compute, and in what precision.
    """
    n = problem.n_nodes
    first = n * np.arange(len(deals))
    y = np.zeros((len(deals), n, problem.n_classes))
    for mine, (read, _) in zip(y, deals, strict=True):
        mine[read, problem.labels[read]] = 1
        mine /= np.maximum(mine.sum(0), 1)
    row = np.concatenate([empty(), *(each.row + at for each, at in zip(seen, first, strict=True))])
    col = np.concatenate([empty(), *(each.col + at for each, at in zip(seen, first, strict=True))])
    both = np.concatenate([row, col]), np.concatenate([col, row])
    order = np.lexsort((both[1], both[0]))
    left, right = (torch.as_tensor(part[order], device=run.device) for part in both)
    judged = [rows + at for (_, rows), at in zip(deals, first, strict=True)]
    truth = [problem.labels[rows] for _, rows in deals]
    where: dict[str, Any] = {"dtype": run.dtype, "device": run.device}
    return Folds(
        labels=torch.as_tensor(y.reshape(-1, problem.n_classes), **where),
        judged=torch.as_tensor(np.concatenate([empty(), *judged]), device=run.device),
        truth=torch.as_tensor(np.concatenate([empty(), *truth]), device=run.device),
        features=torch.as_tensor(np.concatenate([each.features for each in seen]), **where)
        if seen
        else torch.zeros(0, 0, **where),
        pattern=Pattern.of(left, right, (n * len(deals), n * len(deals))),
        entry=torch.as_tensor(np.tile(np.arange(len(row)), 2)[order], device=run.device),
    )


def empty() -> NDArray[np.int64]:
    """No row."""
    return np.zeros(0, dtype=np.int64)


def shares(mass: Tensor) -> Tensor:
    """Class probabilities in proportion to smoothed mass, `(n, n_classes)`."""
    smooth = mass + SMOOTHING * mass.mean()
    return smooth / smooth.sum(1, keepdim=True)
