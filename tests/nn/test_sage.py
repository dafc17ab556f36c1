"""SAGE against PyG's SAGEConv, formulas written out with dense matrices, and finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.nn import SAGEConv

from lds.graphs.batch import Products, graph_batch, weighted_graph
from lds.graphs.candidates import AllPairs
from lds.nn.features import DenseFeatures, SparseFeatures, drop, node_features
from lds.nn.new_nodes import BorrowedEdges, NewEdges
from lds.nn.sage import SAGE, neighbour_mean
from tests.nn.small import CPU, C, F, H, N, batch_of, random_features, random_graph
from tests.nn.test_pagerank import CLOSE, weights

NETWORK = SAGE(F, H, C)


def means(A: Tensor) -> Tensor:
    """M: the rows of A divided by their sums where these are above 1."""
    return A / A.sum(1, keepdim=True).clamp(min=1)


def by_hand(M: Tensor, x: Tensor, w: dict[str, Tensor]) -> Tensor:
    h = torch.relu(x @ w["W1"] + M @ x @ w["V1"] + w["b1"])
    return h @ w["W2"] + M @ h @ w["V2"] + w["b2"]


def random_weights(seed: int = 0) -> np.ndarray:
    """Edge weights in [0, 1]: sums above and below 1, a node without an edge, a weight of 0."""
    A = np.triu(random_graph(seed) * (1 - np.random.default_rng(seed).random((N, N)) / 2), 1)
    A[1], A[:, 1] = 0.05 * A[1], 0.05 * A[:, 1]
    A[tuple(np.argwhere(A)[-1])] = 0
    return A + A.T


def weighted(A: np.ndarray):
    """With the pairs of weight 0 listed as well."""
    row, col = np.triu_indices(N, 1)
    parts = (torch.from_numpy(part) for part in (row, col, A[row, col]))
    return weighted_graph(*parts, N)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense-x", "sparse-x"])
def test_logits_are_those_of_two_layers_of_pygs_sageconv(sparse):
    x, A, w = random_features(sparse=sparse), random_graph(0), weights(NETWORK)
    features = node_features(x, torch.float64)
    assert isinstance(features, SparseFeatures if sparse else DenseFeatures)
    logits = NETWORK(w, features, batch_of(A), training=False)
    first, second = SAGEConv(F, H).double(), SAGEConv(H, C).double()
    with torch.no_grad():
        for k, layer in enumerate((first, second), 1):
            layer.lin_l.weight.copy_(w[f"V{k}"].t())
            layer.lin_l.bias.copy_(w[f"b{k}"])
            layer.lin_r.weight.copy_(w[f"W{k}"].t())
        index = torch.from_numpy(np.stack(A.nonzero()))
        hidden = first(torch.from_numpy(x), index).relu()
        expected = second(hidden, index)
    assert logits.shape == (1, N, C)
    torch.testing.assert_close(logits[0], expected, **CLOSE)
    torch.testing.assert_close(NETWORK.hidden(w, features, batch_of(A))[0], hidden, **CLOSE)


def test_logits_on_an_expected_graph_are_those_of_the_formula():
    x, A, w = random_features(), random_weights(), weights(NETWORK)
    sums = A.sum(1)
    assert (sums > 1).any()
    assert ((sums > 0) & (sums < 1)).any()
    assert (sums == 0).any()
    logits = NETWORK(w, node_features(x, torch.float64), weighted(A), training=False)
    expected = by_hand(means(torch.from_numpy(A)), torch.from_numpy(x), w)
    torch.testing.assert_close(logits[0], expected, **CLOSE)


def test_a_batch_of_graphs_equals_a_loop_over_them():
    features, w = node_features(random_features(), torch.float64), weights(NETWORK)
    graphs = [random_graph(seed) for seed in range(4)]
    together = NETWORK(w, features, batch_of(*graphs), training=False)
    hidden = NETWORK.hidden(w, features, batch_of(*graphs))
    assert together.shape == (4, N, C)
    assert hidden.shape == (4, N, H)
    for logits, mine, A in zip(together, hidden, graphs, strict=True):
        (alone,) = NETWORK(w, features, batch_of(A), training=False)
        torch.testing.assert_close(logits, alone, **CLOSE)
        torch.testing.assert_close(mine, NETWORK.hidden(w, features, batch_of(A))[0], **CLOSE)


def test_relabelled_nodes_have_relabelled_logits():
    x, A, w = random_features(), random_graph(1), weights(NETWORK)
    order = np.random.default_rng(3).permutation(N)
    logits = NETWORK(w, node_features(x, torch.float64), batch_of(A), training=False)
    moved = node_features(x[order], torch.float64)
    found = NETWORK(w, moved, batch_of(A[np.ix_(order, order)]), training=False)
    torch.testing.assert_close(found, logits[:, order], **CLOSE)


def test_a_node_without_neighbours_is_predicted_from_its_features():
    x, w = random_features(), weights(NETWORK)
    logits = NETWORK(w, node_features(x, torch.float64), batch_of(random_graph(0)), training=False)
    row = torch.from_numpy(x[0])
    expected = torch.relu(row @ w["W1"] + w["b1"]) @ w["W2"] + w["b2"]
    torch.testing.assert_close(logits[0, 0], expected, **CLOSE)


def test_the_mean_at_a_hub_of_100_000_edges_is_exact_in_single_precision():
    n = 100_001
    leaf = torch.arange(1, n)
    hub = torch.zeros_like(leaf)
    graph = graph_batch(hub, hub, leaf, 1, n, torch.float32)
    z = torch.rand(n, 2, generator=torch.Generator().manual_seed(0))
    found = neighbour_mean(graph, z)
    exact = z[1:].double().mean(0)
    # Sums of 1e5 numbers of order 1 and the rounding of D̃^½, relative to the mean.
    torch.testing.assert_close(found[0].double(), exact, rtol=1e-5, atol=0)
    torch.testing.assert_close(found[1:], z[:1].expand(n - 1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("of_first", [None, 0.1])
def test_training_drops_entries_of_x_and_of_the_hidden_layer(of_first):
    x, A = random_features(), random_graph(4)
    network = SAGE(F, H, C, dropout=0.4, input_dropout=of_first)
    w = weights(network)
    torch.manual_seed(3)
    logits = network(w, node_features(x, torch.float64), batch_of(A), training=True)
    torch.manual_seed(3)
    of_x = drop(torch.ones(N, F, dtype=torch.float64), of_first or 0.4)
    of_hidden = drop(torch.ones(N, H, dtype=torch.float64), 0.4)
    M, seen = means(torch.from_numpy(A)), torch.from_numpy(x) * of_x
    hidden = torch.relu(seen @ w["W1"] + M @ seen @ w["V1"] + w["b1"]) * of_hidden
    expected = hidden @ w["W2"] + M @ hidden @ w["V2"] + w["b2"]
    torch.testing.assert_close(logits[0], expected, **CLOSE)
    state = torch.get_rng_state()
    network(w, node_features(x, torch.float64), batch_of(A), training=False)
    assert torch.equal(torch.get_rng_state(), state), "no dropout outside training"


def test_the_penalty_is_half_the_squared_norm_of_the_first_layer_without_biases():
    w = {"W1": torch.tensor([[1.0, 2.0]]), "V1": torch.tensor([[3.0, 4.0]])}
    w |= {name: torch.full((2,), 9.0) for name in ("b1", "W2", "V2", "b2")}
    assert float(SAGE(1, 2, 2).penalty(w)) == 15.0


def test_fresh_weights_follow_the_generator_and_biases_are_0():
    one, again = (
        NETWORK.init(torch.Generator().manual_seed(5), torch.float32, CPU) for _ in range(2)
    )
    assert set(one) == {"W1", "V1", "b1", "W2", "V2", "b2"}
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert float(one["b1"].abs().sum() + one["b2"].abs().sum()) == 0
    assert not torch.equal(one["W1"], one["V1"])
    assert float(one["W1"].abs().max()) <= (6 / (F + H)) ** 0.5


@pytest.mark.parametrize("sparse", [False, True], ids=["dense-x", "sparse-x"])
@pytest.mark.parametrize("kind", ["drawn", "expected"])
def test_derivatives_by_the_weights_are_those_of_finite_differences(sparse, kind):
    """First and second ones: the hypergradient of an inner step needs both."""
    features = node_features(random_features(sparse=sparse), torch.float64)
    two = batch_of(random_graph(0), random_graph(1))
    graph = two if kind == "drawn" else weighted(random_weights())
    w = weights(NETWORK)
    leaves = [leaf.requires_grad_() for leaf in w.values()]

    def loss(*values: Tensor) -> Tensor:
        params = dict(zip(w, values, strict=True))
        logits = NETWORK(params, features, graph, training=False)
        return logits.log_softmax(2)[:, ::2, 0].mean() + NETWORK.penalty(params)

    assert torch.autograd.gradcheck(loss, leaves)
    assert torch.autograd.gradgradcheck(loss, leaves)


def test_a_gradient_by_edges_is_refused():
    graph = replace(batch_of(random_graph(0)), products=Products(AllPairs(N)))
    features, w = node_features(random_features(), torch.float64), weights(NETWORK)
    with torch.enable_grad(), pytest.raises(ValueError, match="use the backbone SAGEConv"):
        NETWORK(w, features, graph, training=False)
    with torch.no_grad():
        NETWORK(w, features, graph, training=False)


@pytest.mark.parametrize("graph", ["drawn", "expected"])
@pytest.mark.parametrize("kind", ["borrowed", "edges"])
def test_new_nodes_are_those_of_the_formula(kind, graph):
    rng, w = np.random.default_rng(5), weights(NETWORK)
    x, new = random_features(), random_features(n=4, seed=8)
    stack = [random_graph(0), random_graph(1)] if graph == "drawn" else [random_weights()]
    nodes = np.stack([rng.choice(N, 3, replace=False) for _ in range(4)])
    q = rng.random((4, 3))
    q = q / q.sum(1, keepdims=True) if kind == "borrowed" else 2 * q
    q[0], q[1] = [1, 0, 0], q[1] / 8
    to = (torch.from_numpy(nodes), torch.from_numpy(q))
    found = NETWORK.attach(
        w,
        node_features(x, torch.float64),
        batch_of(*stack) if graph == "drawn" else weighted(*stack),
        node_features(new, torch.float64),
        (BorrowedEdges if kind == "borrowed" else NewEdges)(*to),
    )
    assert found.shape == (len(stack), 4, C)
    mixed = np.zeros((4, N))
    np.put_along_axis(mixed, nodes, q, axis=1)
    both = torch.from_numpy(np.concatenate([x, new]))
    for logits, A in zip(found, stack, strict=True):
        to_new = mixed @ A if kind == "borrowed" else mixed
        whole = np.zeros((N + 4, N + 4))  # edges lead to the new nodes only
        whole[:N, :N], whole[N:, :N] = A, to_new
        expected = by_hand(means(torch.from_numpy(whole)), both, w)[N:]
        torch.testing.assert_close(logits, expected, **CLOSE)


def test_a_new_node_without_edges_is_predicted_from_its_features():
    w, new = weights(NETWORK), random_features(n=2, seed=9)
    none = NewEdges(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.float64))
    features = node_features(random_features(), torch.float64)
    after = node_features(new, torch.float64)
    found = NETWORK.attach(w, features, batch_of(random_graph(0)), after, none)
    row = torch.from_numpy(new)
    expected = torch.relu(row @ w["W1"] + w["b1"]) @ w["W2"] + w["b2"]
    torch.testing.assert_close(found[0], expected, **CLOSE)


def test_scaled_params_scale_the_logits():
    w, features = weights(NETWORK), node_features(random_features(), torch.float64)
    graph = batch_of(random_graph(0))
    logits = NETWORK(w, features, graph, training=False)
    found = NETWORK(NETWORK.scaled(w, 2.5), features, graph, training=False)
    torch.testing.assert_close(found, 2.5 * logits, **CLOSE)


def test_the_mean_ignores_the_columns_of_other_graphs_of_a_batch():
    graphs = [random_graph(0), random_graph(1)]
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((2 * N, 2)))
    found = neighbour_mean(batch_of(*graphs), z)
    expected = [
        means(torch.from_numpy(A)) @ part for A, part in zip(graphs, z.split(N), strict=True)
    ]
    torch.testing.assert_close(found, torch.cat(expected), **CLOSE)
