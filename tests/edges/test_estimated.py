"""LDS with other estimators: gradients against dense autograd and enumeration, and whole runs."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.nn.functional import cross_entropy

from lds._random import mix, replayed
from lds._types import Split
from lds.bilevel.adaptive import Adam
from lds.bilevel.descent import GradientDescent
from lds.bilevel.reverse import Reverse
from lds.bilevel.step import Start, Step, evaluate
from lds.edges.estimated import (
    MARGIN,
    TEMPERATURE,
    PathwiseEdges,
    ValueEdges,
    estimated_edges,
)
from lds.edges.estimator_names import BLACK_BOX, PATHWISE
from lds.graphs.candidates import AllPairs, PairList
from lds.graphs.edge_weights import PairGradient
from lds.graphs.knn import knn_adjacency
from lds.graphs.product import FactoredGradient
from lds.nn.features import node_features
from lds.nn.gcn import GCN
from lds.structure.context import RunContext
from lds.structure.inner_run import SequentialInnerRun
from lds.structure.learn import learn
from lds.structure.methods.thesis import Thesis
from lds.structure.methods.thesis_run import thesis_task
from lds.structure.outer_variables import OuterVariables
from lds.structure.problem import Problem
from lds.structure.seeds import OUTER_OBJECTIVE
from lds.structure.task import Task

N, H, C, TAU, ETA = 12, 5, 3, 3, 0.4
F64, CPU = torch.float64, torch.device("cpu")
OTHERS = [*PATHWISE, *BLACK_BOX]
SMALL = Thesis(n_neighbors=3, max_inner=8, max_iter=2, hidden_channels=4, truncation=5)


def problem():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((N, 4)))
    labels = torch.from_numpy(rng.integers(0, C, N))
    upper = np.triu(rng.random((N, N)) * (rng.random((N, N)) < 0.6), 1)
    return x, labels, sp.csr_array(upper + upper.T)


def drawn(edges: PathwiseEdges, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """z and ∂z/∂θ of the draw that Φ or E made under a seed, written plainly."""
    with replayed(seed):
        inner = int(torch.randint(1 << 62, ()))
    theta = edges.distribution.parameter
    u = torch.rand(len(theta), dtype=F64, generator=torch.Generator().manual_seed(inner))
    z = (u < theta).double()
    if edges.estimator == "reinmax":
        return z, 1 / (2 * (theta * z + (1 - theta) * (1 - z)))
    s = ((theta.logit() - u.logit()) / TEMPERATURE).sigmoid()
    return z, s * (1 - s) / (TEMPERATURE * theta * (1 - theta))


@pytest.mark.parametrize("sparse", [False, True], ids=["all pairs", "a list"])
@pytest.mark.parametrize("estimator", PATHWISE)
def test_the_gradient_is_dense_autograd_with_the_slope_of_each_draw(estimator, sparse):
    x, labels, start = problem()
    candidates = PairList.of(start) if sparse else AllPairs(N)
    edges = PathwiseEdges(start, F64, CPU, candidates, estimator)
    task = Task(node_features(x.numpy(), F64, CPU), labels, GCN(4, H, C, 0.0), 0.0)
    train, val = torch.arange(5), torch.arange(5, 10)
    params = task.network.init(torch.Generator().manual_seed(1), F64, CPU)
    dynamics = GradientDescent(task.inner(train), lr=ETA)
    hyper, method = {"edges": edges}, Reverse()
    first = Start(dynamics, params, hyper, 0)
    state, memory = first.run(), method.start(first)
    for t in range(TAU):
        step = Step(dynamics, state, hyper, t, 100 + t)
        method.observe(memory, step)
        state, _ = step.run()
    objective = task.outer(val)
    outer = evaluate(dynamics, lambda w, lam, t: objective(w, lam), state, hyper, TAU, 99)
    (ours,) = method.gradient(memory, outer)

    theta = edges.distribution.parameter.clone().requires_grad_()
    row, col = candidates.pairs(candidates.positions())

    def logits(w, seed):
        z, slope = drawn(edges, seed)
        a = torch.zeros(N, N, dtype=F64)
        values = z + slope * (theta - theta.detach())
        a = a.index_put((row, col), values).index_put((col, row), values) + torch.eye(N)
        scale = a.sum(1).rsqrt()
        a = scale[:, None] * a * scale
        return a @ ((a @ (x @ w[0])).relu() @ w[1])

    w = [params["W1"].requires_grad_(), params["W2"].requires_grad_()]
    for t in range(TAU):
        loss = cross_entropy(logits(w, 100 + t)[train], labels[train])
        grads = torch.autograd.grad(loss, w, create_graph=True)
        w = [p - ETA * g for p, g in zip(w, grads, strict=True)]
    value = cross_entropy(logits(w, 99)[val], labels[val])
    (expected,) = torch.autograd.grad(value, theta)
    torch.testing.assert_close(outer.value, value.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.values, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.ci
@pytest.mark.parametrize("estimator", BLACK_BOX)
def test_values_of_the_window_alone_give_the_gradient_by_enumeration(estimator):
    """Three pairs, eight graphs; the mean of 50 estimates within four standard errors."""
    x, labels, _ = problem()
    start = np.zeros((N, N))
    for (i, j), p in zip([(0, 1), (1, 5), (2, 7)], [0.3, 0.6, 0.8], strict=True):
        start[i, j] = start[j, i] = p
    start = sp.csr_array(start)
    split = Split(*(np.arange(k, k + 4) for k in (0, 4, 8)), np.arange(0))
    config = dataclasses.replace(
        SMALL, truncation=TAU, estimator=estimator, support="sparse", inner_lr=0.1, n_draws=4
    )
    task = thesis_task(
        config, Problem(x.numpy(), labels.numpy(), split, start), RunContext(dtype=F64)
    )
    edges = ValueEdges(start, F64, CPU, PairList.of(start), estimator)
    variables = OuterVariables(edges, config)
    run = SequentialInnerRun(task, variables, config, seed=0)
    inner, outer = run._objectives(split.train, split.validation)
    dynamics = Adam(inner, lr=lambda hyper: hyper["log_lr"].exp())
    method = Reverse(truncation=TAU)
    params = task.network.init(torch.Generator().manual_seed(1), F64, CPU)
    first = Start(dynamics, params, variables.hyper, 0)
    state, memory = first.run(), method.start(None)
    for t in range(TAU):
        step = Step(dynamics, state, variables.hyper, t, 100 + t)
        method.observe(memory, step)
        state, _ = step.run()
    theta = edges.distribution.parameter.requires_grad_()
    mean = 0.0
    for bits in itertools.product([0.0, 1.0], repeat=3):
        z = torch.tensor(bits, dtype=F64)
        graph = type("One", (), {"draw": lambda self, z=z: edges.graph_of(z)})()
        now, hyper = first.run(), {**variables.hyper, "edges": graph}
        for t in range(TAU):
            with replayed(100 + t):
                now = dynamics.step(now, hyper, t)
        value = float(outer(dynamics.params(now), hyper))
        mean = mean + (theta * z + (1 - theta) * (1 - z)).prod() * value
    (expected,) = torch.autograd.grad(mean, theta)
    seeds = [mix(0, 0, t, OUTER_OBJECTIVE) for t in range(50)]
    estimates = [run._from_values(dynamics, outer, memory, state, seed) for seed in seeds]
    found = torch.stack([estimate.values for estimate in estimates])
    error = found.std(0) / len(found) ** 0.5
    assert bool(((found.mean(0) - expected).abs() <= 4 * error).all())
    assert bool((expected.abs() > 4 * error).any()), "the check would see a gradient of 0"


def blobs():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    x = rng.standard_normal((60, 5)) + 4 * np.eye(5)[labels]
    split = Split(np.arange(12), np.arange(12, 24), np.arange(24, 36), np.arange(36, 60))
    return x.astype(np.float32), labels.astype(np.int64), split


def fit(config):
    x, y, split = blobs()
    return learn(Problem(x, y, split, knn_adjacency(x, 3, "cosine")), config)


@pytest.mark.parametrize("support", ["all", "sparse"])
@pytest.mark.parametrize("estimator", OTHERS)
def test_a_run_keeps_theta_inside_and_moves_it(estimator, support):
    config = dataclasses.replace(SMALL, estimator=estimator, support=support)
    result = fit(config)
    pairs = result.edges.pairs
    theta = result.edges.probs[pairs.positions()]
    bounds = torch.tensor([MARGIN, 1 - MARGIN])
    assert bool(((theta >= bounds[0]) & (theta <= bounds[1])).all())
    inside = (theta > bounds[0] + 1e-6) & (theta < bounds[1] - 1e-6)
    assert bool(inside.any()), "θ never moved"
    rest = result.edges.probs.clone()
    rest[pairs.positions()] = 0
    assert not rest.any(), "entries that belong to no pair stay 0"
    if support == "sparse":  # which draws alike
        again = fit(config)
        assert torch.equal(result.edges.probs, again.edges.probs)
        assert result.history == again.history


@pytest.mark.parametrize("estimator", OTHERS)
def test_edges_before_learning_are_those_that_learning_starts_from(estimator):
    result = fit(dataclasses.replace(SMALL, estimator=estimator, max_iter=1).frozen())
    assert result.starting_edges == pytest.approx(result.expected_edges, rel=1e-5)


def test_alternating_minimisation_takes_no_inner_step():
    config = dataclasses.replace(SMALL, estimator="score_function", truncation=0, max_inner=3)
    assert fit(config).history[0].inner_steps == 3


@pytest.mark.parametrize("estimator", OTHERS)
def test_too_many_pairs_are_refused_before_the_run(estimator, monkeypatch):
    monkeypatch.setattr("lds.edges.estimated.MOST_NUMBERS", 1000)
    message = f"estimator='{estimator}' keeps a number for every candidate pair .* 1,000 at most"
    with pytest.raises(ValueError, match=message):
        fit(dataclasses.replace(SMALL, estimator=estimator))
    fit(dataclasses.replace(SMALL, max_iter=1))  # straight-through needs none


@pytest.mark.parametrize("estimator", OTHERS)
def test_what_an_estimator_is_made_of(estimator):
    _, _, start = problem()
    edges = estimated_edges(estimator, start, F64, CPU, PairList.of(start), 4)
    assert edges.needs_values == (estimator in BLACK_BOX)
    assert isinstance(edges, ValueEdges if edges.needs_values else PathwiseEdges)
    if not edges.needs_values:
        with pytest.raises(TypeError, match=r"PathwiseEdges takes its gradient from derivatives"):
            edges.estimate(lambda graph: 0.0, 4, 0)


@pytest.mark.parametrize("estimator", OTHERS)
def test_a_copy_draws_from_the_same_probabilities_and_a_state_goes_back_to_them(estimator):
    _, _, start = problem()
    pairs = AllPairs(N)
    edges = estimated_edges(estimator, start, F64, CPU, pairs, 4)
    before, state, kept = edges.probs.clone(), edges.state(), edges.copy()
    several = edges.drawn(3, 0).matrix.to_dense()
    gradient = PairGradient(torch.linspace(-1, 1, N * (N - 1) // 2, dtype=F64))
    single = edges.drawn(1, 0).matrix.to_dense()
    edges.descend(gradient, 0.5)
    moved = (before[pairs.positions()] - 0.5 * gradient.values).clamp(MARGIN, 1 - MARGIN)
    assert torch.equal(edges.probs[pairs.positions()], moved)
    assert not torch.equal(edges.drawn(1, 0).matrix.to_dense(), single)
    assert torch.equal(kept.probs, before)
    assert torch.equal(kept.drawn(3, 0).matrix.to_dense(), several)
    edges.restore(state)
    assert torch.equal(edges.probs, before)
    assert torch.equal(edges.drawn(1, 0).matrix.to_dense(), single)


def test_a_step_takes_a_gradient_in_factors_as_well():
    _, _, start = problem()
    row, col = torch.from_numpy(np.array(np.triu_indices(N, 1)))
    u, v = torch.randn(2, N, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    values = (u @ v.T + v @ u.T)[row, col]
    found = []
    for gradient in (FactoredGradient((u, v), (v, u)), PairGradient(values)):
        edges = estimated_edges("reinmax", start, F64, CPU, AllPairs(N), 4)
        edges.descend(gradient, 0.1)
        found.append(edges.probs)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-15)


def test_options():
    with pytest.raises(ValueError, match="estimator must be one of 'straight_through'"):
        Thesis(estimator="x")
    for estimator in BLACK_BOX:
        with pytest.raises(ValueError, match=r"learn_inner_lr must be 0 with estimator=.* got 0.1"):
            Thesis(estimator=estimator, learn_inner_lr=0.1)
    for estimator in OTHERS:
        with pytest.raises(ValueError, match="connected must be False with estimator='"):
            Thesis(estimator=estimator, connected=True)
    fit(dataclasses.replace(SMALL, estimator="reinmax", learn_inner_lr=0.1, max_iter=1))
