from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from lds._types import Split
from lds.datasets.base import NodeDataset


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def dataset() -> NodeDataset:
    return NodeDataset(
        "four",
        np.zeros((4, 2), dtype=np.float32),
        np.array([0, 1, 1, -1]),
        ("no", "yes"),
        Split(rows(0), rows(1), rows(2), rows()),
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("features", np.zeros(4), r"features must be \(n_nodes, n_features\)"),
        ("features", np.zeros((3, 2)), r"labels must be int64 of shape \(3,\)"),
        ("labels", np.array([0.0, 1, 1, -1]), "labels must be int64 .* got float64"),
        ("labels", np.array([0, 2, 1, -1]), "labels must be -1 or .* 2 classes .* got -1 to 2"),
        ("labels", np.array([0, 1, 1, -2]), "labels must be -1 or .* got -2 to 1"),
        ("split", Split(rows(0), rows(1), rows(2), rows(4)), "split.test must number the 4 rows"),
        ("split", Split(rows(0), rows(1), rows(3), rows()), "split.stopping .* row 3 without a"),
        ("adjacency", sp.csr_array((3, 3)), r"adjacency must have shape \(4, 4\), got \(3, 3\)"),
    ],
)
def test_parts_must_fit_one_another(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(dataset(), **{field: value})


def test_it_is_printed_in_one_line() -> None:
    roles = "1 train, 1 validation, 1 stopping, 0 test)"
    sizes = "NodeDataset('four', 4 nodes, 2 features, 2 classes"
    assert repr(dataset()) == f"{sizes}, no graph; {roles}"
    graph = sp.csr_array(np.eye(4)[[1, 0, 3, 2]])  # 0-1 and 2-3
    assert repr(replace(dataset(), adjacency=graph)) == f"{sizes}, 2 edges; {roles}"
