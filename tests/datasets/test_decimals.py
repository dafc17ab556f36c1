"""A frame and a file of the same cells are read with one decimal mark."""

import pandas as pd
import pytest

from lds.datasets.encoding import TableEncoding
from lds.datasets.reading import read_table


@pytest.mark.parametrize(
    ("columns", "values", "words"),
    [
        (
            {"price": ["1.770", "6.777", "2.310"], "size": ["5,8", "4,4", "3,9"]},
            [1770, 5.8],
            "numbers in text have a decimal comma",
        ),
        (
            {"price": ["1,100", "1,200", "1,500"], "size": [5.8, 4.4, 3.9]},
            [1100, 5.8],
            "1,100 are read as 1100, not as 1.100: no other number decides",
        ),
        (
            {"price": ["1.100", "1.200", "1.500"], "size": [5.8, 4.4, 3.9]},
            [1.1, 5.8],
            "1.100 are read as 1.100, not as 1100: no other number decides",
        ),
        ({"price": ["1,100", "1,200", "1,500"], "size": ["5.8", "4.4", "3.9"]}, [1100, 5.8], ""),
        ({"price": ["1.1", "1.2", None], "size": pd.Categorical(["a", "b", "a"])}, [1.1], ""),
    ],
)
def test_a_frame_is_read_as_a_file_is(tmp_path, recwarn, columns, values, words):
    frame = pd.DataFrame(columns)
    encoding, found = TableEncoding.fit(frame)
    said = " | ".join(str(warning.message) for warning in recwarn)
    assert words in said
    assert bool(words) == bool(said)
    for place, value in enumerate(values):
        column = encoding.columns[place]
        assert found[0, place] * column.scale + column.center == pytest.approx(value, rel=1e-12)
    recwarn.clear()
    frame.to_csv(tmp_path / "t.csv", index=False)
    read, how = read_table(tmp_path / "t.csv")
    in_file = TableEncoding.fit(read, decimal=how.decimal or ".")[1]
    assert in_file == pytest.approx(found, rel=1e-12)
