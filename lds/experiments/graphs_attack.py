"""An attack on a graph that knows the method it attacks: edges flipped by the gradient.

Metattack flips edges so that a GCN fails. A defence looks better than it is under an attack that
does not know it (Tramèr et al., 2020), so this one takes the gradient through the expected graph of
a method of this library: the probability that the method gives to an edge once it stands in the
graph. What it does not go through is the method's own training: a linear model on propagated
features stands for it, whose weights are the exact solution of a ridge regression, so that the
gradient is that of the whole bilevel problem of that model.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lds.datasets.graph_arrays import symmetric
from lds.experiments.graphs_cases import GraphCase
from lds.nn.preparation import as_array

N_COMPONENTS = 64
"""Principal components of the features that the model of the attack reads."""

RIDGE = 1e-2
"""Ridge of its weights, relative to the mean square of its inputs."""

N_HOPS = 2
"""Steps of propagation."""

ROUNDS = 25
"""Gradients of an attack; each chooses the same number of flips."""


@dataclass(frozen=True, eq=False)
class ExpectedGraph:
    """Weights of pairs as a function of the given adjacency A: A ∘ `given` + (1 - A) ∘ `other`.

    Arguments:
        given: `(n_nodes, n_nodes)`, weight of a pair if it is an edge of the given graph.
        other: the same if it is not.
    """

    given: Tensor
    other: Tensor

    def __call__(self, adjacency: Tensor) -> Tensor:
        """Return the weights of all pairs, `(n_nodes, n_nodes)`."""
        return self.other + adjacency * (self.given - self.other)

    @classmethod
    def plain(cls, n_nodes: int) -> "ExpectedGraph":
        """Make the expected graph of a method that takes the given graph as it is."""
        return cls(torch.ones(n_nodes, n_nodes), torch.zeros(n_nodes, n_nodes))

    @classmethod
    def learned(
        cls,
        edge_probs: sp.csr_array,
        graph: sp.csr_array,
        probabilities: NDArray[np.float64],
    ) -> "ExpectedGraph":
        """Estimate what a method would give to every pair from what it learned on a graph.

        The log-odds of a given edge are fitted, by least squares over the edges of the graph, as a
        + b · agreement of its ends, the inner product of their predicted classes. A pair that is no
        edge keeps its learned probability, and an edge that is removed gets 0.

        Arguments:
            edge_probs: learned, symmetric CSR.
            graph: that was given, symmetric CSR.
            probabilities: of classes, `(n_nodes, n_classes)`.
        """
        p = torch.from_numpy(np.asarray(probabilities, dtype=np.float32))
        agreement = p @ p.t()
        upper = sp.triu(graph, k=1).tocoo()
        row, col = torch.from_numpy(upper.row).long(), torch.from_numpy(upper.col).long()
        learned = torch.from_numpy(edge_probs.toarray()).float()
        odds = torch.logit(learned[row, col].clamp(1e-3, 1 - 1e-3))
        design = torch.stack([torch.ones(len(row)), agreement[row, col]], 1)
        a, b = torch.linalg.lstsq(design, odds).solution
        other = learned.clone()
        other[row, col] = 0
        other[col, row] = 0
        return cls(torch.sigmoid(a + b * agreement), other)


class Surrogate:
    """The linear model that stands for a method in an attack.

    H = P^K X with P = D^-½ (E[A] + I) D^-½; weights W = (H_Lᵀ H_L + rI)⁻¹ H_Lᵀ Y_L on the training
    rows L. The attack raises the cross-entropy of H W at the other rows, where the labels are those
    that the method itself predicted: the attacker does not know the true ones.

    Arguments:
        case: features, and the labels of the training rows.
        expected: graph, as a function of the given one.
        targets: int64 `(n_nodes,)`, classes; read at rows that are not training rows.
    """

    def __init__(
        self, case: GraphCase, expected: ExpectedGraph, targets: NDArray[np.int64]
    ) -> None:
        x = torch.from_numpy(as_array(case.features).astype(np.float32))
        u, s, _ = torch.linalg.svd(x, full_matrices=False)
        self.x = u[:, :N_COMPONENTS] * s[:N_COMPONENTS]
        self.expected = expected
        self.rows = torch.from_numpy(case.train)
        others = np.setdiff1d(np.arange(len(targets)), case.train)
        self.others, self.targets = torch.from_numpy(others), torch.from_numpy(targets[others])
        known = torch.from_numpy(case.labels[case.train])
        self.truth = F.one_hot(known, case.n_classes).float()

    def loss(self, adjacency: Tensor) -> Tensor:
        """Compute the mean cross-entropy at the other rows, after the weights are fitted.

        Arguments:
            adjacency: symmetric, `(n_nodes, n_nodes)`, in [0, 1].
        """
        weights = self.expected(adjacency)
        scale = (weights.sum(1) + 1).rsqrt()
        h = self.x
        for _ in range(N_HOPS):
            h = scale[:, None] * h
            h = scale[:, None] * (weights @ h + h)
        known = h[self.rows]
        gram = known.t() @ known
        ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        w = torch.linalg.solve(gram + ridge, known.t() @ self.truth)
        # Regression scores lie around 0 and 1; a factor makes a right answer a confident one.
        return F.cross_entropy(5 * (h[self.others] @ w), self.targets)


def attack(
    graph: sp.csr_array, surrogate: Surrogate, n_flips: int, rounds: int = ROUNDS
) -> sp.csr_array:
    """Flip the pairs whose gradient promises most, n_flips / rounds of them a gradient.

    An edge is removed or a pair is joined; no pair is flipped twice, and no node loses its last
    edge. Memory and time O(n_nodes²) a round.

    Arguments:
        graph: symmetric 0/1 CSR without loops.
        surrogate: whose loss rises.
        n_flips: budget, undirected pairs.
        rounds: gradients.

    Returns:
        A graph that differs in at most `n_flips` pairs.

    Raises:
        ValueError: the budget or the rounds are below 1.
    """
    if n_flips < 1 or rounds < 1:
        raise ValueError(f"n_flips and rounds must be at least 1, got {n_flips} and {rounds}")
    n_nodes = int(graph.shape[0])
    adjacency = torch.from_numpy(graph.toarray()).float()
    free = torch.ones(n_nodes, n_nodes, dtype=torch.bool).triu(1)
    done = 0
    for k in range(rounds):
        want = round((k + 1) * n_flips / rounds) - done
        variable = adjacency.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(surrogate.loss(variable), [variable])
        promise = (gradient + gradient.t()) * (1 - 2 * adjacency)
        promise[~free] = -torch.inf
        degree = adjacency.sum(1)
        for place in torch.topk(promise.flatten(), min(4 * want + 8, promise.numel())).indices:
            i, j = divmod(int(place), n_nodes)
            if want == 0 or not promise[i, j] > 0:
                break
            change = 1 - 2 * adjacency[i, j]
            if change < 0 and min(degree[i], degree[j]) <= 1:
                continue
            adjacency[i, j] += change
            adjacency[j, i] += change
            degree[i] += change
            degree[j] += change
            free[i, j] = False
            want, done = want - 1, done + 1
    row, col = (part.numpy() for part in adjacency.triu(1).nonzero(as_tuple=True))
    return symmetric(row, col, n_nodes)
