"""Networks of PyG's convolutions: PyG's own values, weight 0 as no edge, and true derivatives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.nn import APPNP, GATv2Conv, GCNConv, GINConv, SAGEConv

from lds.bilevel.descent import GradientDescent
from lds.bilevel.unroll import hypergradient
from lds.graphs.batch import Products, graph_batch
from lds.graphs.candidates import AllPairs, PairList
from lds.graphs.edge_weights import PairGradient, weighted_edges
from lds.nn.features import node_features
from lds.nn.gcn import GCN
from lds.nn.new_nodes import BorrowedEdges, NewEdges
from lds.nn.pyg import LAYERS
from lds.nn.registry import BACKBONES, build, check_backbone

N, F, H, C = 9, 4, 5, 3
CPU = torch.device("cpu")
NAMES = list(LAYERS)
# Sums of a few dozen float64 products in another order.
CLOSE = {"rtol": 1e-10, "atol": 1e-12}

_rng = np.random.default_rng(0)
X = _rng.standard_normal((N, F))
PAIRS = np.array([(i, j) for i in range(N) for j in range(i + 1, N) if _rng.random() < 0.6])
RING = {tuple(sorted((i, (i + 1) % N))) for i in range(N)}


def graph_of(pairs, candidates=None, n_draws=1):
    """The ring and every second of `pairs`: no node is without an edge."""
    chosen = sorted(RING | {tuple(pair) for pair in pairs[::2].tolist()})
    index = torch.tensor(chosen * n_draws)
    draw = torch.arange(n_draws).repeat_interleave(len(chosen))
    graph = graph_batch(draw, index[:, 0], index[:, 1], n_draws, N, torch.float64)
    return replace(graph, products=None if candidates is None else Products(candidates))


def listed():
    keys = {int(i * N + j) for i, j in PAIRS} | {i * N + j for i, j in RING}
    return PairList(N, np.array(sorted(keys)))


def network(name, seed=0):
    made = build(name, F, H, C, dropout=0.5)
    return made, made.init(torch.Generator().manual_seed(seed), torch.float64, CPU)


def drawn_edge_index(graph):
    _, row, col = graph.edges()
    return torch.stack([torch.cat([row, col]), torch.cat([col, row])])


def gin(n_in, n_out):
    return GINConv(nn.Sequential(nn.Linear(n_in, n_out), nn.ReLU(), nn.Linear(n_out, n_out)))


def of_pyg(name, made, params):
    """The same two layers as PyG has them, on edges without weights."""
    stock = {"SAGEConv": SAGEConv, "GINConv": gin, "GATv2Conv": GATv2Conv}

    def layer(which, n_in, n_out):
        mine = {k.removeprefix(f"{which}."): w for k, w in params.items() if k.startswith(which)}
        if name == "GINConv":
            mine = {
                k.replace("first.", "nn.0.").replace("second.", "nn.2."): w for k, w in mine.items()
            }
        if name in stock:
            conv = stock[name](n_in, n_out)
            buffers = {k: v for k, v in conv.state_dict().items() if k not in mine}
            conv.load_state_dict(mine | buffers)
            return conv.double()
        if name == "APPNP":
            linear = nn.Linear(n_in, n_out)
            linear.load_state_dict(mine)
            linear = linear.double()
            if which == "first":
                return lambda x, index: linear(x)
            return lambda x, index: APPNP(K=10, alpha=0.1)(linear(x), index)
        conv = made._layers[which]
        conv.load_state_dict(mine | {k: v for k, v in conv.state_dict().items() if k not in mine})
        return conv

    first, second = layer("first", F, H), layer("second", H, C)
    return lambda x, index: second(first(x, index).relu(), index)


@pytest.mark.parametrize("name", NAMES)
def test_on_a_drawn_graph_the_logits_are_pygs_own(name):
    made, params = network(name)
    graph = graph_of(PAIRS)
    assert not list(made._layers.buffers()), "all it needs is in its weights"
    logits = made(params, node_features(X, torch.float64), graph, training=False)
    with torch.no_grad():
        expected = of_pyg(name, made, params)(torch.from_numpy(X), drawn_edge_index(graph))
    torch.testing.assert_close(logits[0], expected, **CLOSE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("candidates", [listed(), AllPairs(N)], ids=["list", "all"])
def test_an_edge_of_weight_0_is_no_edge(name, candidates):
    made, params = network(name)
    features = node_features(X, torch.float64)
    plain, recorded = graph_of(PAIRS), graph_of(PAIRS, candidates)
    ((index, weight),) = weighted_edges(replace(recorded, products=Products(candidates)))
    assert index.shape[1] > 2 * len(plain.edges()[0]), "there are pairs that were not drawn"
    assert set(weight.tolist()) == {0.0, 1.0}
    logits = made(params, features, recorded, training=False)
    torch.testing.assert_close(
        logits.detach(), made(params, features, plain, training=False), **CLOSE
    )
    assert len(recorded.products.weights) == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_by_pairs_is_the_derivative_through_an_inner_step(name, monkeypatch):
    """E(w - η ∇L(w, a), a) by every pair's weight a, drawn or not, by central differences."""
    made, params = network(name)
    features, candidates = node_features(X, torch.float64), listed()
    labels = torch.arange(N) % C

    def loss(graph, w, rows):
        logits = made(w, features, graph, training=False)[0]
        return nn.functional.cross_entropy(logits[rows], labels[rows])

    class Owner:
        def record(self):
            return Recorder()

    class Recorder:
        def __init__(self):
            self.graph = graph_of(PAIRS, candidates)

        def inputs(self):
            return self.graph.products.weights

        def gradient(self, grads):
            parts = [PairGradient(g) for g in grads if g is not None]
            return sum(parts[1:], parts[0]) if parts else None

    def graph_in(hyper):
        return getattr(hyper["edges"], "graph", None) or graph_of(PAIRS)

    rows, others = torch.arange(0, 5), torch.arange(5, N)
    dynamics = GradientDescent(lambda w, lam: loss(graph_in(lam), w, rows), lr=0.3)
    found = hypergradient(
        dynamics, lambda w, lam: loss(graph_in(lam), w, others), params, {"edges": Owner()}, 1
    ).grad["edges"]

    ((_, both),) = weighted_edges(graph_of(PAIRS, candidates))
    a = both.detach()[: candidates.n_pairs].clone()

    def outer(values):
        def edges(graph):
            ((index, _),) = weighted_edges(replace(graph, products=Products(candidates)))
            return [(index, torch.cat([values, values]))]

        monkeypatch.setattr("lds.nn.pyg.weighted_edges", edges)
        w = {k: p.clone().requires_grad_() for k, p in params.items()}
        with torch.enable_grad():
            inner = loss(graph_of(PAIRS), w, rows)
            grads = torch.autograd.grad(
                inner, list(w.values()), materialize_grads=True, allow_unused=True
            )
            stepped = {k: p - 0.3 * g for (k, p), g in zip(w.items(), grads, strict=True)}
            return float(loss(graph_of(PAIRS), stepped, others).detach())

    h, numeric = 1e-5, torch.zeros_like(a)
    for k in range(candidates.n_pairs):
        e = torch.zeros_like(a)
        e[k] = h
        numeric[k] = (outer(a + e) - outer(a - e)) / (2 * h)
    monkeypatch.undo()
    assert (a == 0).any()
    assert numeric[a == 0].abs().max() > 1e-4, "pairs that were not drawn have a derivative, too"
    # Central differences: h² times a third derivative, and rounding of 1e-16 / h.
    torch.testing.assert_close(found.values, numeric, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_a_node_without_edges_has_a_finite_derivative_or_is_refused(name):
    made, params = network(name)
    keys = np.array([0 * N + 1, 0 * N + 2, 1 * N + 2, 7 * N + 8])
    edge = torch.tensor([0]), torch.tensor([0]), torch.tensor([1])  # 7 and 8 are without
    graph = replace(graph_batch(*edge, 1, N, torch.float64), products=Products(PairList(N, keys)))
    w = {k: p.clone().requires_grad_() for k, p in params.items()}
    logits = made(w, node_features(X, torch.float64), graph, training=False)
    first = torch.autograd.grad(
        logits.square().sum(), list(w.values()), create_graph=True, materialize_grads=True
    )
    total = sum(g.square().sum() for g in first)
    grads = torch.autograd.grad(total, graph.products.weights, allow_unused=True)
    finite = all(bool(g.isfinite().all()) for g in grads if g is not None)
    assert finite == (not BACKBONES[name].needs_connected)
    if not finite:
        with pytest.raises(ValueError, match="needs connected=True"):
            check_backbone(name, connected=False)
    check_backbone(name, connected=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_graphs_is_each_graph_and_weights_follow_the_generator(name):
    made, params = network(name)
    features = node_features(X, torch.float64)
    one = made(params, features, graph_of(PAIRS), training=False)
    three = made(params, features, graph_of(PAIRS, n_draws=3), training=False)
    torch.testing.assert_close(three, one.expand(3, N, C), **CLOSE)
    before = torch.get_rng_state()
    (_, again), (_, other) = network(name), network(name, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(again[k], params[k]) for k in params)
    assert any(not torch.equal(other[k], params[k]) for k in params)
    expected = sum(
        float((w**2).sum()) for k, w in params.items() if k[:6] == "first." and w.ndim > 1
    )
    assert float(made.penalty(params)) == pytest.approx(expected / 2)


def test_gcnconv_is_the_librarys_own_gcn_also_for_new_nodes():
    made, params = network("GCNConv")
    own = GCN(F, H, C)
    mine = {"W1": params["first.lin.weight"].t(), "W2": params["second.lin.weight"].t()}
    features, graph = node_features(X, torch.float64), graph_of(PAIRS, n_draws=2)
    params = {k: torch.zeros_like(w) if k.endswith("bias") else w for k, w in params.items()}
    torch.testing.assert_close(
        made(params, features, graph, training=False),
        own(mine, features, graph, training=False),
        **CLOSE,
    )
    new = node_features(np.random.default_rng(5).standard_normal((4, F)), torch.float64)
    near = torch.tensor([[0, 1], [1, 2], [5, 0], [8, 3]])
    q = torch.tensor([[0.5, 0.5], [0.9, 0.1], [1.0, 0.0], [0.3, 0.7]]).double()
    like = BorrowedEdges(near, q)
    torch.testing.assert_close(
        made.attach(params, features, graph, new, like),
        own.attach(mine, features, graph, new, like),
        **CLOSE,
    )


@pytest.mark.parametrize("name", NAMES)
def test_new_nodes_change_neither_the_graph_nor_each_other(name):
    made, params = network(name)
    features, graph = node_features(X, torch.float64), graph_of(PAIRS)
    rows = np.random.default_rng(5).standard_normal((3, F))
    near = torch.tensor([[0, 1], [1, 2], [5, 0]])
    q = torch.tensor([[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]]).double()
    new, like = node_features(rows, torch.float64), BorrowedEdges(near, q)
    if name == "ChebConv":
        with pytest.raises(ValueError, match="'ChebConv' cannot predict new rows"):
            made.attach(params, features, graph, new, like)
        return
    together = made.attach(params, features, graph, new, like)
    for k in range(3):
        new = node_features(rows[k : k + 1], torch.float64)
        alone = made.attach(params, features, graph, new, like[k : k + 1])
        torch.testing.assert_close(alone, together[:, k : k + 1], **CLOSE)
    plain = made(params, features, graph, training=False)
    copies = made.attach(
        params,
        features,
        graph,
        node_features(X[[5, 0]], torch.float64),
        BorrowedEdges(
            torch.tensor([[5, 1], [3, 0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double()
        ),
    )
    torch.testing.assert_close(copies, plain[:, [5, 0]], **CLOSE)
    # The third new node is like node 5 alone: PyG's own layers, with the edges of 5 led to it, too.
    x = torch.cat([torch.from_numpy(X), torch.from_numpy(rows[2:])])
    index = drawn_edge_index(graph)
    of_5 = index[0][index[1] == 5]
    index = torch.cat([index, torch.stack([of_5, torch.full_like(of_5, N)])], 1)
    with torch.no_grad():
        whole = of_pyg(name, made, params)(x, index)
    torch.testing.assert_close(together[0, 2], whole[N], **CLOSE)
    torch.testing.assert_close(whole[:N], plain[0], **CLOSE)


def test_convolutions_of_pyg_refuse_new_edges():
    made, params = network("GCNConv")
    features, edges = (
        node_features(X, torch.float64),
        NewEdges(torch.zeros(1, 1).long(), torch.ones(1, 1)),
    )
    with pytest.raises(TypeError, match="edges must be BorrowedEdges for a PyG convolution"):
        made.attach(params, features, graph_of(PAIRS), features, edges)


def test_added_edges_that_are_not_candidates_have_weight_1():
    few = PairList(N, np.array([0 * N + 1]))
    graph = graph_of(PAIRS, few)
    ((index, weight),) = weighted_edges(graph)
    assert index.shape[1] == 2 * len(graph.edges()[0])
    assert (weight == 1).all()
    assert [w.numel() for w in graph.products.weights] == [1]


def test_the_hidden_layer_is_pygs_first_layer():
    made, params = network("GCNConv")
    theirs = GCNConv(F, H).double()
    theirs.load_state_dict({name[6:]: w for name, w in params.items() if name[:6] == "first."})
    graph, x = graph_of(PAIRS, n_draws=1), torch.from_numpy(X)
    found = made.hidden(params, node_features(X, torch.float64), graph)
    expected = theirs(x, drawn_edge_index(graph)).relu()
    np.testing.assert_allclose(found[0].detach().numpy(), expected.detach().numpy(), **CLOSE)
