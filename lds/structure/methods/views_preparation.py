"""What learned views are fitted on: similarities of rows, folds of labels, members of each fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import psutil
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._jobs import one_thread_each
from lds._random import mix
from lds.edges.logistic import LogisticEdges
from lds.graphs.candidates import PairList
from lds.graphs.knn import allowed_neighbors, check_neighbors
from lds.graphs.pairwise import Pattern, weighted_sums
from lds.graphs.views import View
from lds.structure.context import RunContext
from lds.structure.methods.members import Forms, Members, Probabilities
from lds.structure.methods.views import Views
from lds.structure.methods.views_pairs import Seen
from lds.structure.methods.views_rows import Rows, checked_once, label_views
from lds.structure.methods.views_sample import learning_rows, part_of
from lds.structure.problem import Problem
from lds.structure.seeds import ROLES

START = -2.0
"""Initial log-odds of a pair of average similarity in every view."""

SMOOTHING = 1e-3
"""Mass that every class has everywhere, as a share of the mean mass of a row."""

PAIR_BYTES = 300
"""Bytes of a pair besides its features: both directions with their orders, and sorting them."""

LABELS = "labels along the views"
"""Name of the member that is the PageRank of the labels."""

ReadAndJudged = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Folds:
    """Folds side by side: labels that the PageRank reads, labels that judge, pairs in all views.

    Each fold has rows and pairs of its own: row i of fold k is row k · n_nodes + i here, and no
    pair joins two folds. One product serves all of them.

    Attributes:
        labels: Y, `(n_folds · n_nodes, n_classes)`: at rows that are read their share of the
            weights of their class.
        judged: rows that are not read and whose class is.
        truth: their classes.
        counts: what they count, with mean 1; None: all alike.
        features: `(n_pairs, 1 + n_views)`, a column of ones and the standardised similarities.
        pattern: of both directions of all pairs.
        entry: the pair of each of its entries.
    """

    labels: Tensor
    judged: Tensor
    truth: Tensor
    counts: Tensor | None
    features: Tensor
    pattern: Pattern
    entry: Tensor

    def graph(self, beta: Tensor) -> Tensor:
        """The entries of S = D⁻¹ W, W the weights σ(β · features) of the pairs."""
        weight = (self.features @ beta).sigmoid().index_select(0, self.entry)
        degree = weighted_sums(weight, weight.new_ones(len(self.labels), 1), self.pattern)
        crow = self.pattern.crow.long()
        return weight / degree.clamp_min(1e-12).squeeze(1).repeat_interleave(crow.diff())

    def step(
        self, mass: Tensor, graph: Tensor, teleport: float, by_column: Tensor | None = None
    ) -> Tensor:
        """F ← (1 - α) S F + α Y; S has first derivatives only.

        Arguments:
            mass: F.
            graph: the entries of S.
            teleport: α.
            by_column: see `weighted_sums`.
        """
        sums = weighted_sums(graph.detach(), mass, self.pattern, by_column)
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
        learns: numbers of the rows of the table that learn, ascending; rows, pairs and predictions
            here are of these.
        n_nodes: rows of the table.
        members: classifiers fitted to all labels.
        says: what they predict for the rows of the fit.
        judged: predictions of members of each fold for the rows that judge it.
    """

    start: Tensor
    folds: Folds
    whole: Folds
    rows: Rows
    seen: Seen
    learns: NDArray[np.int64]
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
        """The distribution with all labels, on given coefficients."""
        return LogisticEdges(self.pairs, self.names, self.whole.features, beta)


def prepare(method: Views, problem: Problem, run: RunContext) -> Preparation:
    """Fit the views of a problem, with all labels and without those of each fold.

    Of a table of more than `max_rows` rows, a sample is fitted (`views_sample`).

    Raises:
        ValueError: the pairs need more memory than there is.
    """
    learns, n_nodes = learning_rows(problem, method.max_rows, run.seed), problem.n_nodes
    problem = part_of(problem, learns)
    with checked_once():
        rows = Rows(problem.features, method.n_trees, run.seed)
    split, labels = problem.split, problem.labels
    labelled = np.sort(np.concatenate([split.train, split.validation, split.stopping]))
    k = allowed_neighbors(method.n_neighbors, Views().n_neighbors, problem.n_nodes)
    check_neighbors(problem.n_nodes, k, "euclidean")
    views = rows.views(k)
    near = [view.near(k) for view in views.values()]
    dtype = np.dtype(str(run.dtype).removeprefix("torch."))
    deals = dealt(labels, labelled, method.n_folds, mix(run.seed, ROLES))
    n_least = min(len(read) for read, _ in [*deals, (labelled, empty())])
    shared = Shared(
        rows.forms,
        labels,
        problem.weights,
        views,
        near,
        k,
        method.n_trees,
        run.seed,
        n_least,
        dtype,
    )
    calls = [(shared, read, judged) for read, judged in deals]
    *folds, (seen, whole) = one_thread_each(fitted, [*calls, (shared, labelled, None)], run.n_jobs)
    seen = replace(seen, views=views | seen.views)
    start = torch.tensor([START, *[1.0] * len(seen.views)], dtype=run.dtype, device=run.device)
    return Preparation(
        start,
        side_by_side(problem, deals, [pairs for pairs, _ in folds], run),
        side_by_side(problem, [(labelled, labelled[:0])], [seen], run),
        rows,
        seen,
        learns,
        n_nodes,
        whole["members"],
        whole["says"],
        [of_judged for _, of_judged in folds],
    )


@dataclass(frozen=True)
class Shared:
    """What every deal of labels has in common.

    Attributes:
        forms: all rows, in the forms that do not depend on labels.
        labels: `(n_nodes,)`.
        weights: of the problem.
        views: those that read no labels.
        near: their nearest rows.
        k: nearest rows of each view.
        n_trees, seed: of a forest.
        n_least: rows that the smallest deal reads.
        dtype: of similarities.
    """

    forms: Forms
    labels: NDArray[np.int64]
    weights: NDArray[np.float64] | None
    views: Mapping[str, View]
    near: Sequence[NDArray[np.int64]]
    k: int
    n_trees: int
    seed: int
    n_least: int
    dtype: np.dtype[Any]

    def __sizeof__(self) -> int:
        """Count the bytes of the rows, so that Dask sends it to each worker once."""
        sizes = [int(form.shape[0]) * int(form.shape[1]) for form in self.forms.values()]
        return 8 * sum(sizes)


def fitted(shared: Shared, read: NDArray[np.int64], judged: NDArray[np.int64] | None) -> Any:
    """Fit members and views to the labels of some rows.

    Arguments:
        shared: the rows, and what does not depend on labels.
        read: rows whose labels are read.
        judged: rows of a fold that are predicted; None: all labels are read.

    Returns:
        Of a fold, its pairs, and the members' predictions for judged rows. Of all labels, the pairs
        with the views of members, and the members and their predictions for all rows.
    """
    with checked_once():
        members = Members.fitted(
            shared.forms,
            shared.labels,
            read,
            shared.n_trees,
            shared.seed,
            shared.n_least,
            shared.weights,
        )
        forms = members.forms(shared.forms)
        says = members.predict_seen(forms)
        views = label_views(forms, members, says, shared.k)
        near = [*shared.near, *(view.near(shared.k) for view in views.values())]
    seen = Seen.of({**shared.views, **views}, near, len(shared.labels), shared.dtype)
    if judged is None:
        return replace(seen, views=views), {"members": members, "says": says}
    return replace(seen, views={}), {name: each[judged] for name, each in says.items()}


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
    n, size = problem.n_nodes, problem.n_nodes * len(deals)
    weights = problem.weights
    check_memory([each.features for each in seen])
    first = n * np.arange(len(deals))
    y = np.zeros((len(deals), n, problem.n_classes))
    for mine, (read, _) in zip(y, deals, strict=True):
        mine[read, problem.labels[read]] = 1 if weights is None else weights[read]
        total = mine.sum(0)
        mine /= np.where(total > 0, total, 1)
    starts = list(zip(seen, first, strict=True))
    index: Any = {"dtype": np.int32 if size < 2**31 else np.int64, "casting": "same_kind"}
    row = np.concatenate([empty(), *(each.row + at for each, at in starts)], **index)
    col = np.concatenate([empty(), *(each.col + at for each, at in starts)], **index)
    both = np.concatenate([row, col]), np.concatenate([col, row])
    # Counting sorts, by rows and then by columns, where a sort of pairs takes seconds.
    number = np.tile(np.arange(len(row), dtype=np.int32), 2)
    entries = sp.coo_array((number, both), shape=(size, size)).tocsr()
    entries.sort_indices()
    # Entry k of the transpose is the other direction of entry k.
    place = np.arange(entries.nnz, dtype=np.int32)
    places = sp.csr_array((place, entries.indices, entries.indptr), shape=(size, size))
    parts = entries.indptr, entries.indices, places.tocsc().data
    crow, column, order = (torch.as_tensor(each, device=run.device).int() for each in parts)
    judged = [rows + at for (_, rows), at in zip(deals, first, strict=True)]
    counting = np.concatenate([empty(), *(rows for _, rows in deals)])
    truth = problem.labels[counting]
    counts = None if weights is None else weights[counting]
    if counts is not None and len(counts):
        counts = counts / counts.mean()
    where: dict[str, Any] = {"dtype": run.dtype, "device": run.device}
    return Folds(
        labels=torch.as_tensor(y.reshape(-1, problem.n_classes), **where),
        judged=torch.as_tensor(np.concatenate([empty(), *judged]), device=run.device),
        truth=torch.as_tensor(truth, device=run.device),
        counts=None if counts is None else torch.as_tensor(counts, **where),
        features=torch.as_tensor(np.concatenate([each.features for each in seen]), **where)
        if seen
        else torch.zeros(0, 0, **where),
        pattern=Pattern.symmetric(crow, column, order),
        entry=torch.as_tensor(entries.data, device=run.device),
    )


def check_memory(features: Sequence[NDArray[np.floating[Any]]]) -> None:
    """Refuse pairs that do not fit into memory.

    Arguments:
        features: of the pairs of each fold.

    Raises:
        ValueError: with the bytes needed and available, and what needs fewer.
    """
    n_pairs = sum(len(each) for each in features)
    needed = sum(each.nbytes for each in features) + n_pairs * PAIR_BYTES
    available = psutil.virtual_memory().available
    if needed > available:
        raise ValueError(
            f"learned views need {needed:,} bytes for {n_pairs:,} pairs in {len(features)} folds, "
            f"but {available:,} are available; a smaller max_rows, n_neighbors or n_folds needs "
            "fewer"
        )


def empty() -> NDArray[np.int64]:
    """No row."""
    return np.zeros(0, dtype=np.int64)


def shares(mass: Tensor, mean: Tensor | None = None) -> Tensor:
    """Class probabilities in proportion to smoothed mass, `(n, n_classes)`.

    Arguments:
        mass: `(n, n_classes)`, 0 or more.
        mean: mass of a row and class, on the average; None: of these rows.
    """
    smooth = mass + SMOOTHING * (mass.mean() if mean is None else mean)
    return smooth / smooth.sum(1, keepdim=True)
