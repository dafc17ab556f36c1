"""The low-rank hypergradient of θ against dense autograd through the unrolled window.

The reference shares no code with the library: a dense N×N adjacency per step, the GCN, Adam and the
normalisation written out, and one call of autograd through everything.
"""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.nn.functional import cross_entropy

from lds._random import mix, replayed
from lds.bilevel.adaptive import Adam
from lds.bilevel.step import Step
from lds.bilevel.taped import TapedStep
from lds.edges.free import FreeEdges
from lds.graphs.candidates import PairList
from lds.nn.features import drop, node_features
from lds.nn.gcn import GCN
from lds.structure.task import Task
from tests.structure.window import hypergradient

N, F, H, C, TAU = 40, 12, 6, 3, 5
ETA, RHO, P = 0.02, 5e-3, 0.5


def problem(sparse: bool):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, F)) * (rng.random((N, F)) < (0.15 if sparse else 1.0))
    x[np.arange(N), rng.integers(0, F, N)] = 1.0
    upper = np.triu(rng.random((N, N)) * (rng.random((N, N)) < 0.3), 1)
    theta = upper + upper.T
    labels = torch.from_numpy(rng.integers(0, C, N))
    features = sp.csr_array(x) if sparse else x
    return features, theta, labels


def dense_adjacency(graph) -> torch.Tensor:
    return (graph.matrix.to_dense() > 0).double().fill_diagonal_(0)


def normalize(a):
    a = a + torch.eye(N, dtype=torch.float64)
    s = a.sum(1).rsqrt()
    return s[:, None] * a * s[None, :]


def masked(x, stored, p):
    """What the library's dropout draws, entry by entry of the stored ones, as a dense matrix."""
    out = torch.zeros_like(x)
    out[stored] = drop(torch.ones(int(stored.sum()), dtype=torch.float64), p)
    return x * out


def distribution(theta, listed):
    matrix = sp.csr_array(theta)
    candidates = PairList.of(matrix) if listed else None
    return FreeEdges(matrix, torch.float64, candidates=candidates)


def dense_reference(features, theta, labels, params, seeds, outer_seed, train, val, listed):
    """E and its gradient by the symmetric pairs, all by autograd on dense matrices."""
    x = torch.tensor(features.toarray() if sp.issparse(features) else features)
    stored = (x != 0) if sp.issparse(features) else torch.ones_like(x, dtype=torch.bool)
    edges = distribution(theta, listed)
    log_lr = torch.tensor(np.log(ETA), requires_grad=True)
    w = [params["W1"].clone().requires_grad_(), params["W2"].clone().requires_grad_()]
    m = [torch.zeros_like(p) for p in w]
    v = [torch.zeros_like(p) for p in w]
    graphs = []
    for t, seed in enumerate(seeds):
        with replayed(seed):
            a = dense_adjacency(edges.draw()).requires_grad_()
            mask_x = masked(torch.ones_like(x), stored, P)
            keep = drop(torch.ones(N, H, dtype=torch.float64), P)
        graphs.append(a)
        a_hat = normalize(a)
        hidden = torch.relu(a_hat @ ((x * mask_x) @ w[0]))
        logits = a_hat @ ((hidden * keep) @ w[1])
        loss = cross_entropy(logits[train], labels[train]) + RHO * 0.5 * (w[0] ** 2).sum()
        g = torch.autograd.grad(loss, w, create_graph=True)
        m = [0.9 * mi + 0.1 * gi for mi, gi in zip(m, g, strict=True)]
        v = [0.999 * vi + 0.001 * gi**2 for vi, gi in zip(v, g, strict=True)]
        new = []
        for wi, mi, vi in zip(w, m, v, strict=True):
            root = torch.where(vi > 0, torch.where(vi > 0, vi, 1.0).sqrt(), 0.0)
            m_hat, root_hat = mi / (1 - 0.9 ** (t + 1)), root / np.sqrt(1 - 0.999 ** (t + 1))
            new.append(wi - log_lr.exp() * m_hat / (root_hat + 1e-8))
        w = new
    with replayed(outer_seed):
        a = dense_adjacency(edges.draw()).requires_grad_()
    graphs.append(a)
    a_hat = normalize(a)
    logits = a_hat @ (torch.relu(a_hat @ (x @ w[0])) @ w[1])
    value = cross_entropy(logits[val], labels[val])
    *grads, to_lr = torch.autograd.grad(value, [*graphs, log_lr])
    total = sum(grads)
    return value, (total + total.T).triu(1), to_lr, graphs


@pytest.mark.parametrize("step_kind", [Step, TapedStep])
@pytest.mark.parametrize("listed", [False, True], ids=["all-pairs", "list"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense-x", "sparse-x"])
def test_hypergradient_of_edge_probabilities_equals_dense_autograd(sparse, listed, step_kind):
    features, theta, labels = problem(sparse)
    train, val = torch.arange(0, 12), torch.arange(12, 24)
    task = Task(
        node_features(features, torch.float64), labels, GCN(F, H, C, dropout=P), weight_decay=RHO
    )
    assert type(task.features).__name__ == ("SparseFeatures" if sparse else "DenseFeatures")
    edges = distribution(theta, listed)
    hyper = {"edges": edges, "log_lr": torch.tensor(np.log(ETA))}
    params = task.network.init(torch.Generator().manual_seed(1), torch.float64, torch.device("cpu"))
    dynamics = Adam(task.inner(train), lr=lambda lam: lam["log_lr"].exp())
    seeds, outer_seed = [mix(7, t) for t in range(TAU)], mix(7, TAU)

    found, (to_edges, to_lr) = hypergradient(
        dynamics, task.outer(val), params, hyper, step_kind, seeds, outer_seed
    )
    left, right = to_edges.factors()
    ours = (left @ right.T).triu(1)

    value, expected, expected_lr, graphs = dense_reference(
        features, theta, labels, params, seeds, outer_seed, train, val, listed
    )
    assert len({float(g.detach().sum()) for g in graphs}) > 1, (
        "the window must meet different graphs"
    )
    torch.testing.assert_close(found, value.detach(), rtol=1e-12, atol=0)
    # Two sums of the same float64 terms in another order: a few hundred roundings of 1e-16.
    assert float((ours - expected).norm() / expected.norm()) <= 1e-9
    torch.testing.assert_close(to_lr, expected_lr, rtol=1e-9, atol=0)
    # And what reaches θ's own buffer, pair by pair.
    flat = torch.zeros(edges.pairs.size, dtype=torch.float64)
    edges.pairs.add_products(flat, to_edges.left, to_edges.right, 1.0)
    row, col = np.triu_indices(N, 1) if not listed else np.nonzero(np.triu(theta, 1))
    there = flat[torch.from_numpy(edges.pairs.index(row, col))]
    wanted = expected[row, col]
    assert float((there - wanted).norm() / wanted.norm()) <= 1e-9
