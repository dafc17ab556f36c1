"""Losses on some nodes: on a part of the graph they are those of the whole, and unbiased."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import lds.structure.task
from lds._types import Split
from lds.bilevel.adaptive import Adam
from lds.bilevel.reverse import Reverse
from lds.bilevel.step import Step, evaluate
from lds.edges.free import FreeEdges
from lds.graphs.candidates import PairList
from lds.graphs.knn import knn_adjacency
from lds.nn.features import node_features
from lds.nn.gcn import GCN
from lds.structure.learn import learn
from lds.structure.methods.thesis import Thesis
from lds.structure.problem import Problem
from lds.structure.task import Task

N, F, H, C = 60, 8, 4, 3


def problem(batch_nodes: int, sparse: bool = False):
    """Few candidate pairs, so that the part around some nodes is not the whole."""
    rng = np.random.default_rng(0)
    upper = np.triu(rng.random((N, N)) * (rng.random((N, N)) < 0.04), 1)
    theta = sp.csr_array(upper + upper.T)
    x = rng.standard_normal((N, F)) * (rng.random((N, F)) < (0.2 if sparse else 1))
    labels = torch.from_numpy(rng.integers(0, C, N))
    features = node_features(sp.csr_array(x) if sparse else x, torch.float64)
    edges = FreeEdges(theta, torch.float64, candidates=PairList.of(theta))
    return Task(features, labels, GCN(F, H, C, dropout=0.0), 5e-3, batch_nodes), edges


def hypergradient(task: Task, edges: FreeEdges):
    params = task.network.init(torch.Generator().manual_seed(1), torch.float64, torch.device("cpu"))
    dynamics = Adam(task.inner(torch.arange(12)), lr=0.02)
    hyper, method = {"edges": edges}, Reverse(truncation=3)
    memory, state = method.start(None), dynamics.start(params, hyper)
    for t in range(3):
        step = Step(dynamics, state, hyper, t, 100 + t)
        method.observe(memory, step)
        state, _ = step.run()
    objective = task.outer(torch.arange(12, 24))
    outer = evaluate(dynamics, lambda w, lam, t: objective(w, lam), state, hyper, 3, 7)
    (gradient,) = method.gradient(memory, outer)
    flat = torch.zeros(edges.pairs.size, dtype=torch.float64)
    edges.pairs.add_products(flat, gradient.left, gradient.right, 1.0)
    return outer.value, flat, state


@pytest.mark.parametrize("sparse", [False, True], ids=["dense-x", "sparse-x"])
def test_the_part_has_the_hypergradient_of_the_whole_graph(monkeypatch, sparse):
    """Against the same loss on the whole graph, which is itself tested against dense autograd."""
    sizes, receptive_field = [], lds.structure.task.receptive_field

    def noted(*args):
        part, nodes = receptive_field(*args)
        sizes.append(len(nodes))
        return part, nodes

    monkeypatch.setattr(lds.structure.task, "receptive_field", noted)
    value, flat, state = hypergradient(*problem(2, sparse))
    assert max(sizes) < N, "the part is the whole graph: nothing is tested"

    def whole(graph, rows, candidates):
        return graph, torch.arange(N)

    monkeypatch.setattr(lds.structure.task, "receptive_field", whole)
    expected, expected_flat, expected_state = hypergradient(*problem(2, sparse))
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    for name, weight in expected_state["params"].items():
        torch.testing.assert_close(state["params"][name], weight, rtol=1e-10, atol=1e-14)
    assert float((flat - expected_flat).norm() / expected_flat.norm()) <= 1e-9
    assert int((expected_flat != 0).sum()) > 10


def test_the_mean_over_all_batches_is_the_loss_on_all_nodes(monkeypatch):
    """All 10 batches of 2 out of 5 nodes, on one graph: value and gradient."""
    nodes = torch.tensor([3, 8, 20, 41, 59])

    def of(task, edges):
        w = task.network.init(torch.Generator().manual_seed(1), torch.float64, torch.device("cpu"))
        w = {name: part.requires_grad_() for name, part in w.items()}
        torch.manual_seed(0)
        value = task.outer(nodes)(w, {"edges": edges})
        return value.detach(), torch.autograd.grad(value, list(w.values()))

    every, grads = of(*problem(0))
    task, edges = problem(2)
    values, sums = [], [torch.zeros_like(g) for g in grads]
    for chosen in itertools.combinations(range(5), 2):
        order = torch.tensor([*chosen, *(set(range(5)) - set(chosen))])
        monkeypatch.setattr(torch, "randperm", lambda n, order=order: order)
        value, mine = of(task, edges)
        values.append(value)
        sums = [total + g / 10 for total, g in zip(sums, mine, strict=True)]
    assert len({float(v) for v in values}) >= 5, "the batches must differ"
    torch.testing.assert_close(torch.stack(values).mean(), every, rtol=1e-12, atol=0)
    for total, g in zip(sums, grads, strict=True):
        torch.testing.assert_close(total, g, rtol=1e-10, atol=1e-14)


@pytest.mark.ci
def test_a_run_on_batches_learns_and_follows_the_seed():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    x = (rng.standard_normal((90, 5)) + 4 * np.eye(5)[labels]).astype(np.float32)
    split = Split(*np.split(np.arange(90), [18, 36, 54]))
    method = Thesis(
        support="sparse", n_neighbors=3, max_inner=60, max_iter=2, batch_nodes=6, inner_lr=0.05
    )
    problem, start = Problem(x, labels, split), knn_adjacency(x, 3, "cosine")
    first, again = (learn(problem, method) for _ in range(2))
    assert torch.equal(first.edges.probs, again.edges.probs)
    assert abs(first.edges.to_csr() - start).max() > 0
    assert (first.probabilities.argmax(1) == labels)[split.test].mean() >= 0.95
    whole = learn(problem, dataclasses.replace(method, batch_nodes=0))
    assert not torch.equal(first.edges.probs, whole.edges.probs)


@pytest.mark.parametrize(
    "options", [{"support": "all"}, {"backbone": "GCNConv"}, {"estimator": "disarm"}]
)
def test_batches_need_a_sparse_support_the_gcn_and_straight_through(options):
    with pytest.raises(ValueError, match="batch_nodes must be 0 with"):
        Thesis(**{"support": "sparse", "batch_nodes": 8, **options})
