"""The thesis's method: candidate pairs, memory, connected draws, networks on edges."""

import dataclasses

import numpy as np
import psutil
import pytest
import scipy.sparse as sp
import torch

from lds.bilevel.adaptive import Adam
from lds.bilevel.step import evaluate
from lds.graphs.knn import knn_adjacency
from lds.structure.context import RunContext
from lds.structure.learn import learn
from lds.structure.methods.thesis_run import restarts_of, starting_graph
from lds.structure.task import rows_tensor
from tests.structure.blobs import blobs, path
from tests.structure.small import THESIS


def fit(method=THESIS, **graph):
    return learn(blobs(**graph), method)


def near(k: int) -> sp.csr_array:
    return knn_adjacency(blobs().features, k, "cosine")


def test_without_a_graph_it_starts_from_the_nearest_neighbours():
    assert abs(starting_graph(THESIS, blobs()) - near(3)).max() == 0
    given = near(2)
    assert abs(starting_graph(THESIS, blobs(graph=given)) - given).max() == 0


def test_sparse_support_that_does_not_grow_learns_on_its_pairs_only():
    method = dataclasses.replace(THESIS, support="sparse", n_neighbors=6, grow_every=0)
    start = near(3)
    result = fit(method, graph=start)
    allowed = near(6).toarray() + start.toarray()
    learned = result.edges.to_csr().toarray()
    assert not learned[allowed == 0].any()
    assert learned[(start.toarray() == 0) & (allowed > 0)].any()


def test_sparse_support_grows_within_its_budget_and_follows_the_seed():
    method = dataclasses.replace(THESIS, support="sparse", pairs_per_node=4, grow_every=2)
    first, again = fit(method), fit(method)
    assert torch.equal(first.edges.probs, again.edges.probs)
    assert np.array_equal(first.edges.pairs.keys, again.edges.pairs.keys)
    learned = first.edges.to_csr().toarray()
    assert learned[near(3).toarray() == 0].any(), "no pair was added"
    assert np.count_nonzero(learned) // 2 <= first.edges.pairs.n_pairs <= 4 * 60


@pytest.mark.parametrize("grow_every", [0, 1])
def test_sparse_support_on_every_pair_equals_all_pairs(grow_every):
    n = 60
    method = dataclasses.replace(
        THESIS,
        max_inner=5,
        max_iter=1,
        n_neighbors=3 if grow_every else n - 1,
        grow_every=grow_every,
        pairs_per_node=n,
    )
    # With θ in {0, 1} at the start the draws of the first window agree; so must its one update.
    dense = fit(method, graph=near(3))
    listed = fit(dataclasses.replace(method, support="sparse"), graph=near(3))
    difference = abs(dense.edges.to_csr() - listed.edges.to_csr()).max()
    assert difference < 1e-5  # float32 sums in another order


def test_all_pairs_that_do_not_fit_are_refused_before_allocation(monkeypatch):
    memory = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(ValueError, match=r"needs [\d,]+ bytes, but 1,000 .* support='sparse'"):
        fit()
    assert fit(dataclasses.replace(THESIS, support="sparse", max_iter=1)).history


@pytest.mark.parametrize("support", ["all", "sparse"])
def test_connected_draws_throughout_a_run(support, thesis_fit):
    method = dataclasses.replace(THESIS, connected=True, support=support)
    assert n_parts(near(3)) > 1, "the start must not be connected"
    result, again = fit(method), fit(method)
    for _ in range(5):
        assert n_parts(result.edges.draw().matrix.to_dense().numpy()) == 1
    assert torch.equal(result.edges.probs, again.edges.probs)
    assert not torch.equal(result.edges.probs, thesis_fit.edges.probs)


def n_parts(matrix):
    return sp.csgraph.connected_components(sp.csr_array(matrix))[0]


@pytest.mark.ci
@pytest.mark.parametrize(
    ("name", "support"),
    [("SAGEConv", "all"), ("ChebConv", "all"), ("APPNP", "sparse"), ("GATv2Conv", "sparse")],
)
def test_networks_of_pyg_learn_a_graph(name, support):
    problem = blobs()
    method = dataclasses.replace(
        THESIS,
        backbone=name,
        support=support,
        pairs_per_node=6,
        max_inner=60,
        max_iter=2,
        connected=name == "ChebConv",
    )
    result = fit(method)
    right = result.probabilities.argmax(1) == problem.labels
    assert right[problem.split.test].mean() >= 0.9
    start, learned = near(3), result.edges.to_csr()
    assert abs(learned - start).max() > 0, "θ never moved"
    if support == "sparse":
        allowed = (near(6) + start).toarray()
        assert not learned.toarray()[allowed == 0].any()
    again = fit(dataclasses.replace(method, max_iter=1))
    assert again.history[0] == result.history[0]


def test_gcnconv_takes_the_steps_of_the_librarys_own_gcn():
    """Two routes to one hypergradient: factors of matrix products, and weights of edges."""
    problem, start = blobs(), near(3)
    device, dtype = torch.device("cpu"), torch.float64
    thetas = []
    for name in ("gcn", "GCNConv"):
        method = dataclasses.replace(THESIS, backbone=name, dropout=0.0)
        restarts = restarts_of(method, problem, start, RunContext(0, device, dtype))
        task, variables = restarts.task, restarts.variables
        make = task.network.init(torch.Generator().manual_seed(0), dtype, device)
        w1, w2 = (torch.full((n, m), 0.1, dtype=dtype) for n, m in ((5, 4), (4, 3)))
        w1[0, 1], w2[2, 1] = 0.7, -0.4
        if name == "gcn":
            params = {"W1": w1, "W2": w2}
        else:
            params = {k: torch.zeros_like(w) for k, w in make.items()}
            params["first.lin.weight"], params["second.lin.weight"] = w1.t(), w2.t()
        inner = task.inner(rows_tensor(problem.split.train, device))
        objective = task.outer(rows_tensor(problem.split.validation, device))
        dynamics = Adam(inner, lr=lambda hyper: hyper["log_lr"].exp())
        outer = evaluate(
            dynamics,
            lambda w, hyper, t, e=objective: e(w, hyper),
            dynamics.start(params, variables.hyper),
            variables.hyper,
            0,
            0,
        )
        variables.edges.descend(outer.direct[0], 5.0)
        thetas.append(variables.edges.to_csr().toarray())
    assert abs(thetas[0] - start.toarray()).max() > 1e-3
    np.testing.assert_allclose(thetas[0], thetas[1], rtol=1e-9, atol=1e-12)


def test_new_rows_beside_a_given_graph_of_fewer_nodes_than_neighbours():
    problem = blobs(12, graph=path(12))
    result = learn(problem, dataclasses.replace(THESIS, n_neighbors=20))
    found = result.predict_new(problem.features + 0.01)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
