"""How a table's columns become features, and those of rows that come later."""

import json

import numpy as np
import pandas as pd
import pytest

from lds.datasets.encoding import TableEncoding


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "size": [1.0, 2.0, 6.0, 3.5],
            "kind": ["a", "b", "a", "b"],
            "color": ["red", None, "blue", "red"],
            "same": [7, 7, 7, 7],
            "old": [True, False, False, True],
        }
    )


def test_numbers_are_standardised_and_the_rest_is_one_hot(frame):
    found = TableEncoding.of(frame, "kind").encode(frame)
    size = frame["size"].to_numpy()
    assert found.dtype == np.float32
    wanted = np.column_stack(
        [
            (size - size.mean()) / size.std(),
            np.zeros(4),  # a constant column
            [1, -1, -1, 1],
            [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]],  # "", blue, red
        ]
    )
    assert np.allclose(found, wanted, atol=1e-7)


def test_it_passes_through_json_without_losing_a_bit(frame):
    encoding = TableEncoding.of(frame, "kind")
    again = TableEncoding.from_dict(json.loads(json.dumps(encoding.to_dict())))
    assert again == encoding
    later = frame.sample(3, random_state=0)[["old", "color", "same", "size"]]
    assert np.array_equal(again.encode(later), encoding.encode(frame)[later.index])


@pytest.mark.parametrize("stored", [{}, {"target": "y", "numeric": [{"x": 1}], "text": []}])
def test_what_is_no_encoding_is_refused(stored):
    with pytest.raises(ValueError, match="the encoding of the table is damaged"):
        TableEncoding.from_dict(stored)


def test_columns_that_lack_or_are_of_another_kind_are_named(frame):
    encoding = TableEncoding.of(frame, "kind")
    with pytest.raises(ValueError, match="size, same, old, color; it lacks same, old"):
        encoding.encode(frame[["size", "color"]])
    with pytest.raises(ValueError, match="column 'size' must hold numbers"):
        encoding.encode(frame.assign(size=["x", "y", "z", "w"]))
    with pytest.raises(ValueError, match="column 'size' must be finite"):
        encoding.encode(frame.assign(size=np.nan))


def test_a_new_value_has_no_feature_and_is_said(frame):
    encoding = TableEncoding.of(frame, "kind")
    with pytest.warns(UserWarning, match=r"column 'color' has values .* such as 'green'"):
        found = encoding.encode(frame.assign(color=["green", "red", "red", "red"]))
    assert found[0, 3:].tolist() == [0, 0, 0]
