"""The deep SAGE against formulas written out with dense matrices, and PyG's SAGEConv."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.nn import SAGEConv

from lds.graphs.batch import Products
from lds.graphs.candidates import AllPairs
from lds.nn.deep_sage import DeepSAGE
from lds.nn.features import drop, node_features
from lds.nn.new_nodes import BorrowedEdges, NewEdges
from tests.nn.small import CPU, C, F, H, N, batch_of, random_features, random_graph
from tests.nn.test_pagerank import CLOSE
from tests.nn.test_sage import means, random_weights, weighted

DEPTH = 3
NETWORK = DeepSAGE(F, H, C, depth=DEPTH)


def weights(seed: int = 0) -> dict[str, Tensor]:
    """Weights with biases, scales and shifts that are not those of the start."""
    generator = torch.Generator().manual_seed(seed)
    w = NETWORK.init(generator, torch.float64, CPU)
    moved = {"c", "biases", "scales", "shifts", "b"}
    return {
        name: leaf + torch.randn(leaf.shape, dtype=leaf.dtype, generator=generator) / 2
        if name in moved
        else leaf
        for name, leaf in w.items()
    }


def normalized(h: Tensor, w: dict[str, Tensor], layer: int) -> Tensor:
    centred = h - h.mean(1, keepdim=True)
    variance = centred.square().mean(1, keepdim=True)
    return centred / (variance + 1e-5).sqrt() * w["scales"][layer] + w["shifts"][layer]


def by_hand(M: Tensor, x: Tensor, w: dict[str, Tensor], masks: list[Tensor] | None = None):
    h = torch.relu(x @ w["U"] + w["c"])
    for layer in range(DEPTH):
        z = normalized(h, w, layer)
        own, other = w["layers"][layer][:, :H], w["layers"][layer][:, H:]
        out = torch.relu(z @ own + M @ z @ other + w["biases"][layer])
        h = h + (out if masks is None else out * masks[layer])
    return normalized(h, w, DEPTH) @ w["W"] + w["b"]


@pytest.mark.parametrize("sparse", [False, True], ids=["dense-x", "sparse-x"])
def test_logits_are_those_of_pygs_layers(sparse):
    x, A, w = random_features(sparse=sparse), random_graph(0), weights()
    logits = NETWORK(w, node_features(x, torch.float64), batch_of(A), training=False)
    index = torch.from_numpy(np.stack(A.nonzero()))
    with torch.no_grad():
        h = torch.relu(torch.from_numpy(x) @ w["U"] + w["c"])
        for k in range(DEPTH):
            layer = SAGEConv(H, H).double()
            layer.lin_r.weight.copy_(w["layers"][k][:, :H].t())
            layer.lin_l.weight.copy_(w["layers"][k][:, H:].t())
            layer.lin_l.bias.copy_(w["biases"][k])
            h = h + layer(normalized(h, w, k), index).relu()
        expected = normalized(h, w, DEPTH) @ w["W"] + w["b"]
    assert logits.shape == (1, N, C)
    torch.testing.assert_close(logits[0], expected, **CLOSE)


def test_logits_on_an_expected_graph_and_in_a_batch_are_those_of_the_formula():
    x, w, A = random_features(), weights(), random_weights()
    features = node_features(x, torch.float64)
    logits = NETWORK(w, features, weighted(A), training=False)
    expected = by_hand(means(torch.from_numpy(A)), torch.from_numpy(x), w)
    torch.testing.assert_close(logits[0], expected, **CLOSE)
    graphs = [random_graph(seed) for seed in range(3)]
    together = NETWORK(w, features, batch_of(*graphs), training=False)
    for found, A in zip(together, graphs, strict=True):
        expected = by_hand(means(torch.from_numpy(A)), torch.from_numpy(x), w)
        torch.testing.assert_close(found, expected, **CLOSE)


def test_training_drops_entries_of_x_and_of_every_layer():
    x, A, w = random_features(), random_graph(4), weights()
    network = DeepSAGE(F, H, C, 0.4, input_dropout=0.1, depth=DEPTH)
    torch.manual_seed(3)
    logits = network(w, node_features(x, torch.float64), batch_of(A), training=True)
    torch.manual_seed(3)
    seen = torch.from_numpy(x) * drop(torch.ones(N, F, dtype=torch.float64), 0.1)
    masks = [drop(torch.ones(N, H, dtype=torch.float64), 0.4) for _ in range(DEPTH)]
    expected = by_hand(means(torch.from_numpy(A)), seen, w, masks)
    torch.testing.assert_close(logits[0], expected, **CLOSE)


def test_fresh_weights_follow_the_generator_and_layers_differ():
    one, again = (
        NETWORK.init(torch.Generator().manual_seed(5), torch.float32, CPU) for _ in range(2)
    )
    assert all(torch.equal(one[name], again[name]) for name in one)
    parts = torch.stack([part for layer in one["layers"] for part in layer.split(H, 1)])
    assert len({float(part.sum()) for part in parts}) == 2 * DEPTH
    assert float(parts.abs().max()) <= (6 / (2 * H)) ** 0.5
    assert [float(one[name].abs().max()) for name in ("c", "biases", "shifts", "b")] == [0] * 4
    assert bool((one["scales"] == 1).all())


def test_the_penalty_is_of_the_first_layer_and_scaled_params_scale_the_logits():
    w, features = weights(), node_features(random_features(), torch.float64)
    assert float(NETWORK.penalty(w)) == pytest.approx(float(w["U"].square().sum()) / 2, rel=1e-12)
    graph = batch_of(random_graph(0))
    logits = NETWORK(w, features, graph, training=False)
    found = NETWORK(NETWORK.scaled(w, 2.5), features, graph, training=False)
    torch.testing.assert_close(found, 2.5 * logits, **CLOSE)


def test_derivatives_by_the_weights_are_those_of_finite_differences():
    features, w = node_features(random_features(), torch.float64), weights()
    graph = weighted(random_weights())
    leaves = [leaf.requires_grad_() for leaf in w.values()]

    def loss(*values: Tensor) -> Tensor:
        params = dict(zip(w, values, strict=True))
        logits = NETWORK(params, features, graph, training=False)
        return logits.log_softmax(2)[:, ::2, 0].mean()

    assert torch.autograd.gradcheck(loss, leaves, fast_mode=True)


def test_a_gradient_by_edges_is_refused():
    graph = replace(batch_of(random_graph(0)), products=Products(AllPairs(N)))
    features = node_features(random_features(), torch.float64)
    with torch.enable_grad(), pytest.raises(ValueError, match="use the backbone SAGEConv"):
        NETWORK(weights(), features, graph, training=False)


@pytest.mark.parametrize("graph", ["drawn", "expected"])
@pytest.mark.parametrize("kind", ["borrowed", "edges"])
def test_new_nodes_are_those_of_the_formula(kind, graph):
    rng, w = np.random.default_rng(5), weights()
    x, new = random_features(), random_features(n=4, seed=8)
    stack = [random_graph(0), random_graph(1)] if graph == "drawn" else [random_weights()]
    nodes = np.stack([rng.choice(N, 3, replace=False) for _ in range(4)])
    q = rng.random((4, 3))
    q = q / q.sum(1, keepdims=True) if kind == "borrowed" else 2 * q
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
        whole = np.zeros((N + 4, N + 4))  # edges lead to the new nodes only
        whole[:N, :N], whole[N:, :N] = A, mixed @ A if kind == "borrowed" else mixed
        expected = by_hand(means(torch.from_numpy(whole)), both, w)[N:]
        torch.testing.assert_close(logits, expected, **CLOSE)
