"""Rows of the fit among later rows: their answers, in whatever form they come."""

import dataclasses
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds.structure.known_rows import known_answers
from lds.structure.learn import learn
from tests.structure.blobs import blobs
from tests.structure.small import THESIS

TWICE = np.array([[0.0, 1.0], [2.0, 3.0], [0.0, 1.0], [4.0, 5.0], [-0.0, 1.0]])
APART = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]])
BOTH = pytest.mark.parametrize("stored", [np.asarray, sp.csr_array])


@BOTH
def test_all_rows_of_the_fit_have_their_own_answers(stored):
    known, found = known_answers(stored(TWICE), stored(TWICE), APART)
    assert known.all()
    assert np.array_equal(found, APART)
    assert not np.shares_memory(found, APART)


@BOTH
def test_a_row_like_several_with_different_answers_has_their_mean_and_a_warning(stored):
    new = np.array([[0.0, 1.0], [2.0, 3.0], [9.0, 9.0]])
    with pytest.warns(UserWarning, match=r"^1 of 3 rows equal several rows of the fit whose"):
        known, found = known_answers(stored(new), stored(TWICE), APART)
    assert known.tolist() == [True, True, False]
    np.testing.assert_allclose(found[:2], [[0.4, 0.6], [0.5, 0.5]], rtol=1e-15)


def test_the_order_of_rows_does_not_decide():
    order = np.array([4, 3, 2, 1, 0])
    with pytest.warns(UserWarning, match="^3 of 5 rows"):
        _, found = known_answers(TWICE[order], TWICE, APART)
    with pytest.warns(UserWarning, match="^3 of 5 rows"):
        _, other = known_answers(TWICE, TWICE[order], APART[order])
    np.testing.assert_allclose(found[order], other, rtol=1e-15)


def test_like_answers_of_equal_rows_need_no_warning():
    one = np.float32([[1 / 3, 2 / 3]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, found = known_answers(TWICE[[0, 4]], TWICE, one.repeat(5, 0))
        known_answers(TWICE[:1], TWICE, np.array([[0.5, 0.5]] * 4 + [[0.45, 0.55]]))
    assert np.array_equal(found, one.repeat(2, 0)), "no mean, which would round"


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x.astype(np.float64),
        lambda x: np.asfortranarray(x),
        lambda x: x.tolist(),
        lambda x: torch.tensor(x, requires_grad=True),
        lambda x: torch.tensor(x).double().to_sparse(),
        sp.csc_array,
        lambda x: sp.csr_matrix(x.astype(np.float64)),
    ],
)
def test_rows_are_known_in_any_precision_and_storage(thesis_fit, form):
    x, rows = thesis_fit.problem.features, [7, 3]
    sparse = dataclasses.replace(thesis_fit.problem, features=sp.csr_array(x))
    for fit in (thesis_fit, dataclasses.replace(thesis_fit, problem=sparse)):
        assert np.array_equal(fit.predict_new(form(x[rows])), fit.probabilities[rows])


def test_fractions_are_not_rounded_to_the_integers_of_a_fit(thesis_fit):
    whole = dataclasses.replace(blobs(), features=np.round(blobs().features * 9).astype(np.int64))
    fit = dataclasses.replace(thesis_fit, problem=whole)
    row = whole.features[5:6]
    assert np.array_equal(fit.predict_new(row.astype(float)), fit.probabilities[5:6])
    assert not np.array_equal(fit.predict_new(row + 0.25), fit.probabilities[5:6])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: x[:, :4], ValueError, r"with the 5 features of the fit, got shape \(3, 4\)"),
        (lambda x: x[0], ValueError, r"got shape \(5,\)"),
        (lambda x: np.where(x > 0, np.nan, x), ValueError, "must be finite in float32, got NaN"),
        (lambda x: sp.csr_array(x / 0), ValueError, "must be finite in float32"),
        (lambda x: x.astype(float) * 1e39, ValueError, "a number too large"),
        (lambda x: x.astype(str), TypeError, "new must hold numbers, .* got ndarray of <U"),
    ],
)
def test_what_are_no_rows_is_refused(thesis_fit, change, error, message):
    x = thesis_fit.problem.features[:3]
    with np.errstate(all="ignore"):
        wrong = change(x)
    with pytest.raises(error, match=message):
        thesis_fit.predict_new(wrong)


def test_a_masked_array_is_refused():
    learned = learn(blobs(), THESIS)
    rows = np.ma.masked_array(blobs().features[:2], mask=False)
    rows[0, 0] = np.ma.masked
    with pytest.raises(ValueError, match="new"):
        learned.predict_new(rows)


def test_dense_truth_values_are_features():
    problem = blobs()
    on = dataclasses.replace(problem, features=problem.features > 0)
    numbers = dataclasses.replace(problem, features=on.features.astype(np.float64))
    one, other = (learn(each, THESIS).probabilities for each in (on, numbers))
    np.testing.assert_array_equal(one, other)
