"""Predictions as a mean over drawn graphs (eq. 9.7), and how they are scored."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds._random import replayed
from lds.edges.free import FreeEdges
from lds.graphs.adjacency import normalize
from lds.graphs.batch import parts
from lds.nn.features import node_features
from lds.nn.gcn import GCN
from lds.structure import predict
from lds.structure.predict import (
    WORST,
    Score,
    hidden_layer,
    predict_draws,
    predict_proba,
    score,
)
from lds.structure.task import Task

N, F, C = 14, 6, 3


def problem(certain: bool = False):
    rng = np.random.default_rng(0)
    upper = np.triu(rng.random((N, N)) * (rng.random((N, N)) < 0.5), 1)
    theta = np.ceil(upper + upper.T) if certain else upper + upper.T
    x = rng.standard_normal((N, F))
    labels = torch.from_numpy(rng.integers(0, C, N))
    network = GCN(F, 5, C, dropout=0.5)
    task = Task(node_features(x, torch.float64), labels, network, weight_decay=5e-4)
    params = network.init(torch.Generator().manual_seed(1), torch.float64, torch.device("cpu"))
    return task, params, FreeEdges(sp.csr_array(theta), torch.float64), x


def softmax_of(x: np.ndarray, A: np.ndarray, params) -> np.ndarray:
    """Softmax(Â ReLU(Â X W1) W2), written out."""
    a_hat = normalize(sp.csr_array(A)).toarray()
    hidden = np.maximum(a_hat @ x @ params["W1"].numpy(), 0)
    e = np.exp(a_hat @ hidden @ params["W2"].numpy())
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("n_draws", [1, 7])
def test_it_is_the_mean_of_the_softmax_over_the_drawn_graphs(n_draws):
    task, params, edges, x = problem()
    probs = predict_proba(task, params, edges, n_draws, seed=3)
    with replayed(3):
        graph = edges.draw(n_draws)
    stack = (graph.matrix.to_dense() > 0).double().numpy()
    each = []
    for s in range(n_draws):
        own = slice(s * N, (s + 1) * N)
        each.append(softmax_of(x, stack[own, own] - np.eye(N), params))
    # Sums of a few dozen float64 numbers in another order.
    np.testing.assert_allclose(probs.numpy(), np.mean(each, axis=0), rtol=1e-12)
    assert n_draws == 1 or np.ptp(each, axis=0).max() > 0.01, "the graphs must differ"


@pytest.mark.parametrize("rows", [1, 3 * N, 7 * N])
def test_few_graphs_at_once_give_the_same(rows, monkeypatch):
    """Each drawn graph is taken out of the batch; sums of float64 numbers in another order."""
    task, params, edges, _ = problem()
    found = predict_draws(task, params, edges, 7, seed=3)
    hidden = hidden_layer(task, params, edges, 7, seed=3)
    monkeypatch.setattr(predict, "ROWS", rows)
    again = predict_draws(task, params, edges, 7, seed=3)
    torch.testing.assert_close(again, found, rtol=1e-12, atol=0)
    again = hidden_layer(task, params, edges, 7, seed=3)
    torch.testing.assert_close(again, hidden, rtol=1e-12, atol=0)
    graph = edges.drawn(7, 3)
    sizes = [part.n_draws for part in parts(graph, rows)]
    assert sizes == {1: [1] * 7, 3 * N: [3, 3, 1], 7 * N: [7]}[rows]
    dense = torch.block_diag(*(part.matrix.to_dense() for part in parts(graph, rows)))
    assert torch.equal(dense, graph.matrix.to_dense())


def test_on_a_certain_graph_it_is_the_networks_own_softmax():
    task, params, edges, x = problem(certain=True)
    expected = softmax_of(x, edges.to_csr().toarray(), params)
    for n_draws in (1, 5):
        probs = predict_proba(task, params, edges, n_draws, seed=0)
        np.testing.assert_allclose(probs.numpy(), expected, rtol=1e-12)


def test_rows_are_distributions_without_history():
    task, params, edges, _ = problem()
    probs = predict_proba(task, {k: p.requires_grad_() for k, p in params.items()}, edges, 4, 0)
    assert probs.shape == (N, C)
    assert not probs.requires_grad
    assert bool((probs > 0).all())
    torch.testing.assert_close(probs.sum(1), torch.ones(N).double(), rtol=1e-14, atol=0)


def test_the_seed_decides_and_nothing_outside_is_disturbed():
    task, params, edges, _ = problem()
    before = torch.get_rng_state()
    first, again, other = (predict_proba(task, params, edges, 4, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# Scores


def test_a_score_is_accuracy_and_mean_negative_log_likelihood_of_the_rows():
    probs = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    labels = torch.tensor([0, 1, 0, 2])
    got = score(probs.double(), labels, torch.tensor([0, 1, 2]))
    assert got.accuracy == pytest.approx(2 / 3)
    assert got.loss == pytest.approx(-(math.log(0.5) + math.log(0.2)) / 3, rel=1e-6)


def test_a_class_held_impossible_costs_much_and_not_infinitely():
    probs = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    got = score(probs, torch.tensor([1]), torch.tensor([0]))
    assert got.accuracy == 0
    assert 20 < got.loss < math.inf


def test_scores_compare_by_accuracy_and_ties_by_the_loss():
    assert Score(0.8, 9.0).better_than(Score(0.7, 0.1))
    assert Score(0.8, 0.4).better_than(Score(0.8, 0.5))
    assert not Score(0.8, 0.5).better_than(Score(0.8, 0.5))
    assert not Score(0.7, 0.1).better_than(Score(0.8, 9.0))
    assert Score(0.0, 1e9).better_than(WORST)
    assert not Score(0.8, math.nan).better_than(Score(0.8, 0.5))


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_better_than_none(loss):
    assert not Score(0.75, loss).better_than(WORST)
    assert not Score(0.75, loss).better_than(Score(0.6, 0.5))
    assert Score(0.6, 0.5).better_than(Score(0.75, loss)) is False  # by its accuracy
    assert Score(0.0, 9.0).better_than(WORST)
