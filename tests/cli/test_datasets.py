"""`lds datasets` says of each data set what `load` gives."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lds._sources import REGISTRY, Source
from lds.cli import app
from lds.datasets.registry import load


def assert_facts(name, root=None):
    data, facts = load(name, root=root), REGISTRY[name]
    sizes = (facts.rows, facts.features, facts.classes)
    assert (*data.features.shape, len(data.classes)) == sizes
    edges = 0 if data.adjacency is None else np.count_nonzero(data.adjacency.data) // 2
    assert edges == facts.edges


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_sizes_of_the_tables(name):
    assert_facts(name)


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        *("cora", "citeseer", "20news10", "texas", "wisconsin"),
        *("chameleon_filtered", "minesweeper"),
    ],
)
def test_sizes_of_the_downloaded(name, shared_data):
    assert_facts(name, shared_data)


def test_it_says_whether_files_are_there(lds, tmp_path):
    (tmp_path / "planetoid" / "Cora" / "raw").mkdir(parents=True)
    code, out, _ = lds("datasets", "--root", tmp_path, "--json")
    assert code == 0
    found = {each["name"]: each for each in json.loads(out)}
    assert found["iris"]["files"] == "in scikit-learn"
    assert found["cora"]["files"] == "there"
    assert found["pubmed"]["files"] == "to download"
    assert (found["cora"]["rows"], found["cora"]["edges"]) == (2708, 5278)
    code, out, _ = lds("datasets", "--root", tmp_path)
    assert code == 0
    assert "5,278" in out
    assert "CC BY 4.0" in out
    assert str(tmp_path) in out.replace("\n", "")


def test_a_data_set_without_files_needs_none(lds, tmp_path, monkeypatch):
    monkeypatch.setitem(REGISTRY, "moons", Source("mine.moons"))
    _, out, _ = lds("datasets", "--root", tmp_path, "--json")
    found = {each["name"]: each["files"] for each in json.loads(out)}
    assert found["moons"] == "none needed"


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--retain", "default: all edges"),
        ("--root", "default: LDS_DATA, else ~/.cache/lds"),
        ("--target", "required for a table"),
        ("--id", "default: none"),
        ("--drop", "default: none"),
        ("--n-neighbors", "[default: 30; thesis: 10; views: 20]"),
    ],
)
def test_help_shows_the_default(flag, words):
    text = CliRunner().invoke(app, ["fit", "--help"], env={"COLUMNS": "300"}).output
    (line,) = [line for line in text.splitlines() if line.strip(" │").startswith(f"{flag} ")]
    assert words in line
