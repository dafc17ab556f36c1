"""Learned views on a sample of a large table: against a fit on the sample alone."""

import dataclasses

import numpy as np
import pytest
import torch

from lds.structure.account import account
from lds.structure.learn import learn
from lds.structure.methods import views_preparation
from lds.structure.methods.views_sample import learning_rows
from lds.structure.problem import Problem
from lds.structure.result import Learned
from tests.structure.methods.test_views_run import SMALL, table, words

SAMPLED = dataclasses.replace(SMALL, max_rows=60, max_iter=3)
TOLD = "learned on 60 of 150 rows, all labelled ones and a sample of the others; the rest have no"


def of_sample(problem, method=SAMPLED, **options):
    with pytest.warns(UserWarning, match=TOLD):
        return learn(problem, method, seed=2, **options)


def rows_of(learned):
    learns = learned.preparation.learns
    return learns, np.setdiff1d(np.arange(learned.problem.n_nodes), learns)


@pytest.fixture(scope="module")
def found():
    return of_sample(table(150))


@pytest.mark.ci
@pytest.mark.parametrize("problem", [table(150), words(150)], ids=["measurements", "words"])
def test_it_is_the_fit_on_the_sample_and_its_predictions_of_the_rest(problem):
    found = of_sample(problem)
    learns, rest = rows_of(found)
    split, place = problem.split, np.cumsum(np.isin(np.arange(150), learns)) - 1
    roles = {r: place[getattr(split, r)] for r in ("train", "validation", "stopping")}
    alone = Problem(
        problem.features[learns],
        problem.labels[learns],
        dataclasses.replace(split, **roles, test=np.arange(24, 60)),
    )
    other = learn(alone, dataclasses.replace(SAMPLED, max_rows=60), seed=2)
    assert np.array_equal(found.probabilities[learns], other.probabilities)
    assert np.array_equal(found.probabilities[rest], other.predict_new(problem.features[rest]))
    assert np.array_equal(found.left_out.rows, learns[other.left_out.rows])
    edges = found.edges.to_csr()
    assert np.array_equal(edges[learns][:, learns].toarray(), other.edges.to_csr().toarray())
    assert edges.nnz == other.edges.to_csr().nnz  # none at the rest
    assert found.starting_edges == pytest.approx(other.starting_edges)


def test_labelled_rows_learn_whatever_their_number():
    problem = table(150)
    assert np.isin(np.arange(24), learning_rows(problem, 60, 0)).all()
    assert learning_rows(problem, 5, 0).tolist() == list(range(24))
    assert len(learning_rows(problem, 60, 0)) == 60
    assert not np.array_equal(learning_rows(problem, 60, 0), learning_rows(problem, 60, 1))
    assert problem.part(learning_rows(problem, 150, 0)) is problem
    labels = np.where(np.arange(150) == 149, 3, problem.labels)  # a class without a label
    other = dataclasses.replace(problem, labels=labels)
    assert other.part(learning_rows(other, 60, 0)).n_classes == other.n_classes == 4


def test_the_label_of_a_test_row_chooses_no_row():
    """Class 3 has test rows alone: it stays a class, and its rows are as likely to learn."""
    problem = table(150)
    chosen = learning_rows(problem, 60, 2)
    test = problem.split.test
    for row in test[~np.isin(test, chosen)][:3]:
        labels = problem.labels.copy()
        labels[row] = 3
        other = dataclasses.replace(problem, labels=labels)
        assert np.array_equal(learning_rows(other, 60, 2), chosen)
        assert other.part(chosen).n_classes == 4
    assert of_sample(other).probabilities.shape == (150, 4)


@pytest.mark.ci
def test_members_explain_the_rest_too_also_after_loading(found, tmp_path):
    parts = account(found).members
    mean = sum(weight * each for weight, each in parts.values())
    np.testing.assert_allclose(mean, found.probabilities, atol=1e-6)
    found.save(tmp_path)
    loaded = Learned.load(tmp_path)
    new = found.problem.features[60:90] * 1.01
    assert np.array_equal(loaded.predict_new(new), found.predict_new(new))
    assert np.array_equal(loaded.edges.to_csr().indices, found.edges.to_csr(1e-4).indices)
    for name, (_, each) in account(loaded).members.items():
        assert np.array_equal(each, parts[name][1])


@pytest.mark.ci
def test_a_stopped_fit_goes_on_with_the_same_sample(found, tmp_path):
    of_sample(table(150), dataclasses.replace(SAMPLED, max_iter=1), checkpoint=tmp_path)
    resumed = of_sample(table(150), checkpoint=tmp_path, resume=True)
    assert np.array_equal(resumed.probabilities, found.probabilities)


@pytest.mark.ci
def test_folds_of_a_large_table_have_a_sample_and_the_graph_has_all_rows(monkeypatch):
    problem, method = table(150), dataclasses.replace(SMALL, max_iter=3)
    plain = learn(problem, method, seed=2)
    monkeypatch.setattr(views_preparation, "FOLD_ROWS", 60)
    found = learn(problem, method, seed=2)
    rows = learning_rows(problem, 60, 2)
    folds, n_folds = found.preparation.folds, method.n_folds
    assert len(folds.labels) == n_folds * 60
    assert np.array_equal(rows[folds.judged % 60], found.left_out.rows)
    assert np.array_equal(found.left_out.rows, plain.left_out.rows)
    assert torch.equal(folds.truth, torch.from_numpy(problem.labels[found.left_out.rows]))
    # Members read labelled rows alone: on a sample they are the same, where no metric is learned.
    for mine, theirs in zip(found.preparation.judged, plain.preparation.judged, strict=True):
        assert np.array_equal(mine["extra trees"], theirs["extra trees"])
    whole = found.preparation.whole, plain.preparation.whole
    assert all(torch.equal(each.features, whole[0].features) for each in whole)
    beta = found.params["coefficients"]
    assert not torch.equal(beta, plain.params["coefficients"])
    expected = 2 * float(torch.sigmoid(whole[1].features @ beta).sum())
    assert found.edges.to_csr().sum() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("varying", [40, 1])
def test_folds_and_the_whole_have_the_same_views(monkeypatch, varying):
    """Too few rows, or too little in them, for a metric in the folds: the whole has none either."""
    monkeypatch.setattr(views_preparation, "FOLD_ROWS", 60)
    problem, rng = table(150), np.random.default_rng(0)
    if varying == 40:  # 820 entries of a covariance: a metric needs a ninth as many rows
        x = np.concatenate([problem.features, rng.standard_normal((150, 36))], 1)
    else:  # no row of the sample differs from another
        x = np.zeros((150, 4))
        x[np.setdiff1d(np.arange(150), learning_rows(problem, 60, 2))[0]] = 1
    learned = learn(dataclasses.replace(problem, features=x), SMALL, seed=2)
    assert "whitened columns" not in learned.edges.names
    assert len(learned.params["coefficients"]) == learned.preparation.folds.features.shape[1]
    assert np.isfinite(learned.probabilities).all()
