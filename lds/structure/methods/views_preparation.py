"""What learned views are fitted on: similarities of rows, folds of labels, members of each fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._jobs import one_thread_each
from lds._random import mix
from lds.edges.logistic import LogisticEdges
from lds.graphs.candidates import PairList
from lds.graphs.knn import allowed_neighbors, check_neighbors
from lds.graphs.views import EdgeView, View
from lds.structure.context import RunContext
from lds.structure.methods.members import Forms, Members, Probabilities
from lds.structure.methods.views import Views
from lds.structure.methods.views_folds import Folds, dealt, empty, side_by_side
from lds.structure.methods.views_pairs import Seen
from lds.structure.methods.views_rows import GIVEN, FormMaker, checked_once, label_views
from lds.structure.methods.views_sample import learning_rows
from lds.structure.problem import Problem
from lds.structure.seeds import ROLE_DEAL

FIRST_LOG_ODDS = -2.0
"""Initial log-odds of a pair of average similarity in every view."""

SMOOTHING = 1e-3
"""Mass that every class has everywhere, as a share of the mean mass of a row."""

FOLD_ROWS = 10_000
"""Rows of the folds, if no more are labelled: a few coefficients and the weights of members do not
need all. On 5,000 rows 20 newsgroups lose half a point; made rows and MNIST lose nothing
(examples/benchmarks/README.md)."""

FOLD_TREES = 0.5
"""Trees of a fold's forest, as a share of those of the whole: they judge and are left behind. On 96
runs of 16 tables half as many change accuracy by -0.01 ± 0.04 points."""

LABELS = "labels along the views"
"""Name of the member that is the PageRank of the labels."""


@dataclass(frozen=True)
class ViewsPreparation:
    """The views of a problem, for the fit and for later rows.

    Attributes:
        start: coefficients before learning.
        folds: every labelled row is judged in one, if its class has another row.
        whole: with all labels.
        rows: features in the forms that members and views read.
        seen: the pairs of `whole` in every view.
        learns: numbers of the rows of the table that learn, ascending; rows, pairs and predictions
            here are of these.
        judges: numbers of the rows of the table that judge, fold by fold.
        n_nodes: rows of the table.
        members: classifiers fitted to all labels.
        says: what they predict for the rows of the fit.
        judged: predictions of members of each fold for the rows that judge it.
    """

    start: Tensor
    folds: Folds
    whole: Folds
    rows: FormMaker
    seen: Seen
    learns: NDArray[np.int64]
    judges: NDArray[np.int64]
    n_nodes: int
    members: Members
    says: Mapping[str, Probabilities]
    judged: Sequence[Mapping[str, Probabilities]]

    @cached_property
    def outside(self) -> NDArray[np.int64]:
        """Numbers of the rows of the table that do not learn."""
        return np.setdiff1d(np.arange(self.n_nodes), self.learns)

    def of_all_rows(self, learn: NDArray[Any], outside: NDArray[Any]) -> NDArray[Any]:
        """Put values of rows that learn and values of the others into the order of the table."""
        found = np.empty((self.n_nodes, *learn.shape[1:]), dtype=learn.dtype)
        found[self.learns], found[self.outside] = learn, outside
        return found

    @cached_property
    def pairs(self) -> PairList:
        """The pairs as a support of a distribution over all rows of the table."""
        row, col = self.learns[self.seen.row], self.learns[self.seen.col]
        return PairList(self.n_nodes, row * self.n_nodes + col)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coefficients."""
        return ("any pair", *self.seen.views)

    def edges(self, beta: Tensor) -> LogisticEdges:
        """Make the distribution with all labels, on given coefficients."""
        return LogisticEdges(self.pairs, self.names, self.whole.features, beta)


def prepare(method: Views, problem: Problem, run: RunContext) -> ViewsPreparation:
    """Fit the views of a problem, with all labels and without those of each fold.

    Of a table of more than `max_rows` rows, a sample is fitted (`views_sample`); folds have a
    smaller sample of it, of `FOLD_ROWS`.

    Raises:
        ValueError: the pairs need more memory than there is.
    """
    learns, n_nodes = learning_rows(problem, method.max_rows, run.seed), problem.n_nodes
    problem = problem.part(learns)
    with checked_once():
        rows = FormMaker(problem.features, method.n_trees, run.seed)
    in_folds = learning_rows(problem, FOLD_ROWS, run.seed)
    few = problem.part(in_folds)
    labelled, whitens = np.sort(problem.split.learning), rows.can_whiten(in_folds)
    deals = dealt(few.labels, np.sort(few.split.learning), method.n_folds, mix(run.seed, ROLE_DEAL))
    judged_rows = np.concatenate([empty(), *(judged for _, judged in deals)])
    n_least = min(len(read) for read, _ in [*deals, (labelled, empty())])
    shared_by = partial(Shared.of, method, run, rows, n_least, whitens)
    shared = of_folds = shared_by(problem, np.arange(problem.n_nodes))
    if few is not problem:
        of_folds = shared_by(few, in_folds)
    calls = [(of_folds, read, judged) for read, judged in deals]
    # What takes longest goes first, so that other processes do not wait for it alone.
    whole, *folds = one_thread_each(fitted, [(shared, labelled, None), *calls], run.n_jobs)
    assert whole.members is not None  # of all labels
    seen = replace(whole.seen, views=shared.views | whole.seen.views)
    start = torch.tensor(
        [FIRST_LOG_ODDS, *[1.0] * len(seen.views)], dtype=run.dtype, device=run.device
    )
    return ViewsPreparation(
        start,
        side_by_side(few, deals, [fold.seen for fold in folds], run),
        side_by_side(problem, [(labelled, labelled[:0])], [seen], run),
        rows,
        seen,
        learns,
        learns[in_folds[judged_rows]],
        n_nodes,
        whole.members,
        whole.says,
        [fold.says for fold in folds],
    )


@dataclass(frozen=True)
class Shared:
    """What every deal of labels has in common.

    Attributes:
        forms: all rows, in the forms that do not depend on labels.
        labels: `(n_nodes,)`.
        n_classes: of the problem.
        weights: of the problem.
        views: those that read no labels.
        near: pairs that are near in each of them.
        k: nearest rows of each view.
        n_trees, seed: of a forest.
        n_least: rows that the smallest deal reads.
        whitens: whether members whiten measurements: folds and the whole have the same views.
        dtype: of similarities.
    """

    forms: Forms
    labels: NDArray[np.int64]
    n_classes: int
    weights: NDArray[np.float64] | None
    views: Mapping[str, View]
    near: Sequence[NDArray[np.int64]]
    k: int
    n_trees: int
    seed: int
    n_least: int
    whitens: bool
    dtype: np.dtype[Any]

    @classmethod
    def of(
        cls,
        method: Views,
        run: RunContext,
        rows: FormMaker,
        n_least: int,
        whitens: bool,
        problem: Problem,
        numbers: NDArray[np.int64],
    ) -> "Shared":
        """Compare some rows in the views that read no labels.

        Arguments:
            method, run: options and circumstances.
            rows: the rows that learn.
            n_least, whitens: see the class.
            problem: of the rows compared.
            numbers: of these among `rows`.
        """
        k = allowed_neighbors(method.n_neighbors, Views().n_neighbors, problem.n_nodes)
        check_neighbors(problem.n_nodes, k, "euclidean")
        views = rows.views(numbers, k)
        if problem.graph is not None:
            views[GIVEN] = EdgeView(problem.graph)
        return cls(
            rows.part(numbers),
            problem.labels,
            problem.n_classes,
            problem.weights,
            views,
            [view.pairs(k) for view in views.values()],
            k,
            method.n_trees,
            run.seed,
            n_least,
            whitens,
            np.dtype(str(run.dtype).removeprefix("torch.")),
        )

    def __sizeof__(self) -> int:
        """Count the bytes of the rows, so that Dask sends it to each worker once."""
        sizes = [int(form.shape[0]) * int(form.shape[1]) for form in self.forms.values()]
        return 8 * sum(sizes)


@dataclass(frozen=True, eq=False)
class Fitted:
    """Members and views, fitted to the labels of some rows.

    Attributes:
        seen: the pairs; with all labels, also the views of members.
        members: classifiers fitted to all labels; None: a fold leaves them behind.
        says: their predictions, of a fold for the rows that it judges, else for all rows.
    """

    seen: Seen
    members: Members | None
    says: dict[str, Probabilities]


def fitted(shared: Shared, read: NDArray[np.int64], judged: NDArray[np.int64] | None) -> Fitted:
    """Fit members and views to the labels of some rows.

    Arguments:
        shared: the rows, and what does not depend on labels.
        read: rows whose labels are read.
        judged: rows of a fold that are predicted; None: all labels are read.
    """
    with checked_once():
        members = Members.fitted(
            shared.forms,
            shared.labels,
            read,
            shared.n_trees if judged is None else ceil(FOLD_TREES * shared.n_trees),
            shared.seed,
            shared.n_least,
            shared.weights,
            shared.whitens,
            shared.n_classes,
        )
        forms = members.forms(shared.forms)
        says = members.predict_seen(forms)
        views = label_views(forms, members, says, shared.k)
        near = [*shared.near, *(view.pairs(shared.k) for view in views.values())]
    seen = Seen.of({**shared.views, **views}, near, len(shared.labels), shared.dtype)
    if judged is None:
        return Fitted(replace(seen, views=views), members, says)
    return Fitted(replace(seen, views={}), None, {n: each[judged] for n, each in says.items()})


def shares(mass: Tensor, mean: Tensor | None = None) -> Tensor:
    """Compute class probabilities in proportion to smoothed mass, `(n, n_classes)`.

    Arguments:
        mass: `(n, n_classes)`, 0 or more.
        mean: mass of a row and class, on the average; None: of these rows.
    """
    smooth = mass + SMOOTHING * (mass.mean() if mean is None else mean)
    return smooth / smooth.sum(1, keepdim=True)
