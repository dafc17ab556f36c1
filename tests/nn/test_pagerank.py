"""PageRank against its closed form and PyG's APPNP, and new nodes against formulas written out."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric.nn import APPNP

from lds.graphs.batch import Products
from lds.graphs.candidates import AllPairs
from lds.graphs.product import factored_gradient
from lds.nn.ensemble import default_ensemble
from lds.nn.features import DenseFeatures, SparseFeatures, drop, node_features
from lds.nn.gcn import GCN
from lds.nn.new_nodes import BorrowedEdges, NewEdges
from lds.nn.pagerank import PageRank
from lds.nn.sage import SAGE
from tests.nn.small import CPU, C, F, H, N, batch_of, random_features, random_graph

# Sums of a few dozen float64 products in another order.
CLOSE = {"rtol": 1e-11, "atol": 1e-13}


def normalize(A: Tensor) -> Tensor:
    """D̃^-½(A+I)D̃^-½; A_ij counts for the degree of row i alone, see tests/graphs/test_product."""
    looped = A + torch.eye(len(A), dtype=A.dtype)
    scale = looped.sum(1).rsqrt()
    return scale[:, None] * looped * scale[None, :]


def weights(network, seed: int = 0) -> dict[str, Tensor]:
    """Fresh weights with biases that are not 0."""
    generator = torch.Generator().manual_seed(seed)
    w = network.init(generator, torch.float64, CPU)
    return {
        name: torch.randn(leaf.shape, dtype=leaf.dtype, generator=generator)
        if ".b" in f".{name}"
        else leaf
        for name, leaf in w.items()
    }


def own(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """Z_0, the perceptron."""
    return torch.relu(x @ w["W1"] + w["b1"]) @ w["W2"] + w["b2"]


def pagerank(a_hat: Tensor, x: Tensor, w: dict[str, Tensor], alpha: float, n_hops: int) -> Tensor:
    """((1-α)Â)^K Z_0 + α Σ_{k<K} ((1-α)Â)^k Z_0: the recursion written as one polynomial."""
    step = (1 - alpha) * a_hat
    powers = [torch.linalg.matrix_power(step, k) for k in range(n_hops + 1)]
    operator = powers[-1] + (alpha * torch.stack(powers[:-1])).sum(0)
    return operator @ own(x, w)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense-x", "sparse-x"])
@pytest.mark.parametrize(("alpha", "n_hops"), [(0.1, 10), (0.5, 3), (1.0, 1)])
def test_logits_are_those_of_the_closed_form(sparse, alpha, n_hops):
    x, A = random_features(sparse=sparse), random_graph(0)
    features = node_features(x, torch.float64)
    assert isinstance(features, SparseFeatures if sparse else DenseFeatures)
    network = PageRank(F, H, C, teleport=alpha, n_hops=n_hops)
    w = weights(network)
    logits = network(w, features, batch_of(A), training=False)
    expected = pagerank(normalize(torch.from_numpy(A)), torch.from_numpy(x), w, alpha, n_hops)
    assert logits.shape == (1, N, C)
    torch.testing.assert_close(logits[0], expected, **CLOSE)


def test_logits_are_those_of_pygs_appnp():
    x, A = torch.from_numpy(random_features()), random_graph(1)
    index = torch.from_numpy(np.stack(A.nonzero()))
    network = PageRank(F, H, C, teleport=0.2, n_hops=7)
    w = weights(network)
    logits = network(w, node_features(x.numpy(), torch.float64), batch_of(A), training=False)
    expected = APPNP(K=7, alpha=0.2).double()(own(x, w), index)
    torch.testing.assert_close(logits[0], expected, **CLOSE)


def test_many_hops_reach_the_fixed_point_of_personalised_pagerank():
    """α (I - (1-α) Â)^-1 Z_0; what is left after K hops shrinks as (1-α)^K."""
    x, A = random_features(), random_graph(2)
    network = PageRank(F, H, C, teleport=0.3, n_hops=100)
    w = weights(network)
    logits = network(w, node_features(x, torch.float64), batch_of(A), training=False)[0]
    system = torch.eye(N) - 0.7 * normalize(torch.from_numpy(A))
    expected = 0.3 * torch.linalg.solve(system, own(torch.from_numpy(x), w))
    torch.testing.assert_close(logits, expected, **CLOSE)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense-x", "sparse-x"])
def test_a_batch_of_graphs_equals_a_loop_over_them(sparse):
    network = PageRank(F, H, C)
    features, w = node_features(random_features(sparse=sparse), torch.float64), weights(network)
    graphs = [random_graph(seed) for seed in range(4)]
    together = network(w, features, batch_of(*graphs), training=False)
    hidden = network.hidden(w, features, batch_of(*graphs))
    assert together.shape == (4, N, C)
    assert hidden.shape == (4, N, H)
    for logits, mine, A in zip(together, hidden, graphs, strict=True):
        (alone,) = network(w, features, batch_of(A), training=False)
        torch.testing.assert_close(logits, alone, **CLOSE)
        expected = torch.relu(features.dense() @ w["W1"] + w["b1"])
        torch.testing.assert_close(mine, expected, **CLOSE)


@pytest.mark.parametrize("of_first", [None, 0.1])
def test_training_drops_entries_of_x_and_of_the_hidden_layer(of_first):
    x, A = random_features(), random_graph(4)
    network = PageRank(F, H, C, dropout=0.4, input_dropout=of_first)
    w = weights(network)
    torch.manual_seed(3)
    logits = network(w, node_features(x, torch.float64), batch_of(A), training=True)
    torch.manual_seed(3)
    of_x = drop(torch.ones(N, F, dtype=torch.float64), of_first or 0.4)
    of_hidden = drop(torch.ones(N, H, dtype=torch.float64), 0.4)
    hidden = torch.relu((torch.from_numpy(x) * of_x) @ w["W1"] + w["b1"]) * of_hidden
    z = first = hidden @ w["W2"] + w["b2"]
    for _ in range(10):
        z = 0.9 * normalize(torch.from_numpy(A)) @ z + 0.1 * first
    torch.testing.assert_close(logits[0], z, **CLOSE)
    state = torch.get_rng_state()
    network(w, node_features(x, torch.float64), batch_of(A), training=False)
    assert torch.equal(torch.get_rng_state(), state), "no dropout outside training"


def test_the_penalty_is_half_the_squared_norm_of_the_first_layer_without_biases():
    w = {"W1": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    w |= {name: torch.full((2,), 9.0) for name in ("b1", "W2", "b2")}
    assert float(PageRank(2, 2, 2).penalty(w)) == 15.0


# The gradient by edges


@pytest.mark.parametrize("n_draws", [1, 2])
def test_the_gradient_by_edges_equals_dense_autograd(n_draws):
    """Every hop is a product with Â: as factors, against A as a tensor that requires grad."""
    x = torch.from_numpy(random_features())
    network = PageRank(F, H, C, teleport=0.15, n_hops=4)
    w = {name: leaf.requires_grad_() for name, leaf in weights(network).items()}
    stack = [random_graph(seed) for seed in range(n_draws)]

    def value(logits: Tensor) -> Tensor:
        return torch.tanh(logits).pow(3).sum()

    products = Products(AllPairs(N))
    graph = replace(batch_of(*stack), products=products)
    with torch.enable_grad():
        found = value(network(w, node_features(x.numpy(), torch.float64), graph, training=False))
    grads = torch.autograd.grad(found, products.probes)
    factors = factored_gradient(graph, products, grads)
    assert factors is not None
    left, right = factors.factors()

    dense = [torch.from_numpy(A).requires_grad_() for A in stack]
    total = sum(value(pagerank(normalize(A), x, w, 0.15, 4)) for A in dense)
    torch.testing.assert_close(found, total, **CLOSE)
    expected = sum(g + g.T for g in torch.autograd.grad(total, dense))
    off = ~torch.eye(N, dtype=torch.bool)
    torch.testing.assert_close((left @ right.T)[off], expected[off], **CLOSE)


# New nodes

NETWORKS = {
    "gcn": GCN(F, H, C),
    "pagerank": PageRank(F, H, C, teleport=0.2, n_hops=4),
    "sage": SAGE(F, H, C),
    "committee": default_ensemble(F, H, C, 0.5),
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize("sparse", [False, True], ids=["dense-x", "sparse-x"])
def test_a_copy_of_a_node_has_its_logits(network, sparse):
    x, w = random_features(sparse=sparse), weights(network)
    graph = batch_of(random_graph(0), random_graph(1), random_graph(2))
    features, nodes = node_features(x, torch.float64), torch.tensor([[3, 5], [0, 1], [14, 2]])
    share = torch.tensor([[1.0, 0.0]] * 3, dtype=torch.float64)
    copies = node_features(x[[3, 0, 14]], torch.float64)
    found = network.attach(w, features, graph, copies, BorrowedEdges(nodes, share))
    logits = network(w, features, graph, training=False)
    torch.testing.assert_close(found, logits[:, [3, 0, 14]], **CLOSE)


def attached(A: np.ndarray, to_new: np.ndarray) -> Tensor:
    """Â with rows for the new nodes; its rows for the graph's nodes are unchanged."""
    n_new = len(to_new)
    scale = 1 / np.sqrt(A.sum(1) + 1)
    mine = 1 / np.sqrt(to_new.sum(1) + 1)
    whole = np.zeros((N + n_new, N + n_new))
    whole[:N, :N] = normalize(torch.from_numpy(A)).numpy()
    whole[N:, :N] = mine[:, None] * to_new * scale
    whole[N:, N:] = np.diag(mine**2)
    return torch.from_numpy(whole)


def by_hand(network, w, x: Tensor, matrix: Tensor) -> Tensor:
    """Logits of the new nodes with that matrix in the place of Â."""
    if isinstance(network, GCN):
        return (matrix @ torch.relu(matrix @ (x @ w["W1"])) @ w["W2"])[N:]
    return pagerank(matrix, x, w, network.teleport, network.n_hops)[N:]


@pytest.mark.parametrize("kind", ["borrowed", "edges"])
@pytest.mark.parametrize("name", ["gcn", "pagerank"])
def test_new_nodes_are_those_of_an_augmented_graph_written_out(name, kind):
    network, graphs = NETWORKS[name], [random_graph(0), random_graph(1)]
    rng, w = np.random.default_rng(5), weights(NETWORKS[name])
    x, new = random_features(), random_features(n=4, seed=8)
    nodes = np.stack([rng.choice(N, 3, replace=False) for _ in range(4)])
    q = rng.random((4, 3))
    q = q / q.sum(1, keepdims=True) if kind == "borrowed" else 2 * q
    q[0] = [1, 0, 0]
    to = (torch.from_numpy(nodes), torch.from_numpy(q))
    found = network.attach(
        w,
        node_features(x, torch.float64),
        batch_of(*graphs),
        node_features(new, torch.float64),
        (BorrowedEdges if kind == "borrowed" else NewEdges)(*to),
    )
    assert found.shape == (2, 4, C)
    whole = torch.from_numpy(np.concatenate([x, new]))
    for logits, A in zip(found, graphs, strict=True):
        mixed = np.zeros((4, N))
        np.put_along_axis(mixed, nodes, q, axis=1)
        edges = mixed @ A if kind == "borrowed" else mixed
        expected = by_hand(network, w, whole, attached(A, edges))
        torch.testing.assert_close(logits, expected, **CLOSE)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
def test_new_nodes_are_independent_and_can_be_predicted_in_parts(network):
    rng, w = np.random.default_rng(6), weights(network)
    features = node_features(random_features(), torch.float64)
    new = random_features(n=5, seed=9)
    edges = NewEdges(
        torch.from_numpy(np.stack([rng.choice(N, 3, replace=False) for _ in range(5)])),
        torch.from_numpy(rng.random((5, 3))),
    )
    graph = batch_of(random_graph(0), random_graph(1))

    def logits(rows: slice) -> Tensor:
        chunk = node_features(new[rows], torch.float64)
        return network.attach(w, features, graph, chunk, edges[rows])

    together = logits(slice(0, 5))
    alone = torch.cat([logits(slice(0, 2)), logits(slice(2, 5))], 1)
    torch.testing.assert_close(alone, together, **CLOSE)


def test_with_a_teleport_of_1_it_is_a_perceptron():
    network, x = PageRank(F, H, C, teleport=1.0), random_features()
    w, features = weights(network), node_features(x, torch.float64)
    graph = replace(batch_of(random_graph(0)), products=Products(AllPairs(N)))
    with torch.enable_grad():
        logits = network(w, features, graph, training=False)[0]
    torch.testing.assert_close(logits, own(torch.from_numpy(x), w), **CLOSE)
    assert graph.products is not None
    assert not graph.products.probes, "no product with the graph is made"
    edges = NewEdges(torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.float64))
    new = network.attach(w, features, graph, node_features(x[:1], torch.float64), edges)
    torch.testing.assert_close(new[0], logits[:1], **CLOSE)


def test_a_new_node_without_edges_is_predicted_from_its_features():
    network = NETWORKS["pagerank"]
    w, new = weights(network), random_features(n=2, seed=9)
    none = NewEdges(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.float64))
    found = network.attach(
        w,
        node_features(random_features(), torch.float64),
        batch_of(random_graph(0)),
        node_features(new, torch.float64),
        none,
    )
    torch.testing.assert_close(found[0], own(torch.from_numpy(new), w), **CLOSE)


def test_sparse_rows_of_scipy_are_accepted():
    network, w = NETWORKS["pagerank"], weights(NETWORKS["pagerank"])
    x, A = random_features(sparse=True), batch_of(random_graph(3))
    one, two = (
        network(w, node_features(form, torch.float64), A, training=False)
        for form in (x, sp.csr_array(x))
    )
    assert torch.equal(one, two)
