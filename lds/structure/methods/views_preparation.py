"""What learned views are fitted on: similarities of rows, folds of labels, members of each fold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, RandomTreesEmbedding
from torch import Tensor

from lds._random import mix
from lds._types import Features
from lds.edges.logistic import LogisticEdges
from lds.graphs.candidates import PairList
from lds.graphs.knn import allowed_neighbors, check_neighbors
from lds.graphs.pairwise import Pattern, weighted_sums
from lds.graphs.views import KernelView, LeafView, View, WordView
from lds.nn.preparation import FeaturePreparation, as_array
from lds.structure.context import RunContext
from lds.structure.methods.members import (
    Weights,
    fit_members,
    predicted,
)
from lds.structure.methods.views import Views
from lds.structure.problem import Problem
from lds.structure.seeds import ROLES

START = -2.0
"""Initial log-odds of a pair of average similarity in every view."""

SMOOTHING = 1e-3
"""Mass that every class has everywhere, as a share of the mean mass of a row."""

DEPTH = 6
"""Depth of the trees that do not read labels."""

FOREST = "extra trees"
"""Name of the member that is a forest, whose leaves and importances are views."""

LABELS = "labels along the views"
"""Name of the member that is the PageRank of the labels."""

ReadAndJudged = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Fold:
    """The labels that the PageRank reads, the labels that judge it, and the pairs in every view.

    Attributes:
        labels: Y, `(n_nodes, n_classes)`: 1 over the size of the class at rows that are read.
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

    def start(self, beta: Tensor) -> dict[str, Tensor]:
        """The first state: no mass but the labels', and the weighted graph S = D⁻¹ W of β."""
        weight = (self.features @ beta).sigmoid().index_select(0, self.entry)
        degree = weighted_sums(weight, weight.new_ones(len(self.labels), 1), self.pattern)
        return {"mass": self.labels, "weight": weight, "degree": degree.clamp_min(1e-12)}

    def step(self, state: dict[str, Tensor], teleport: float) -> dict[str, Tensor]:
        """F ← (1 - α) S F + α Y."""
        sums = weighted_sums(state["weight"], state["mass"], self.pattern)
        mass = (1 - teleport) * sums / state["degree"] + teleport * self.labels
        return {**state, "mass": mass}

    def masses(self, beta: Tensor, method: Views) -> tuple[Tensor, Tensor]:
        """F after the last step but one, and after the last."""
        state = self.start(beta)
        before = state["mass"]
        for _ in range(method.n_hops):
            before, state = state["mass"], self.step(state, method.teleport)
        return before, state["mass"]


@dataclass(frozen=True)
class Preparation:
    """The views of a problem, for the fit and for later rows.

    Attributes:
        start: coefficients before learning.
        folds: every labelled row is judged in one, if its class has another row.
        whole: with all labels.
        rows: features in the forms that views read.
        seen: the pairs of `whole` in every view.
        members: classifiers fitted to all labels, the forest first.
        judged: predictions of members of each fold for the rows that judge it.
    """

    start: Tensor
    folds: Sequence[Fold]
    whole: Fold
    rows: "Rows"
    seen: "_Seen"
    members: dict[str, Any]
    judged: Sequence[dict[str, NDArray[np.float64]]]

    def mean(
        self, weighing: Weights, of_labels: NDArray[np.float64], columns: Features
    ) -> NDArray[np.floating[Any]]:
        """The weighted mean of all members for rows, `(n, n_classes)`."""
        n_classes = of_labels.shape[1]
        others = {n: predicted(m, columns, n_classes) for n, m in self.members.items()}
        return weighing.mean({LABELS: of_labels, **others})

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
        later, n = self.rows.of_later(new, self.members[FOREST]), self.seen.pairs.n_nodes
        views = [view.of_later(later[name]) for name, view in self.seen.views.items()]
        near = np.concatenate([view.near(min(n_neighbors, n)) for view in views], 1)
        key = np.unique(np.arange(len(near))[:, None] * n + near)
        row, col = key // n, key % n
        return row, col, self.seen.standardised([view.of_pairs(row, col) for view in views])


def prepare(method: Views, problem: Problem, run: RunContext) -> Preparation:
    """Fit the views of a problem, with all labels and without those of each fold."""
    rows = Rows(problem.features, method.n_trees, run.seed)
    split = problem.split
    labelled = np.sort(np.concatenate([split.train, split.validation, split.stopping]))
    k = allowed_neighbors(method.n_neighbors, Views().n_neighbors, problem.n_nodes)
    check_neighbors(problem.n_nodes, k, "euclidean")
    shared = rows.views()
    near = [view.near(k) for view in shared.values()]
    folds, predictions, n_classes = [], [], problem.n_classes
    for read, judged in dealt(problem.labels, labelled, method.n_folds, mix(run.seed, ROLES)):
        fitted = rows.members(problem.labels, read, method.n_trees, run.seed)
        seen = _Seen(shared | rows.label_views(fitted[FOREST]), near, k, problem.n_nodes)
        folds.append(_fold(problem, read, judged, seen, run))
        mine = rows.columns[judged]
        predictions.append({n: _predicted(m, mine, n_classes) for n, m in fitted.items()})
    fitted = rows.members(problem.labels, labelled, method.n_trees, run.seed)
    seen = _Seen(shared | rows.label_views(fitted[FOREST]), near, k, problem.n_nodes)
    whole = _fold(problem, labelled, labelled[:0], seen, run)
    start = torch.tensor([START, *[1.0] * len(seen.views)], dtype=run.dtype, device=run.device)
    return Preparation(start, folds, whole, rows, seen, fitted, predictions)


def _predicted(model: Any, rows: Features, n_classes: int) -> NDArray[np.float64]:
    """Class probabilities of a member for the rows that judge a fold, perhaps none."""
    if not rows.shape[0]:
        return np.zeros((0, n_classes))
    return predicted(model, rows, n_classes)


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


class Rows:
    """Features in the forms that views read.

    Arguments:
        features: of the fit, `(n_nodes, n_features)`.
        n_trees: of the forest that reads no labels.
        seed: of that forest.
    """

    def __init__(self, features: Features, n_trees: int, seed: int) -> None:
        self._prepared = FeaturePreparation(features)
        self._features, self.columns = features, self._prepared.transform(features)
        self._measured = self._prepared.measured
        if self._measured:
            x = np.asarray(as_array(features), dtype=np.float64)
            self._ascending = np.sort(x, axis=0)
            self._ranks = self.ranks(features)
            self._trees = RandomTreesEmbedding(
                n_trees, max_depth=DEPTH, random_state=seed % 2**32
            ).fit(self._ranks)

    def ranks(self, features: Features) -> NDArray[np.float64]:
        """The share of the rows of the fit below each value, in [0, 1]; ties count by half."""
        x = np.asarray(as_array(features), dtype=np.float64)
        found = np.empty(x.shape)
        for j, (column, known) in enumerate(zip(x.T, self._ascending.T, strict=True)):
            below = np.searchsorted(known, column) + np.searchsorted(known, column, "right")
            found[:, j] = below / (2 * len(known))
        return found

    def views(self) -> dict[str, View]:
        """The views that read no labels."""
        if not self._measured:
            return {"words": WordView(self._features)}
        return {
            "columns": KernelView(as_array(self.columns)),
            "ranks": KernelView(self._ranks),
            "forest": LeafView(self._trees.apply(self._ranks)),
        }

    def label_views(self, forest: ExtraTreesClassifier) -> dict[str, View]:
        """The views of a forest that was fitted to labels."""
        found: dict[str, View] = {"label forest": LeafView(forest.apply(self.columns))}
        if self._measured:
            found["important ranks"] = KernelView(self._ranks * _importance(forest))
        return found

    def members(
        self, labels: NDArray[np.int64], read: NDArray[np.int64], n_trees: int, seed: int
    ) -> dict[str, Any]:
        """Classifiers fitted to some labels: a forest, and those of `methods.members`."""
        forest = ExtraTreesClassifier(n_trees, random_state=seed % 2**32)
        forest.fit(self.columns[read], labels[read])
        return {FOREST: forest, **fit_members(self.columns, labels, read)}

    def transform(self, new: Features) -> Features:
        """Later rows, prepared as those of the fit."""
        return self._prepared.transform(new)

    def of_later(self, new: Features, forest: ExtraTreesClassifier) -> dict[str, Any]:
        """Later rows as each view takes them, by its name."""
        columns = self._prepared.transform(new)
        leaves = {"label forest": forest.apply(columns)}
        if not self._measured:
            return {"words": new, **leaves}
        ranks = self.ranks(new)
        return {
            "columns": as_array(columns),
            "ranks": ranks,
            "forest": self._trees.apply(ranks),
            **leaves,
            "important ranks": ranks * _importance(forest),
        }


def _importance(forest: ExtraTreesClassifier) -> NDArray[np.float64]:
    """Roots of a forest's importances of columns, the largest 1."""
    found: NDArray[np.float64] = forest.feature_importances_
    return np.sqrt(found / max(float(found.max()), 1e-12))


class _Seen:
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


def _both_ways(
    row: NDArray[np.int64], col: NDArray[np.int64], n_nodes: int, device: torch.device
) -> tuple[Pattern, Tensor]:
    """The pattern of both directions of all pairs, and the pair of each entry."""
    both = np.concatenate([row, col]), np.concatenate([col, row])
    order = np.lexsort((both[1], both[0]))
    left, right = (torch.as_tensor(part[order], device=device) for part in both)
    entry = torch.as_tensor(np.tile(np.arange(len(row)), 2)[order], device=device)
    return Pattern.of(left, right, (n_nodes, n_nodes)), entry


def _fold(
    problem: Problem,
    read: NDArray[np.int64],
    judged: NDArray[np.int64],
    seen: _Seen,
    run: RunContext,
) -> Fold:
    pattern, entry = _both_ways(seen.row, seen.col, problem.n_nodes, run.device)
    where: dict[str, Any] = {"dtype": run.dtype, "device": run.device}
    y = np.zeros((problem.n_nodes, problem.n_classes))
    y[read, problem.labels[read]] = 1
    y /= np.maximum(y.sum(0), 1)
    return Fold(
        labels=torch.as_tensor(y, **where),
        judged=torch.as_tensor(judged, device=run.device),
        truth=torch.as_tensor(problem.labels[judged], device=run.device),
        features=torch.as_tensor(seen.features, **where),
        pattern=pattern,
        entry=entry,
    )


def shares(mass: Tensor) -> Tensor:
    """Class probabilities in proportion to smoothed mass, `(n, n_classes)`."""
    smooth = mass + SMOOTHING * mass.mean()
    return smooth / smooth.sum(1, keepdim=True)
