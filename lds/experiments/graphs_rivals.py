"""What a practitioner would train on a graph, at the same labels as the methods here.

GCN, GraphSAGE, perceptrons, predictions spread by PageRank, GCN-Jaccard and OGC. All train on the
labels of the training rows; validation rows stop them and choose their settings.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lds.experiments.graphs_cases import GraphCase
from lds.graphs.adjacency import normalize
from lds.graphs.knn import knn_adjacency
from lds.graphs.similarity import are_words
from lds.nn.preparation import as_array

MAX_STEPS, PATIENCE = 300, 50
"""Most training steps, and steps without a lower validation loss."""

THRESHOLDS = (0.01, 0.02, 0.03, 0.05)
"""Likeness below which GCN-Jaccard removes an edge, chosen on validation rows."""

N_NEIGHBORS = 20
"""Neighbours of the kNN graph, for a GCN where no graph is given."""

Probabilities = NDArray[np.float64]
Kind = Literal["gcn", "sage", "mlp", "pagerank"]


@dataclass(frozen=True)
class Settings:
    """Settings of a network.

    Arguments:
        layers: 1 or more.
        hidden: width.
        dropout: probability in [0, 1).
        weight_decay: of Adam.
        residual: whether hidden layers are normalised and have a connection around them.
    """

    layers: int = 2
    hidden: int = 64
    dropout: float = 0.5
    weight_decay: float = 5e-4
    residual: bool = False


KIPF = Settings()
"""A two-layer GCN (Kipf and Welling, 2017), with 64 hidden units."""

PLAIN = tuple(
    Settings(dropout=dropout, weight_decay=decay)
    for dropout, decay in itertools.product((0.5, 0.8), (5e-4, 5e-3))
)
"""What tuning chooses from on graphs whose edges join like nodes."""

DEEP = (
    *PLAIN,
    *(
        Settings(layers, dropout=dropout, weight_decay=0.0, residual=True)
        for layers, dropout in itertools.product((2, 5, 10), (0.2, 0.5))
    ),
)
"""What tuning chooses from elsewhere: also deep, normalised, residual (Luo et al., 2024)."""


class Layer(torch.nn.Module):
    """One layer on a graph: P X W, or P X W + X V, with P a fixed matrix; without P it is X W.

    The products are X W first, so that sparse features stay sparse. With P = D̃^-½ Ã D̃^-½ this is
    PyG's `GCNConv`, with P = D^-1 A and V its `SAGEConv`.

    Arguments:
        n_in, n_out: sizes.
        matrix: P, sparse `(n_nodes, n_nodes)`; None: there is none.
        own: whether there is a V.
    """

    def __init__(self, n_in: int, n_out: int, matrix: Tensor | None, *, own: bool) -> None:
        super().__init__()
        self.matrix = matrix
        self.weight = torch.nn.Parameter(_glorot(n_in, n_out))
        self.own = torch.nn.Parameter(_glorot(n_in, n_out)) if own else None
        self.bias = torch.nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output `(n_nodes, n_out)` of dense or sparse x."""
        h = x @ self.weight
        if self.matrix is not None:
            h = self.matrix @ h
        if self.own is not None:
            h = h + x @ self.own
        return h + self.bias


class Network(torch.nn.Module):
    """Layers of one kind, with dropout before each.

    Arguments:
        kind: "gcn", "sage", "mlp", or "pagerank": an MLP whose outputs are spread by personalised
            PageRank with teleport 0.1 over 10 steps (Gasteiger et al., 2019).
        n_features, n_classes: sizes.
        settings: of the layers.
        graph: symmetric CSR; None: there is none, for an MLP.
    """

    def __init__(
        self,
        kind: Kind,
        n_features: int,
        n_classes: int,
        settings: Settings,
        graph: sp.csr_array | None,
    ) -> None:
        super().__init__()
        self.settings, hidden, depth = settings, settings.hidden, settings.layers
        matrix = None if graph is None or kind == "mlp" else _matrix(graph, kind)
        self.spread = matrix if kind == "pagerank" else None
        between = None if kind == "pagerank" else matrix
        own = kind == "sage"
        widths = [n_features, *[hidden] * (depth - 1), n_classes]
        if settings.residual:  # the first and the last layer map to and from the hidden width
            widths = [hidden] * (depth + 1)
            self.first = Layer(n_features, hidden, None, own=False)
            self.last = Layer(hidden, n_classes, None, own=False)
            self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(hidden) for _ in range(depth))
        self.layers = torch.nn.ModuleList(
            Layer(a, b, between, own=own) for a, b in itertools.pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits `(n_nodes, n_classes)`."""
        if self.settings.residual:
            h = F.relu(self.first(self._drop(x)))
            for layer, norm in zip(self.layers, self.norms, strict=True):
                h = h + self._drop(F.relu(layer(norm(h))))
            h = self.last(h)
        else:
            h = x
            for k, layer in enumerate(self.layers):
                h = layer(self._drop(F.relu(h) if k else h))
        if self.spread is None:
            return h
        own = h
        for _ in range(10):
            h = 0.9 * (self.spread @ h) + 0.1 * own
        return h

    def _drop(self, x: Tensor) -> Tensor:
        rate = self.settings.dropout
        if not x.is_sparse:
            return F.dropout(x, rate, self.training)
        values = F.dropout(x.values(), rate, self.training)
        return torch.sparse_coo_tensor(x.indices(), values, x.shape, is_coalesced=True)


def train(
    case: GraphCase, kind: Kind, settings: Settings, seed: int, graph: sp.csr_array | None = None
) -> tuple[float, Probabilities]:
    """Train a network on the training rows, and stop by the loss of the validation rows.

    Arguments:
        case: see `GraphCase`.
        kind: of network.
        settings: of the network.
        seed: of its weights and dropout.
        graph: that it uses; None: that of the case.

    Returns:
        Validation accuracy at the step with the smallest validation loss, and class probabilities
        `(n_nodes, n_classes)` there.
    """
    x = _features(case)
    y = torch.from_numpy(case.labels)
    trains, stops = torch.from_numpy(case.train), torch.from_numpy(case.validation)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(
            kind, x.shape[1], case.n_classes, settings, case.graph if graph is None else graph
        )
        decay = settings.weight_decay
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=decay)
        best, since, found = np.inf, 0, (0.0, np.empty(0))
        for _ in range(MAX_STEPS):
            network.train()
            optimizer.zero_grad()
            F.cross_entropy(network(x)[trains], y[trains]).backward()
            optimizer.step()
            network.eval()
            with torch.no_grad():
                logits = network(x)
            loss = float(F.cross_entropy(logits[stops], y[stops]))
            since += 1
            if loss < best:
                accuracy = float((logits[stops].argmax(1) == y[stops]).float().mean())
                best, since, found = loss, 0, (accuracy, logits.double().softmax(1).numpy())
            if since >= PATIENCE:
                break
    return found


def tuned(case: GraphCase, kind: Kind, grid: Sequence[Settings], seed: int) -> Probabilities:
    """Train one network a setting; return the probabilities of the best on validation rows."""
    return max((train(case, kind, each, seed) for each in grid), key=lambda found: found[0])[1]


def gcn_jaccard(case: GraphCase, seed: int) -> Probabilities:
    """Remove edges between nodes of unlike features, then train a GCN.

    References:
        Wu et al., 2019, "Adversarial examples for graph data", https://arxiv.org/abs/1903.01610.
    """
    graphs = (without_unlike(case, threshold) for threshold in THRESHOLDS)
    return max((train(case, "gcn", KIPF, seed, g) for g in graphs), key=lambda found: found[0])[1]


def without_unlike(case: GraphCase, threshold: float) -> sp.csr_array:
    """Return the edges of the case whose ends have a Jaccard similarity of at least `threshold`."""
    assert case.graph is not None
    upper = sp.triu(case.graph, k=1).tocoo()
    has: Any = sp.csr_array(case.features).astype(bool).astype(np.int64)
    shared = np.asarray(has[upper.row].multiply(has[upper.col]).sum(axis=1)).ravel()
    either = has.sum(axis=1)[upper.row] + has.sum(axis=1)[upper.col] - shared
    kept = (either > 0) & (shared >= threshold * either)
    parts = (upper.data[kept], (upper.row[kept], upper.col[kept]))
    half = sp.coo_array(parts, shape=upper.shape)
    return sp.csr_array(half + half.T)


def knn_gcn(case: GraphCase, seed: int) -> Probabilities:
    """Train a GCN on the graph of the nearest neighbours by the features' cosine."""
    graph = knn_adjacency(case.features, min(N_NEIGHBORS, len(case.labels) - 1))
    return train(case, "gcn", KIPF, seed, graph)[1]


@dataclass(frozen=True)
class OGC:
    """Optimized graph convolution: features smoothed along edges, and pulled towards the labels.

    With U the smoothed features, W a linear classifier without bias and Y the labels, a step is
    W ← W - η_W ∂/∂W ||S(U Wᵀ - Y)||², then U ← ((1 - β) I + β Â) U - η_U 2 S(P - Y) W, where
    P = U Wᵀ with the new W, S selects the training rows and η_U shrinks at every step. It ends when
    predictions stay the same.

    References:
        Wang, Ding, Liu, Wang and Wang, 2023, "From cluster assumption to graph convolution:
        graph-based semi-supervised learning revisited", https://arxiv.org/abs/2309.13599. Their
        accuracies are with the labels of the validation rows too; here W sees training labels
        alone, as all other methods.

    Arguments:
        beta: β in [0, 1], weight of neighbours in a step.
        eta_w, eta_u: step sizes; 0 leaves W or the features to smoothing.
        decline: factor of η_U at each step.
        max_steps: most steps.
        same: share of unchanged predictions that counts as unchanged.
        patience: unchanged steps before it ends.
    """

    beta: float = 0.1
    eta_w: float = 0.5
    eta_u: float = 0.001
    decline: float = 0.9
    max_steps: int = 64
    same: float = 0.995
    patience: int = 3

    def smoothed(self, case: GraphCase) -> tuple[Probabilities, Probabilities]:
        """Run the steps.

        Returns:
            U `(n_nodes, n_features)` and W `(n_classes, n_features)`.
        """
        assert case.graph is not None
        n_nodes = len(case.labels)
        rows, truth = case.train, np.eye(case.n_classes)[case.labels[case.train]]
        lazy = sp.csr_array(
            self.beta * normalize(case.graph) + (1 - self.beta) * sp.eye_array(n_nodes)
        )
        u = _unit_sums(case)
        w = np.zeros((case.n_classes, u.shape[1]))
        eta_u, unchanged, before = self.eta_u, 0, np.zeros(n_nodes)
        for _ in range(self.max_steps):
            w = w - self.eta_w * 2 * (u[rows] @ w.T - truth).T @ u[rows]
            pull = 2 * (u[rows] @ w.T - truth) @ w
            u = np.asarray(lazy @ u)
            u[rows] -= eta_u * pull
            eta_u *= self.decline
            found = (u @ w.T).argmax(1)
            unchanged += float((found == before).mean()) > self.same
            before = found
            if unchanged >= self.patience:
                break
        return u, w

    def __call__(self, case: GraphCase, seed: int) -> Probabilities:
        """Return class scores, clipped to 0 and scaled to sum to 1 in each row."""
        u, w = self.smoothed(case)
        scores = np.clip(u @ w.T, 1e-12, None)
        found: Probabilities = scores / scores.sum(axis=1, keepdims=True)
        return found


Rival = Callable[[GraphCase, int], Probabilities]


def rivals(bench: str, *, graph: bool) -> dict[str, Rival]:
    """Return the rivals of a benchmark by name.

    Arguments:
        bench: one of `graphs_cases.BENCHES`.
        graph: whether the case has a graph.
    """
    grid = DEEP if bench == "heterophily" else PLAIN
    mlp: dict[str, Rival] = {"MLP, tuned": lambda case, seed: tuned(case, "mlp", grid, seed)}
    if not graph:
        return {"GCN on the kNN graph": knn_gcn} | mlp
    found: dict[str, Rival] = {"GCN": lambda case, seed: train(case, "gcn", KIPF, seed)[1]}
    if bench == "attacks":
        found["GCN-Jaccard"] = gcn_jaccard
    found["PageRank MLP"] = lambda case, seed: train(case, "pagerank", KIPF, seed)[1]
    found["GCN, tuned"] = lambda case, seed: tuned(case, "gcn", grid, seed)
    found["SAGE, tuned"] = lambda case, seed: tuned(case, "sage", grid, seed)
    if bench == "labels":
        found["OGC"] = OGC()
    return found | mlp


def _features(case: GraphCase) -> Tensor:
    """Return features as float32; words are sparse, and their rows sum to 1."""
    if are_words(case.features):
        return torch.from_numpy(_unit_sums(case)).float().to_sparse().coalesce()
    return torch.from_numpy(as_array(case.features)).float()


def _matrix(graph: sp.csr_array, kind: Kind) -> Tensor:
    """Return D^-1 A for SAGE, else D̃^-½ (A + I) D̃^-½, as a sparse tensor."""
    if kind == "sage":
        degree = np.asarray(graph.sum(axis=1)).ravel()
        found = sp.coo_array(sp.diags_array(1 / np.maximum(degree, 1)) @ graph)
    else:
        found = sp.coo_array(normalize(graph))
    index = torch.from_numpy(np.stack([found.row, found.col]).astype(np.int64))
    values = torch.from_numpy(found.data).float()
    return torch.sparse_coo_tensor(index, values, found.shape).coalesce()


def _glorot(n_in: int, n_out: int) -> Tensor:
    return torch.nn.init.xavier_uniform_(torch.empty(n_in, n_out))


def _unit_sums(case: GraphCase) -> Probabilities:
    """Divide each row by its sum, where that is not 0."""
    x = as_array(case.features).astype(np.float64)
    total = x.sum(axis=1, keepdims=True)
    found: Probabilities = np.divide(x, total, out=np.zeros_like(x), where=total != 0)
    return found
