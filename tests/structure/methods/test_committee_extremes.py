"""The default method on few rows, isolated nodes, missing classes and large weights."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from lds._types import Split
from lds.structure.learn import learn
from lds.structure.methods.committee import Committee
from lds.structure.problem import Problem
from tests.structure.blobs import around_centres, blobs, path, roles, words
from tests.structure.small import DEFAULT

QUICK = dataclasses.replace(DEFAULT, refit_steps=4)


def fit(method=DEFAULT, problem=None, **options):
    return learn(blobs() if problem is None else problem, method, **options)


@pytest.mark.parametrize("kind", [blobs, words])
def test_fewer_rows_than_neighbours_asked_for(kind):
    rows = kind(60)
    split = Split(np.arange(3), np.arange(3, 6), np.arange(6, 9), np.arange(9, 12))
    problem = Problem(rows.features[:12], rows.labels[:12], split)
    method = Committee(max_inner=10, max_iter=2, refit_steps=4)
    assert method.n_neighbors > 12
    result = fit(method, problem)
    pairs = np.triu(np.ones((12, 12)), 1)
    if kind is words:
        pairs *= (problem.features @ problem.features.T).toarray()
    n_pairs = np.count_nonzero(pairs)
    assert result.edges.pairs.n_pairs == n_pairs, "all pairs, of words all that have one in common"
    assert np.isfinite(result.probabilities).all()


@pytest.mark.ci
@pytest.mark.parametrize("kind", [blobs, words])
def test_isolated_nodes_and_rows_without_a_word(kind):
    problem = kind()
    x = problem.features
    if kind is words:
        x = x.tolil()
        x[50] = 0
        x = sp.csr_array(x)
    result = fit(QUICK, Problem(x, problem.labels, problem.split, path()))
    assert np.isfinite(result.probabilities).all()
    np.testing.assert_allclose(result.probabilities.sum(1), 1, rtol=1e-5)
    empty = fit(QUICK, Problem(x, problem.labels, problem.split, sp.csr_array((60, 60))))
    assert np.isfinite(empty.probabilities).all()


def test_a_class_may_lack_in_the_stopping_rows_and_in_the_train_rows():
    x, y = around_centres()
    first, last = np.flatnonzero(y != 2), np.flatnonzero(y == 2)
    split = Split(first[:10], np.concatenate([first[10:16], last[:6]]), first[16:26], last[6:])
    result = fit(QUICK, Problem(x, y, split))
    assert result.probabilities.shape == (60, 3)
    assert np.isfinite(result.probabilities).all()
    assert result.probabilities[:, 2].max() > 0


def test_one_row_a_role_and_class():
    split = Split(np.array([0, 1]), np.array([3]), np.array([4]), np.arange(6, 60))
    assert np.isfinite(fit(QUICK, Problem(*around_centres(), split)).probabilities).all()


@pytest.mark.parametrize(
    "options",
    [
        {"denoising_weight": 1e4},
        {"label_weight": 1e4},
        {"agreement": 50.0},
        {"weight_decay": 10.0},
        {"outer_lr": 100.0},
    ],
    ids=str,
)
def test_large_weights_stay_finite(options):
    result = fit(dataclasses.replace(QUICK, **options), blobs(graph=path()))
    assert np.isfinite(result.probabilities).all()
    theta = result.edges.probs
    assert bool(((theta >= 0) & (theta <= 1)).all())


@pytest.mark.parametrize("weight", [1e-9, 0.5, 1.0])
def test_given_edges_of_any_weight_are_taken(weight):
    assert np.isfinite(fit(QUICK, blobs(graph=path(weight=weight))).probabilities).all()


def test_features_of_one_column_that_does_not_vary():
    constant = np.ones((60, 1), dtype=np.float32)
    with pytest.warns(UserWarning, match="the same for every row"):
        result = fit(QUICK, Problem(constant, around_centres()[1], roles()))
    assert np.isfinite(result.probabilities).all()
