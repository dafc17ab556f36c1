"""Data frames and missing numbers as X of `LDSClassifier`."""

import datetime as dt

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from lds import LDSClassifier
from lds.datasets.encoding import TableEncoding
from lds.estimators.frames import fitted_features, later_features
from lds.estimators.row_order import check_index

QUICK = {
    "max_inner": 20,
    "max_iter": 1,
    "n_draws": 4,
    "hidden_channels": 4,
    "random_state": 0,
    "refits": 1,
    "refit_steps": 4,
}
N = 40


@pytest.fixture
def mixed():
    rng = np.random.default_rng(0)
    kinds = np.arange(N) % 2
    return pd.DataFrame(
        {
            "size": np.where(rng.random(N) < 0.2, np.nan, rng.standard_normal(N) + 3 * kinds),
            "count": pd.array([None if k % 9 == 0 else k % 7 for k in range(N)], dtype="Int64"),
            "color": pd.Categorical(np.where(kinds, "red", "blue")),
            "old": pd.array([None if k % 8 == 0 else bool(k % 3) for k in range(N)], "boolean"),
            "price": [f"${k * k:,}.50" for k in range(N)],
            "when": pd.date_range("2020-01-01", periods=N, freq="3D", tz="UTC"),
        }
    )


def labels():
    y = np.arange(N) % 2
    return np.where(np.arange(N) < 30, y, -1)


def test_a_frame_of_all_kinds_is_fitted_and_later_rows_get_the_same_answer(mixed):
    clf = LDSClassifier(**QUICK).fit(mixed, labels())
    assert clf.n_features_in_ == 6
    assert clf.feature_names_in_.tolist() == list(mixed)
    assert np.array_equal(clf.predict(mixed[5:9]), clf.transduction_[5:9])
    assert clf.predict(mixed[:3].assign(size=[9.0, -9.0, np.nan])).shape == (3,)
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(mixed[list(mixed)[::-1]])
    copy = clone(clf)
    assert copy.get_params() == clf.get_params()


def features(X, estimator=None, **options):
    return fitted_features(estimator or LDSClassifier(**options), X)[0]


def test_features_are_those_of_the_encoding_in_float64(mixed):
    found = features(mixed)
    assert found.dtype == np.float64
    assert np.array_equal(found, TableEncoding.fit(mixed)[1])


def test_plain_numbers_pass_on_unchanged():
    x = np.random.default_rng(0).standard_normal((N, 3)) * [1, 1e3, 1] + 5e8
    assert np.array_equal(features(x), x)
    assert features(x.astype(np.float32)).dtype == np.float64
    assert np.array_equal(features(np.ones((4, 2))), np.ones((4, 2))), "constants too"
    sparse = features(sp.coo_array(x))
    assert sp.issparse(sparse)
    assert np.array_equal(sparse.toarray(), x)
    like = x / [1, 1e3, 1]
    assert np.array_equal(features(pd.DataFrame(like, columns=list("abc"))), like)


def test_tensors_of_any_kind_hold_the_same_numbers():
    x = np.arange(2.0 * N).reshape(N, 2)
    tensor = torch.from_numpy(x)
    assert np.array_equal(features(tensor.clone().requires_grad_()), x)
    assert np.array_equal(features(tensor.bfloat16()), x)  # up to 256 they are exact
    for sparse in (tensor.to_sparse(), tensor.to_sparse_csr()):
        assert np.array_equal(features(sparse).toarray(), x)


WHERE = "in row 3, column 1"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", f"got '' {WHERE}"),
        ("low", f"got 'low' {WHERE}"),
        (pd.Timestamp("2020"), f"got Timestamp.* {WHERE}"),
        (np.datetime64("2020"), f"got np.datetime64.* {WHERE}"),
        (dt.timedelta(1), f"got .*timedelta.* {WHERE}"),
        ({"a": 1}, f"got {{'a': 1}} {WHERE}"),
    ],
)
def test_cells_of_arrays_that_are_no_numbers_are_named_and_missing_ones_are_read(cell, message):
    x = np.random.default_rng(0).standard_normal((N, 2)).astype(object)
    wanted = x.astype(np.float64)
    wanted[0, 1] = np.nan
    for missing in (None, pd.NA, pd.NaT, np.datetime64("NaT")):
        x[0, 1] = missing
        assert np.array_equal(features(x), features(wanted))
    x[3, 1] = cell
    with pytest.raises((TypeError, ValueError), match=f"{message} .*; pandas.DataFrame"):
        features(x)


def test_arrays_of_dates_and_records_are_refused():
    dates = np.array([["2020-01-01", "NaT"]] * 2, dtype="datetime64[D]")
    for x, named in [
        (dates, r"datetime64\[D\]"),
        (dates - dates[:, :1], r"timedelta64\[D\]"),
        (np.ma.masked_array(dates, [[0, 1]] * 2), r"datetime64\[D\]"),
        ([{"a": 1}, {"a": 2}], "records"),
        (np.zeros(2, dtype=[("a", float)]), "records"),
    ]:
        with pytest.raises(TypeError, match=f"X must hold numbers, got {named}; pandas.DataFrame"):
            features(x)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_constant_columns_change_nothing(kind, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 3)) * [1, 9, 90] + (np.arange(N) % 2)[:, None]
    wide = np.column_stack([np.ones((N, 30)), x, np.full(N, 7.0)])
    clf = LDSClassifier(**QUICK).fit(kind(x), labels())
    found = LDSClassifier(**QUICK).fit(kind(wide), labels())
    assert np.array_equal(found.label_distributions_, clf.label_distributions_)
    assert found.n_features_in_ == 34
    later = np.column_stack([rng.standard_normal((4, 30)), x[:4] + 0.1, np.ones(4)])
    expected = clf.predict_proba(kind(later[:, 30:33]))
    assert np.array_equal(found.predict_proba(kind(later)), expected)
    assert np.array_equal(found.predict_proba(later), expected)
    found.save(tmp_path / "run")
    again = LDSClassifier.load(tmp_path / "run")
    assert again.n_features_in_ == 34
    assert np.array_equal(again.predict_proba(later), found.predict_proba(later))


def test_an_offset_of_a_column_changes_no_feature_of_a_frame(mixed):
    moved = features(mixed.assign(size=mixed["size"] + 5e8))
    np.testing.assert_allclose(moved, features(mixed), atol=1e-6)  # 5e8 has 6e-8 to the next


def test_missing_numbers_of_an_array_are_the_median_with_an_indicator():
    x = np.random.default_rng(0).standard_normal((N, 2)) * [1, 30]
    x[3, 0] = np.nan
    there = np.delete(x[:, 0], 3)
    filled = np.where(np.isnan(x[:, 0]), np.median(there), x[:, 0])
    wanted = [
        (filled - there.mean()) / there.std(),
        np.arange(N) == 3,
        (x[:, 1] - x[:, 1].mean()) / x[:, 1].std(),
    ]
    np.testing.assert_allclose(features(x), np.column_stack(wanted), atol=1e-12)
    assert np.array_equal(features(x.astype(object)), features(x))
    assert np.array_equal(features(pd.DataFrame(x, columns=["a", "b"])), features(x))


def test_masked_cells_are_missing_ones_and_what_they_hide_is_not_read():
    x = np.random.default_rng(0).standard_normal((N, 2))
    mask = x > 1
    missing = np.where(mask, np.nan, x)
    masked = np.ma.masked_array(np.where(mask, 1e9, x), mask)
    assert np.array_equal(features(masked), features(missing))
    estimator = LDSClassifier()
    fitted, encoding = fitted_features(estimator, missing)
    found, expected = (
        later_features(estimator, rows[:5], encoding, fitted) for rows in (masked, missing)
    )
    assert np.array_equal(found, expected)


def test_missing_numbers_of_later_rows_are_the_median_with_a_word():
    x = np.random.default_rng(0).standard_normal((N, 2))
    estimator = LDSClassifier()
    fitted, encoding = fitted_features(estimator, x)
    assert encoding is None
    assert np.array_equal(later_features(estimator, x[:3], None, fitted), x[:3])
    with pytest.warns(UserWarning, match=r"none missing in the fit, .*'1' row 0"):
        found = later_features(estimator, np.array([[0.5, np.nan]]), None, fitted)
    assert found.tolist() == [[0.5, np.median(x[:, 1])]]


def test_sparse_columns_whose_other_value_is_not_0():
    column = [1.0, np.nan, np.nan, 2.5]
    frame = pd.DataFrame({"a": pd.arrays.SparseArray(column)})
    assert np.array_equal(features(frame), features(pd.DataFrame({"a": column})))
    zeros = pd.DataFrame({"a": pd.arrays.SparseArray([1.0, 0, 0, 2.5], fill_value=0)})
    assert sp.issparse(features(zeros))


@pytest.mark.parametrize("value", ["blue", [1]])
def test_an_odd_cell_is_named(value):
    frame = pd.DataFrame(np.random.default_rng(0).standard_normal((N, 3)), columns=list("abc"))
    frame = frame.astype({"c": object})
    frame.at[3, "c"] = value
    if value == "blue":
        with pytest.warns(UserWarning, match=r"not a number, .*column 'c' row 3 'blue'"):
            assert features(frame)[3, -1] == 1
    else:
        with pytest.raises(ValueError, match=r"column 'c' must hold .* got list in row 3"):
            features(frame)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.array([[1, np.inf], [0, 1.0]]), r"got infinity \(inf\) in row 0, column 1"),
        (np.array([[1, 0], [0, -1e39]]), r"too large \(-1e\+39\) in row 1, column 1"),
        (sp.csr_array([[0, np.nan], [1.0, 0]]), r"got NaN \(nan\) in row 0, column 1; missing"),
        (pd.DataFrame({"a": [1, np.inf], "b": [np.inf, 1]}), "the table has 2 faults: column 'a'"),
        (pd.DataFrame({"a": [1.0]}), "at least 2 rows and a column, got shape"),
        (pd.DataFrame(index=range(5)), "a column, got shape"),
        (pd.DataFrame({"a": [1, 1], "b": [None, None]}), "a column that differs between rows"),
        (pd.DataFrame({1: [1, 2], "b": [3, 4]}), "names"),
        (
            pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]),
            "^columns must have .* more than one a",
        ),
    ],
)
def test_what_cannot_be_used_is_named(X, message):
    with pytest.raises((ValueError, TypeError), match=message):
        LDSClassifier().fit(X, [0, 1])


@pytest.mark.parametrize(
    "chosen", [["code"], [0], [-2], np.array([0]), [True, False], np.array(["code"], dtype=object)]
)
def test_categorical_features_by_name_place_or_mask(chosen):
    frame = pd.DataFrame({"code": [3, 1, 3, 1], "x": [0.5, 1, 2, 4]})
    found = features(frame, categorical_features=chosen)
    assert found[:, :2].tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    if not isinstance(chosen[0], str):
        assert np.array_equal(features(frame.to_numpy(), categorical_features=chosen), found)


def test_from_dtype_and_none_read_categories_as_such_or_as_what_they_hold():
    frame = pd.DataFrame({"code": pd.Categorical(["3", "1", "3", "1"]), "x": [0.5, 1, 2, 4]})
    assert features(frame).shape == (4, 3)
    assert features(frame, categorical_features=None).tolist() == [
        [3, 0.5],
        [1, 1],
        [3, 2],
        [1, 4],
    ]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("auto", "must be None, 'from_dtype', or a list"),
        (["other"], "must name columns of X, got other; X has code, x"),
        ([5], "must be places of the 2 columns, got 5 to 5"),
        ([True], "must have one entry a column, 2, got 1"),
        ([[0]], "must be a list"),
        (2.5, "must be a list"),
    ],
)
def test_wrong_categorical_features_are_refused(chosen, message):
    frame = pd.DataFrame({"code": [3, 1, 3, 1], "x": [0.5, 1, 2, 4]})
    with pytest.raises(ValueError, match=f"categorical_features.* {message}"):
        features(frame, categorical_features=chosen)
    with pytest.raises(ValueError, match="dense arrays and data frames, got sparse"):
        features(sp.eye_array(4), categorical_features=[0])


def test_polars_and_pandas_give_the_same():
    pl = pytest.importorskip("polars")
    columns = {
        "n": [1.5, None, *range(2, N)],
        "d": [dt.date(2020, 1, 1) + dt.timedelta(days=k * k) for k in range(N)],
        "c": ["u", None, *["v", "u"] * (N // 2 - 1)],
    }
    estimator = LDSClassifier()
    found = features(pl.DataFrame(columns, strict=False), estimator)
    assert estimator.feature_names_in_.tolist() == ["n", "d", "c"]
    frame = pd.DataFrame(columns)
    assert np.array_equal(found, features(frame))
    assert np.array_equal(found, features(frame.assign(d=pd.to_datetime(frame["d"]))))
    assert np.array_equal(found, features(frame.astype(str)))


def test_tags_and_a_pipeline():
    tags = get_tags(LDSClassifier()).input_tags
    assert (tags.allow_nan, tags.sparse) == (True, True)
    frame = pd.DataFrame(np.random.default_rng(0).standard_normal((N, 3)), columns=list("abc"))
    frame.loc[3, "a"] = np.nan
    pipe = make_pipeline(StandardScaler(), LDSClassifier(**QUICK)).fit(frame, labels())
    assert pipe.predict(frame[:2]).shape == (2,)


def test_labels_with_the_index_of_x_in_another_order_are_refused():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": np.repeat([0.0, 5.0], 10) + rng.random(20), "b": rng.random(20)})
    y = pd.Series(np.repeat(["u", "v"], 10), index=X.index)
    shuffled = y.sample(frac=1, random_state=0)
    with pytest.raises(ValueError, match=r"index of X .* y.loc\[X.index\] brings it in line"):
        LDSClassifier(max_iter=1, max_inner=5, refit_steps=4).fit(X, shuffled)
    check_index(X, y=y)
    check_index(X, y=shuffled.to_numpy())
    check_index(X, y=y.set_axis(range(100, 120)))


def test_an_index_whose_labels_repeat_must_have_its_order_too():
    X = pd.DataFrame({"a": range(4)}, index=[0, 1, 0, 1])
    y = pd.Series(list("uvuv"), index=X.index)
    with pytest.raises(ValueError, match=r"y must have the index of X in its order.* repeat, so"):
        check_index(X, y=y.sort_index())
    square = pd.DataFrame(np.eye(4), index=X.index, columns=X.index)
    with pytest.raises(ValueError, match=r"adj must .* another in its rows; its labels repeat"):
        check_index(X, adj=square.sort_index())
    check_index(X, y=y, adj=square)
    check_index(X, y=y.reset_index(drop=True))


def test_labels_of_rows_are_no_row_numbers():
    X = pd.DataFrame({"a": range(4)}, index=[2, 3, 0, 1])
    with pytest.raises(ValueError, match=r"validation must be row numbers or a mask, got a pandas"):
        check_index(X, validation=X.index[:2])
    given = {"validation": X.index[:2].to_numpy(), "stopping": X.index == 2}
    check_index(X, **given, y=pd.Index(list("uvuv")))
    check_index(X.reset_index(drop=True), validation=X.index[:2])


def test_nodes_that_may_be_labels_of_rows_in_another_order_are_refused():
    X = pd.DataFrame({"a": range(4)}, index=[2, 3, 0, 1])
    graph = nx.path_graph(4)
    with pytest.raises(ValueError, match=r"nodelist=X.index\) if they are labels, with nodelist="):
        check_index(X, adjacency=graph)
    check_index(X, adjacency=nx.to_scipy_sparse_array(graph, nodelist=X.index))
    for index in (range(4), list("abcd"), [10, 11, 12, 13]):
        check_index(X.set_axis(index), adjacency=graph)


def test_a_matrix_of_partly_other_rows_is_refused():
    X = pd.DataFrame({"a": range(3)}, index=list("abc"))
    square = pd.DataFrame(np.eye(3), index=list("abc"), columns=list("abd"))
    with pytest.raises(ValueError, match=r"only a part is the same in its columns; adj\.reindex"):
        check_index(X, adj=square)
    with pytest.raises(ValueError, match="only a part is the same in its rows; "):
        check_index(X, adj=square.T)
    check_index(X, adj=pd.DataFrame(np.eye(3), index=list("def"), columns=list("xyz")))
    check_index(X.set_axis([5, 1, 0]), adj=pd.DataFrame(np.eye(3)))


def test_columns_without_text_for_names_must_come_in_the_order_of_the_fit():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(np.repeat([[0.0], [5.0]], 10, axis=0) + rng.random((20, 3)))
    clf = LDSClassifier(n_neighbors=3, max_iter=1, max_inner=5, refit_steps=4).fit(
        X, np.repeat([0, 1], 10)
    )
    with pytest.raises(ValueError, match="in the order of fit, 0, 1, 2, got 2, 0, 1"):
        clf.predict(X[[2, 0, 1]])


def by_years(*years, rows=20):
    x = np.repeat([[0.0], [5.0]], 10, axis=0) + np.random.default_rng(0).random((20, len(years)))
    return pd.DataFrame(x[:rows], columns=years)


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("other", [[2020, 2021, 2022], [0, 1, 2], [2.5, 3.5, 4.5], ["a", "b", "c"]])
def test_columns_with_other_names_than_in_the_fit_are_refused(other):
    estimator = LDSClassifier()
    X = by_years(2019, 2020, 2021)
    fitted, encoding = fitted_features(estimator, X)
    assert np.array_equal(later_features(estimator, X, encoding, fitted), fitted)
    assert np.array_equal(later_features(estimator, X.to_numpy(), encoding, fitted), fitted)
    with pytest.raises(
        ValueError, match=r"columns of fit, 2019, 2020, 2021, got .* X.to_numpy\(\)"
    ):
        later_features(estimator, X.set_axis(other, axis=1), encoding, fitted)


@pytest.mark.parametrize("fitted_on", ["array", "numbers from 0", "missing"])
def test_columns_with_names_are_refused_where_the_fit_had_none(fitted_on):
    estimator = LDSClassifier()
    X = by_years(0, 1, 2)
    if fitted_on == "missing":
        X.iloc[3, 1] = np.nan
    fitted, encoding = fitted_features(
        estimator, X if fitted_on == "numbers from 0" else X.to_numpy()
    )
    assert np.array_equal(later_features(estimator, X, encoding, fitted), fitted)
    with pytest.raises(ValueError, match="columns of fit, 0, 1, 2, got 1, 2, 3"):
        later_features(estimator, X.set_axis([1, 2, 3], axis=1), encoding, fitted)
    with pytest.warns(UserWarning, match="fitted without feature names"):
        later_features(estimator, X.set_axis(["a", "b", "c"], axis=1), encoding, fitted)


def test_a_frame_with_the_numbers_from_0_goes_by_position_with_a_word_of_scikit_learn():
    estimator = LDSClassifier()
    X = by_years("a", "b", "c")
    fitted, encoding = fitted_features(estimator, X)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        later_features(estimator, X.set_axis(range(3), axis=1), encoding, fitted)
    with (
        pytest.raises(ValueError, match="columns of fit, a, b, c, got 1, 2, 3"),
        pytest.warns(UserWarning, match="does not have valid feature names"),
    ):
        later_features(estimator, X.set_axis([1, 2, 3], axis=1), encoding, fitted)


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
def test_what_is_done_to_an_array_after_a_fit_changes_nothing_of_it(form):
    x = form(np.random.default_rng(0).standard_normal((N, 2)))
    found = fitted_features(LDSClassifier(), x)[0]
    before = found.copy()
    (x.data if sp.issparse(x) else x)[:] = 0
    assert abs(found - before).max() == 0
