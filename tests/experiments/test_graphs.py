"""The benchmarks on graphs: cases, rivals and attack against oracles, on graphs made here."""

import json
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.neighbors import kneighbors_graph
from torch_geometric.nn import GCNConv, SAGEConv

from lds.datasets.graph_arrays import symmetric
from lds.experiments import graphs, graphs_cases, graphs_rivals
from lds.experiments.graphs_attack import ExpectedGraph, Surrogate, attack
from lds.experiments.graphs_cases import BENCHES, GraphCase, add_edges
from lds.experiments.graphs_published import PUBLISHED
from lds.experiments.graphs_rivals import KIPF, OGC, Layer, Settings


@pytest.fixture(scope="module")
def case():
    """Two communities whose nodes have words of their own."""
    rng = np.random.default_rng(0)
    y = (np.arange(48) % 2).astype(np.int64)
    x = (rng.random((48, 30)) < 0.05 + 0.15 * (y[:, None] == np.arange(30) % 2)).astype(np.float32)
    near = rng.random((48, 48)) < np.where(y[:, None] == y, 0.25, 0.03)
    graph = sp.csr_array(sp.csr_array(np.triu(near, 1), dtype=np.float32))
    graph = sp.csr_array(graph + graph.T)
    rows = rng.permutation(48)
    roles = (np.sort(part).astype(np.int64) for part in (rows[:14], rows[14:24], rows[24:]))
    return GraphCase(sp.csr_array(x), y, graph, *roles)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(graphs_rivals, "MAX_STEPS", 40)


def lazy(case, beta):
    a = case.graph.toarray() + np.eye(48)
    scale = 1 / np.sqrt(a.sum(1))
    return beta * scale[:, None] * a * scale + (1 - beta) * np.eye(48)


def test_ogc_without_pull_is_a_power_of_the_lazy_walk(case):
    u, _ = OGC(eta_u=0, max_steps=7, patience=99).smoothed(case)
    x = case.features.toarray().astype(float)
    x /= np.maximum(x.sum(1, keepdims=True), 1e-300)
    np.testing.assert_allclose(u, np.linalg.matrix_power(lazy(case, 0.1), 7) @ x, atol=1e-12)


@pytest.mark.slow
def test_ogc_without_smoothing_reaches_least_squares(case):
    u, w = OGC(beta=0, eta_u=0, eta_w=0.5, max_steps=200_000, patience=10**9).smoothed(case)
    known, truth = u[case.train], np.eye(2)[case.labels[case.train]]
    closed = (np.linalg.pinv(known) @ truth).T
    np.testing.assert_allclose(known @ w.T, known @ closed.T, atol=1e-4)


def test_steps_of_ogc_follow_the_gradients(case):
    model = OGC(max_steps=3, patience=99, eta_u=0.05)
    truth = torch.eye(2).double()[case.labels[case.train]]
    x = case.features.toarray().astype(float)
    u = torch.from_numpy(x / np.maximum(x.sum(1, keepdims=True), 1e-300))
    w, eta = torch.zeros(2, 30, dtype=torch.float64), model.eta_u
    walk = torch.from_numpy(lazy(case, model.beta))
    for _ in range(3):
        w.requires_grad_()
        (step,) = torch.autograd.grad(((u[case.train] @ w.t() - truth) ** 2).sum(), w)
        w = (w - model.eta_w * step).detach()
        u.requires_grad_()
        (step,) = torch.autograd.grad(((u[case.train] @ w.t() - truth) ** 2).sum(), u)
        u = (walk @ u - eta * step).detach()
        eta *= model.decline
    found_u, found_w = model.smoothed(case)
    np.testing.assert_allclose(found_u, u.numpy(), atol=1e-12)
    np.testing.assert_allclose(found_w, w.numpy(), atol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", ["gcn", "sage"])
def test_layers_are_those_of_pyg(case, kind, sparse):
    entries = case.graph.tocoo()
    edge_index = torch.from_numpy(np.stack([entries.row, entries.col]).astype(np.int64))
    x = torch.from_numpy(case.features.toarray())
    mine = Layer(30, 5, graphs_rivals._matrix(case.graph, kind), own=kind == "sage")
    theirs = {"gcn": GCNConv, "sage": SAGEConv}[kind](30, 5)
    with torch.no_grad():
        into = theirs.lin if kind == "gcn" else theirs.lin_l
        into.weight.copy_(mine.weight.t())
        if kind == "sage":
            theirs.lin_r.weight.copy_(mine.own.t())
            theirs.lin_l.bias.zero_()
    given = x.to_sparse().coalesce() if sparse else x
    torch.testing.assert_close(mine(given), theirs(x, edge_index))


def test_jaccard_by_networkx(case):
    x = case.features
    words = nx.from_scipy_sparse_array(sp.block_array([[None, x], [x.T, None]]))
    upper = sp.triu(case.graph, 1).tocoo()
    pairs = [(int(i), int(j)) for i, j in zip(upper.row, upper.col, strict=True)]
    threshold = 0.15
    expected = {(i, j) for i, j, s in nx.jaccard_coefficient(words, pairs) if s >= threshold}
    kept = sp.triu(graphs_rivals.without_unlike(case, threshold), 1).tocoo()
    assert set(zip(kept.row.tolist(), kept.col.tolist(), strict=True)) == expected
    assert 0 < len(expected) < len(pairs)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("bench", BENCHES)
def test_rivals_learn_and_read_no_test_label(case, bench):
    shuffled = case.labels.copy()
    shuffled[case.test] = 1 - shuffled[case.test]
    for name, rival in graphs_rivals.rivals(bench, graph=True).items():
        if "tuned" in name:
            continue
        p = rival(case, 0)
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
        np.testing.assert_array_equal(p, rival(replace(case, labels=shuffled), 0))
        assert graphs.score(case, p) > 0.7, name


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("kind", ["gcn", "sage", "mlp"])
def test_tuning_takes_the_best_on_validation_rows(case, kind):
    grid = (KIPF, Settings(3, dropout=0.2, weight_decay=0.0, residual=True))
    each = [graphs_rivals.train(case, kind, settings, 0) for settings in grid]
    best = max(each, key=lambda found: found[0])[1]
    np.testing.assert_array_equal(graphs_rivals.tuned(case, kind, grid, 0), best)


@pytest.mark.usefixtures("short")
def test_without_a_graph(case):
    bare = replace(case, graph=None)
    found = graphs_rivals.rivals("labels", graph=False)
    assert set(found) == {"GCN on the kNN graph", "MLP, tuned"}
    near = kneighbors_graph(case.features, 20, metric="cosine")
    expected = graphs_rivals.train(bare, "gcn", KIPF, 0, sp.csr_array(near.maximum(near.T)))[1]
    np.testing.assert_allclose(found["GCN on the kNN graph"](bare, 0), expected, atol=1e-5)


def test_auc_is_the_share_of_pairs_in_order(case):
    p = np.random.default_rng(1).random(48).round(1)  # with ties
    positive = case.test[case.labels[case.test] == 1]
    negative = case.test[case.labels[case.test] == 0]
    apart = p[positive][:, None] - p[negative]
    expected = (apart > 0).mean() + (apart == 0).mean() / 2
    both = np.stack([1 - p, p], 1)
    assert graphs.score(replace(case, score="AUC"), both) == pytest.approx(expected, abs=1e-12)


def surrogate_of(case, expected=None):
    return Surrogate(case, expected or ExpectedGraph.plain(48), case.labels)


def random_flips(graph: sp.csr_array, n_flips: int, seed: int) -> sp.csr_array:
    """Flip distinct pairs drawn uniformly: the attack that knows nothing.

    Arguments:
        graph: symmetric 0/1 CSR without loops.
        n_flips: pairs.
        seed: of the draw.
    """
    n_nodes = int(graph.shape[0])
    row, col = np.triu_indices(n_nodes, 1)
    chosen = np.random.default_rng(seed).choice(row.size, n_flips, replace=False)
    dense = graph.toarray() != 0
    dense[row[chosen], col[chosen]] ^= True
    row, col = (part.astype(np.int64) for part in np.nonzero(np.triu(dense, 1)))
    return symmetric(row, col, n_nodes)


def loss_of(surrogate, graph):
    return float(surrogate.loss(torch.from_numpy(graph.toarray()).float()))


@pytest.mark.parametrize("rounds", [1, 4])
def test_an_attack_keeps_its_budget_and_beats_random_flips(case, rounds):
    surrogate, budget = surrogate_of(case), 20
    hurt = attack(case.graph, surrogate, budget, rounds)
    assert abs(hurt - hurt.T).nnz == 0
    assert set(hurt.data.tolist()) == {1.0}
    assert not hurt.diagonal().any()
    assert abs(hurt - case.graph).nnz == 2 * budget
    lone = (case.graph.sum(axis=1) > 0) & (hurt.sum(axis=1) == 0)
    assert not lone.any()
    random = max(loss_of(surrogate, random_flips(case.graph, budget, s)) for s in range(20))
    assert loss_of(surrogate, hurt) > max(random, loss_of(surrogate, case.graph)) * 1.2


def test_random_flips_are_as_many_as_asked(case):
    assert abs(random_flips(case.graph, 9, 0) - case.graph).nnz == 18


def test_the_gradient_of_the_attack(case):
    surrogate = surrogate_of(case)
    for name in ("x", "truth"):
        setattr(surrogate, name, getattr(surrogate, name).double())
    surrogate.expected = ExpectedGraph(torch.ones(48, 48).double(), torch.zeros(48, 48).double())
    a = torch.from_numpy(case.graph.toarray()).double().requires_grad_()
    (gradient,) = torch.autograd.grad(surrogate.loss(a), a)
    for i, j in ((0, 1), (3, 17), (20, 40)):
        up, down = a.detach().clone(), a.detach().clone()
        up[i, j] += 1e-5
        down[i, j] -= 1e-5
        slope = (surrogate.loss(up) - surrogate.loss(down)) / 2e-5
        assert float(gradient[i, j]) == pytest.approx(float(slope), rel=1e-4, abs=1e-9)


def test_an_expected_graph_recovers_the_probabilities_of_edges(case):
    p = np.random.default_rng(2).dirichlet([1, 1], 48)
    agreement = p @ p.T
    odds = 0.5 + 2 * agreement
    given = 1 / (1 + np.exp(-odds)) * (case.graph.toarray() != 0)
    other = np.zeros((48, 48))
    free = np.argwhere(np.triu(case.graph.toarray() == 0, 1))[:5]
    other[free[:, 0], free[:, 1]] = other[free[:, 1], free[:, 0]] = 0.3
    found = ExpectedGraph.learned(sp.csr_array(given + other), case.graph, p)
    now = found(torch.from_numpy(case.graph.toarray()))
    np.testing.assert_allclose(now.numpy(), given + other, atol=1e-5)
    everywhere = found(torch.ones(48, 48)).numpy()
    np.testing.assert_allclose(everywhere, 1 / (1 + np.exp(-odds)), atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_random_edges_are_new(case, share):
    more = add_edges(case.graph, share, 3)
    assert more.nnz // 2 == case.graph.nnz // 2 + round(share * (case.graph.nnz // 2))
    assert (case.graph > more).nnz == 0
    assert set(more.data.tolist()) == {1.0}


def test_too_many_edges(case):
    with pytest.raises(ValueError, match="leave room for"):
        add_edges(case.graph, 50.0, 0)


def write_attacked(folder, case):
    place = folder / "attacked"
    place.mkdir()
    parts = {"x": case.features, "adj": case.graph}
    arrays = {
        f"{name}_{part}": getattr(matrix, part)
        for name, matrix in parts.items()
        for part in ("data", "indices", "indptr", "shape")
    }
    np.savez(place / "cora_graph.npz", **arrays, y=case.labels)
    sp.save_npz(place / "cora_0.05.npz", random_flips(case.graph, 3, 0))
    roles = {"train": case.train, "val": case.validation, "test": case.test}
    text = json.dumps({f"idx_{role}": rows[::-1].tolist() for role, rows in roles.items()})
    (place / "cora_splits.json").write_text(text)


def test_attacked_files_are_read(case, tmp_path):
    write_attacked(tmp_path, case)
    found = dict(BENCHES["attacks"](tmp_path))
    assert list(found)[:2] == ["cora, metattack 0%", "cora, metattack 5%"]
    clean, hurt = found["cora, metattack 0%"](0), found["cora, metattack 5%"](0)
    for role in ("train", "validation", "test", "labels"):
        np.testing.assert_array_equal(getattr(clean, role), getattr(case, role))
    assert abs(clean.graph - case.graph).nnz == 0
    assert abs(hurt.graph - case.graph).nnz == 6
    assert abs(clean.features - case.features).nnz == 0


def test_official_splits_are_read_by_seed(tmp_path):
    (tmp_path / "graphs").mkdir()
    roles = np.eye(3, dtype=bool)[np.stack([np.arange(9) % 3, np.arange(9) // 3])]
    masks = {f"{r}_masks": roles[:, :, k] for k, r in enumerate(("train", "val", "test"))}
    arrays = {
        "node_features": np.eye(9),
        "node_labels": np.arange(9) % 2,
        "edges": np.array([[0, 1], [4, 2]]),
    }
    np.savez(tmp_path / "graphs" / "minesweeper.npz", **arrays, **masks)
    make = dict(BENCHES["heterophily"](tmp_path))["minesweeper"]
    first, second = make(0), make(1)
    assert first.train.tolist() == [0, 3, 6]
    assert second.test.tolist() == [6, 7, 8]
    assert first.score == "AUC"
    assert first.graph.nnz == 4


@pytest.mark.parametrize("method", ["default", "views"])
def test_only_training_labels_move_edges(case, method):
    problem = graphs.problem_of(case, method, 0)
    known = np.flatnonzero(problem.labels >= 0)
    split = problem.split
    assert not np.intersect1d(known, case.test).size
    learned_from = [split.train, split.validation]
    if method == "views":
        learned_from.append(split.stopping)
    else:
        np.testing.assert_array_equal(split.stopping, case.validation)
    np.testing.assert_array_equal(np.sort(np.concatenate(learned_from)), case.train)


@pytest.mark.usefixtures("short")
def test_a_run_is_resumed_and_shown(case, tmp_path):
    path, calls = tmp_path / "graphs.jsonl", []

    def make(seed):
        calls.append(seed)
        return case

    for _ in range(2):
        records = graphs.Records(path)
        graphs.collect(records, "labels", [("cora, 140 labels", make)], [0, 1], [], ["GCN", "OGC"])
    assert len(path.read_text().splitlines()) == 4
    assert {(r["method"], r["seed"]) for r in records.records.values()} == {
        (method, seed) for method in ("GCN", "OGC") for seed in (0, 1)
    }
    text = "\n".join(graphs.overview(list(records.records.values())))
    assert "| GCN |" in text
    assert "published: GRCN + UnGSL" in text


def test_a_case_without_files_is_left_out(tmp_path, capsys):
    def missing(seed):
        raise FileNotFoundError("no pubmed")

    records = graphs.Records(tmp_path / "none.jsonl")
    graphs.collect(records, "labels", [("pubmed", missing)], [0], [], None)
    assert records.records == {}
    assert "left out: pubmed (no pubmed)" in capsys.readouterr().out


@pytest.mark.usefixtures("short")
def test_the_adaptive_attack_is_recorded(case, tmp_path, monkeypatch):
    quick = {"max_inner": 20, "max_iter": 1, "refit_steps": 20, "n_neighbors": 5, "refits": 1}
    known = graphs.method_of
    monkeypatch.setattr(graphs, "method_of", lambda name: known(name, **quick))
    records = graphs.Records(tmp_path / "a.jsonl")
    graphs.collect_adaptive(records, [("small", lambda seed: case)], [0], ["default"])
    budget = round(graphs.BUDGET * case.graph.nnz / 2)
    assert [r["method"] for r in records.records.values()] == ["GCN", "lds default"]
    for record in records.records.values():
        assert record["added"] + record["removed"] <= budget
        assert record["score"] <= 1
    assert "GCN there" in "\n".join(graphs.overview(list(records.records.values())))


def test_published_rows_are_of_cases(tmp_path):
    names = {name for bench in BENCHES.values() for name, _ in bench(tmp_path)}
    assert set(PUBLISHED) <= names
    assert graphs_cases.SHARES[-1] == 0.25
