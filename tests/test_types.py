from typing import Any

import numpy as np
import pytest

from lds._types import Split


def split(**roles: Any) -> Split:
    parts: dict[str, Any] = {"train": [0, 1], "validation": [2], "stopping": [3], "test": []}
    return Split(**{role: np.array(rows, dtype=np.int64) for role, rows in parts.items()} | roles)


def test_disjoint_roles_are_taken() -> None:
    assert split().train.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([4], "one-dimensional int64 array of row numbers, got list"),
        (np.array([4.0]), "one-dimensional int64 array .* got a float64 array"),
        (np.array([4], dtype=np.int32), "one-dimensional int64 array .* got a int32 array"),
        (np.array([True, False]), "one-dimensional int64 array .* got a bool array"),
        (np.array([[4]]), r"one-dimensional int64 array .* shape \(1, 1\)"),
        (np.array([5, -1]), "row numbers from 0, got -1"),
    ],
)
def test_a_role_is_an_array_of_row_numbers(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"split.test must .*{message}"):
        split(test=rows)


@pytest.mark.parametrize(
    ("rows", "message"), [([9, 1], "row 1 in train and test"), ([9, 9], "row 9 in test and test")]
)
def test_a_row_has_one_role(rows: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=f"split must use each row once, got {message}"):
        split(test=np.array(rows))
