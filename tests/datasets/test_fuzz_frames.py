"""A data frame of any columns becomes features, or is refused with a sentence.

Where it becomes features, they are finite, the same rows encoded later have the same ones, and so
they have by an encoding that was stored.
"""

import datetime as dt
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from lds import LDSClassifier
from lds.datasets.encoding import TableEncoding
from lds.estimators.frames import fitted_features, later_features
from tests.endings import OPEN, ends_well

CASES, MANY = 200, 4000

NUMBERS = [
    "0",
    "1",
    "-2.5",
    "+3",
    "1,234",
    "1.234,5",
    "$1.20",
    "12%",
    "(3)",
    "1e5",
    "1e400",
    "-7 ",
    "3'000",
    "1_000",
    "½",
    "１２",
    "٣",
    "0x1F",
    "1e-400",
    "€ 5",
    "7 €",
    "−4",
    "007",
]
GONE = ["", " ", "?", "NA", "-", "nan", "NULL", ".", "#N/A", "none"]
DATES = [
    "2020-01-01",
    "2021-02-03 04:05",
    "2020-01-01T00:00:00+05:30",
    "01/02/2020",
    "31.12.2020",
    "13/1/20",
    "12:30",
    "2020-13-45",
    "0000-00-00",
    "9999-12-31",
    "0001-01-01",
    "Jan 2020",
    "2020",
    "1/2020",
    "24:61",
]
WORDS = [
    "yes",
    "No",
    "TRUE",
    "f",
    "red",
    "blue",
    "é",
    "\ud800",
    "a\0b",
    "x\ny",
    '"quoted"',
    "{}",
    "x" * 300,
    "日本",
    "\u200b",
    "-inf",
    "A-17",
    "f3a9c0de77",
    "me@here.org",
]
OBJECTS = [
    [1],
    {},
    (),
    np.zeros(2),
    b"abc",
    b"\xff",
    Decimal("1.5"),
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("1e999"),
    Fraction(1, 3),
    1j,
    10**400,
    -(10**20),
    True,
    2.5,
    np.float32(1),
    np.int8(3),
    np.bool_(False),
    float("nan"),
    float("inf"),
    None,
    pd.NA,
    pd.NaT,
    np.datetime64("NaT"),
    np.datetime64("2020-01-01"),
    dt.date(1, 1, 1),
    dt.date(2020, 5, 1),
    dt.datetime(9999, 12, 31),
    dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    dt.time(12, 30),
    dt.timedelta(days=2),
    pd.Timestamp(0, tz="Asia/Tokyo"),
    pd.Interval(0, 1),
    pd.Period("2020-01"),
    set(),
    len,
    int,
    np.array(3.0),
    "text",
    "5",
]
POOLS = [NUMBERS, GONE, DATES, WORDS, OBJECTS]


@st.composite
def cells(draw, n):
    """Cells of one pool, of which some are of another."""
    pool, other = draw(st.sampled_from(POOLS)), draw(st.sampled_from(POOLS))
    rng = np.random.default_rng(draw(st.integers(0, 50)))
    few = [pool[k] for k in rng.integers(0, len(pool), draw(st.integers(1, 6)))]
    found = [few[k] for k in rng.integers(0, len(few), n)]
    for _ in range(draw(st.integers(0, min(2, n)))):
        found[rng.integers(n)] = other[rng.integers(len(other))]
    return found


def _series(values):
    made = pd.Series(index=range(len(values)), dtype=object)
    for row, value in enumerate(values):
        made.iat[row] = value
    return made


def _typed(rng, n):
    """Columns by dtype, each made when it is drawn."""
    x, whole = rng.standard_normal(n), rng.integers(0, 5, n)
    gaps = [None if k % 3 == 0 else int(v) for k, v in enumerate(whole)]
    day = pd.Series(pd.to_datetime(whole, unit="D"))
    return {
        "float64": lambda: pd.Series(x),
        "float32": lambda: pd.Series(x, dtype="float32"),
        "float16": lambda: pd.Series(x.astype("float16")),
        "gaps": lambda: pd.Series(np.where(whole > 2, np.nan, x)),
        "inf": lambda: pd.Series(np.where(whole == 0, np.inf, x)),
        "huge": lambda: pd.Series(np.where(whole == 0, 1e300, x)),
        "tiny": lambda: pd.Series(x * 1e-300),
        "far": lambda: pd.Series(x + 5e8),
        "int8": lambda: pd.Series(whole, dtype="int8"),
        "uint64": lambda: pd.Series(whole, dtype="uint64") + np.uint64(2**63),
        "Int64": lambda: pd.Series(gaps, dtype="Int64"),
        "Float32": lambda: pd.Series(gaps, dtype="Float32"),
        "counts": lambda: pd.Series(np.arange(n)),
        "constant": lambda: pd.Series(np.ones(n)),
        "missing": lambda: pd.Series(np.full(n, np.nan)),
        "nothing": lambda: pd.Series([None] * n, dtype=object),
        "bool": lambda: pd.Series(whole > 2),
        "boolean": lambda: pd.Series([None if v is None else v > 2 for v in gaps], dtype="boolean"),
        "category": lambda: pd.Series(pd.Categorical(gaps)),
        "names": lambda: pd.Series(pd.Categorical(np.array(list("abcde"))[whole])),
        "no values": lambda: pd.Series(pd.Categorical([None] * n, categories=["a"])),
        "string": lambda: pd.Series(gaps, dtype="string"),
        "datetime": lambda: day,
        "seconds": lambda: day.astype("datetime64[s]"),
        "zone": lambda: day.dt.tz_localize("Europe/Berlin"),
        "timedelta": lambda: pd.Series(pd.to_timedelta(whole, unit="h")),
        "period": lambda: day.dt.to_period("M"),
        "interval": lambda: pd.Series(pd.arrays.IntervalArray.from_breaks(range(n + 1))),
        "sparse": lambda: pd.Series(pd.arrays.SparseArray(np.where(whole > 1, 0, x))),
        "complex": lambda: pd.Series(x * 1j),
    }


def _arrow(rng, n):
    """Columns of pyarrow's types."""
    pa = pytest.importorskip("pyarrow")
    whole = [None if k % 4 == 3 else int(v) for k, v in enumerate(rng.integers(0, 5, n))]
    types = {
        "int": pa.int16(),
        "double": pa.float64(),
        "string": pa.string(),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "stamp": pa.timestamp("ns", "UTC"),
        "span": pa.duration("s"),
        "time": pa.time64("us"),
        "decimal": pa.decimal128(20, 3),
        "binary": pa.binary(),
        "list": pa.list_(pa.int64()),
        "struct": pa.struct({"a": pa.int64()}),
        "null": pa.null(),
    }

    def of(kind):
        made = {
            "string": lambda v: f"w{v}",
            "bool": lambda v: v > 2,
            "binary": lambda v: bytes([v]),
            "list": lambda v: [v],
            "struct": lambda v: {"a": v},
            "null": lambda v: None,
            "decimal": lambda v: Decimal(v),
            "time": lambda v: dt.time(v),
        }.get(kind, lambda v: v)
        values = [None if v is None else made(v) for v in whole]
        return lambda: pd.Series(pd.array(values, dtype=pd.ArrowDtype(types[kind])))

    return {f"arrow {kind}": of(kind) for kind in types}


@st.composite
def columns(draw, n):
    if draw(st.booleans()):
        return _series(draw(cells(n)))
    rng = np.random.default_rng(draw(st.integers(0, 50)))
    made = _typed(rng, n) | _arrow(rng, n)
    return made[draw(st.sampled_from(sorted(made)))]()


NAMES = [
    ["a", "b", "c", "d"],
    ["a", "a", "b", "c"],
    [0, 1, 2, 3],
    ["a", 1, None, 2.5],
    ["", " ", "x\ny", "é"],
    ["id", "ID", "Unnamed: 0", "index"],
    ["a", "b", "a", "b"],
    [("a", 1), ("a", 2), ("b", 1), ("b", 2)],
    [np.nan, "b", "c", "d"],
]


@st.composite
def frames(draw):
    n = draw(st.sampled_from([0, 1, 2, 3, 5, 12, 30]))
    parts = [draw(columns(n)) for _ in range(draw(st.integers(0, 4)))]
    frame = pd.concat(parts, axis=1) if parts else pd.DataFrame(index=range(n))
    names = draw(st.sampled_from(NAMES))[: len(parts)]
    if parts and all(isinstance(name, tuple) for name in names):
        frame.columns = pd.MultiIndex.from_tuples(names)
    else:
        frame.columns = names
    if n and draw(st.booleans()):
        frame.index = draw(st.sampled_from([[7] * n, [f"r{k}" for k in range(n)]]))
    return frame


CATEGORICAL = [
    "from_dtype",
    "from_dtype",
    "from_dtype",
    None,
    [0],
    [-1],
    [9],
    ["a"],
    ["z"],
    [True],
    [[0]],
    "all",
    2,
    [0.5],
    [None],
    [],
]


def polars_of(frame):
    """The frame as one of polars, or as it is where polars cannot hold it."""
    pl = pytest.importorskip("polars")
    try:
        return pl.from_pandas(frame)
    except Exception:
        return frame


def fuzz_frames(data):
    frame = data.draw(frames())
    estimator = LDSClassifier(categorical_features=data.draw(st.sampled_from(CATEGORICAL)))
    given_frame = polars_of(frame) if data.draw(st.booleans()) else frame
    found = ends_well(lambda: fitted_features(estimator, given_frame))
    event("read" if found is not None else "refused")
    if found is None:
        return
    features, encoding = found
    assert features.dtype == np.float64
    assert features.shape == (len(frame), len(encoding.feature_names))
    assert np.isfinite(features).all()
    again = ends_well(lambda: later_features(estimator, given_frame, encoding, features))
    np.testing.assert_array_equal(again, features)
    stored = TableEncoding.from_arrays(encoding.to_arrays())
    np.testing.assert_array_equal(ends_well(lambda: stored.encode(given_frame)), features)
    other = data.draw(frames())
    renamed = dict(zip(range(other.shape[1]), frame.columns, strict=False))
    other = other.set_axis(range(other.shape[1]), axis=1).rename(columns=renamed)
    later = ends_well(lambda: encoding.encode(other))
    assert later is None or (np.isfinite(later).all() and len(later) == len(other))


@pytest.mark.ci
@given(st.data())
@settings(max_examples=CASES, **OPEN)
def test_frames(data):
    fuzz_frames(data)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=MANY, **OPEN)
def test_frames_at_length(data):
    fuzz_frames(data)
