"""The GCN of eq. 9.2 against its formula in NumPy, and its invariances."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds.graphs.adjacency import normalize
from lds.nn.features import DenseFeatures, SparseFeatures, drop, node_features
from lds.nn.gcn import GCN
from tests.nn.small import CPU, C, F, H, N, batch_of, random_features, random_graph

# Sums of a few dozen float64 products in another order.
CLOSE = {"rtol": 1e-12, "atol": 1e-14}


def weights(network: GCN, seed: int = 0) -> dict[str, torch.Tensor]:
    return network.init(torch.Generator().manual_seed(seed), torch.float64, CPU)


def formula(x: np.ndarray, A: np.ndarray, w: dict[str, torch.Tensor]) -> np.ndarray:
    """Â ReLU(Â X W1) W2, with Â of scipy's making."""
    a_hat = normalize(sp.csr_array(A)).toarray()
    hidden = np.maximum(a_hat @ x @ w["W1"].numpy(), 0)
    return a_hat @ hidden @ w["W2"].numpy()


@pytest.mark.parametrize("sparse", [False, True], ids=["dense-x", "sparse-x"])
def test_logits_are_those_of_the_formula(sparse):
    x, A, network = random_features(sparse), random_graph(0), GCN(F, H, C)
    features = node_features(x, torch.float64)
    assert isinstance(features, SparseFeatures if sparse else DenseFeatures)
    w = weights(network)
    logits = network(w, features, batch_of(A), training=False)
    assert logits.shape == (1, N, C)
    torch.testing.assert_close(logits[0], torch.from_numpy(formula(x, A, w)), **CLOSE)


def test_relabelling_the_nodes_relabels_the_logits():
    x, A, network = random_features(), random_graph(1), GCN(F, H, C)
    order = np.random.default_rng(2).permutation(N)
    w = weights(network)
    before = network(w, node_features(x, torch.float64), batch_of(A), training=False)
    renamed = node_features(x[order], torch.float64)
    after = network(w, renamed, batch_of(A[np.ix_(order, order)]), training=False)
    torch.testing.assert_close(after[0], before[0][order], **CLOSE)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense-x", "sparse-x"])
def test_a_batch_of_graphs_equals_a_loop_over_them(sparse):
    network = GCN(F, H, C)
    features, w = node_features(random_features(sparse), torch.float64), weights(network)
    graphs = [random_graph(seed) for seed in range(4)]
    together = network(w, features, batch_of(*graphs), training=False)
    assert together.shape == (4, N, C)
    for logits, A in zip(together, graphs, strict=True):
        (alone,) = network(w, features, batch_of(A), training=False)
        torch.testing.assert_close(logits, alone, **CLOSE)


def test_sparse_features_give_the_logits_and_gradients_of_dense_ones():
    x, network, graph = random_features(sparse=True), GCN(F, H, C), batch_of(random_graph(3))
    forms = (
        DenseFeatures(torch.from_numpy(x)),
        SparseFeatures(sp.csr_array(x), torch.float64, CPU),
    )
    found = []
    for features in forms:
        w = {k: p.requires_grad_() for k, p in weights(network).items()}
        logits = network(w, features, graph, training=False)
        grads = torch.autograd.grad(logits.sin().sum(), list(w.values()), create_graph=True)
        curvature = torch.autograd.grad(sum(g.square().sum() for g in grads), list(w.values()))
        found.append([logits, *grads, *curvature])
    for dense, sparse in zip(*found, strict=True):
        torch.testing.assert_close(dense, sparse, **CLOSE)


@pytest.mark.parametrize("of_first", [None, 0.1])
def test_training_drops_entries_of_x_and_of_the_hidden_layer(of_first):
    """With the masks drawn again from the same state, the formula with them put in."""
    x, A = random_features(), random_graph(4)
    network = GCN(F, H, C, dropout=0.4, input_dropout=of_first)
    w = weights(network)
    torch.manual_seed(3)
    logits = network(w, node_features(x, torch.float64), batch_of(A), training=True)
    torch.manual_seed(3)
    of_x = drop(torch.ones(N, F, dtype=torch.float64), of_first or 0.4).numpy()
    of_hidden = drop(torch.ones(N, H, dtype=torch.float64), 0.4).numpy()
    a_hat = normalize(sp.csr_array(A)).toarray()
    hidden = np.maximum(a_hat @ (x * of_x) @ w["W1"].numpy(), 0) * of_hidden
    expected = torch.from_numpy(a_hat @ hidden @ w["W2"].numpy())
    torch.testing.assert_close(logits[0], expected, **CLOSE)


def test_no_dropout_outside_training_and_none_at_zero():
    features, graph = node_features(random_features(), torch.float64), batch_of(random_graph(5))
    network, certain = GCN(F, H, C, dropout=0.5), GCN(F, H, C, dropout=0.0)
    w = weights(network)
    state = torch.get_rng_state()
    first = network(w, features, graph, training=False)
    assert torch.equal(first, certain(w, features, graph, training=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, network(w, features, graph, training=True))


def test_the_penalty_is_half_the_squared_norm_of_the_first_layer():
    network = GCN(2, 2, 2)
    w = {"W1": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "W2": torch.full((2, 2), 9.0)}
    assert float(network.penalty(w)) == 15.0


def test_fresh_weights_are_uniform_within_glorots_bounds():
    network = GCN(300, 100, 7)
    w = network.init(torch.Generator().manual_seed(0), torch.float32, CPU)
    for name, (n_in, n_out) in {"W1": (300, 100), "W2": (100, 7)}.items():
        bound = (6 / (n_in + n_out)) ** 0.5
        values = w[name].double()
        assert values.shape == (n_in, n_out)
        assert w[name].dtype == torch.float32
        assert float(values.abs().max()) <= bound * (1 + 1e-6)
        n = values.numel()
        # Mean 0 and variance bound²/3; the sample's standard errors of both, times four.
        assert abs(float(values.mean())) <= 4 * bound / (3 * n) ** 0.5
        error = abs(float(values.square().mean()) - bound**2 / 3)
        assert error <= 4 * bound**2 * (4 / 45 / n) ** 0.5


def test_fresh_weights_follow_the_generator_alone():
    network = GCN(F, H, C)
    before = torch.get_rng_state()
    assert all(torch.equal(weights(network)[k], weights(network)[k]) for k in ("W1", "W2"))
    assert not torch.equal(weights(network, 0)["W1"], weights(network, 1)["W1"])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_hidden_layer_is_that_of_the_formula():
    x, graphs, network = random_features(), [random_graph(0), random_graph(1)], GCN(F, H, C)
    w = weights(network)
    found = network.hidden(w, node_features(x, torch.float64), batch_of(*graphs)).numpy()
    for k, A in enumerate(graphs):
        a_hat = normalize(sp.csr_array(A)).toarray()
        np.testing.assert_allclose(found[k], np.maximum(a_hat @ x @ w["W1"].numpy(), 0), **CLOSE)
