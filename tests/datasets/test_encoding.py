"""How a table's columns become features, and those of rows that come later."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from lds.datasets.encoding import TableEncoding

NAN = np.nan
DAY = 86_400.0
WHEN = ["2020-01-01", "2021-03-01", "2020-06-01", "2020-01-01T12:00", "2020-02-01", "2022-01-01"]


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "size": [1.0, 2.0, NAN, 6.0, 3.5, 900.0],
            "color": ["red", None, "blue", "red", "red", "blue"],
            "old": [True, False, False, True, True, False],
            "when": pd.to_datetime(WHEN, format="ISO8601"),
            "kind": list("ababab"),
        }
    )


def test_features_are_as_computed_by_hand(frame):
    encoding, found = TableEncoding.fit(frame, exclude=["kind"])
    there = np.array([1.0, 2.0, 6.0, 3.5, 900.0])
    filled = np.array([1.0, 2.0, 3.5, 6.0, 3.5, 900.0])  # the median
    seconds = (frame["when"] - pd.Timestamp("1970-01-01")).dt.total_seconds().to_numpy()
    year, day = 2 * np.pi * seconds / (365.2425 * DAY), 2 * np.pi * seconds / DAY
    wanted = np.column_stack(
        [
            (filled - there.mean()) / there.std(),
            [0, 0, 1, 0, 0, 0],
            [[0, 1], [0, 0], [1, 0], [0, 1], [0, 1], [1, 0]],  # blue, red
            [0, 1, 0, 0, 0, 0],
            frame["old"],
            (seconds - seconds.mean()) / seconds.std(),
            np.sin(year),
            np.cos(year),
            np.sin(day),
            np.cos(day),
        ]
    )
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, wanted, atol=1e-9)  # phases of seconds of 1e9
    assert encoding.feature_names == [
        "size",
        "size missing",
        "color=blue",
        "color=red",
        "color missing",
        "old",
        "when",
        "when sine of year",
        "when cosine of year",
        "when sine of day",
        "when cosine of day",
    ]
    assert np.array_equal(encoding.encode(frame), found)


def test_the_summary_has_no_cell(frame):
    frame = frame.assign(nothing="secret", uid=[f"secret{k}" for k in range(6)])
    with (
        pytest.warns(UserWarning, match="say nothing are left out: 'nothing'"),
        pytest.warns(UserWarning, match="identify rows are left out: 'uid'"),
    ):
        summary = TableEncoding.of(frame, exclude=["kind"]).summary()
    assert json.loads(json.dumps(summary)) == [
        {"name": "size", "kind": "number", "features": 2, "missing": 1},
        {"name": "color", "kind": "category", "features": 3, "missing": 1},
        {"name": "old", "kind": "boolean", "features": 1, "missing": 0},
        {"name": "when", "kind": "date", "features": 5, "missing": 0},
        {"name": "nothing", "kind": "left out: constant", "features": 0},
        {"name": "uid", "kind": "left out: identifier", "features": 0},
    ]


def texts(n=60):
    rng = np.random.default_rng(0)
    words = ["red", "green", "blue", "black", "white", "small", "large", "car", "house", "boat"]
    return [" ".join(rng.choice(words, 4)) for _ in range(n - 10)] + ["red car"] * 10


def test_text_of_many_values_has_the_leading_directions_of_its_pieces():
    cells = texts()
    found = TableEncoding.of(pd.DataFrame({"t": cells, "x": range(0, 120, 2)})).encode(
        pd.DataFrame({"t": cells, "x": range(0, 120, 2)})
    )
    counts = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4)).fit_transform(cells).toarray()
    values, vectors = np.linalg.eigh(counts @ counts.T)
    assert found[:, :-1].shape == (60, 30)
    assert found[:, :-1].var(0).sum() == pytest.approx(1)
    # the largest direction, but for its sign and the scale of the block
    leading = vectors[:, -1] * np.sqrt(values[-1])
    exact = TruncatedSVD(30, algorithm="arpack", random_state=1).fit_transform(counts)
    scale = np.sqrt(exact.var(0).sum())
    np.testing.assert_allclose(np.abs(found[:, 0]), np.abs(leading) / scale, rtol=1e-3)


def test_text_without_a_known_piece_and_missing_text_are_zero():
    cells = [*texts(), None]
    encoding, found = TableEncoding.fit(pd.DataFrame({"t": cells, "x": np.arange(61) / 3}))
    assert found[-1, :30].tolist() == [0] * 30
    assert found[:, 30].tolist() == [0] * 60 + [1]
    later = encoding.encode(pd.DataFrame({"t": ["qqqq", cells[5]], "x": [0, 5 / 3]}))
    assert later[0, :31].tolist() == [0] * 31
    assert np.array_equal(later[1], found[5])


def test_it_passes_through_arrays_without_losing_a_bit(frame, tmp_path):
    frame = pd.concat([frame] * 10, ignore_index=True).assign(t=texts())
    encoding, found = TableEncoding.fit(frame, exclude=["kind"])
    np.savez(tmp_path / "e.npz", allow_pickle=False, **encoding.to_arrays())
    with np.load(tmp_path / "e.npz", allow_pickle=False) as stored:
        again = TableEncoding.from_arrays(dict(stored))
    assert again.summary() == encoding.summary()
    assert again.feature_names == encoding.feature_names
    later = frame.sample(7, random_state=0)
    order = ["t", "when", "old", "color", "size"]
    assert np.array_equal(again.encode(later[order]), found[later.index])
    assert np.array_equal(again.encode(later[order].astype(str)), found[later.index])


def test_two_formats_of_dates_pass_through_arrays():
    days = [f"2021-03-{k + 1:02d}" if k % 2 else f"{k + 1:02d}.03.2021" for k in range(30)]
    frame = pd.DataFrame({"day": days, "x": np.arange(30) / 7})
    with pytest.warns(UserWarning, match="dates in several formats are read in the one that fits"):
        encoding, found = TableEncoding.fit(frame)
    again = TableEncoding.from_arrays(encoding.to_arrays())
    assert again.columns == encoding.columns
    assert np.array_equal(again.encode(frame), found)


def json_array(value):
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"encoding": np.zeros(3, dtype=np.uint8)},
        {"encoding": json_array({"columns": [{"x": 1}], "left_out": {}, "names": []})},
        {"encoding": json_array({"columns": 5, "left_out": {}, "names": []})},
        {"encoding": json_array([1])},
        {
            "encoding": json_array(
                {
                    "columns": [
                        {"name": "t", "form": {"kind": "text"}, "n_missing": 0, "vocabulary": ["a"]}
                    ],
                    "left_out": {},
                    "names": [],
                }
            ),
            "weights 0": np.ones(2),
            "components 0": np.ones((1, 1)),
        },
    ],
)
def test_what_is_no_encoding_is_refused(stored):
    with pytest.raises(ValueError, match="the encoding of the table is damaged"):
        TableEncoding.from_arrays(stored)


def test_columns_that_lack_or_are_of_another_kind_are_named(frame):
    encoding = TableEncoding.of(frame, exclude=["kind"])
    with pytest.raises(ValueError, match="size, color, old, when; it lacks old, when"):
        encoding.encode(frame[["size", "color"]])
    with pytest.raises(ValueError, match=r"it lacks old \(the nearest is 'Old'\), when$"):
        encoding.encode(frame.rename(columns={"old": "Old"})[["size", "color", "Old"]])
    with pytest.raises(
        ValueError, match="column 'size' must hold numbers, as in the fit, got dates"
    ):
        encoding.encode(frame.assign(size=frame["when"]))
    with pytest.raises(ValueError, match="column 'size' must hold finite numbers, got infinity"):
        encoding.encode(frame.assign(size=np.inf))
    with pytest.warns(UserWarning, match=r"not a number.* column 'size' row 0 'x' and 4 more"):
        found = encoding.encode(frame.assign(size=[*["x"] * 5, 1.0]))
    assert found[:, 1].tolist() == [1] * 5 + [0]


@pytest.mark.filterwarnings("ignore:cells are missing in columns")
@pytest.mark.parametrize(
    ("column", "cell", "kind"),
    [("size", "x", "number"), ("old", 7, "boolean"), ("when", "x", "date")],
)
def test_a_column_without_a_readable_cell_is_refused_but_one_cell_is_a_slip(
    frame, column, cell, kind
):
    encoding = TableEncoding.of(frame, exclude=["kind"])
    text = (
        f"column '{column}' must hold {kind}s, as in the fit, got {cell!r} in row 1 and no {kind}"
    )
    cells = pd.Series([None, cell, cell], dtype=object)
    with pytest.raises(ValueError, match=text):
        encoding.encode(frame[:3].assign(**{column: cells}))
    one = pd.Series([cell], dtype=object)
    with pytest.warns(UserWarning, match=rf"not a {kind}.* column '{column}' row 0 {cell!r}"):
        encoding.encode(frame[:1].assign(**{column: one}))


def test_names_that_are_there_twice_or_not_at_all_are_refused(frame):
    twice = pd.concat([frame, frame[["size"]]], axis=1)
    with pytest.raises(ValueError, match="different names, got more than one size"):
        TableEncoding.of(twice)
    with pytest.raises(ValueError, match=r"must have the columns kinds, got size, .*without kinds"):
        TableEncoding.of(frame, exclude=["kinds"])
    with pytest.raises(ValueError, match="a column besides its target"):
        TableEncoding.of(frame[["kind"]], exclude=["kind"])
    with pytest.raises(ValueError, match=r"differs between rows, .*'a' \(constant\)"):
        TableEncoding.of(pd.DataFrame({"a": [1, 1], "y": [0, 1]}), exclude=["y"])
    with pytest.raises(ValueError, match="decimal must be"):
        TableEncoding.of(frame, decimal=";")


def test_a_new_value_has_no_feature_and_is_said(frame):
    encoding = TableEncoding.of(frame, exclude=["kind"])
    with pytest.warns(UserWarning, match=r"not there in the fit.* column 'color' such as 'green'"):
        found = encoding.encode(frame.assign(color=["green", *["red"] * 5]))
    assert found[:2, 2:5].tolist() == [[0, 0, 0], [0, 1, 0]]


def test_a_cell_missing_where_none_was_is_average_and_said(frame):
    encoding, fitted = TableEncoding.fit(frame, exclude=["kind"])
    later = frame.assign(old=[None, *[True] * 5])
    with pytest.warns(UserWarning, match=r"none missing in the fit, .*'old' row 0"):
        found = encoding.encode(later)
    assert found[0, 5] == 0.5, "half of them are old"
    assert np.array_equal(found[0, :5], fitted[0, :5])


def test_numbers_in_like_units_stay_as_they_are_and_others_are_standardised():
    x = np.random.default_rng(0).standard_normal((50, 4)) * [1, 2, 1, 3]
    pixels = pd.DataFrame(x, columns=list("abcd"))
    assert np.array_equal(TableEncoding.fit(pixels)[1], x)
    x[:, 3] *= 100
    wanted = (x - x.mean(0)) / x.std(0)
    np.testing.assert_allclose(TableEncoding.fit(pixels.assign(d=x[:, 3]))[1], wanted, atol=1e-12)
    x[0, 0] = NAN
    found = TableEncoding.fit(x)[1]
    np.testing.assert_allclose(found[:, [2, 3, 4]], wanted[:, 1:], atol=1e-12)
    assert found[:, 1].tolist() == [1] + [0] * 49


def test_two_columns_in_different_units_are_standardised():
    x = np.random.default_rng(0).standard_normal((50, 2)) * [12, 2e4]
    found = TableEncoding.fit(pd.DataFrame(x, columns=["age", "income"]))[1]
    np.testing.assert_allclose(found, (x - x.mean(0)) / x.std(0), atol=1e-12)


def test_counts_of_words_stay_counts():
    rng = np.random.default_rng(0)
    counts = pd.DataFrame(rng.poisson(0.03, (200, 20)), columns=[f"w{k}" for k in range(20)])
    counts["w0"] *= 50
    assert np.array_equal(TableEncoding.fit(counts)[1], counts.to_numpy(dtype=float))


@pytest.mark.parametrize("shift", [5e8, -1e6, 0.1])
def test_an_offset_changes_no_feature(shift, frame):
    """Numbers of 5e8 have 6e-8 between them, so deviations of 1 are exact to 1e-7."""
    x = np.random.default_rng(0).standard_normal((80, 2))
    table = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": ["u", "v"] * 40})
    table.loc[7, "a"] = NAN
    plain = TableEncoding.fit(table)[1]
    moved = TableEncoding.fit(table.assign(a=table["a"] + shift))[1]
    np.testing.assert_allclose(moved, plain, atol=1e-6)


def test_one_mark_of_a_missing_cell_among_numbers_changes_that_cell_alone():
    x = np.random.default_rng(0).standard_normal((300, 2)) * [1, 40]
    table = pd.DataFrame(x, columns=["a", "b"])
    written = table.map(repr)
    written.loc[7, "a"] = "?"
    found = TableEncoding.fit(written)[1]
    assert found.shape == (300, 3)
    there = np.delete(x[:, 0], 7)
    np.testing.assert_allclose(np.delete(found[:, 0], 7), (there - there.mean()) / there.std())
    np.testing.assert_allclose(found[:, 2], (x[:, 1] - x[:, 1].mean()) / x[:, 1].std(), atol=1e-12)


def test_a_file_a_frame_and_an_array_give_the_same_features(tmp_path):
    x = np.random.default_rng(0).standard_normal((60, 3)) * [1, 50, 1e4]
    x[5, 1] = NAN
    frame = pd.DataFrame(x, columns=list("abc"))
    frame.to_csv(tmp_path / "t.csv", index=False)
    read = pd.read_csv(tmp_path / "t.csv", dtype=str)
    wanted = TableEncoding.fit(x)[1]
    assert np.array_equal(TableEncoding.fit(frame)[1], wanted)
    assert np.array_equal(TableEncoding.fit(read)[1], wanted)


def test_declared_columns_are_categories_whatever_they_hold():
    frame = pd.DataFrame({"code": [3, 1, 3, 1], "x": [0.5, 1, 2, 4]})
    encoding, found = TableEncoding.fit(frame, categorical=["code"])
    assert found[:, :2].tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    assert encoding.feature_names == ["code=1", "code=3", "x"]
    x = frame.to_numpy(dtype=float)
    assert np.array_equal(TableEncoding.fit(x, categorical=["0"])[1], found)
    assert np.array_equal(encoding.encode(x), found)


@pytest.mark.filterwarnings("ignore:cells are missing in columns")
@pytest.mark.parametrize("value", [2, -3, 1e6, "2"])
def test_a_boolean_of_later_rows_is_0_or_1(frame, value):
    encoding, fitted = TableEncoding.fit(frame, exclude=["kind"])
    as_numbers = frame.assign(old=frame["old"].astype(int))
    assert np.array_equal(encoding.encode(as_numbers), fitted)
    later = frame.assign(old=[1, value, *[0] * 4])
    with pytest.warns(UserWarning, match=rf"not a boolean.* column 'old' row 1 {value!r}"):
        found = encoding.encode(later)
    assert found[:, 5].tolist() == [1, 0.5, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pd.to_timedelta(np.arange(20) * 7, unit="min"), "duration"),
        (pd.array(np.arange(20) * 7, "duration[s][pyarrow]"), "duration"),
        ([dt.timedelta(minutes=7 * k) for k in range(20)], "duration"),
        ([dt.time(k, 7) for k in range(20)], "time"),
    ],
)
@pytest.mark.parametrize(
    ("later", "got"),
    [
        ([180] * 20, "numbers"),
        (["180"] * 20, "text or plain numbers"),
        (pd.date_range("2021-01-01", periods=20), "dates"),
    ],
)
def test_durations_and_times_take_no_plain_numbers(cells, kind, later, got):
    frame = pd.DataFrame({"spent": cells, "x": np.arange(20) / 3})
    encoding, fitted = TableEncoding.fit(frame)
    assert encoding.summary()[0]["kind"] == kind
    assert TableEncoding.from_arrays(encoding.to_arrays()).columns == encoding.columns
    assert np.array_equal(encoding.encode(frame), fitted)
    with pytest.raises(ValueError, match=f"'spent' must hold {kind}s, as in the fit, got {got}"):
        encoding.encode(frame.assign(spent=later))
    with pytest.warns(UserWarning, match="none missing in the fit"):
        encoding.encode(frame.assign(spent=pd.Series([None] * 20, dtype=object)))
    numbers = TableEncoding.of(frame.assign(spent=np.arange(20) ** 2.0))
    with pytest.raises(ValueError, match=f"must hold numbers, as in the fit, got {kind}s"):
        numbers.encode(frame)


@pytest.mark.parametrize("written", ["pandas", "pyarrow", "object", "text"])
@pytest.mark.parametrize("zoned", [True, False])
def test_dates_have_a_time_zone_where_those_of_the_fit_have_one(written, zoned):
    when = pd.Series(pd.date_range("2021-01-01 10:00", periods=30, freq="31h", tz="Europe/Rome"))
    local = when.dt.tz_localize(None)
    if written == "text":
        when, local = when.map(dt.datetime.isoformat), local.map(dt.datetime.isoformat)
    elif written != "pandas":
        kinds = ["object"] * 2
        if written == "pyarrow":
            kinds = ["timestamp[us, tz=Europe/Rome][pyarrow]", "timestamp[us][pyarrow]"]
        when, local = when.astype(kinds[0]), local.astype(kinds[1])
    frame = pd.DataFrame({"when": when if zoned else local, "x": np.arange(30) / 7})
    encoding, fitted = TableEncoding.fit(frame)
    again = TableEncoding.from_arrays(encoding.to_arrays())
    assert np.array_equal(again.encode(frame), fitted)
    word = "with" if zoned else "without"
    with pytest.raises(ValueError, match=rf"'when' must hold dates {word} a time zone.* row 0"):
        again.encode(frame.assign(when=local if zoned else when))


def test_dates_of_which_some_have_a_time_zone_are_said():
    cells = [f"2021-01-{k + 1:02d}T10:00:00{'Z' * (k % 2)}" for k in range(20)]
    frame = pd.DataFrame({"when": cells, "x": np.arange(20) / 7})
    with pytest.warns(UserWarning, match="without are read as UTC: 'when'"):
        encoding, fitted = TableEncoding.fit(frame)
    assert np.array_equal(encoding.encode(frame), fitted)


@pytest.mark.parametrize("value", [0.1, 37.2, 1e5 + 0.1])
def test_the_rounding_of_a_mean_is_no_deviation(value):
    a = np.where(np.arange(103) % 4 == 0, np.nan, value)
    encoding, fitted = TableEncoding.fit(pd.DataFrame({"a": a, "b": np.arange(103.0)}))
    assert not fitted[:, 0].any()
    later = encoding.encode(pd.DataFrame({"a": [1.5 * value], "b": [0.0]}))
    assert later[0, 0] == pytest.approx(0.5 * value)
