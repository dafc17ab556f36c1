"""Data sets by name: the list of names, the options of `load`, the folder of downloaded data."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

from lds._sources import REGISTRY
from lds.datasets.registry import data_root, load, names


def test_names_are_those_of_the_protocols() -> None:
    tables = {"iris", "wine", "breast_cancer", "digits", "20news10", "mnist"}
    graphs = {name for name in names() if REGISTRY[name].has_graph}
    assert tables <= set(names()) - graphs
    assert {"cora", "citeseer", "pubmed", "texas", "amazon_photo", "ogbn-arxiv"} <= graphs


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(
        ValueError, match=r"one of .*iris, .*pubmed.*, or the path of a table \(.csv"
    ):
        load("irsi")


@pytest.mark.parametrize("name", ["iris", "20news10", "table.csv", "nothing"])
def test_only_a_given_graph_can_lose_edges(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"retain is for .*\(cora, citeseer, pubmed, .*\), got 0.5 for"
    ):
        load(name, retain=0.5)


@pytest.mark.parametrize("retain", [-0.1, 1.5, float("nan")])
def test_retain_is_a_share(retain: float) -> None:
    with pytest.raises(ValueError, match=r"retain .* must be in \[0, 1\], got"):
        load("cora", retain=retain)


@pytest.mark.parametrize("test_size", [0.2, 7.0])
def test_test_size_is_for_tables(test_size: float) -> None:
    with pytest.raises(ValueError, match=f"test_size is for a table, got {test_size} for the data"):
        load("iris", test_size=test_size)


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


@pytest.mark.parametrize("name", REGISTRY)
def test_each_registered_module_has_a_loader(name: str) -> None:
    assert callable(import_module(REGISTRY[name].module).load)


def test_the_list_of_names_is_light_to_import() -> None:
    """The shell reads it before torch and pandas, so it may import the standard library only."""
    import lds._sources as sources

    tree = ast.parse(Path(sources.__file__).read_text(encoding="utf-8"))
    heavy = {"numpy", "scipy", "sklearn", "torch", "pandas"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not heavy & {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert str(node.module).split(".")[0] not in heavy
