"""What a column is recognised as, and what is said of it."""

import datetime as dt
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from lds.datasets.cells import text_of
from lds.datasets.columns import recognise
from lds.datasets.dates import formats_of
from lds.datasets.dtypes import as_pandas
from lds.datasets.later_rows import read
from lds.datasets.notes import Notes

N = 30


def looked_at(cells, **options):
    """The column of these cells beside another one, why it is left out, and what was noted."""
    frame = pd.DataFrame({"x": cells, "other": np.arange(len(cells)) ** 2 / 7})
    notes = Notes()
    columns, out = recognise(frame, [0, 1], notes, **options)
    found = [column for column in columns if column.name == "x"]
    return (found[0] if found else None), out.get("x"), notes


def said(notes):
    """The sentences, as they would be warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        notes.say()
    return " | ".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize(
    "mark", ["", "  ", "?", "NA", "n/a", "NaN", "null", "None", "-", ".", "<NA>", '"?"', "#N/A"]
)
def test_a_mark_of_a_missing_cell_is_one_in_any_column(mark):
    assert text_of(mark) is None
    numbers, _, notes = looked_at([mark, *map(str, np.arange(N) / 8)])
    assert (numbers.form.kind, said(notes)) == ("number", "")
    assert np.array_equal(numbers.values, [np.nan, *np.arange(N) / 8], equal_nan=True)
    words, _, _ = looked_at([mark, *["red", "blue"] * 10])
    assert words.values.tolist() == [None, *["red", "blue"] * 10]


def test_quotes_and_white_space_around_a_cell_do_not_count():
    column, _, notes = looked_at([f' "{k / 4}" ' for k in range(N)])
    assert np.array_equal(column.values, np.arange(N) / 4)
    assert said(notes) == ""


def test_odd_cells_among_numbers_are_named_and_missing():
    cells = [str(k / 4) for k in range(N)]
    cells[3], cells[9] = "1.2.3", "much"
    column, _, notes = looked_at(cells)
    wanted = np.arange(N) / 4
    wanted[[3, 9]] = np.nan
    assert np.array_equal(column.values, wanted, equal_nan=True)
    assert "column 'x' row 3 '1.2.3' and 1 more" in said(notes)


def test_a_column_with_many_odd_cells_is_text_and_told_of():
    column, _, notes = looked_at(["more" if k % 4 == 0 else str(k % 3) for k in range(N)])
    assert column.form.kind == "category"
    assert "most cells are numbers, but too many are not" in said(notes)
    assert "'x' (row 0: 'more')" in said(notes)


def test_the_other_decimal_mark_is_found_and_said():
    column, _, notes = looked_at([f"{k / 4:.2f}".replace(".", ",") for k in range(N)])
    assert np.array_equal(column.values, np.arange(N) / 4)
    assert "read with ',' as decimal mark" in said(notes)
    column, _, notes = looked_at([f"{k / 4:.2f}".replace(".", ",") for k in range(N)], decimal=",")
    assert np.array_equal(column.values, np.arange(N) / 4)
    assert said(notes) == ""


def test_percents_among_plain_numbers_and_several_currencies_are_told_of():
    column, _, notes = looked_at([f"{k}%" for k in range(N)])
    assert np.allclose(column.values, np.arange(N) / 100, rtol=1e-15)
    assert said(notes) == ""
    column, _, notes = looked_at(["7", *[f"{k}%" for k in range(N)]])
    assert column.values[0] == 7
    assert "with and without a percent sign" in said(notes)
    _, _, notes = looked_at([f"{'$€'[k % 2]}{k}" for k in range(N)])
    assert "several currencies" in said(notes)
    assert "'x' ($ €)" in said(notes)


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (pd.array([1, None, 3], dtype="Int64"), [1, np.nan, 3]),
        (pd.array([1.5, None, 3], dtype="Float64"), [1.5, np.nan, 3]),
        (pd.array([True, None, False], dtype="boolean"), [1, np.nan, 0]),
        (np.array([True, False, False]), [1, 0, 0]),
        (np.array([True, None, False], dtype=object), [1, np.nan, 0]),
        (["yes", None, "NO"], [1, np.nan, 0]),
        ([Decimal("1.25"), None, Decimal(2)], [1.25, np.nan, 2]),
        ([1, "2", " ?"], [1, 2, np.nan]),
        (pd.to_timedelta(["1s", None, "1min"]), [1, np.nan, 60]),
        ([dt.timedelta(seconds=5), None, dt.timedelta(0)], [5, np.nan, 0]),
        ([dt.time(1), None, dt.time(0, 0, 1)], [3600, np.nan, 1]),
        (
            pd.DatetimeIndex([dt.datetime(1970, 1, 2), None, dt.datetime(1970, 1, 1, 0, 0, 1)]),
            [86400, np.nan, 1],
        ),
        (
            pd.DatetimeIndex(
                [dt.datetime(1970, 1, 1, 2), None, dt.datetime(1970, 1, 3)], tz="Europe/Berlin"
            ),
            [3600, np.nan, 2 * 86400 - 3600],
        ),
        ([dt.date(1970, 1, 2), None, dt.date(1969, 12, 31)], [86400, np.nan, -86400]),
        (pd.arrays.SparseArray([0.0, 2.0, 0.0]), [0, 2, 0]),
        (pd.PeriodIndex(["1970-01", "NaT", "1970-02"], freq="M"), [0, np.nan, 31 * 86400]),
        ([np.int8(3), np.float32(0.5), None], [3, 0.5, np.nan]),
        (["1970-01-02", None, "1970-01-03"], [86400, np.nan, 2 * 86400]),
        (["02.01.1970", "?", "13.01.1970"], [86400, np.nan, 12 * 86400]),
        (["1970-01-01T00:00:01Z", "", "1970-01-01T00:00:00.5+00:00"], [1, np.nan, 0.5]),
    ],
)
def test_each_kind_of_cells_has_its_numbers(cells, values):
    column, _, _ = looked_at(cells)
    np.testing.assert_allclose(column.values, values, rtol=1e-15)


def test_pandas_categories_stay_categories_unless_they_are_not_wanted():
    cells = pd.Categorical(["1", "2", None, "2"])
    column, _, _ = looked_at(cells)
    assert (column.form.kind, column.values.tolist()) == ("category", ["1", "2", None, "2"])
    column, _, _ = looked_at(cells, categorical=[])
    np.testing.assert_array_equal(column.values, [1, 2, np.nan, 2])
    column, _, _ = looked_at([1.0, 2.0, np.nan, 2.0], categorical=[0])
    assert column.values.tolist() == ["1", "2", None, "2"]


def seconds(*day):
    return dt.datetime(*day, tzinfo=dt.UTC).timestamp()


def test_a_day_that_may_be_a_month_is_told_of():
    column, _, notes = looked_at(["01/02/2020", "03/04/2020", "05/06/2020"] * 5)
    assert column.values[0] == seconds(2020, 1, 2)
    assert "the day or the month first" in said(notes)
    column, _, notes = looked_at(["01/02/2020", "03/04/2020", "25/06/2020"] * 5)
    assert column.values[0] == seconds(2020, 2, 1)
    assert said(notes) == ""
    assert formats_of(["12:30", "14:00:05"])[0][1] == 1


def test_dates_with_dots_have_the_day_first():
    column, _, notes = looked_at(["03.04.2021", "05.06.2021", "12.01.2021"] * 5)
    assert column.values[0] == seconds(2021, 4, 3)
    assert "'x' (day first: %d.%m.%Y, not %m.%d.%Y)" in said(notes)
    assert "write dates as 2021-04-30 to be sure" in said(notes)
    column, _, notes = looked_at(["03.04.2021", "05.06.2021", "25.01.2021"] * 5)
    assert column.values[0] == seconds(2021, 4, 3)
    assert said(notes) == "", "the 25th decides the order"
    column, _, notes = looked_at(["03.04.2021", "05.06.2021", "01.25.2021"] * 5)
    assert column.values[0] == seconds(2021, 3, 4)
    assert said(notes) == ""


def test_a_year_in_front_settles_the_order():
    column, _, notes = looked_at(["2021-04-03", "2021-06-05", "2021-01-12"] * 5)
    assert (column.values[0], said(notes)) == (seconds(2021, 4, 3), "")


def test_dates_in_two_formats_are_dates():
    cells = [f"2021-03-{k + 1:02d}" if k % 2 else f"{k + 1:02d}.03.2021" for k in range(N)]
    column, why, notes = looked_at(cells)
    assert (column.form.kind, why) == ("date", None)
    np.testing.assert_array_equal(column.values, [seconds(2021, 3, k + 1) for k in range(N)])
    assert said(notes) == (
        "dates in several formats are read in the one that fits: 'x' (%d.%m.%Y and year-month-day)"
    )


def test_dates_in_three_formats_are_dates():
    formats = ["2021-03-{:02d}", "{:02d}.03.2021", "03/{:02d}/2021"]
    cells = [formats[k % 3].format(k + 1) for k in range(N)]
    column, _, _ = looked_at(cells)
    np.testing.assert_array_equal(column.values, [seconds(2021, 3, k + 1) for k in range(N)])


def test_dates_in_two_formats_with_an_order_that_nothing_decides_are_told_of():
    cells = [f"2021-03-{k + 1:02d}" if k % 2 else f"03/{k % 12 + 1:02d}/2021" for k in range(N)]
    column, _, notes = looked_at(cells)
    assert column.values[2] == seconds(2021, 3, 3)
    assert "'x' (year-month-day and %m/%d/%Y)" in said(notes)
    assert "'x' (month first: %m/%d/%Y, not %d/%m/%Y)" in said(notes)


def test_dates_that_mean_two_days_in_two_formats_are_not_read_as_dates():
    cells = ["25/06/2020", "06/25/2020", "03/04/2020", "05/07/2020"] * 5
    column, _, notes = looked_at(cells)
    assert column.form.kind == "category"
    assert "dates in several formats are not read as dates" in said(notes)
    assert "write all in one format, such as 2021-04-30: 'x' (%m/%d/%Y and %d/%m/%Y)" in said(notes)


def test_further_rows_are_read_in_both_formats():
    cells = [f"2021-03-{k + 1:02d}" if k % 2 else f"{k + 1:02d}.03.2021" for k in range(N)]
    form = looked_at(cells)[0].form
    notes = Notes()
    values = read("x", pd.Series(["05.04.2021", "2021-04-06", "soon", None]), form, notes)
    np.testing.assert_array_equal(
        values, [seconds(2021, 4, 5), seconds(2021, 4, 6), np.nan, np.nan]
    )
    assert "column 'x' row 2 'soon'" in said(notes)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("x", np.arange(N)),
        ("x", np.random.default_rng(0).permutation(N) + 1),
        ("x", [str(k) for k in range(100, 100 + N)]),
        ("x", [f"{k * 7919 % 100003:08x}" for k in range(N)]),
        ("x", [f"user_{k}" for k in range(N)]),
        ("x", [f"Person {k}" for k in range(N)]),
        ("x", [f"{k * 13}@example.org" for k in range(N)]),
        ("x", [f"{k:08d}-aaaa-4bbb-8ccc-{k:012d}" for k in range(N)]),
        ("customer_id", np.arange(N) ** 2),
        ("PassengerId", np.arange(N) ** 2),
        ("Unnamed: 0", np.arange(N) * 2),
        ("", np.arange(N) * 2),
        ("ID", [*["a", "b"] * 3, *[chr(97 + k) for k in range(24)]]),
    ],
)
def test_identifiers_are_left_out_with_a_word(name, cells):
    frame = pd.DataFrame({name: cells, "other": np.arange(N) / 7})
    notes = Notes()
    columns, out = recognise(frame, [0, 1], notes)
    assert out == {name: "identifier"}
    assert [column.name for column in columns] == ["other"]
    assert "identify rows are left out" in said(notes)
    numbers = all(isinstance(cell, int | np.integer) or cell.isdigit() for cell in cells)
    assert ("write integers with a decimal point" in said(notes)) == numbers
    assert repr(name) in said(notes)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("x", np.arange(N) ** 2),  # whole, but with gaps
        ("x", np.arange(float(N))),  # floats
        ("x", [f"{k}.0" for k in range(N)]),
        ("x", np.arange(N) // 2),
        ("city_id", np.arange(N) % 5),
        ("width", np.arange(N) * 3),
        ("x", [f"type {k % 4}" for k in range(N)]),
        ("x", np.arange(8)),
    ],
)
def test_measurements_and_codes_are_no_identifiers(name, cells):
    frame = pd.DataFrame({name: cells, "other": np.arange(len(cells)) / 7})
    notes = Notes()
    columns, out = recognise(frame, [0, 1], notes)
    assert (len(columns), out, said(notes)) == (2, {}, "")


def test_the_only_column_is_used_though_it_counts_rows():
    notes = Notes()
    columns, out = recognise(pd.DataFrame({"x": range(N)}), [0], notes)
    assert (len(columns), out) == (1, {})
    assert "the table has no other column" in said(notes)


def test_columns_that_say_nothing_are_left_out_in_one_sentence():
    frame = pd.DataFrame(
        {
            "a": 7,
            "b": None,
            "c": "same",
            "d": np.nan,
            "e": np.arange(N) / 7,
            "f": ["yes", None] * (N // 2),
        }
    )
    notes = Notes()
    columns, out = recognise(frame, list(range(6)), notes)
    assert [column.name for column in columns] == ["e", "f"], "f differs in what is missing"
    assert out == {"a": "constant", "b": "all missing", "c": "constant", "d": "all missing"}
    assert said(notes) == (
        "columns that say nothing are left out: 'a' (constant), 'b' (all missing), 'c' (constant), "
        "'d' (all missing)"
    )


def test_text_that_differs_in_each_row_is_told_of():
    words = ["red", "green", "blue", "black", "white", "grey"]
    cells = [f"{a} and {b}" for a in words for b in words if a != b]
    column, _, notes = looked_at(cells)
    assert column.form.kind == "text"
    assert "text with another value in nearly each row becomes features by its pieces" in said(
        notes
    )


def test_all_faults_are_in_one_error():
    frame = pd.DataFrame(
        {
            "a": [1.0, np.inf, 2.0],
            "b": [[1], [2], None],
            "c": [1j, 2j, 3j],
            "d": [1e39, 0, 1],
            "e": ["1", "-inf", "2"],
        }
    )
    notes = Notes()
    recognise(frame, list(range(5)), notes)
    with pytest.raises(ValueError, match="the table has 5 faults") as caught:
        notes.say()
    for part in (
        "column 'a' must hold finite numbers, got infinity (inf) in row 1",
        "column 'b' must hold a number, a date or text in each row, got list in row 0",
        "column 'c' must hold real numbers",
        "column 'd' must hold finite numbers, got a value too large for float32 (1e+39) in row 0",
        "column 'e' must hold finite numbers, got infinity (-inf) in row 1",
    ):
        assert part in str(caught.value)


def test_polars_frames_become_those_of_pandas():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "n": [1, None, 3],
            "d": [dt.date(1970, 1, 2), None, dt.date(1970, 1, 1)],
            "c": pl.Series(["u", "v", None], dtype=pl.Categorical),
            "b": [True, None, False],
            "m": [Decimal("1.5"), None, Decimal("2.5")],
        }
    )
    for given in (frame, frame.lazy()):
        columns, _ = recognise(as_pandas(given), list(range(5)), Notes())
        assert [c.form.kind for c in columns] == ["number", "date", "category", "boolean", "number"]
        np.testing.assert_array_equal(columns[0].values, [1, np.nan, 3])
        np.testing.assert_array_equal(columns[1].values, [86400, np.nan, 0])
        assert columns[2].values.tolist() == ["u", "v", None]
        np.testing.assert_array_equal(columns[4].values, [1.5, np.nan, 2.5])


def test_what_is_no_frame_is_refused():
    with pytest.raises(TypeError, match="a table must be a data frame, got list"):
        as_pandas([[1, 2]])


@pytest.mark.parametrize("cells", [["60 kg", "61 kg", "64 kg"] * 8, [f"{k}cm" for k in range(30)]])
def test_numbers_with_a_unit_are_told_of_and_kept(cells):
    column, _, notes = looked_at(cells)
    assert column.form.kind in ("category", "text")
    assert "numbers with a unit are text here" in said(notes)


def test_digits_that_begin_with_0_are_told_of():
    column, _, notes = looked_at(["01234", "90210", "10001", "02139"] * 4)
    assert column.form.kind == "number"
    assert "make them text if they are codes" in said(notes)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["16.04.65", "20.08.69"], "'x' (1969 to 2065)"),
        (["16/04/65", "20/08/67"], "'x' (2065 to 2067)"),
        (["16-Apr-70", "20-Aug-99"], "'x' (1970 to 1999)"),
        (["16.04.1965", "20.08.1969"], ""),
    ],
)
def test_the_century_of_years_of_two_digits_is_said(cells, words):
    _, _, notes = looked_at(cells * 5)
    assert words in said(notes)
    assert ("years of two digits are from 1969 to 2068" in said(notes)) == bool(words)


@pytest.mark.parametrize("kind", [float, int, str])
@pytest.mark.parametrize("mark", [-99, -999, -9999])
def test_a_number_that_often_marks_a_missing_cell_is_said_and_kept(kind, mark):
    column, _, notes = looked_at([kind(mark if k == 7 else k % 5) for k in range(N)])
    assert column.values[7] == mark
    assert f"column 'x' row 7 {mark} (1 in all)" in said(notes)
    _, _, notes = looked_at([kind(mark + k % 5) for k in range(N)])
    assert said(notes) == ""


def test_booleans_among_numbers_are_said():
    column, _, notes = looked_at([True, *range(2, 7)] * 5)
    assert column.values[0] == 1
    assert "True counts as 1 and False as 0 among numbers: 'x'" in said(notes)
