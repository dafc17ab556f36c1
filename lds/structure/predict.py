"""Predictions as the mean over S drawn graphs (eq. 9.7)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._random import replayed
from lds._types import Features
from lds._weights import relative
from lds.edges.base import EdgeDistribution
from lds.graphs.batch import GraphBatch, parts
from lds.nn.features import node_features
from lds.nn.new_nodes import Attachment, BorrowedEdges
from lds.structure.metrics import SMALLEST
from lds.structure.task import Task, rows_tensor

CHUNK = 256
"""New nodes predicted at once."""

ROWS = 1 << 17
"""Nodes, times graphs, predicted at once: a committee takes some 15 kB for each."""


@torch.no_grad()
def predict_proba(
    task: Task,
    params: dict[str, Tensor],
    edges: EdgeDistribution,
    n_draws: int,
    seed: int,
) -> Tensor:
    """Predict ĥ_w(X) = 1/S Σ_s softmax(h_w(X, A_s)), A_s ~ Ber(θ), some graphs (`ROWS`) at once.

    Returns:
        Class probabilities `(n_nodes, n_classes)`; rows sum to 1.
    """
    return predict_draws(task, params, edges, n_draws, seed).mean(0)


@torch.no_grad()
def predict_draws(
    task: Task,
    params: dict[str, Tensor],
    edges: EdgeDistribution,
    n_draws: int,
    seed: int,
) -> Tensor:
    """Predict the terms of `predict_proba`'s mean, `(n_draws, n_nodes, n_classes)`."""
    return torch.cat(
        [
            softmax(task.network(params, task.features, graph, training=False))
            for graph in parts(_drawn(edges, n_draws, seed), ROWS)
        ]
    )


def softmax(logits: Tensor) -> Tensor:
    """Compute softmax over the last dimension, on a CPU faster than torch's where that is short."""
    shares = (logits - logits.amax(-1, keepdim=True)).exp_()
    return shares.div_(shares.sum(-1, keepdim=True))


@torch.no_grad()
def hidden_layer(
    task: Task,
    params: dict[str, Tensor],
    edges: EdgeDistribution,
    n_draws: int,
    seed: int,
) -> Tensor:
    """Compute activations before the last layer, `(n_nodes, hidden_channels)`, mean over S."""
    return _mean_over_draws(
        edges,
        n_draws,
        seed,
        lambda graph: task.network.hidden(params, task.features, graph).mean(0),
    )


def _mean_over_draws(
    edges: EdgeDistribution, n_draws: int, seed: int, mean: Callable[[GraphBatch], Tensor]
) -> Tensor:
    """Combine the means over some of S graphs, as many at once as `ROWS` allows, to that of all."""
    graphs = parts(_drawn(edges, n_draws, seed), ROWS)
    return reduce(add, (mean(graph) * (graph.n_draws / n_draws) for graph in graphs))


@torch.no_grad()
def predict_proba_new(
    task: Task,
    params: dict[str, Tensor],
    edges: EdgeDistribution,
    new: Features,
    attached: Attachment,
    n_draws: int,
    seed: int,
) -> Tensor:
    """Predict class probabilities of nodes that were not there in training (not in the thesis).

    Arguments:
        task, params, edges, n_draws, seed: as learned.
        new: features `(n_new, n_features)`.
        attached: their edges.

    Returns:
        `(n_new, n_classes)`; rows sum to 1.
    """
    x = task.features

    def mean(graph: GraphBatch) -> Tensor:
        found = []
        for start in range(0, new.shape[0], CHUNK):
            rows = slice(start, start + CHUNK)
            chunk = node_features(new[rows], x.dtype, x.device)
            logits = task.network.attach(params, x, graph, chunk, attached[rows])
            found.append(logits.softmax(2).mean(0))
        return torch.cat(found)

    return _mean_over_draws(edges, n_draws, seed, mean)


def borrowed_edges(
    neighbors: NDArray[np.int64], distances: NDArray[np.floating[Any]], like: Tensor
) -> BorrowedEdges:
    """Attach new nodes by the edges of their neighbours: free probabilities know no others.

    In every drawn graph A a new node has an edge of weight Σ_m q_m A_mj to node j, where q_m is the
    share of neighbour m, in inverse proportion to its distance (at distance 0: all of it). So a
    copy of a node of training has that node's edges, and a near one gets a similar prediction.

    Arguments:
        neighbors: `(n_new, k)`, rows of the training features.
        distances: `(n_new, k)`, to them.
        like: a tensor of the dtype and on the device wanted.
    """
    share = torch.as_tensor(_shares(distances), dtype=like.dtype, device=like.device)
    return BorrowedEdges(rows_tensor(neighbors, like.device), share)


def _shares(distances: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Compute shares in inverse proportion to distance; rows at distance 0 have all of it."""
    nearest = distances.min(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        likeness = np.where(nearest > 0, nearest / distances, distances <= 0)
    shares: NDArray[np.floating[Any]] = likeness / likeness.sum(1, keepdims=True)
    return shares


def _drawn(edges: EdgeDistribution, n_draws: int, seed: int) -> GraphBatch:
    """Draw S graphs from `seed` alone."""
    with replayed(seed):
        return edges.draw(n_draws)


@dataclass(frozen=True)
class Score:
    """The score of predictions on the early-stopping rows: accuracy, ties decided by the loss.

    With few rows (10 on small tables) many models have the best accuracy.

    Attributes:
        accuracy: in [0, 1].
        loss: mean negative log-likelihood, nats.
    """

    accuracy: float
    loss: float

    def better_than(self, other: "Score") -> bool:
        """Say whether it is strictly better; one whose loss is not finite never is."""
        better = (self.accuracy, -self.loss) > (other.accuracy, -other.loss)
        return better and math.isfinite(self.loss)


WORST = Score(-1.0, math.inf)
"""A score below every other."""


def score(
    probabilities: Tensor, labels: Tensor, rows: Tensor, weights: Tensor | None = None
) -> Score:
    """Score class probabilities `(n_nodes, n_classes)` on `rows`, each counting by its weight.

    Arguments:
        probabilities, labels, rows: as for `losses`.
        weights: `(n_nodes,)`; None: all rows count alike.
    """
    right = (probabilities[rows].argmax(1) == labels[rows]).double()
    each = losses(probabilities, labels, rows)
    mine = relative(weights, rows)
    if mine is not None:
        right, each = mine.double() * right, mine.to(each) * each
    return Score(float(right.mean()), float(each.mean()))


def losses(probabilities: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
    """Compute -log of the probability of each row's own label, `(..., n_rows)`, nats.

    Arguments:
        probabilities: `(..., n_nodes, n_classes)`.
        labels: `(n_nodes,)`.
        rows: which nodes.
    """
    return -probabilities[..., rows, labels[rows]].clamp_min(SMALLEST).log()
