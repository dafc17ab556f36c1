"""Learned views: the hypergradient, the folds, what is learned, new rows, resuming."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds._types import Split
from lds.structure.context import RunContext
from lds.structure.learn import learn
from lds.structure.methods import views_preparation, views_run
from lds.structure.methods.views import Views
from lds.structure.methods.views_preparation import dealt, prepare
from lds.structure.problem import Problem
from lds.structure.result import Learned
from tests.structure.blobs import blobs

F64 = torch.float64
SMALL = Views(n_neighbors=5, n_trees=10, n_hops=6, max_iter=8)


def table(n=60, n_noise=0, seed=0):
    """Three classes around three centres, perhaps with columns of noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = rng.standard_normal((n, 4)) + 3 * np.eye(4)[labels]
    x = np.concatenate([x, rng.standard_normal((n, n_noise))], 1)
    split = Split(np.arange(8), np.arange(8, 16), np.arange(16, 24), np.arange(24, n))
    return Problem(x, labels.astype(np.int64), split)


def words(n=60):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    of_class = np.kron(np.eye(3), np.ones((1, 30)))[labels]
    x = sp.csr_array(rng.poisson(0.02 + 0.3 * of_class).astype(np.float64))
    return Problem(x, labels.astype(np.int64), table(n).split)


def loop_of(problem, method=SMALL, prepared=None):
    run = RunContext(0, dtype=F64)
    prepared = prepared or prepare(method, problem, run)
    return views_run._Coefficients(method, problem, prepared, run), prepared


@pytest.fixture(scope="module")
def prepared():
    """Of `table`; hops and the prior change nothing of it."""
    return prepare(SMALL, table(), RunContext(0, dtype=F64))


@pytest.fixture(scope="module")
def found():
    """A fit of `table`."""
    return learn(table(), SMALL, seed=0)


def dense(folds, beta):
    """The graph S of folds side by side, as a matrix, without any code of the method."""
    n = len(folds.labels)
    row = torch.repeat_interleave(torch.arange(n), folds.pattern.crow.long().diff())
    weight = torch.sigmoid(folds.features @ beta)[folds.entry]
    w = torch.zeros(n, n, dtype=F64).index_put((row, folds.pattern.col.long()), weight)
    assert torch.equal(w, w.T)
    return w / w.sum(1, keepdim=True)


def solved(folds, beta, alpha):
    """The fixed point F = (1 - α) S F + α Y, by a linear solve."""
    s = dense(folds, beta)
    return torch.linalg.solve(torch.eye(len(s), dtype=F64) - (1 - alpha) * s, alpha * folds.labels)


def by_hand(prepared, method, beta, sharpness):
    """The objective at the fixed point, and the prior."""
    folds = prepared.folds
    mass = solved(folds, beta, method.teleport)
    smooth = mass + 1e-3 * mass.mean()
    odds = (smooth / smooth.sum(1, keepdim=True)).log()[folds.judged] * sharpness.exp()
    losses = odds.logsumexp(1) - odds[torch.arange(len(folds.truth)), folds.truth]
    away = ((beta - prepared.start) / method.deviation).square().sum()
    away = away + (sharpness / method.deviation) ** 2
    return losses.mean(), losses.mean() + away / (2 * len(losses))


@pytest.mark.parametrize("problem", [table(), words()], ids=["measurements", "words"])
def test_the_hypergradient_is_that_of_dense_matrices(problem):
    """Many hops, so that the truncated series is the fixed point to rounding: 0.85^400 < 1e-28."""
    method = dataclasses.replace(SMALL, n_hops=400, deviation=0.7)
    loop, prepared = loop_of(problem, method)
    beta = prepared.start + 0.3 * torch.randn(
        len(prepared.start), dtype=F64, generator=torch.Generator().manual_seed(0)
    )
    sharpness = torch.tensor(0.4, dtype=F64)
    with torch.no_grad():
        loop._beta.copy_(beta)
        loop._sharpness.copy_(sharpness)
    ours = loop.differentiate()
    beta.requires_grad_(), sharpness.requires_grad_()
    loss, value = by_hand(prepared, method, beta, sharpness)
    by_beta, by_sharpness = torch.autograd.grad(value, [beta, sharpness])
    torch.testing.assert_close(ours.value, loss.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(loop._beta.grad, by_beta, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(loop._sharpness.grad, by_sharpness, rtol=1e-9, atol=1e-12)
    assert bool((by_beta.abs() > 1e-6).all())


def test_fifteen_hops_are_near_the_fixed_point(prepared):
    """Of S whose rows sum to 1, what is left out is at most (1 - α)^hops of the series."""
    loop, _ = loop_of(table(), dataclasses.replace(SMALL, n_hops=15), prepared)
    loop.differentiate()
    beta = prepared.start.clone().requires_grad_()
    _, value = by_hand(prepared, SMALL, beta, torch.zeros((), dtype=F64))
    (exact,) = torch.autograd.grad(value, beta)
    assert (loop._beta.grad - exact).norm() <= 0.25 * exact.norm()


def test_many_hops_reach_the_fixed_point(prepared):
    method = dataclasses.replace(SMALL, n_hops=400)
    whole, beta = prepared.whole, prepared.start
    expected = solved(whole, beta, method.teleport)
    torch.testing.assert_close(whole.masses(beta, method)[1], expected, rtol=1e-10, atol=1e-14)


def test_every_row_is_judged_once_by_labels_of_others():
    labels = np.array([0, 0, 0, 1, 1, 2, 1, 0, 1, 0])
    rows = np.arange(10)
    folds = dealt(labels, rows, 3, 0)
    judged = np.concatenate([judged for _, judged in folds])
    assert sorted(judged) == [row for row in rows if labels[row] != 2], "alone in its class"
    for read, mine in folds:
        assert not np.intersect1d(read, mine).size
        assert np.isin(labels[mine], labels[read]).all()
    again = dealt(labels, rows, 3, 0)
    assert repr(again) == repr(folds)


@pytest.mark.ci
def test_a_fold_knows_nothing_of_the_labels_that_judge_it(monkeypatch):
    """Other labels of its judged rows change neither its pairs nor their similarities."""
    problem = table()
    rows = np.arange(24)
    folds = [(rows[rows % 4 != k], rows[rows % 4 == k]) for k in range(4)]
    monkeypatch.setattr(views_preparation, "dealt", lambda *_: folds)
    _, prepared = loop_of(problem)
    for number, (_, judged) in enumerate(folds):
        labels = problem.labels.copy()
        labels[judged] = (labels[judged] + 1) % 3
        _, other = loop_of(dataclasses.replace(problem, labels=labels))
        mine, theirs = (part_of(each.folds, number, 60) for each in (prepared, other))
        assert all(torch.equal(theirs[name], mine[name]) for name in mine if name != "truth")
        assert not torch.equal(theirs["truth"], mine["truth"])
        reads = number - 1 if number else 3  # a fold that reads them
        before, after = (part_of(each.folds, reads, 60) for each in (prepared, other))
        assert any(not torch.equal(before[name], after[name]) for name in ("features", "row"))


def part_of(folds, number, n):
    """Pairs, similarities, labels and judged rows of one of the folds side by side."""
    row = torch.repeat_interleave(torch.arange(len(folds.labels)), folds.pattern.crow.long().diff())
    mine = row // n == number
    judged = folds.judged // n == number
    return {
        "row": row[mine] % n,
        "col": folds.pattern.col[mine] % n,
        "features": folds.features[folds.entry[mine]],
        "labels": folds.labels[number * n : (number + 1) * n],
        "judged": folds.judged[judged] % n,
        "truth": folds.truth[judged],
    }


@pytest.mark.ci
def test_noise_is_turned_down_and_learning_pays(monkeypatch):
    """Twenty columns of noise: views of all columns lose weight, and left-out labels gain."""
    method = dataclasses.replace(SMALL, n_trees=20, n_neighbors=10, max_iter=20)
    scores = []
    for seed in range(3):
        problem = table(n=100, n_noise=20, seed=seed)
        prepared = prepare(method, problem, RunContext(seed))  # the same for both
        monkeypatch.setattr(views_run, "prepare", lambda *_, prepared=prepared: prepared)
        learned, frozen = (learn(problem, m, seed=seed) for m in (method, method.frozen()))
        beta = dict(zip(learned.edges.names, learned.params["coefficients"].tolist(), strict=True))
        of_all = sum(beta[name] for name in ("columns", "ranks", "forest"))  # 3 at the start
        chosen = sum(beta[n] for n in ("label forest", "important ranks", "members agree"))
        assert of_all < min(chosen, 3)
        scores.append((learned.history[-1].stopping_loss, frozen.history[-1].stopping_loss))
        truth = problem.labels[problem.split.test]
        right = learned.probabilities[problem.split.test].argmax(1) == truth
        assert right.mean() >= 0.6
    assert all(mine < other for mine, other in scores)


@pytest.mark.ci
@pytest.mark.parametrize("problem", [table(), words()], ids=["measurements", "words"])
def test_a_result_predicts_saves_and_loads(problem, tmp_path):
    found = learn(problem, SMALL, seed=1)
    assert (found.probabilities.argmax(1) == problem.labels).mean() >= 0.8
    np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=1e-5)
    later = problem.features[24:40] * 1.01
    before = found.predict_new(later)
    assert (before.argmax(1) == problem.labels[24:40]).mean() >= 0.8
    found.save(tmp_path)
    loaded = Learned.load(tmp_path)
    assert loaded.left_out.counts == found.left_out.counts
    assert np.array_equal(loaded.left_out.probabilities, found.left_out.probabilities)
    assert np.array_equal(loaded.predict_new(later), before)
    assert np.array_equal(found.predict_new(problem.features[:3]), found.probabilities[:3])


def test_new_rows_are_one_step_along_their_edges(found):
    problem = table()
    later = problem.features[30:35] + 0.1
    new_rows = views_run.new_rows_of(found)
    row, col, features, _ = new_rows.pairs(later)
    beta, mass = found.params["coefficients"].numpy(), found.params["mass"].numpy()
    weight = 1 / (1 + np.exp(-features @ beta))
    dense = np.zeros((5, problem.n_nodes))
    dense[row, col] = weight
    expected = dense @ mass / dense.sum(1, keepdims=True)
    ours = new_rows.along_edges(new_rows.step(later)[0])
    smooth = expected + 1e-3 * mass.mean()
    np.testing.assert_allclose(ours, smooth / smooth.sum(1, keepdims=True), rtol=1e-4)
    one = new_rows.along_edges(new_rows.step(later[2:3])[0])
    np.testing.assert_allclose(one[0], ours[2], rtol=1e-6)  # whatever stands beside it


@pytest.mark.ci
def test_a_crash_costs_nothing(found, tmp_path):
    problem, whole = table(), found

    class CrashError(Exception):
        pass

    def crash(record):
        if record.iteration == 4:
            raise CrashError

    with pytest.raises(CrashError):
        learn(problem, SMALL, seed=0, checkpoint=tmp_path, on_iteration=crash)
    resumed = learn(problem, SMALL, seed=0, checkpoint=tmp_path, resume=True)
    assert np.array_equal(resumed.probabilities, whole.probabilities)
    assert repr(resumed.history) == repr(whole.history)
    with pytest.raises(ValueError, match="is of another run"):
        learn(table(seed=1), SMALL, seed=0, checkpoint=tmp_path, resume=True)


@pytest.mark.ci
def test_the_same_seed_gives_the_same_bits(found):
    again, other = (learn(table(), SMALL, seed=seed) for seed in (0, 1))
    assert np.array_equal(again.probabilities, found.probabilities)
    assert not np.array_equal(other.probabilities, found.probabilities)


def test_what_the_graph_adds_is_counted_on_labels_left_out(found):
    """Against the members' own predictions, put together again outside of the method."""
    problem = table()
    prepared, n_judged = found.preparation, 24
    gained, lost, n = found.left_out.counts
    truth = problem.labels[found.left_out.rows]
    assert sorted(found.left_out.rows) == list(range(24))
    accuracy = (found.left_out.probabilities.argmax(1) == truth).mean()
    assert accuracy == found.history[-1].stopping_accuracy
    assert n == n_judged == len(prepared.folds.truth)
    right = found.history[-1].stopping_accuracy * n
    alone = views_run.weights_of(
        views_run.stacked(prepared.judged),
        prepared.folds.truth.numpy(),
        [tuple(prepared.members.each)],
    )
    others = alone.mean(views_run.stacked(prepared.judged)).argmax(1)
    without = (others == prepared.folds.truth.numpy()).sum()
    assert right - without == pytest.approx(gained - lost)
    assert views_run.without_graph(found).shape == found.probabilities.shape


def test_a_class_with_one_label_trains_with_a_warning():
    problem = table()
    rows = np.arange(24)
    others = rows[problem.labels[rows] != 2]
    known = problem.labels.copy()
    split = Split(np.r_[others[:10], 2], others[10:13], others[13:], problem.split.test)
    with pytest.warns(UserWarning, match="1 of 3 classes have a single labelled row: these rows"):
        found = learn(dataclasses.replace(problem, labels=known, split=split), SMALL, seed=0)
    assert len(found.left_out.rows) == 16
    assert (found.probabilities.argmax(1) == 2)[problem.labels == 2].mean() > 0.5


def test_as_few_rows_as_classes_are_enough():
    """Four labels, one class with two: folds read three rows of three classes."""
    problem = table()
    split = Split(np.array([0, 1]), np.array([2]), np.array([3]), problem.split.test)
    with pytest.warns(UserWarning, match="2 of 3 classes have a single labelled row"):
        found = learn(dataclasses.replace(problem, split=split), SMALL, seed=0)
    assert "linear discriminant" not in found.preparation.members.each
    assert (found.probabilities.argmax(1) == problem.labels).mean() > 0.5


def test_accuracy_counts_rows_by_their_weights():
    problem = blobs()
    weights = np.random.default_rng(0).uniform(0.1, 10, len(problem.labels))
    noisy = problem.features + 3 * np.random.default_rng(1).standard_normal(problem.features.shape)
    problem = dataclasses.replace(problem, features=noisy, weights=weights)
    found = learn(problem, Views(max_iter=2, n_trees=5))
    rows, says = found.left_out.rows, found.left_out.probabilities.argmax(1)
    right = says == problem.labels[rows]
    expected = np.average(right, weights=weights[rows])
    assert expected != right.mean()
    assert found.history[-1].stopping_accuracy == pytest.approx(
        expected, rel=1e-6
    )  # weights are float32
