"""The discriminant against dense formulas, scikit-learn's, and data whose answer is known."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import kneighbors_graph

from lds.graphs.batch import weighted_graph
from lds.nn import discriminant
from lds.nn.discriminant import SHRINKAGE, Discriminant, fit_discriminant
from lds.nn.features import DenseFeatures, node_features
from lds.nn.new_nodes import NewEdges
from tests.nn.small import CPU, C, F, N, batch_of, random_features, random_graph
from tests.nn.test_pagerank import CLOSE

NETWORK = Discriminant(F, C)
NONE = torch.zeros(0, dtype=torch.int64)


def some_params(seed=0):
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    beliefs = normal(N, C).softmax(1)
    return {"W": normal(F, C), "b": normal(C), "beliefs": beliefs, "coupling": normal().exp()}


def a_hat(adjacency: np.ndarray) -> np.ndarray:
    looped = adjacency + np.eye(len(adjacency))
    scale = 1 / np.sqrt(looped.sum(1))
    return scale[:, None] * looped * scale


def no_graph(n: int):
    return weighted_graph(NONE, NONE, torch.zeros(0, dtype=torch.float64), n)


def fit(x, labels, rows, graph=None, **options):
    network = Discriminant(x.shape[1], int(labels.max()) + 1, **options)
    features = node_features(x, torch.float64)
    graph = no_graph(len(x)) if graph is None else graph
    params = fit_discriminant(
        network, features, torch.from_numpy(labels), torch.from_numpy(rows), graph
    )
    return params, network(params, features, graph, training=False)[0]


@pytest.mark.parametrize("sparse", [False, True])
def test_logits_are_own_evidence_and_mean_beliefs_of_neighbours(sparse):
    x, w = random_features(sparse), some_params()
    graphs = [random_graph(0), random_graph(1)]
    found = NETWORK(w, node_features(x, torch.float64), batch_of(*graphs), training=False)
    own = x @ w["W"].numpy() + w["b"].numpy()
    for s, adjacency in enumerate(graphs):
        mean = a_hat(adjacency) @ w["beliefs"].numpy()
        np.testing.assert_allclose(found[s], own + float(w["coupling"]) * mean, rtol=1e-10)
    hidden = NETWORK.hidden(w, node_features(x, torch.float64), batch_of(*graphs))
    np.testing.assert_allclose(hidden, np.stack([own, own]), rtol=1e-10)


def test_logits_of_new_nodes_use_their_neighbours_and_themselves():
    x, w, adjacency = random_features(), some_params(), random_graph(0)
    new = random_features(n=4, seed=3)
    nodes, weight = np.arange(8).reshape(4, 2), np.full((4, 2), 0.3)
    found = NETWORK.attach(
        w,
        node_features(x, torch.float64),
        batch_of(adjacency),
        node_features(new, torch.float64),
        NewEdges(torch.from_numpy(nodes), torch.from_numpy(weight)),
    )
    own = torch.from_numpy(new) @ w["W"] + w["b"]
    scale = 1 / np.sqrt(1 + adjacency.sum(1))
    for i in range(4):
        mine = 1 / np.sqrt(1 + weight[i].sum())
        read = (weight[i] * scale[nodes[i]]) @ w["beliefs"].numpy()[nodes[i]]
        mean = mine * read + mine**2 * own[i].softmax(0).numpy()
        expected = own[i].numpy() + float(w["coupling"]) * mean
        np.testing.assert_allclose(found[0, i], expected, rtol=1e-10)


def test_scaled_params_have_scaled_logits():
    x, graph = node_features(random_features(), torch.float64), batch_of(random_graph(0))
    w = some_params()
    found = NETWORK(NETWORK.scaled(w, 2.5), x, graph, training=False)
    torch.testing.assert_close(found, 2.5 * NETWORK(w, x, graph, training=False), **CLOSE)


def test_before_the_fit_all_classes_are_equally_probable():
    params = NETWORK.init(torch.Generator(), torch.float64, CPU)
    x = node_features(random_features(), torch.float64)
    assert not NETWORK(params, x, batch_of(random_graph(0)), training=False).any()
    assert float(NETWORK.penalty(params)) == 0


def clouds(n=300, seed=0, spread=6.0):
    """Three classes with means along one axis and a large variance along another."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = rng.standard_normal((n, 4)) * [1, spread, 1, 1]
    x[:, 0] += 5 * labels
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    return x @ turn, labels


def assert_scikit_learn_finds_the_same(x, labels, params, logits):
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE).fit(x, labels)
    ours, coef = params["W"].numpy(), theirs.coef_.T
    ours, coef = (a - a.mean(1, keepdims=True) for a in (ours, coef))
    np.testing.assert_allclose(ours / np.linalg.norm(ours), coef / np.linalg.norm(coef), rtol=1e-8)
    assert (logits.argmax(1).numpy() == theirs.predict(x)).mean() > 0.99


def test_with_every_label_it_is_the_shrunk_discriminant_of_scikit_learn():
    x, labels = clouds()
    params, logits = fit(x, labels, np.arange(len(x)))
    assert_scikit_learn_finds_the_same(x, labels, params, logits)


def near(x):
    """Ten nearest neighbours, each an edge of probability 1/2."""
    n, pairs = len(x), kneighbors_graph(x, 10).tocoo()
    row, col = (torch.from_numpy(index.astype(np.int64)) for index in (pairs.row, pairs.col))
    key = torch.unique(torch.minimum(row, col) * n + torch.maximum(row, col))
    return weighted_graph(key // n, key % n, torch.full(key.shape, 0.5).double(), n)


def test_unlabelled_rows_improve_a_fit_to_few_labels():
    ours, theirs = [], []
    for seed in range(3):
        x, labels = clouds(seed=seed, spread=4.0)
        rows = np.arange(6)
        alone = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
        alone.fit(x[rows], labels[rows])
        _, logits = fit(x, labels, rows, near(x))
        ours.append((logits.argmax(1).numpy() == labels).mean())
        theirs.append((alone.predict(x) == labels).mean())
    assert min(ours) > 0.97
    assert np.mean(ours) > np.mean(theirs) + 0.02


def joined(labels, seed=0, n_edges=5):
    """A graph with 4 in 5 edges within classes."""
    rng = np.random.default_rng(seed)
    n = len(labels)
    row = np.repeat(np.arange(n), n_edges)
    col = np.where(
        rng.random(len(row)) < 0.8,
        (row + 3 * rng.integers(1, n // 3, len(row))) % n,
        rng.integers(n, size=len(row)),
    )
    keep = row < col
    row, col = (torch.from_numpy(a[keep]) for a in (row, col))
    key = torch.unique(row * n + col)
    return weighted_graph(key // n, key % n, torch.full(key.shape, 0.9).double(), n)


def test_neighbours_classify_nodes_whose_features_do_not():
    rng = np.random.default_rng(1)
    labels = np.arange(300) % 3
    x = rng.standard_normal((300, 4)) + 0.7 * np.eye(3, 4)[labels]
    rows = np.arange(30)
    _, without = fit(x, labels, rows)
    _, with_graph = fit(x, labels, rows, joined(labels))
    accuracy = [(z.argmax(1).numpy() == labels)[30:].mean() for z in (without, with_graph)]
    assert accuracy[1] > 0.85 > accuracy[0] + 0.2


def test_without_neighbours_the_graph_has_no_effect_and_unlabelled_rows_still_help():
    x, labels = clouds(spread=4.0)
    rows = np.arange(6)
    params, logits = fit(x, labels, rows, near(x), neighbors=False)
    again, _ = fit(x, labels, rows, neighbors=False)
    assert all(torch.equal(params[name], again[name]) for name in params)
    assert float(params["coupling"]) == 0
    centred = logits - logits.mean(1, keepdim=True)
    assert (logits.argmax(1).numpy() == labels).mean() > 0.97
    assert float(centred.square().mean().sqrt()) == pytest.approx(
        discriminant.EVIDENCE_SCALE_ALONE, rel=0.1
    )


def test_classes_keep_their_share_where_coupling_would_let_one_vanish(monkeypatch):
    """Features are noise; coupling along edges alone would let the largest class take over."""
    labels = np.arange(300) % 3
    x, rows = np.random.default_rng(0).standard_normal((300, 4)), np.arange(31)

    def shares():
        return fit(x, labels, rows, joined(labels, n_edges=10))[0]["beliefs"].mean(0)

    assert bool(((shares() - 1 / 3).abs() < 0.05).all())
    monkeypatch.setattr(discriminant, "BALANCE", 0.0)
    assert float(shares().min()) < 0.1


def test_labels_of_other_rows_are_never_read():
    x, labels = clouds()
    rows, other = np.arange(30), labels.copy()
    other[30:] = (labels[30:] + 1) % 3
    params, _ = fit(x, labels, rows)
    again, _ = fit(x, other, rows)
    assert all(torch.equal(params[name], again[name]) for name in params)
    known = params["beliefs"][:30]
    assert torch.equal(known.argmax(1), torch.from_numpy(labels[:30]))
    assert bool((known.max(1).values == 1).all())


def uncorrelated(n=300, d=4, seed=0):
    """Three classes whose features are exactly uncorrelated within classes."""
    rng, labels = np.random.default_rng(seed), np.arange(n) % 3
    drawn = np.column_stack([np.eye(3)[labels], rng.standard_normal((n, d))])
    within = np.linalg.qr(drawn)[0][:, 3:] * np.sqrt(n)
    means = 8 * rng.standard_normal((3, d))
    return 20 + within * [0.5, 1, 2, 4] + means[labels], labels


def test_with_too_many_features_for_a_covariance_variances_are_used(monkeypatch):
    """Where features are uncorrelated, scikit-learn's discriminant is the same."""
    x, labels = uncorrelated()
    monkeypatch.setattr(discriminant, "MAX_COVARIANCE_FEATURES", 3)
    params, logits = fit(x, labels, np.arange(300))
    assert_scikit_learn_finds_the_same(x, labels, params, logits)


def test_sparse_and_dense_features_give_the_same_model_without_a_covariance(monkeypatch):
    monkeypatch.setattr(discriminant, "MAX_COVARIANCE_FEATURES", 3)
    x, labels, rows = random_features(sparse=True), np.arange(N) % C, np.arange(2 * C)
    graph, found = no_graph(N), []
    for features in (node_features(x, torch.float64), DenseFeatures(torch.tensor(x))):
        known = torch.from_numpy(rows)
        found.append(fit_discriminant(NETWORK, features, torch.from_numpy(labels), known, graph))
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], **CLOSE)


def test_a_feature_of_low_variance_gets_a_large_weight(monkeypatch):
    """The informative features have less variance than the others."""
    monkeypatch.setattr(discriminant, "MAX_COVARIANCE_FEATURES", 3)
    rng, labels = np.random.default_rng(0), np.arange(300) % 3
    x = np.column_stack(
        [
            np.eye(3)[labels] + 0.2 * rng.standard_normal((300, 3)),
            rng.standard_normal((300, 20)),
        ]
    )
    accuracy = []
    for shrinkage in (SHRINKAGE, 1.0):
        monkeypatch.setattr(discriminant, "SHRINKAGE", shrinkage)
        monkeypatch.setattr(discriminant, "FIRST_SHRINKAGE", shrinkage)
        _, logits = fit(x, labels, np.arange(30), neighbors=False)
        accuracy.append((logits.argmax(1).numpy() == labels)[30:].mean())
    assert accuracy[0] > 0.9 > accuracy[1] + 0.3


@pytest.mark.parametrize("column", [0.0, 1.0])
def test_with_constant_features_the_graph_decides(column):
    labels = np.arange(300) % 3
    _, logits = fit(np.full((300, 2), column), labels, np.arange(60), joined(labels))
    assert bool(logits.isfinite().all())
    assert (logits.argmax(1).numpy() == labels).mean() > 0.8
