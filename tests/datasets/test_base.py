from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from lds._types import Split
from lds.datasets.base import NodeDataset, data_root, load, names


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


def test_names_are_those_of_the_protocols() -> None:
    tables = {"iris", "wine", "breast_cancer", "digits", "20news10", "mnist"}
    assert set(names()) == tables | {"cora", "citeseer", "pubmed"}


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"one of iris, .*pubmed, or the path of a table \(.csv"):
        load("irsi")


@pytest.mark.parametrize("name", ["iris", "20news10", "table.csv", "nothing"])
def test_only_a_given_graph_can_lose_edges(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"retain is for .*\(cora, citeseer, pubmed\), got 0.5 for"
    ):
        load(name, retain=0.5)


@pytest.mark.parametrize("retain", [-0.1, 1.5, float("nan")])
def test_retain_is_a_share(retain: float) -> None:
    with pytest.raises(ValueError, match=r"retain .* must be in \[0, 1\], got"):
        load("cora", retain=retain)


def test_target_is_for_tables() -> None:
    with pytest.raises(ValueError, match="target is for a table, got 'class' for"):
        load("wine", target="class")


def test_the_root_is_the_argument_then_the_variable_then_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LDS_DATA", "/somewhere")
    assert data_root("here") == Path("here")
    assert data_root() == Path("/somewhere")
    monkeypatch.delenv("LDS_DATA")
    assert data_root() == Path.home() / ".cache" / "lds"
