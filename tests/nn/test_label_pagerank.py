"""PageRank of the labels against its closed form, PyG's propagation and an augmented graph."""

import numpy as np
import pytest
import torch
from torch_geometric.nn import APPNP

from lds.nn.features import node_features
from lds.nn.label_pagerank import N_HOPS, SMOOTHING, TELEPORT, LabelPageRank, fit_label_pagerank
from lds.nn.new_nodes import BorrowedEdges, NewEdges
from tests.nn.small import C, N, batch_of, random_features, random_graph
from tests.nn.test_pagerank import CLOSE, attached, normalize

LABELS = torch.arange(N) % C
ROWS = torch.tensor([0, 3, 4, 7, 8])


def fitted():
    network, x = LabelPageRank(C), node_features(random_features(), torch.float64)
    return network, x, fit_label_pagerank(network, x, LABELS, ROWS)


def start() -> torch.Tensor:
    """Labels of 0, 3, 4, 7, 8 are 0, 0, 1, 1, 2."""
    y = torch.zeros(N, C, dtype=torch.float64)
    for row, c, share in ((0, 0, 0.5), (3, 0, 0.5), (4, 1, 0.5), (7, 1, 0.5), (8, 2, 1.0)):
        y[row, c] = share
    return y


def polynomial(matrix: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """((1-α)Â)^K Y + α Σ_{k<K} ((1-α)Â)^k Y."""
    step = (1 - TELEPORT) * matrix
    powers = [torch.linalg.matrix_power(step, k) for k in range(N_HOPS + 1)]
    return (powers[-1] + TELEPORT * torch.stack(powers[:-1]).sum(0)) @ y


def logits_of(mass: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    return (mass + SMOOTHING * mean).log()


def test_classes_have_equal_mass_whatever_their_number_of_rows():
    _, _, params = fitted()
    assert torch.equal(params["labels"], start())


def test_logits_are_those_of_the_closed_form_on_every_graph():
    network, x, params = fitted()
    graphs = [random_graph(0), random_graph(1)]
    found = network(params, x, batch_of(*graphs), training=False)
    assert found.shape == (2, N, C)
    for logits, A in zip(found, graphs, strict=True):
        mass = polynomial(normalize(torch.from_numpy(A)), start())
        torch.testing.assert_close(logits, logits_of(mass, mass.mean()), **CLOSE)


def test_the_recursion_is_pygs_appnp():
    network, x, params = fitted()
    A = random_graph(2)
    index = torch.from_numpy(np.stack(A.nonzero()))
    expected = APPNP(K=N_HOPS, alpha=TELEPORT).double()(start(), index)
    torch.testing.assert_close(network.hidden(params, x, batch_of(A))[0], expected, **CLOSE)


def test_a_node_that_no_label_reaches_gets_equal_probabilities():
    network, x, _ = fitted()  # node 0 has no neighbour; here it has no label either
    params = fit_label_pagerank(network, x, LABELS, ROWS[1:])
    probs = network(params, x, batch_of(random_graph(0)), training=False)[0].softmax(1)
    torch.testing.assert_close(probs[0], torch.full((C,), 1 / C, dtype=torch.float64), **CLOSE)
    assert bool(probs.isfinite().all())
    fresh = network.init(torch.Generator(), torch.float64, torch.device("cpu"))
    none = network(fresh, x, batch_of(random_graph(0)), training=False).softmax(2)
    torch.testing.assert_close(none, torch.full((1, N, C), 1 / C, dtype=torch.float64), **CLOSE)


def test_features_are_not_read():
    network, x, params = fitted()
    other = node_features(random_features(seed=99), torch.float64)
    graph = batch_of(random_graph(1))
    one, two = (network(params, z, graph, training=False) for z in (x, other))
    assert torch.equal(one, two)


@pytest.mark.parametrize("kind", ["borrowed", "edges"])
def test_new_nodes_are_those_of_an_augmented_graph_written_out(kind):
    network, x, params = fitted()
    rng, A = np.random.default_rng(5), random_graph(1)
    nodes = np.stack([rng.choice(N, 3, replace=False) for _ in range(4)])
    q = rng.random((4, 3))
    q = q / q.sum(1, keepdims=True) if kind == "borrowed" else 2 * q
    to = (torch.from_numpy(nodes), torch.from_numpy(q))
    new = node_features(random_features(n=4, seed=8), torch.float64)
    edges = (BorrowedEdges if kind == "borrowed" else NewEdges)(*to)
    found = network.attach(params, x, batch_of(A), new, edges)
    mixed = np.zeros((4, N))
    np.put_along_axis(mixed, nodes, q, axis=1)
    matrix = attached(A, mixed @ A if kind == "borrowed" else mixed)
    mass = polynomial(matrix, torch.cat([start(), torch.zeros(4, C, dtype=torch.float64)]))
    torch.testing.assert_close(found[0], logits_of(mass[N:], mass[:N].mean()), **CLOSE)


def test_scaled_params_scale_the_logits():
    network, x, params = fitted()
    graph = batch_of(random_graph(0))
    found = network(network.scaled(params, 2.5), x, graph, training=False)
    torch.testing.assert_close(found, 2.5 * network(params, x, graph, training=False), **CLOSE)
    assert float(network.penalty(params)) == 0
