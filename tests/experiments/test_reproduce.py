"""What reproducing the thesis stands on: verdicts, the store, networks and manifold methods."""

import importlib
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from joblib import parallel_config
from scipy.stats import ttest_rel
from torch.nn.functional import cross_entropy

from lds.experiments.reproduce import bounds, manifold, networks, page, phonemes, scalar
from lds.experiments.reproduce.baselines import BASELINES, kernel_of, run_baseline, settings
from lds.experiments.reproduce.chapter9_tables import TABLE_9_2, TUNED, table_9_2_rows
from lds.experiments.reproduce.dense_lds import learn_dense, product, symmetric_unit
from lds.experiments.reproduce.entry import BUDGETS, Entry, Found
from lds.experiments.reproduce.groups import node_groups
from lds.experiments.reproduce.registry import ENTRIES, entry_of
from lds.experiments.reproduce.store import TASKS, Store, key, run_entry, run_side_by_side
from lds.experiments.reproduce.verdicts import (
    GREEN,
    VERDICTS,
    Comparison,
    higher,
    near,
)
from lds.graphs.adjacency import normalize
from lds.structure.methods.thesis import Thesis
from lds.structure.problem import Problem

ROOT = Path(__file__).resolve().parents[2]


def graph(n, seed, share=0.2):
    rng = np.random.default_rng(seed)
    half = np.triu(rng.random((n, n)) < share, 1).astype(np.float32)
    return sp.csr_array(half + half.T)


def blobs(n=60, d=5, seed=0, apart=3.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    return rng.standard_normal((n, d)) + apart * np.eye(3, d)[labels], labels


# Verdicts


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [([0.90, 0.92], "within"), ([0.99], "above"), ([0.80], "below"), ([], "not run")],
)
def test_a_number_is_judged_by_its_distance(ours, verdict):
    assert near("x", 91.0, ours, 2.0).verdict == verdict
    assert near("x", 58.4, [0.564], 2.0).verdict == "within"  # 2 points, and not a bit more


def test_lower_is_better_for_losses():
    assert near("x", 1.0, [0.5], 0.1, unit=1.0, lower_is_better=True).verdict == "above"


def test_a_paired_comparison_has_the_p_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.random(6) + 0.3, rng.random(6)
    found = higher("x", dict(enumerate(a)), dict(enumerate(b)), "above")
    p = ttest_rel(100 * a, 100 * b).pvalue
    assert f"p = {p:.3f}" in found.ours
    assert found.verdict == ("holds" if p < 0.05 else "leans")


def test_only_shared_seeds_are_compared():
    found = higher("x", {0: 0.9, 1: 0.8, 7: 0.0}, {0: 0.5, 1: 0.5}, "above")
    assert "n = 2" in found.ours
    assert higher("x", {0: 0.4}, {0: 0.5}, "above").verdict == "fails"
    assert higher("x", {0: 0.4}, {1: 0.5}, "above").verdict == "not run"


# Store and entries


def record(seed, setting, accuracy, loss=0.0, **more):
    row = {"task": "classify", "seed": seed, "setting": setting}
    return {
        "row": row,
        "budget": "cpu",
        "seconds": 1.0,
        "value": 0.5,
        "stopping_accuracy": accuracy,
        "stopping_loss": loss,
        **more,
    }


def test_a_setting_is_chosen_on_the_seeds_that_all_have():
    found = Found(
        [
            record(0, {}, 0.7),
            record(1, {}, 0.7),
            record(0, {"k": 2}, 0.9),
            record(1, {"k": 2}, 0.6),
            record(2, {"k": 2}, 0.0),
        ]
    )
    assert {r["row"]["seed"] for r in found.best_setting()} == {0, 1, 2}
    tied = Found([record(0, {}, 0.7, loss=1.0), record(0, {"k": 2}, 0.7, loss=2.0)])
    assert tied.best_setting()[0]["row"]["setting"] == {}
    assert Found([]).best_setting() == []


@pytest.fixture
def made_up(monkeypatch):
    """A task that returns the seed; the list of the seeds it was asked for."""
    asked = []

    def run(row, budget, root):
        asked.append(row["seed"])
        return {"value": row["seed"]}

    monkeypatch.setitem(TASKS, "made-up", __name__)
    monkeypatch.setattr(
        importlib.import_module("lds.experiments.reproduce.store"),
        "import_module",
        lambda name: type("Task", (), {"run": staticmethod(run)}),
    )
    return asked


def test_a_row_of_two_entries_is_run_once(tmp_path, made_up):
    rows = [{"task": "made-up", "seed": seed} for seed in range(4)]
    one = Entry("one", "", "", "", lambda budget: rows[:3])
    other = Entry("other", "", "", "", lambda budget: rows[1:])
    store, seen = Store(tmp_path / "rows.jsonl"), []
    with parallel_config(backend="threading"):
        run_side_by_side(
            [one, other], "tiny", tmp_path, store, 2, on_row=lambda row, _: seen.append(row)
        )
    assert sorted(made_up) == [0, 1, 2, 3]
    assert len(seen) == len(store.path.read_text().splitlines()) == 4
    assert list(run_entry(other, "tiny", tmp_path, store)) == []


def test_rows_that_another_command_adds_meanwhile_are_not_run(tmp_path, made_up):
    rows = [{"task": "made-up", "seed": seed} for seed in range(3)]
    entry = Entry("e", "", "", "", lambda budget: rows)
    here, there = (Store(tmp_path / "rows.jsonl") for _ in range(2))
    running = run_entry(entry, "tiny", tmp_path, here)
    next(running)
    there.refresh()
    assert there.has(rows[0], "tiny")
    there.add({"row": rows[1], "budget": "tiny", "seconds": 0.0, "value": 7})
    with there.path.open("a") as file:
        file.write('{"row": {"task": "ma')  # another command is writing it
    here.refresh()
    assert here.has(rows[1], "tiny")
    there.path.write_text(there.path.read_text().rpartition("\n")[0] + "\n")
    assert [record["value"] for record in running] == [2]
    assert made_up == [0, 2]


def test_rows_are_run_once_and_kept(tmp_path, made_up):
    rows = [{"task": "made-up", "data": "x", "seed": seed} for seed in range(3)]
    entry = Entry("e", "", "", "", lambda budget: rows, needs={"x": "file"})
    store, notes = Store(tmp_path / "rows.jsonl"), []
    assert list(run_entry(entry, "tiny", tmp_path, store, on_row=lambda *a: notes.append(a))) == []
    assert {note[1] for note in notes} == {"file"}
    (tmp_path / "file").touch()
    ran = list(run_entry(entry, "tiny", tmp_path, store, wanted=lambda row: row["seed"] < 2))
    assert [r["value"] for r in ran] == [0, 1]
    again = Store(tmp_path / "rows.jsonl")
    assert [r["value"] for r in run_entry(entry, "tiny", tmp_path, again)] == [2]
    assert again.found(entry, "tiny").values() == {0: 0, 1: 1, 2: 2}
    assert again.found(entry, "cpu").records == []


def test_a_line_that_is_no_record_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"budget": "cpu"}\n')
    with pytest.raises(ValueError, match=r"line 1 of .* must be a record"):
        Store(path)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"nearest is 'table-9\.2'"):
        entry_of("table-92")


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))
def test_rows_of_an_entry_are_distinct_and_can_be_kept(entry):
    for budget in BUDGETS:
        rows = entry.rows(budget)
        assert rows, budget
        assert len({key(row, budget) for row in rows}) == len(rows)
        assert json.loads(json.dumps(rows)) == rows
        assert {row["task"] for row in rows} <= set(TASKS)
    assert "§" in entry.place or "Appendix" in entry.place
    compared = entry.check(Found([]))
    assert compared
    assert {each.verdict for each in compared} <= {"not run"}


def test_minutes_are_of_the_rows_that_no_entry_before_has():
    for budget in BUDGETS:
        before = set()
        for entry in ENTRIES.values():
            rows = {key(row, budget) for row in entry.rows(budget)}
            assert (entry.minutes[budget] > 0) == bool(rows - before), (entry.name, budget)
            before |= rows


def test_chapter_9_takes_less_than_eight_hours_on_two_cores():
    minutes = [entry.minutes["cpu"] for name, entry in ENTRIES.items() if "-9." in name]
    assert len(minutes) == 7
    assert sum(minutes) / 2 < 8 * 60


def test_table_9_2_has_every_method_on_every_data_set():
    rows = table_9_2_rows("full")
    methods = {(row["method"], row["data"]) for row in rows}
    for name in TABLE_9_2:
        n = sum(method == name for method, _ in methods)
        assert n == (5 if name == "LDS (dense)" else 6), name
    assert set(TABLE_9_2) - set(TUNED) <= set(BASELINES)
    assert set(VERDICTS) > GREEN


# Manifold regularisation


def test_linear_and_kernel_forms_agree():
    x, labels = blobs()
    rows, adjacency = np.arange(12), graph(60, 1)
    targets = manifold.one_hot(labels, rows, 3)
    weights = 0.03, 7.0
    linear = manifold.lap_rls_linear(x, adjacency, targets, rows, *weights)
    kernel = manifold.lap_rls_kernel(x @ x.T, adjacency, targets, rows, *weights)
    np.testing.assert_allclose(linear, kernel, rtol=1e-6, atol=1e-8)  # tolerance of the solver


def test_without_a_graph_it_is_ridge_regression():
    x, labels = blobs()
    rows = np.arange(12)
    targets = manifold.one_hot(labels, rows, 3)
    found = manifold.lap_rls_linear(x, graph(60, 1), targets, rows, 0.1, 0.0)
    ridge = np.linalg.solve(x[rows].T @ x[rows] + 1.2 * np.eye(5), x[rows].T @ targets[rows])
    np.testing.assert_allclose(found, x @ ridge, rtol=1e-6, atol=1e-8)


def test_it_minimises_its_objective():
    """Autograd on the objective as it is written in the module, an independent route."""
    x, labels = blobs(30)
    rows, adjacency = np.arange(9), graph(30, 2)
    targets = manifold.one_hot(labels, rows, 3)
    kernel = np.exp(-((x[:, None] - x) ** 2).sum(2) / 10)
    ambient, intrinsic = 0.05, 3.0
    f = manifold.lap_rls_kernel(kernel, adjacency, targets, rows, ambient, intrinsic)
    k = torch.tensor(kernel)
    alpha = torch.linalg.solve(k, torch.tensor(f)).requires_grad_()
    values = k @ alpha
    lap = torch.tensor(np.diag(adjacency.toarray().sum(1)) - adjacency.toarray()).double()
    loss = (values[rows] - torch.tensor(targets[rows])).square().sum() / rows.size
    loss = loss + ambient * (alpha * (k @ alpha)).sum()
    loss = loss + intrinsic / 30**2 * (values * (lap @ values)).sum()
    (slope,) = torch.autograd.grad(loss, alpha)
    assert float(slope.abs().max()) < 1e-8


# Networks


def test_matrices_of_the_networks_are_those_of_the_equation():
    adjacency, h = graph(20, 3), torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.tensor(normalize(adjacency).toarray(), dtype=torch.float32) @ h
    torch.testing.assert_close(networks.sparse_product(adjacency)(h, 0), expected)
    torch.testing.assert_close(networks.dense_product(adjacency.toarray())(h, 0), expected)
    torch.testing.assert_close(product(torch.tensor(adjacency.toarray()))(h), expected)


def test_equal_weights_need_no_matrix():
    h = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    dense = networks.dense_product(np.full((20, 20), 0.3))
    torch.testing.assert_close(networks.equal_product(20, 0.3)(h, 0), dense(h, 0))


def test_a_random_graph_has_its_degree_and_no_loop():
    found = networks.erdos_renyi(400, 10.0, 0)
    assert abs(found - found.T).max() == 0
    assert found.diagonal().sum() == 0
    assert set(found.data) == {1.0}
    assert found.nnz / 400 == pytest.approx(10, rel=0.1)
    complete = networks.erdos_renyi(7, 6.0, 0)
    assert complete.nnz == 7 * 6


def test_random_edges_are_added_and_predictions_have_none():
    adjacency = graph(30, 4)
    more = networks.with_random_edges(adjacency, 40, 1)
    assert more.nnz > adjacency.nnz
    assert abs(more - more.T).max() == 0
    assert more.diagonal().sum() == 0
    assert ((more - adjacency).toarray() >= 0).all()
    product = networks.random_edges_product(adjacency, 0.5, 0)
    h = torch.eye(30)
    fixed = networks.sparse_product(adjacency)(h, 0)
    torch.testing.assert_close(product(h, networks.PREDICT), fixed)
    torch.testing.assert_close(product(h, 3), product(h, 3))
    assert not torch.equal(product(h, 3), product(h, 4))


def test_the_embedding_loss_by_hand():
    h = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.6, 0.8]], dtype=torch.float64)
    one, other = torch.tensor([0]), torch.tensor([1])
    near_pair = torch.tensor([2])
    found = networks.pair_loss(h, one, other, one, near_pair, margin=1.5)
    assert float(found) == pytest.approx(25 + 0.5**2)
    apart = networks.pair_loss(h, one, one, one, other, margin=1.5)
    assert float(apart) == pytest.approx(0)


def test_pulling_neighbours_together_is_the_laplacian():
    """Σ over edges of ‖h_i - h_j‖² is tr(hᵀLh)."""
    adjacency = graph(15, 5)
    h = torch.randn(15, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    edges = sp.coo_array(sp.triu(adjacency, 1))
    row, col = torch.tensor(edges.row), torch.tensor(edges.col)
    zero = torch.tensor([0])
    pulled = networks.pair_loss(h, row, col, zero, zero, margin=0.0) * len(row)
    lap = manifold.laplacian(adjacency).toarray()
    assert float(pulled) == pytest.approx(float(np.trace(h.numpy().T @ lap @ h.numpy())))


def test_a_network_without_a_graph_learns_blobs_and_stops_early():
    x, labels = blobs(90)
    found = networks.fit_network(
        networks.tensors(x.astype(np.float32)),
        networks.identity,
        torch.tensor(labels),
        torch.arange(30),
        torch.arange(30, 60),
        lr=0.05,
    )
    assert found.steps < networks.MAX_STEPS
    assert found.probabilities.shape == (90, 3)
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(90))
    assert float((found.probabilities.argmax(1) == torch.tensor(labels)).float().mean()) > 0.8
    loss = cross_entropy(found.probabilities.log()[30:60], torch.tensor(labels[30:60]))
    assert float(loss) == pytest.approx(found.score.loss, rel=1e-5)


# Baselines


@pytest.mark.parametrize("name", [n for n in BASELINES if not n.startswith("GCN")])
def test_every_baseline_beats_chance_on_blobs(name, tmp_path):
    from lds._types import Split
    from lds.datasets.base import NodeDataset

    x, labels = blobs(120, apart=4.0)
    order = np.random.default_rng(0).permutation(120)
    split = Split(*(np.sort(order[30 * k : 30 * k + 30]) for k in range(4)))
    data = NodeDataset("blobs", x.astype(np.float32), labels, ("a", "b", "c"), split)
    found = run_baseline(name, data, 0, "tiny")
    floor = 0.3 if name in ("Sparse-GCN", "FFNN", "Dense-GCN") else 0.6  # 30 steps are few
    assert found["value"] > floor
    assert set(found["chosen"]) == set(BASELINES[name].grid("tiny"))
    n = len(list(settings(BASELINES[name].grid("full"))))
    assert n >= found["tried"] == len(list(settings(BASELINES[name].grid("tiny"))))


def test_the_kernel_is_scaled_by_the_mean_distance():
    from lds.datasets.tabular import load

    data = load("iris", 0, Path())
    x = data.features.astype(np.float64)
    squares = ((x[:, None] - x) ** 2).sum(2)
    expected = np.exp(-2.0 * squares / squares.mean())
    np.testing.assert_allclose(kernel_of(data, 2.0), expected, rtol=1e-3)  # float32 features
    sparse = sp.csr_array(data.features)
    import dataclasses

    again = kernel_of(dataclasses.replace(data, features=sparse), 2.0)
    np.testing.assert_allclose(again, expected, rtol=1e-3)


# LDS without draws


def test_dense_similarities_stay_symmetric_in_the_unit_interval():
    from lds._types import Split

    x, labels = blobs(40)
    split = Split(*(np.arange(10 * k, 10 * k + 10) for k in range(4)))
    problem = Problem(x.astype(np.float32), labels, split)
    start = graph(40, 6)
    found = learn_dense(problem, start, Thesis(max_iter=2, max_inner=15, truncation=3), seed=0)
    a = found.similarities
    assert (a == a.T).all()
    assert a.min() >= 0
    assert a.max() <= 1
    assert not a.diagonal().any()
    assert abs(a - start.toarray()).max() > 0
    np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=1e-5)
    once = symmetric_unit(torch.tensor(a))
    torch.testing.assert_close(symmetric_unit(once.clone()), once)


# Chapters 6 and 7


@pytest.mark.ci
def test_the_scalar_problem_follows_its_closed_form(tmp_path, monkeypatch):
    """With η fixed, f_T is quadratic in λ; its minimiser is known, and 200 steps are enough."""
    monkeypatch.setitem(scalar.N_OUTER, "cpu", 200)
    n = 20
    left = (1 - scalar.FIXED_LR) ** n
    # w_T - λ/2 = (1/2 - left) λ + left w_0 =: aλ + b; f = (1 - a²) λ² - 2ab λ - b².
    a, b = 0.5 - left, left * scalar.W0
    best = a * b / (1 - a * a)
    found = scalar.run({"T": n, "tune": False, "seed": 0}, "cpu", tmp_path)
    assert found["value"] == pytest.approx(abs(best), rel=1e-6)
    assert found["objective"] == pytest.approx(-2 * a * b * best + (1 - a * a) * best**2 - b * b)


@pytest.mark.parametrize("method", ["reverse", "fixed point"])
def test_errors_stay_below_their_bounds(method, tmp_path):
    row = {"method": method, "spread": 10.0, "seed": 1, "T": [1, 5, 20, 60]}
    found = bounds.run(row, "tiny", tmp_path)
    assert found["value"] <= 1
    assert found["errors"][-1] < 1e-6 * found["errors"][0]


def test_the_exact_hypergradient_is_a_difference_quotient(monkeypatch):
    h, b, goal = bounds.quadratic(3, 20, 10.0)

    def value(lam):
        w = torch.linalg.solve(h + lam * torch.eye(20, dtype=torch.float64), b)
        return float(0.5 * (w - goal).square().sum())

    step = 1e-5
    slope = (value(bounds.LAMBDA + step) - value(bounds.LAMBDA - step)) / (2 * step)
    assert bounds.exact(h, b, goal) == pytest.approx(slope, rel=1e-6)


def test_generated_sequences_share_their_world():
    one, other = (phonemes.sequences(300, 5, seed) for seed in (0, 1))
    again = phonemes.sequences(300, 5, 0)
    assert torch.equal(one.x, again.x)
    assert not torch.equal(one.x, other.x)
    assert one.x.shape == (300, phonemes.WINDOW * phonemes.CHANNELS)
    middle = phonemes.WINDOW // 2
    windows = one.x.view(300, phonemes.CHANNELS, phonemes.WINDOW)
    torch.testing.assert_close(windows[1:, :, middle - 1], windows[:-1, :, middle])
    assert int(one.state.max()) < 5


# Chapter 9's figures


def test_groups_of_a_node_by_hand():
    from lds._types import Split
    from lds.datasets.base import NodeDataset

    labels = np.array([0, 0, 1, 0, 1, 0])
    parts = ([0, 1], [2], [3], [4, 5])
    split = Split(*(np.array(rows, dtype=np.int64) for rows in parts))
    held = sp.csr_array((np.ones(2, np.float32), ([0, 5], [5, 0])), shape=(6, 6))
    data = NodeDataset("x", np.eye(6, dtype=np.float32), labels, ("a", "b"), split, None, held)
    probs = np.array([0.0, 0.5, 0.1, 0.3, 0.2, 0.4])
    found = node_groups(probs, data, 0)
    assert found["means"] == pytest.approx(
        {"same": 0.4, "different": 0.1, "unknown": 0.3, "held_out": 0.4}
    )
    assert sum(found["histograms"]["same"]) == pytest.approx(1)


# The page


def test_what_the_page_names_is_there():
    for path in page.ALGORITHMS.values():
        assert (ROOT / path).is_file(), path
    for path in page.EQUATIONS.values():
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path


def test_the_page_is_of_the_recorded_runs():
    written = (ROOT / page.PAGE).read_text(encoding="utf-8")
    assert written == page.page(Store(ROOT / page.RECORDS)), f"{page.COMMAND} writes it anew"


def test_every_number_of_the_page_is_that_of_its_records():
    """One cell, by hand, of the records of a row."""
    store = Store(ROOT / page.RECORDS)
    found = store.found(ENTRIES["table-9.2"], "cpu")
    values = [r["value"] for r in found.where(method="LogReg", data="wine")]
    cell = f"{100 * statistics.fmean(values):.1f} ± {100 * statistics.pstdev(values):.1f}"
    (line,) = (
        line
        for line in (ROOT / page.PAGE).read_text(encoding="utf-8").splitlines()
        if line.startswith("| LogReg, wine |")
    )
    assert cell in line


def test_what_is_not_as_in_the_thesis_has_a_reason():
    store = Store(ROOT / page.RECORDS)
    fine, bare = {"within", "above", "holds", "not run"}, []
    assert fine < set(VERDICTS)
    for entry in ENTRIES.values():
        at = page.recorded(entry, store)
        for each in page.comparisons(entry, at[1]) if at else []:
            if each.verdict not in fine and not each.reason:
                bare.append(f"{entry.name}: {each.what}")
    assert not bare, bare


def test_a_reason_is_kept_beside_its_comparison():
    found = Comparison("x", "1", "2", "below").because({"x": "few seeds"})
    assert found.reason == "few seeds"
    several = Comparison("x, all", "1", "2", "below", "chance")
    assert several.because({"y": "no", "x, *": "few seeds"}).reason == "few seeds"
    assert several.because({"x": "no"}).reason == "chance"
