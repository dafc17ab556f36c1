"""Two-layer networks beside LDS in Table 9.2: FFNN, GCNs on given matrices, and SemiEmb.

All have 16 hidden units with ReLU, dropout 0.5 on input and hidden layer, Adam, and early stopping
with a window of 20 steps (§9.4.2). They differ in the matrix Â by which both layers multiply.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from lds._random import mix, replayed
from lds._types import Features
from lds.graphs.adjacency import normalize
from lds.nn.features import DenseFeatures, SparseFeatures, drop, node_features
from lds.nn.gcn import glorot
from lds.structure.predict import WORST, Score, score

HIDDEN = 16
DROPOUT = 0.5
PATIENCE = 20
MAX_STEPS = 1000
WEIGHT_DECAY = 5e-4  # ρ

PREDICT = -1
"""The step that a product is given when the network predicts."""

Product = Callable[[Tensor, int], Tensor]
"""(H `(n_nodes, width)`, step) to Â H of that step's graph."""

Extra = Callable[[Tensor, int], Tensor]
"""(hidden layer, step) to a term of the loss."""


@dataclass(frozen=True)
class Fitted:
    """A trained network, at its best early-stopping score.

    Attributes:
        probabilities: `(n_nodes, n_classes)`.
        hidden: activations before the classification layer, `(n_nodes, 16)`.
        score: on the stopping rows.
        steps: taken in all.
    """

    probabilities: Tensor
    hidden: Tensor
    score: Score
    steps: int


def fit_network(
    features: DenseFeatures | SparseFeatures,
    product: Product,
    labels: Tensor,
    rows: Tensor,
    stopping: Tensor,
    *,
    lr: float,
    seed: int = 0,
    extra: Extra | None = None,
    max_steps: int = MAX_STEPS,
) -> Fitted:
    """Train softmax(Â ReLU(Â X W1) W2) on the cross-entropy of `rows` + ρ/2 ‖W1‖².

    `PATIENCE` steps without a better score end training.

    Arguments:
        features: X.
        product: Â; the identity makes a feed-forward network.
        labels: `(n_nodes,)`, classes from 0.
        rows: that train.
        stopping: rows of the early-stopping score.
        lr: γ of Adam.
        seed: of weights and dropout.
        extra: a further term of the loss.
        max_steps: most steps.
    """
    generator = torch.Generator().manual_seed(mix(seed, 0))
    n_classes = int(labels.max()) + 1
    w1 = glorot(features.shape[1], HIDDEN, generator).requires_grad_()
    w2 = glorot(HIDDEN, n_classes, generator).requires_grad_()
    optimizer = torch.optim.Adam([w1, w2], lr=lr)

    def forward(t: int, dropout: float) -> tuple[Tensor, Tensor]:
        hidden = product(features.matmul(w1, dropout), t).relu()
        return hidden, product(drop(hidden, dropout) @ w2, t)

    best, found, waited, t = WORST, None, 0, 0
    while t < max_steps and waited < PATIENCE:
        with replayed(mix(seed, t, 1)):
            hidden, logits = forward(t, DROPOUT)
            loss = cross_entropy(logits[rows], labels[rows])
            loss = loss + 0.5 * WEIGHT_DECAY * w1.square().sum()
            if extra is not None:
                loss = loss + extra(hidden, t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        t += 1
        waited += 1
        with torch.no_grad(), replayed(mix(seed, t, 2)):
            hidden, logits = forward(PREDICT, 0.0)
            probabilities = logits.softmax(1)
        now = score(probabilities, labels, stopping)
        if now.better_than(best):
            best, found, waited = now, (probabilities, hidden), 0
    if found is None:
        raise ArithmeticError(f"no loss was finite with lr={lr}; a smaller one may help")
    return Fitted(*found, best, t)


def tensors(features: Features) -> DenseFeatures | SparseFeatures:
    """X as the networks read it."""
    return node_features(features, torch.float32, torch.device("cpu"))


def identity(h: Tensor, t: int) -> Tensor:
    """Return H: no graph."""
    return h


def sparse_product(adjacency: sp.csr_array) -> Product:
    """Multiply by the normalised matrix of a graph, loops added (eq. 9.2)."""
    matrix = _csr(normalize(adjacency))
    return lambda h, t: matrix @ h


def dense_product(adjacency: NDArray[np.floating[Any]]) -> Product:
    """Multiply by the normalised matrix of a dense graph with weights, loops added."""
    a = torch.tensor(adjacency, dtype=torch.float32)
    a.fill_diagonal_(1.0)
    scale = a.sum(1).rsqrt()
    a.mul_(scale).mul_(scale.unsqueeze(1))
    return lambda h, t: (a @ wide(h))[:, : h.shape[1]]


def wide(h: Tensor) -> Tensor:
    """Add columns of zeros up to a multiple of 16: BLAS takes 7 columns seven times as long."""
    return pad(h, (0, -h.shape[1] % 16))


def equal_product(n_nodes: int, weight: float) -> Product:
    """Multiply by the normalised matrix of the complete graph whose edges all have one weight.

    Takes time and memory of H alone: Â = ((1 - weight) I + weight 11ᵀ) / (1 + weight (n - 1)).
    """
    degree = 1 + weight * (n_nodes - 1)

    def product(h: Tensor, t: int) -> Tensor:
        return ((1 - weight) * h + weight * h.sum(0, keepdim=True)) / degree

    return product


def random_edges_product(adjacency: sp.csr_array, share: float, seed: int) -> Product:
    """Multiply by a graph to which random edges are added at each training step (GCN-RND).

    Predictions use the graph alone.

    Arguments:
        adjacency: symmetric CSR without loops.
        share: edges added at a step, as a share of those there are.
        seed: of the edges.
    """
    fixed = sparse_product(adjacency)
    n, n_more = adjacency.shape[0], round(share * adjacency.nnz / 2)
    kept: dict[int, Tensor] = {}

    def product(h: Tensor, t: int) -> Tensor:
        if t == PREDICT:
            return fixed(h, t)
        if t not in kept:  # both layers of a step meet the same graph
            kept.clear()
            kept[t] = _csr(normalize(with_random_edges(adjacency, n_more, mix(seed, t, 3))))
        return kept[t] @ h

    assert n > 1  # there are pairs to draw
    return product


def with_random_edges(adjacency: sp.csr_array, n_more: int, seed: int) -> sp.csr_array:
    """Add `n_more` undirected edges between random pairs; a pair drawn twice is one edge."""
    rng = np.random.default_rng(seed)
    n = adjacency.shape[0]
    row, col = rng.integers(0, n, n_more), rng.integers(0, n - 1, n_more)
    col = col + (col >= row)  # another node
    more = sp.coo_array((np.ones(n_more, np.float32), (row, col)), shape=(n, n))
    both = sp.csr_array(adjacency + more + more.T)
    both.data[:] = 1
    return both


def erdos_renyi(n_nodes: int, degree: float, seed: int) -> sp.csr_array:
    """Draw a graph in which every pair is an edge with probability degree / (n_nodes - 1)."""
    rng = np.random.default_rng(seed)
    n_pairs = n_nodes * (n_nodes - 1) // 2
    n_edges = int(rng.binomial(n_pairs, min(1.0, degree / (n_nodes - 1))))
    chosen = np.sort(rng.choice(n_pairs, n_edges, replace=False))
    # The pair of a number, counting (1, 0), (2, 0), (2, 1), (3, 0), ...
    row = ((1 + np.sqrt(1 + 8 * chosen.astype(np.float64))) / 2).astype(np.int64)
    row -= row * (row - 1) // 2 > chosen  # rounding of the root
    col = chosen - row * (row - 1) // 2
    half = sp.coo_array((np.ones(n_edges, np.float32), (row, col)), shape=(n_nodes, n_nodes))
    return sp.csr_array(half + half.T)


def embedding_loss(adjacency: sp.csr_array, weight: float, n_pairs: int, seed: int) -> Extra:
    """Pull neighbours together and push other pairs apart: the loss of SemiEmb.

    weight · mean(‖h_i - h_j‖² over drawn edges) + weight · mean(max(0, 1 - ‖h_i - h_j‖)² over drawn
    pairs).

    References:
        Weston, Ratle, Mobahi and Collobert, 2012, eq. 9 (Hadsell et al., 2006)

    Arguments:
        adjacency: symmetric CSR of neighbours.
        weight: λ.
        n_pairs: edges, and other pairs, that one step reads.
        seed: of the draws.
    """
    edges = sp.coo_array(sp.triu(adjacency, k=1))
    row, col = torch.as_tensor(edges.row).long(), torch.as_tensor(edges.col).long()
    n = adjacency.shape[0]

    def loss(hidden: Tensor, t: int) -> Tensor:
        generator = torch.Generator().manual_seed(mix(seed, t, 4))
        some = torch.randint(len(row), (n_pairs,), generator=generator)
        i = torch.randint(n, (n_pairs,), generator=generator)
        j = (i + torch.randint(1, n, (n_pairs,), generator=generator)) % n
        return weight * pair_loss(hidden, row[some], col[some], i, j, margin=1.0)

    return loss


def pair_loss(h: Tensor, row: Tensor, col: Tensor, i: Tensor, j: Tensor, margin: float) -> Tensor:
    """Mean of ‖h_row - h_col‖², plus mean of max(0, margin - ‖h_i - h_j‖)²."""
    together = (h[row] - h[col]).square().sum(1).mean()
    # The root has no slope at 0, where two rows are equal.
    distance = (h[i] - h[j]).square().sum(1).clamp_min(1e-12).sqrt()
    return together + (margin - distance).clamp_min(0).square().mean()


def _csr(matrix: sp.csr_array) -> Tensor:
    return torch.sparse_csr_tensor(
        torch.as_tensor(matrix.indptr, dtype=torch.int64),
        torch.as_tensor(matrix.indices, dtype=torch.int64),
        torch.as_tensor(matrix.data, dtype=torch.float32),
        matrix.shape,
    )
