"""What counts as no label, and the numbers of classes, in memory."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import DataConversionWarning

from lds._labels import LEAST, MARKS, check_trains, counted, encode_labels

BLANK = [None, float("nan"), np.nan, pd.NA, pd.NaT, -1, np.int64(-1), -1.0]


@pytest.mark.parametrize("blank", BLANK, ids=repr)
@pytest.mark.parametrize("names", [["b", "a", "b", "a"], [7, 3, 7, 3], [True, False, True, False]])
@pytest.mark.parametrize("form", [list, lambda y: np.array(y, dtype=object), pd.Series])
def test_every_blank_is_unlabelled(names, blank, form):
    codes, classes = encode_labels(form([*names, blank, blank]), 6)
    assert codes.tolist() == [1, 0, 1, 0, -1, -1]
    assert classes.tolist() == sorted(set(names))


@pytest.mark.parametrize("dtype", ["string", "category", "object", "str"])
def test_pandas_columns_of_strings(dtype):
    column = pd.Series(["b", None, "a", "a", "b"]).astype(dtype)
    codes, classes = encode_labels(column, 5)
    assert codes.tolist() == [1, -1, 0, 0, 1]
    assert classes.tolist() == ["a", "b"]


@pytest.mark.parametrize("dtype", ["Int64", "UInt8", "Int8", "int64[pyarrow]"])
def test_nullable_integers_stay_integers(dtype):
    codes, classes = encode_labels(pd.Series([5, None, 2, 2, 5], dtype=dtype), 5)
    assert codes.tolist() == [1, -1, 0, 0, 1]
    assert classes.tolist() == [2, 5]
    assert classes.dtype == np.int64


@pytest.mark.parametrize("dtype", ["Float64", "float64"])
def test_floats_stay_floats_as_in_scikit_learn(dtype):
    codes, classes = encode_labels(pd.Series([5, None, 2, None, 2, 5], dtype=dtype), 6)
    assert codes.tolist() == [1, -1, 0, -1, 0, 1]
    assert classes.tolist() == [2, 5]
    assert classes.dtype == np.float64


def test_nullable_booleans_stay_booleans():
    column = pd.Series([True, None, False, False, True], dtype="boolean")
    codes, classes = encode_labels(column, 5)
    assert codes.tolist() == [1, -1, 0, 0, 1]
    assert classes.dtype == bool


def test_categories_of_integers_stay_integers_and_unused_ones_are_no_classes():
    column = pd.Series(pd.Categorical([7, None, 3, 3, 7], categories=[1, 3, 7, 9]))
    codes, classes = encode_labels(column, 5)
    assert codes.tolist() == [1, -1, 0, 0, 1]
    assert classes.tolist() == [3, 7]
    assert classes.dtype == np.int64
    again, _ = encode_labels(column.array, 5)
    assert again.tolist() == codes.tolist()


@pytest.mark.parametrize("values", [[10, None, 9, 9, 10], ["b", None, "a", "a", "b"]])
def test_polars_columns(values):
    polars = pytest.importorskip("polars")
    codes, classes = encode_labels(polars.Series(values), 5)
    assert codes.tolist() == [1, -1, 0, 0, 1]
    assert classes.tolist() == sorted({value for value in values if value is not None})
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        framed, _ = encode_labels(polars.DataFrame({"y": values}), 5)
    assert framed.tolist() == codes.tolist()


def test_other_containers():
    torch = pytest.importorskip("torch")
    pyarrow = pytest.importorskip("pyarrow")
    masked = np.ma.masked_array([10, 5, 9, 9, 10], mask=[0, 1, 0, 0, 0])
    missing = np.array(["b", None, "a", "a", "b"], dtype=np.dtypes.StringDType(na_object=None))
    for y in (masked, missing, torch.tensor([10, -1, 9, 9, 10]), pyarrow.array([1, None, 0, 0, 1])):
        codes, classes = encode_labels(y, 5)
        assert codes.tolist() == [1, -1, 0, 0, 1]
        assert classes.dtype.kind in "iU"


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float32, bool, str])
def test_arrays_keep_their_kind(dtype):
    y = np.array([1, 0, 1, 0]).astype(dtype)
    codes, classes = encode_labels(y, 4)
    assert classes.dtype == y.dtype
    np.testing.assert_array_equal(classes[codes], y)


def test_class_numbers_with_gaps_are_numbered_from_0():
    codes, classes = encode_labels(np.array([1_000_000, 0, 6, 0, 6, 1_000_000]), 6)
    assert codes.tolist() == [2, 0, 1, 0, 1, 2]
    assert classes.tolist() == [0, 6, 1_000_000]


def test_other_negative_numbers_are_classes():
    with pytest.warns(UserWarning, match=r"y: -1 was read as no label, though -5 is a class"):
        codes, classes = encode_labels(np.array([-5, -1, -3, -3, -5]), 5)
    assert codes.tolist() == [0, -1, 1, 1, 0]
    assert classes.tolist() == [-5, -3]


def test_a_column_is_taken_with_a_warning():
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        codes, _ = encode_labels(np.array([[1], [0], [1], [0]]), 4)
    assert codes.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    "mark", [*sorted(MARKS), " ", "\t", " NaN ", "N/A", "NULL", "\u200b", "？"]
)
@pytest.mark.parametrize("form", [list, np.array, lambda y: pd.Series(y, dtype="category")])
def test_text_that_means_no_label_is_refused(mark, form):
    y = form(["a", "b", "a", "b", mark, mark])
    with pytest.raises(ValueError, match=r"y has the label .* \(2 of 6 rows\).*pass None for rows"):
        encode_labels(y, 6)


def test_missing_values_that_numpy_made_text_are_refused():
    with pytest.raises(ValueError, match="y has the label 'nan'"):
        encode_labels(np.array(["a", "b", "a", "b", np.nan]), 5)


def test_plus_and_minus_are_two_classes():
    codes, classes = encode_labels(["+", "-", "-", "+"], 4)
    assert classes.tolist() == ["+", "-"]
    assert codes.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["Yes", "yes", "no"], "'Yes', 'yes'"),
        (["1.0", "1", "2"], "'1', '1.0'"),
        (["a ", "a", "b"], "'a', 'a '"),
        (["<=50K", "<=50K.", ">50K"], "'<=50K', '<=50K.'"),
        (["non-smoker", "non smoker", "smoker"], "'non smoker', 'non-smoker'"),
        (["caf\u00e9", "cafe\u0301", "bar"], "'cafe\u0301', 'caf\u00e9'"),
    ],
)
def test_nearly_equal_names_are_named_once(names, named):
    with pytest.warns(UserWarning, match="nearly the same name") as told:
        _, classes = encode_labels(names * 2, 6)
    (warning,) = told
    assert str(warning.message) == (
        f"y: classes with nearly the same name ({named}) count as different ones"
    )
    assert len(classes) == 3


@pytest.mark.parametrize("names", [["A", "A-", "A+"], ["1", "-2", "2"], ["c", "c++", "c#"]])
def test_different_names_are_no_matter(names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_labels(names * 2, 6)


def test_a_word_for_unknown_is_told_of():
    with pytest.warns(UserWarning, match="'Unknown' counts as a class"):
        encode_labels(["a", "Unknown", "b"] * 2, 6)


def test_numbers_far_apart_that_hardly_repeat_are_a_quantity() -> None:
    """Prices; numbers of classes lie side by side."""
    prices = [100 * k + k % 7 for k in range(40)] + [0, 101]
    with pytest.raises(ValueError, match="40 different numbers in 42 labelled rows: a quantity"):
        encode_labels(prices, len(prices))
    repeated = prices * 3
    assert encode_labels(repeated, len(repeated))[1].size == 40


def test_many_classes_are_told_of():
    y = np.arange(22) // 2
    y[:6] = [20, 21, 22, 23, 24, 25]
    with pytest.warns(UserWarning, match="y: 14 classes are many for 22 labelled rows"):
        encode_labels(y, 22)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (None, ValueError, "requires y to be passed, but the target y is None"),
        ([0, 1], ValueError, r"one label a row of X, \(4,\), got \(2,\)"),
        (np.zeros((4, 2)), ValueError, r"got \(4, 2\)"),
        ([-1, None, float("nan"), -1], ValueError, "two classes .*, got no labelled row; -1"),
        (["a", "a", None, "a"], ValueError, "at least 4 rows of two classes .*got 3 of class 'a'$"),
        (["a", "a", "b", None], ValueError, "got 2 of class 'a' and 1 of class 'b'$"),
        ([1, -1, 1, -1], ValueError, "got 2 of class 1; -1 was read as no label, so number"),
        ([3, 4, 5, 6], ValueError, "got 4 rows and as many classes: no class has a second row"),
        ([0.5, 1, 2, 2], ValueError, "continuous"),
        ([np.inf, 1, 2, 2], ValueError, "continuous"),
        (["0.5", "1", "2", "2"], ValueError, "continuous"),
        (["inf", "1", "2", "2"], ValueError, "continuous"),
        (["a", 1, 2, 2], TypeError, "labels of one kind, strings or numbers, got int and str"),
        ([[1], [2, 3], [4], [1]], TypeError, "one kind, strings or numbers, got list"),
        ([1j, 2j, 0j, 0j], TypeError, "or booleans, got complex128"),
        ([2**70, 1, 1, 2**70], TypeError, "integers of at most 64 bits"),
        (np.arange(4).astype("datetime64[D]"), TypeError, r"got datetime64\[D\]"),
    ],
)
def test_labels_that_are_none_are_refused(y, error, message):
    with pytest.raises(error, match=message):
        encode_labels(y, 4)


def test_the_least_number_of_labels_is_enough():
    codes, _ = encode_labels(["a", "a", "a", "b", None], 5)
    assert (codes >= 0).sum() == LEAST


def test_counts_are_by_class_name():
    assert (
        counted(np.array([1, 0, 1, -1]), np.array(["x", "y"]))
        == "1 of class 'x' and 2 of class 'y'"
    )
    many = counted(np.repeat(np.arange(8), 2), [10 * c for c in range(8)])
    assert many == (
        "2 of class 0, 2 of class 10, 2 of class 20, 2 of class 30, 2 of class 40 and 6 of others"
    )


def test_train_rows_of_one_class_are_named():
    codes = np.array([0, 1, 1, -1])
    check_trains(codes, np.array([0, 1]), "train_mask")
    with pytest.raises(ValueError, match=r"train_mask must show .* got 2 of class 'bee'"):
        check_trains(codes, np.array([1, 2]), "train_mask", ["ant", "bee"])
    with pytest.raises(ValueError, match="got 2 of class 1"):
        check_trains(codes, np.array([1, 2]), "train_mask")


@pytest.mark.parametrize("gap", [None, float("nan")])
def test_minus_one_beside_missing_labels_may_be_a_class(gap: float | None) -> None:
    with pytest.raises(ValueError, match=r"in two ways, by -1 and as missing.* pass None for all"):
        encode_labels([-1, 0, 1, gap] * 3, 12)


@pytest.mark.parametrize("mark", [-999, -100, -9, 99, 9999])
def test_a_number_that_often_marks_a_missing_label_is_told_of(mark: int) -> None:
    with pytest.warns(UserWarning, match=f"{mark} counts as a class"):
        encode_labels([mark, 1, 2] * 4, 12)


def test_numbers_of_many_classes_are_no_marks() -> None:
    _, classes = encode_labels([*range(90, 102)] * 6, 72)  # a warning would be an error
    assert 99 in classes


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (["red", "blue", "-999"], "'-999' counts as a class"),
        (["red", "blue", "-100"], "'-100' counts as a class"),
        (["red", "blue", "#VALUE!"], "'#VALUE!' counts as a class"),
        (["red", "blue", "TBD"], "'TBD' counts as a class"),
        (["red", "blue", "not labelled"], "'not labelled' counts as a class"),
        ([0, 1, 255], "255 counts as a class"),
        ([0, 1, -2], "-2 counts as a class"),
        ([0, 7, -9], "-9 counts as a class"),
        ([0, 1, True, False], "y holds booleans and numbers: True is 1 and False is 0"),
    ],
)
def test_classes_that_may_be_no_label_are_said(labels, named):
    with pytest.warns(UserWarning, match=named):
        encode_labels(labels * 3, len(labels) * 3)


@pytest.mark.parametrize("labels", [[-3, 0, 2], [-2, -3, 2], [100, 255, 300], [True, False]])
def test_classes_that_are_plain_numbers_are_not_said(labels):
    encode_labels(labels * 3, len(labels) * 3)


def test_integers_that_floats_would_merge_are_refused():
    large = 2**53
    with pytest.raises(ValueError, match=f"got {large + 1}, which would be {large}; pass integers"):
        encode_labels([large, large + 1, 1.0] * 2, 6)
    with pytest.raises(ValueError, match="which would be 9223372036854775808"):
        encode_labels([2**63 + 1, -5] * 3, 6)
    assert encode_labels([large, large + 1] * 3, 6)[1].tolist() == [large, large + 1]
