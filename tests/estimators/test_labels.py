"""Roles of labelled rows, accuracy on labelled rows, and folds of them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.neighbors import KNeighborsClassifier

from lds import LabelledKFold
from lds.estimators.labels import accuracy, split_roles

CODES, CLASSES = np.array([0, 1, 0, 1, 0, 1, -1]), ["ant", "bee"]


def test_rows_without_a_role_train():
    mask = np.arange(7) == 5
    split = split_roles(CODES, CLASSES, [3, 2, 2], mask, seed=0)
    assert split.train.tolist() == [0, 1, 4]
    assert split.validation.tolist() == [2, 3]
    assert split.stopping.tolist() == [5]
    assert split.test.size == 0


def test_roles_are_dealt_by_class_where_none_is_given():
    split = split_roles(CODES, CLASSES, None, None, seed=0)
    for rows in (split.train, split.validation, split.stopping):
        assert sorted(CODES[rows]) == [0, 1]


def test_a_class_of_stopping_rows_alone_is_named():
    codes = np.array([0, 1, 0, 1, 2, 0, 2])
    with pytest.warns(UserWarning, match="all labelled rows of class 'cat' are in stopping, from"):
        split_roles(codes, ["ant", "bee", "cat"], [2], [4, 5, 6], seed=0)
    split_roles(codes, ["ant", "bee", "cat"], [2], [4, 5], seed=0)


@pytest.mark.parametrize(
    ("validation", "stopping", "message"),
    [
        ([0], None, "given together"),
        (None, [0], "given together"),
        ([0, 1], [1, 2], "must not share rows, got row 1"),
        ([0, 1, 2], [3, 4, 5], "outside of validation and stopping must .*, got no labelled row"),
        ([0, 1, 2], [4], "must show at least two classes, got 2 of class 'bee'"),
        ([0], [7], "stopping must index the 7 rows of X, got 7 to 7"),
        ([-1], [0], "validation must index the 7 rows of X, got -1 to -1"),
        ([0], [6], "stopping must hold labelled rows, got row 6"),
        ([0], [], r"row numbers or a mask of at least one row, got float64 of shape \(0,\)"),
        ([0.0], [1], r"got float64 of shape \(1,\)"),
        ([[0]], [1], r"got int64 of shape \(1, 1\)"),
        ([True, False], [1], r"validation as a mask must have shape \(7,\), got \(2,\)"),
    ],
)
def test_roles_that_do_not_fit_are_refused(validation, stopping, message):
    with pytest.raises(ValueError, match=message):
        split_roles(CODES, CLASSES, validation, stopping, seed=0)


@pytest.mark.parametrize(
    "y",
    [
        [0, 1, 1, -1, -1],
        [0, 1, 1, None, None],
        np.array([0, 1, 1, np.nan, np.nan]),
        pd.Series([0, 1, 1, None, None], dtype="Int64"),
    ],
)
def test_accuracy_is_that_of_labelled_rows(y):
    predicted = np.array([0, 1, 0, 1, 0])
    assert accuracy(predicted, y) == 2 / 3
    assert accuracy(predicted, y, [1, 1, 2, 5, 5]) == 2 / 4


def test_accuracy_of_names():
    predicted = np.array(["a", "b", "b"])
    assert accuracy(predicted, ["a", None, "c"]) == 1 / 2, "a class that was not there is wrong"


@pytest.mark.parametrize(
    ("y", "weights", "message"),
    [
        ([-1, None], None, "must label a row to score, got 2 rows without a label"),
        ([0, -1], [1.0], r"one number a row, \(2,\), got float64 of shape \(1,\)"),
        ([0, -1], [0.0, 1.0], "above 0 for a labelled row"),
        ([0, 1], [-1.0, 2.0], "at least 0"),
        ([0, 1], [np.nan, 2.0], "finite"),
        ([0], None, r"one label a row of X, \(2,\), got \(1,\)"),
    ],
)
def test_what_cannot_be_scored_is_refused(y, weights, message):
    with pytest.raises(ValueError, match=message):
        accuracy(np.array([0, 1]), y, weights)


@pytest.mark.parametrize(
    ("classes", "y", "message"),
    [
        (["0", "1"], [0, 1], r"are text such as '0', got numbers such as 0; y\.astype\(str\)"),
        ([0, 1], ["0", "1"], "are numbers such as 0, got text such as '0'$"),
    ],
)
def test_labels_of_another_kind_than_the_classes_are_refused(classes, y, message):
    with pytest.raises(TypeError, match=f"y must hold the classes of the fit, which {message}"):
        accuracy(np.array(classes), y)


@pytest.mark.parametrize("blank", [-1, None])
def test_each_labelled_row_is_tested_once_and_the_others_always_train(blank):
    labels = [0, 1, 2, blank] * 12
    rows = np.arange(48)
    folds = list(LabelledKFold(4, random_state=0).split(rows, labels))
    assert len(folds) == LabelledKFold(4).get_n_splits() == 4
    tested = np.concatenate([test for _, test in folds])
    assert sorted(tested) == [row for row in rows if row % 4 != 3]
    for train, test in folds:
        assert sorted([*train, *test]) == rows.tolist()
        assert np.bincount(test % 4).tolist() == [3, 3, 3], "class by class"


def test_folds_of_full_labels_are_those_of_scikit_learn():
    y = np.random.default_rng(0).integers(0, 3, 50)
    for ours, theirs in zip(
        LabelledKFold(5, random_state=3).split(y, y),
        StratifiedKFold(5, shuffle=True, random_state=3).split(y, y),
        strict=True,
    ):
        for one, other in zip(ours, theirs, strict=True):
            assert one.tolist() == other.tolist()


def test_labelled_rows_of_a_group_are_tested_together():
    rng = np.random.default_rng(0)
    y, groups = rng.integers(-1, 3, 60), rng.permutation(np.repeat(list("abcdefghijklmno"), 4))
    tested = []
    for train, test in LabelledKFold(3, random_state=1).split(y, y, groups):
        assert not {*groups[test]} & {*groups[train[y[train] >= 0]]}
        assert set(np.flatnonzero(y < 0)) <= {*train}, "unlabelled rows train in every fold"
        tested += test.tolist()
    assert sorted(tested) == np.flatnonzero(y >= 0).tolist()


@pytest.mark.parametrize("missing", [None, np.nan])
def test_a_row_without_a_group_is_named(missing):
    groups = pd.Series(["a", "b", missing, "c"] * 3)
    folds = LabelledKFold(2).split(np.zeros(12), [0, 1] * 6, groups)
    with pytest.raises(ValueError, match=r"groups must name the group of each row, got .* row 2"):
        next(folds)


def test_scikit_learn_takes_the_folds():
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b"], 20).astype(object)
    X = rng.normal(size=(40, 2)) + 5 * (y == "b")[:, None]
    y[::4] = "c"  # to k neighbours any text is a class, so that the rows of each fit can be counted
    labels = np.where(y == "c", -1, y == "b").astype(int)
    folds = LabelledKFold(3, random_state=0)
    found = cross_validate(KNeighborsClassifier(1), X, labels, cv=folds, return_indices=True)
    seen = found["indices"]
    for train, test in zip(seen["train"], seen["test"], strict=True):
        assert set(np.flatnonzero(y == "c")) <= set(train)
        assert not set(np.flatnonzero(y == "c")) & set(test)


@pytest.mark.parametrize(
    ("n_splits", "y", "message"),
    [
        (3, [0, 0, 1, 1, -1], "n_splits must be at most 2, .*=3 for 2 of class 0 and 2"),
        (2, [-1, -1], "n_splits must be at most 0.*no labelled row"),
        (2, None, "y must be given"),
        (2, [0, 1, "?"], "one kind"),
        (2, ["a", "b", "?"], "has the label '\\?'"),
    ],
)
def test_labels_that_cannot_be_folded_are_refused(n_splits, y, message):
    with pytest.raises((ValueError, TypeError), match=message):
        list(LabelledKFold(n_splits).split(np.zeros((5 if y is None else len(y), 1)), y))
