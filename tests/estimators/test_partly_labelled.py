"""Rows without a label: never scored, always in a fit, and the least number of labelled ones."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score

from lds import LabelledKFold, LDSClassifier, LDSSearch
from tests.estimators.options import CLASSIFIERS, classifier

BOTH = {"n_neighbors": 4, "max_inner": 20, "max_iter": 1, "n_draws": 2, "random_state": 0}
TINY = {**BOTH, "refits": 1, "refit_steps": 4}


def blobs(n=48):
    """Three far blobs, of which every other row is labelled."""
    truth = np.arange(n) % 3
    x = np.random.default_rng(0).standard_normal((n, 4)) + 8 * np.eye(4)[truth]
    labels = np.where(np.arange(n) // 3 % 2, -1, truth)
    return x, labels, truth


X, LABELS, TRUTH = blobs()


@pytest.fixture(scope="module")
def clf():
    return LDSClassifier(**TINY).fit(X, LABELS)


def test_unlabelled_rows_are_not_scored(clf):
    assert clf.score(X, TRUTH) == 1
    assert clf.score(X, LABELS) == 1, "half of the rows are labelled"
    wrong = np.where(np.arange(48) < 6, 2 - LABELS, LABELS)
    labelled = np.flatnonzero(LABELS >= 0)
    right = wrong[labelled] == TRUTH[labelled]
    assert 0 < right.mean() < 1
    assert clf.score(X, np.where(LABELS < 0, -1, wrong)) == right.mean()
    weights = np.random.default_rng(1).random(48)
    weighted = clf.score(X, np.where(LABELS < 0, -1, wrong), weights)
    assert weighted == pytest.approx((weights[labelled] * right).sum() / weights[labelled].sum())
    with pytest.raises(ValueError, match="y must label a row to score, got 48 rows"):
        clf.score(X, np.full(48, -1))


@pytest.mark.parametrize("form", ["None", "NaN", "Int64", "text", "polars"])
def test_every_form_of_no_label_scores_alike(form):
    y = [None if label < 0 else int(label) for label in LABELS]
    if form == "NaN":
        y = np.array(y, dtype=float)
    elif form == "Int64":
        y = pd.Series(y, dtype="Int64")
    elif form == "text":
        y = [None if label is None else "abc"[label] for label in y]
    elif form == "polars":
        y = pytest.importorskip("polars").Series(y)
    clf = LDSClassifier(**TINY).fit(X, y)
    assert clf.classes_.tolist() == (list("abc") if form == "text" else [0, 1, 2])
    assert clf.classes_.dtype.kind == {"NaN": "f", "text": "U"}.get(form, "i")
    assert (clf.transduction_ == clf.classes_[TRUTH]).all()
    assert clf.score(X, y) == 1


@pytest.mark.ci
def test_cross_validation_by_labelled_folds_keeps_unlabelled_rows_in_every_fit(monkeypatch):
    seen = []
    fit = LDSClassifier.fit
    monkeypatch.setattr(
        LDSClassifier, "fit", lambda self, x, y: (seen.append(y), fit(self, x, y))[1]
    )
    for y in (
        LABELS,
        pd.Series(np.where(LABELS < 0, None, "c" + TRUTH.astype(str).astype(object))),
    ):
        seen.clear()
        scores = cross_val_score(
            LDSClassifier(**TINY), X, y, cv=LabelledKFold(2, random_state=0), error_score="raise"
        )
        assert scores.tolist() == [1, 1]
        assert [len(part) for part in seen] == [36, 36], "24 without a label, 12 with one"


@pytest.mark.ci
def test_a_grid_search_takes_the_folds():
    folds = LabelledKFold(2, random_state=0)
    search = GridSearchCV(
        LDSClassifier(**TINY), {"n_neighbors": [3, 5]}, cv=folds, error_score="raise"
    )
    assert search.fit(X, LABELS).best_score_ == 1


def test_a_search_scores_as_its_best_estimator():
    search = LDSSearch({"n_neighbors": [3]}, LDSClassifier(**TINY), seeds=(0,)).fit(X, LABELS)
    assert search.score(X, LABELS) == 1
    assert isinstance(search, BaseEstimator)


def test_class_numbers_do_not_matter():
    plain = LDSClassifier(**TINY).fit(X, LABELS)
    for numbers in ([1, 6, 7], [0, 100, 1_000_000], [-9, -3, 5]):
        y = [None if label < 0 else numbers[label] for label in LABELS]
        other = LDSClassifier(**TINY).fit(X, y)
        assert other.classes_.tolist() == numbers
        assert np.array_equal(other.label_distributions_, plain.label_distributions_)


@pytest.mark.filterwarnings("ignore:the labelled rows cannot be split", "ignore:max_iter=1 outer")
@pytest.mark.parametrize("method", CLASSIFIERS)
@pytest.mark.parametrize("rows", [[0, 1, 6, 7], [0, 6, 12, 1], [0, 1, 2, 6]])
def test_the_least_number_of_labels_is_learned_from(rows, method):
    y = np.full(48, -1)
    y[rows] = TRUTH[rows]
    options = TINY if method == "default" else BOTH
    for seed in (0, 1):
        clf = classifier(method, **options | {"random_state": seed, "patience": 1}).fit(X, y)
        assert np.unique(y[clf.split_.train]).size == 2
        assert np.isfinite(clf.label_distributions_).all()
