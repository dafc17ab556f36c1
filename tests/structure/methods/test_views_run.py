"""Learned views: the hypergradient, the folds, what is learned, new rows, resuming."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds._types import Split
from lds.bilevel.unroll import hypergradient
from lds.structure.context import RunContext
from lds.structure.learn import learn
from lds.structure.methods import views_preparation, views_run
from lds.structure.methods.views import Views
from lds.structure.methods.views_preparation import dealt, prepare, shares
from lds.structure.methods.views_run import along_edges
from lds.structure.problem import Problem
from lds.structure.result import Learned

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


def loop_of(problem, method=SMALL):
    run = RunContext(0, dtype=F64)
    prepared = prepare(method, problem, run)
    return views_run._Coefficients(method, problem, prepared, run), prepared


def by_hand(prepared, method, beta):
    """The objective on dense matrices, without any code of the method."""
    total, count = 0.0, 0
    for fold in prepared.folds:
        n = len(fold.labels)
        row = torch.repeat_interleave(torch.arange(n), fold.pattern.crow.long().diff())
        weight = torch.sigmoid(fold.features @ beta)[fold.entry]
        w = torch.zeros(n, n, dtype=F64).index_put((row, fold.pattern.col.long()), weight)
        assert torch.equal(w, w.T)
        s, mass = w / w.sum(1, keepdim=True), fold.labels
        for _ in range(method.n_hops):
            mass = (1 - method.teleport) * s @ mass + method.teleport * fold.labels
        smooth = mass + 1e-3 * mass.mean()
        p = smooth / smooth.sum(1, keepdim=True)
        total = total - p[fold.judged, fold.truth].log().sum()
        count += len(fold.judged)
    prior = ((beta - prepared.start) / method.deviation).square().sum() / 2
    return (total + prior) / count


@pytest.mark.parametrize("problem", [table(), words()], ids=["measurements", "words"])
def test_the_hypergradient_is_that_of_dense_matrices(problem):
    loop, prepared = loop_of(problem)
    beta = prepared.start + 0.3 * torch.randn(
        len(prepared.start), dtype=F64, generator=torch.Generator().manual_seed(0)
    )
    masses = [fold.labels for fold in prepared.folds]
    ours = hypergradient(loop._dynamics, loop.objective, masses, beta, n_steps=SMALL.n_hops)
    beta.requires_grad_()
    value = by_hand(prepared, SMALL, beta)
    (expected,) = torch.autograd.grad(value, beta)
    torch.testing.assert_close(ours.value, value.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.grad, expected, rtol=1e-10, atol=1e-12)
    assert bool((expected.abs() > 1e-6).all())


def test_many_hops_reach_the_fixed_point():
    method = dataclasses.replace(SMALL, n_hops=400)
    _, prepared = loop_of(table(), method)
    fold, beta = prepared.whole, prepared.start
    n = len(fold.labels)
    row = torch.repeat_interleave(torch.arange(n), fold.pattern.crow.long().diff())
    weight = torch.sigmoid(fold.features @ beta)[fold.entry]
    w = torch.zeros(n, n, dtype=F64).index_put((row, fold.pattern.col.long()), weight)
    s, alpha = w / w.sum(1, keepdim=True), method.teleport
    expected = torch.linalg.solve(torch.eye(n, dtype=F64) - (1 - alpha) * s, alpha * fold.labels)
    torch.testing.assert_close(fold.masses(beta, method)[1], expected, rtol=1e-10, atol=1e-14)


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
        mine, theirs = prepared.folds[number], other.folds[number]
        assert torch.equal(theirs.entry, mine.entry)
        assert torch.equal(theirs.pattern.col, mine.pattern.col)
        assert torch.equal(theirs.features, mine.features)
        assert torch.equal(theirs.labels, mine.labels)
        assert not torch.equal(theirs.truth, mine.truth)
        last = other.folds[number - 1]  # which reads them
        assert last.features.shape != prepared.folds[number - 1].features.shape or not torch.equal(
            last.features, prepared.folds[number - 1].features
        )


def test_noise_is_turned_down_and_learning_pays():
    """Forty columns of noise: views of all columns lose weight, and left-out labels gain."""
    scores = []
    for seed in range(3):
        problem = table(n=150, n_noise=40, seed=seed)
        method = dataclasses.replace(SMALL, n_trees=50, n_neighbors=15, max_iter=40)
        learned, frozen = (learn(problem, m, seed=seed) for m in (method, method.frozen()))
        beta = dict(zip(learned.edges.names, learned.params["coefficients"].tolist(), strict=True))
        assert beta["columns"] < beta["label forest"]
        scores.append((learned.history[-1].stopping_loss, frozen.history[-1].stopping_loss))
        truth = problem.labels[problem.split.test]
        right = learned.probabilities[problem.split.test].argmax(1) == truth
        assert right.mean() >= 0.6
    assert all(mine < other for mine, other in scores)


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
    assert np.array_equal(loaded.predict_new(later), before)
    assert np.array_equal(found.predict_new(problem.features[:3]), found.probabilities[:3])


def test_new_rows_are_one_step_along_their_edges():
    problem = table()
    found = learn(problem, SMALL, seed=0)
    later = problem.features[30:35] + 0.1
    row, col, features = found.preparation.of_later(later, SMALL.n_neighbors)
    beta, mass = found.params["coefficients"].numpy(), found.params["mass"].numpy()
    weight = 1 / (1 + np.exp(-features @ beta))
    dense = np.zeros((5, problem.n_nodes))
    dense[row, col] = weight
    expected = dense @ mass / dense.sum(1, keepdims=True)
    ours = along_edges(SMALL, found.preparation, found.params, later)
    np.testing.assert_allclose(ours, shares(torch.from_numpy(expected)), rtol=1e-4)


def test_a_crash_costs_nothing(tmp_path):
    problem = table()
    whole = learn(problem, SMALL, seed=0)

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


def test_the_same_seed_gives_the_same_bits():
    first, second = (learn(table(), SMALL, seed=3) for _ in range(2))
    assert np.array_equal(first.probabilities, second.probabilities)
    assert not np.array_equal(first.probabilities, learn(table(), SMALL, seed=4).probabilities)
