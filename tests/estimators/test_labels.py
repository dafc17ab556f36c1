"""Labels and roles as users give them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import DataConversionWarning

from lds.estimators.labels import encode_labels, split_roles

BLANK = [None, float("nan"), np.nan, pd.NA, pd.NaT, -1, np.int64(-1), -1.0]


@pytest.mark.parametrize("blank", BLANK, ids=repr)
@pytest.mark.parametrize("names", [["b", "a", "b"], [7, 3, 7], [True, False, True]])
@pytest.mark.parametrize("form", [list, lambda y: np.array(y, dtype=object), pd.Series])
def test_every_blank_is_unlabelled(names, blank, form):
    codes, classes = encode_labels(form([*names, blank, blank]), 5)
    assert codes.tolist() == [1, 0, 1, -1, -1]
    assert classes.tolist() == sorted(set(names))


@pytest.mark.parametrize("dtype", ["string", "category", "object"])
def test_pandas_columns_of_strings(dtype):
    column = pd.Series(["b", None, "a"]).astype(dtype)
    codes, classes = encode_labels(column, 3)
    assert codes.tolist() == [1, -1, 0]
    assert classes.tolist() == ["a", "b"]


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "float64"])
def test_pandas_columns_of_numbers(dtype):
    codes, classes = encode_labels(pd.Series([5, None, 2, -1], dtype=dtype), 4)
    assert codes.tolist() == [1, -1, 0, -1]
    assert classes.tolist() == [2, 5]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float32, bool, str])
def test_arrays_keep_their_kind(dtype):
    y = np.array([1, 0, 1]).astype(dtype)
    codes, classes = encode_labels(y, 3)
    assert codes.tolist() == [1, 0, 1]
    assert classes.dtype == y.dtype


def test_other_negative_numbers_are_classes():
    codes, classes = encode_labels(np.array([-5, -1, -3]), 3)
    assert codes.tolist() == [0, -1, 1]
    assert classes.tolist() == [-5, -3]


def test_a_column_is_taken_with_a_warning():
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        codes, _ = encode_labels(np.array([[1], [0]]), 2)
    assert codes.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (None, ValueError, "requires y to be passed, but the target y is None"),
        ([0, 1], ValueError, r"one label a row of X, \(3,\), got \(2,\)"),
        (np.zeros((3, 2)), ValueError, r"got \(3, 2\)"),
        ([-1, None, float("nan")], ValueError, "must label at least two rows"),
        (["a", "a", None], ValueError, "at least two classes, got only a"),
        ([0.5, 1, 2], ValueError, "continuous"),
        ([np.inf, 1, 2], ValueError, "continuous"),
        (["a", 1, 2], TypeError, "labels of one kind, strings or numbers, got int and str"),
        ([[1], [2, 3], [4]], TypeError, "one kind, strings or numbers, got list"),
        ([1j, 2j, 0j], TypeError, "strings, integers or booleans, got complex128"),
        (np.arange(3).astype("datetime64[D]"), TypeError, r"got datetime64\[D\]"),
    ],
)
def test_labels_that_are_none_are_refused(y, error, message):
    with pytest.raises(error, match=message):
        encode_labels(y, 3)


CODES = np.array([0, 1, 0, 1, 0, 1, -1])


def test_rows_without_a_role_train():
    mask = np.arange(7) == 5
    split = split_roles(CODES, [3, 2, 2], mask, seed=0)
    assert split.train.tolist() == [0, 1, 4]
    assert split.validation.tolist() == [2, 3]
    assert split.stopping.tolist() == [5]
    assert split.test.size == 0


def test_roles_are_dealt_by_class_where_none_is_given():
    split = split_roles(CODES, None, None, seed=0)
    for rows in (split.train, split.validation, split.stopping):
        assert sorted(CODES[rows]) == [0, 1]


@pytest.mark.parametrize(
    ("validation", "stopping", "message"),
    [
        ([0], None, "given together"),
        (None, [0], "given together"),
        ([0, 1], [1, 2], "must not share rows, got row 1"),
        ([0, 1, 2], [3, 4, 5], "must leave labelled rows to train on, got all 6"),
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
        split_roles(CODES, validation, stopping, seed=0)
