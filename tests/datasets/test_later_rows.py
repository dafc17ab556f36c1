"""Later rows are read with the decimal mark and the signs of the fit, whatever other rows hold."""

import numpy as np
import pandas as pd
import pytest

from lds.datasets.encoding import TableEncoding

OTHER = [0.1, 0.5, 0.3]


def fitted(cells):
    """The encoding of a column of these cells, in its own units, beside another."""
    return TableEncoding.of(pd.DataFrame({"x": cells, "y": OTHER}))


def later(encoding, cells):
    """The values of the column of later rows, and what was said."""
    frame = pd.DataFrame({"x": cells, "y": OTHER[: len(cells)]})
    with pytest.warns(UserWarning, match="'x' row|decimal") as caught:
        found = encoding.encode(frame)
    column = encoding.columns[0]
    values = found[:, 0] * column.scale + column.center
    return values.tolist(), " | ".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize(
    ("fit", "decimal", "plain", "value", "odd"),
    [
        (["1.5", "2.5", "3.5"], ".", "1,234", 1234, "1,5"),
        (["1,5", "2,5", "3,5"], ",", "1.234", 1234, "1.5"),
        (["1", "2", "3"], ".", "1,234", 1234, "1,5"),
    ],
)
@pytest.mark.filterwarnings("ignore:numbers in text have a decimal comma")
def test_the_decimal_mark_is_that_of_the_fit(fit, decimal, plain, value, odd):
    encoding = fitted(fit)
    frame = pd.DataFrame({"x": [plain], "y": OTHER[:1]})
    alone = encoding.encode(frame)
    values, said = later(encoding, [plain, odd])
    assert values[0] == pytest.approx(value, rel=1e-12)
    assert alone[0, 0] * encoding.columns[0].scale + encoding.columns[0].center == pytest.approx(
        value, rel=1e-12
    )
    assert f"not a number with {decimal!r} as decimal mark" in said
    assert f"column 'x' row 1 {odd!r}" in said
    with pytest.raises(ValueError, match=f"numbers with '[{decimal}]' as decimal mark, as in the"):
        encoding.encode(pd.DataFrame({"x": [odd, odd], "y": OTHER[:2]}))


@pytest.mark.parametrize(
    ("fit", "cells", "value", "words"),
    [
        (["12%", "13%", "30%"], [12.0], 12, "without a percent sign, in columns with one in the"),
        (["12%", "13%", "30%"], ["13%", "12"], 12, "without a percent sign, in columns with one"),
        ([12, 13, 30], ["12%"], 0.12, "with a percent sign, in columns without one in the fit"),
        (["$12", "$13", "$30"], ["13", "€12"], 12, "amounts in another currency than in the fit"),
        (["$12", "$13", "$30"], ["12%"], 0.12, "with a percent sign, in columns without one"),
    ],
)
def test_another_sign_than_in_the_fit_is_said_by_its_row(fit, cells, value, words):
    values, said = later(fitted(fit), cells)
    assert values[-1] == pytest.approx(value)
    row = len(cells) - 1
    assert words in said
    assert f"column 'x' row {row} {cells[row]!r}" in said


def test_the_same_signs_as_in_the_fit_are_not_said():
    for fit, cells in (
        (["12%", "13%", "30%"], ["12%"]),
        ([12, 13, 30], ["$12"]),
        (["$12", "13", "$30"], [12.0]),
    ):
        encoding = fitted(fit)
        stored = TableEncoding.from_arrays(encoding.to_arrays())
        assert stored.columns[0].form == encoding.columns[0].form
        frame = pd.DataFrame({"x": cells, "y": OTHER[: len(cells)]})
        assert np.array_equal(stored.encode(frame), encoding.encode(frame))


def test_an_encoding_stored_without_signs_is_read():
    encoding = fitted(["12%", "13%", "30%"])
    arrays = encoding.to_arrays()
    text = arrays["encoding"].tobytes().replace(b'"units": ["%"], ', b"")
    old = TableEncoding.from_arrays({**arrays, "encoding": np.frombuffer(text, dtype=np.uint8)})
    assert old.columns[0].form.units == ()
    frame = pd.DataFrame({"x": ["12"], "y": OTHER[:1]})
    assert np.isfinite(old.encode(frame)).all()


@pytest.mark.parametrize("fit", [[1.5, 2.5, 3.5], [1, 2, 3]])
def test_columns_without_text_in_the_fit_have_the_decimal_mark_of_the_later_rows(fit):
    values, said = later(fitted(fit), ["1.234", "1,5"])
    assert values == pytest.approx([1234, 1.5])
    assert "numbers in text have a decimal comma" in said
