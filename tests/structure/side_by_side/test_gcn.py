"""The networks of several runs at once against the network of each."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds._random import replayed
from lds.graphs.batch import graph_batch
from lds.nn.features import node_features
from lds.nn.gcn import GCN
from lds.structure.side_by_side.gcn import BatchedGCN

N, F, H, C = 25, 12, 4, 3


def graphs(n_members: int):
    """One graph a run, and all of them as one."""
    rng = np.random.default_rng(1)
    single, row, col = [], [], []
    for member in range(n_members):
        pairs = np.argwhere(np.triu(rng.random((N, N)) < 0.15, 1))
        mine = torch.from_numpy(pairs.T.copy())
        zero = torch.zeros_like(mine[0])
        single.append(graph_batch(zero, mine[0], mine[1], 1, N, torch.float64))
        row.append(mine[0] + member * N)
        col.append(mine[1] + member * N)
    rows, cols = torch.cat(row), torch.cat(col)
    zero = torch.zeros_like(rows)
    return single, graph_batch(zero, rows, cols, 1, n_members * N, torch.float64)


def close_to(expected: torch.Tensor) -> dict[str, float]:
    """Sums over N nodes, a dozen in a row, each in another order; entries may nearly cancel."""
    rounding = 12 * N * torch.finfo(expected.dtype).eps
    return {"rtol": 0, "atol": rounding * float(expected.detach().abs().max())}


@pytest.mark.parametrize("dropout", [(0.0, 0.0, 0.0), (0.5, 0.0, 0.3)])
@pytest.mark.parametrize("sparse", [False, True])
def test_logits_dropout_and_derivatives_are_those_of_each_network(sparse, dropout):
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((N, F))
    x = sp.csr_array(dense * (rng.random((N, F)) < 0.1)) if sparse else dense
    features = node_features(x, torch.float64)
    single, together = graphs(len(dropout))
    networks = [GCN(F, H, C, p) for p in dropout]
    fresh = torch.Generator().manual_seed(0)
    weights = [net.init(fresh, torch.float64, torch.device("cpu")) for net in networks]
    stacked = {
        name: torch.stack([w[name] for w in weights]).requires_grad_() for name in ("W1", "W2")
    }
    joint = BatchedGCN(features, dropout)
    seeds = [torch.Generator().manual_seed(seed) for seed in range(len(dropout))]
    keeps = joint.keep([seeds, seeds], H)
    first = None if keeps is None else (keeps[0][0], keeps[1][0])
    logits = joint(stacked, together, first)
    (by_joint,) = torch.autograd.grad(logits.square().sum(), stacked["W1"], create_graph=True)
    (twice,) = torch.autograd.grad(by_joint.square().sum(), stacked["W2"])
    for k, (net, w, graph) in enumerate(zip(networks, weights, single, strict=True)):
        mine = {name: leaf.requires_grad_() for name, leaf in w.items()}
        with replayed(k):
            expected = net(mine, features, graph, training=True)[0]
        torch.testing.assert_close(logits[k], expected, rtol=1e-12, atol=1e-14)
        (grad,) = torch.autograd.grad(expected.square().sum(), mine["W1"], create_graph=True)
        torch.testing.assert_close(by_joint[k], grad, **close_to(grad))
        (second,) = torch.autograd.grad(grad.square().sum(), mine["W2"])
        torch.testing.assert_close(twice[k], second, **close_to(second))
    if any(dropout):  # the second step goes on where the first has stopped
        assert not torch.equal(keeps[0][0], keeps[0][1])
    plain = joint(stacked, together, None)
    for k, (net, w, graph) in enumerate(zip(networks, weights, single, strict=True)):
        expected = net(w, features, graph, training=False)[0]
        torch.testing.assert_close(plain[k], expected, rtol=1e-12, atol=1e-14)
