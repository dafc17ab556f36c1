"""Folds of the labels side by side: one graph and one product serve all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._memory import host_bytes
from lds.graphs.pairwise import Pattern, weighted_sums
from lds.structure.context import RunContext
from lds.structure.methods.views import Views
from lds.structure.methods.views_pairs import Seen
from lds.structure.problem import Problem

PAIR_BYTES = 300
"""Bytes of a pair besides its features: both directions with their orders, and sorting them."""

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
        """Compute the entries of S = D⁻¹ W, W the weights σ(β · features) of the pairs."""
        weight = (self.features @ beta).sigmoid().index_select(0, self.entry)
        degree = weighted_sums(weight, weight.new_ones(len(self.labels), 1), self.pattern)
        crow = self.pattern.crow.long()
        return weight / degree.clamp_min(1e-12).squeeze(1).repeat_interleave(crow.diff())

    def step(
        self, mass: Tensor, graph: Tensor, teleport: float, by_column: Tensor | None = None
    ) -> Tensor:
        """Take the step F ← (1 - α) S F + α Y; S has first derivatives only.

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
        """Compute F after the last step but one, and after the last."""
        graph = self.graph(beta)
        before = mass = self.labels
        for _ in range(method.n_hops):
            before, mass = mass, self.step(mass, graph, method.teleport)
        return before, mass


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
    check_pairs_fit([each.features for each in seen])
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


def check_pairs_fit(features: Sequence[NDArray[np.floating[Any]]]) -> None:
    """Refuse pairs that do not fit into memory.

    Arguments:
        features: of the pairs of each fold.

    Raises:
        ValueError: with the bytes needed and available, and what needs fewer.
    """
    n_pairs = sum(len(each) for each in features)
    needed = sum(each.nbytes for each in features) + n_pairs * PAIR_BYTES
    available = host_bytes()
    if needed > available:
        raise ValueError(
            f"learned views need {needed:,} bytes for {n_pairs:,} pairs in {len(features)} folds, "
            f"but {available:,} are available; a smaller max_rows, n_neighbors or n_folds needs "
            "fewer"
        )


def empty() -> NDArray[np.int64]:
    """Return no row."""
    return np.zeros(0, dtype=np.int64)
