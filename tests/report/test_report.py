"""The report: one file, whole and harmless, with the run's own numbers."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

from lds._types import ROLES
from lds.cli import app
from lds.report.neighbours import UNIT, neighbourhoods, to_script
from lds.report.page import PICTURES, html, write_report
from lds.run_folder import load_run
from lds.structure.methods.registry import METHODS
from tests.saved_run import NAMES


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        inside = self.tags[-1][0] if self.tags else ""
        if inside == "script" and data.strip():
            self.scripts.append(data)
        elif inside == "td":
            self.cells.append(data)


@pytest.fixture(scope="module")
def text(run_folder, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("report") / "run.html"
    write_report(run_folder, path)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(run_folder):
    return load_run(run_folder)


@pytest.mark.ci
def test_it_asks_for_nothing_from_outside(text):
    for tag, attributes in Page(text).tags:
        for name in ("src", "href", "xlink:href", "data", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), f"{tag} {name}={value}"
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert text.count("url(") == text.count("url(#"), "styles point into the page alone"


def test_names_of_classes_stay_text(text):
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not any(tag == "b" for tag, _ in page.tags)
    assert json.loads(page.scripts[0])["classes"] == sorted(NAMES)


def test_every_picture_is_well_formed_and_its_ids_its_own(text):
    seen = set()
    parts = text.split("<figure id=")[1:]
    assert len(parts) == len(PICTURES)
    for part in parts:
        drawn = part[part.index("<svg") : part.index("</svg>") + 6]
        root = ElementTree.fromstring(drawn)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        ids = {element.get("id") for element in root.iter()} - {None}
        assert not ids & seen
        seen |= ids
        targets = {element.get("{http://www.w3.org/1999/xlink}href") for element in root.iter()}
        assert {target[1:] for target in targets - {None} if target[0] == "#"} <= ids


def test_it_holds_the_runs_numbers(text, run):
    cells = Page(text).cells
    for found in run.summary["test_quality"].values():
        assert f"{100 * found['accuracy']:.1f} %" in cells
        assert f"{found['nll']:.3f}" in cells
    for value in run.settings["options"].values():
        assert str(value) in cells
    assert METHODS[run.settings["method"]].title in text


def test_neighbours_are_the_most_probable_edges(run):
    found = json.loads(to_script(neighbourhoods(run)))
    theta, start = run.edge_probs.toarray(), run.start.toarray()
    for i in range(len(theta)):
        mine = slice(found["first"][i], found["first"][i + 1])
        likely = sorted(np.flatnonzero(theta[i]), key=lambda j: (-theta[i, j], j))[:16]
        assert found["to"][mine] == likely
        np.testing.assert_allclose(
            np.array(found["probability"][mine]) / UNIT, theta[i, likely], atol=1 / UNIT
        )
        np.testing.assert_allclose(
            np.array(found["start"][mine]) / UNIT, start[i, likely], atol=1 / UNIT
        )
        assert [part > 0 for part in found["start"][mine]] == (start[i, likely] > 0).tolist()
        assert found["edges"][i] == np.count_nonzero(theta[i])
    roles = [found["roles"][k] for k in found["role"]]
    for role in ("train", "validation", "stopping", "test"):
        rows = [i for i, name in enumerate(roles) if name == role]
        assert rows == sorted(run.predictions[f"{role}_rows"].tolist())
    assert roles.count("no role") == (run.predictions["labels"] < 0).sum()


def test_it_says_what_it_draws(run, monkeypatch):
    two = dict(list(PICTURES.items())[:2])
    monkeypatch.setattr("lds.report.page.PICTURES", two)
    calls = []
    html(run, on_picture=lambda *call: calls.append(call))
    assert calls == [("learning", 0, 2), ("edges", 1, 2)]


def test_an_edge_shows_its_probability_before_and_after_learning(text):
    assert "Start → learned" in text
    assert '"given"' not in text, "no graph was given"


@pytest.mark.ci
def test_a_run_without_test_rows_or_edges_is_told_too(run):
    none = np.zeros(0, dtype=np.int64)
    empty = sp.csr_array(run.edge_probs.shape, dtype=np.float32)
    bare = replace(
        run,
        summary=run.summary | {"test_quality": {"lds": None}, "test_accuracy": {"lds": None}},
        edge_probs=empty,
        predictions=run.predictions | {"test_rows": none},
    )
    text = html(bare)
    assert "Calibration on 21 stopping rows" in text
    assert Page(text).cells[:3] == ["-", "-", "-"]
    assert json.loads(Page(text).scripts[0])["to"] == []


def test_roles_are_those_of_the_controls_where_every_label_trains_and_judges(run, monkeypatch):
    monkeypatch.setattr("lds.report.page.PICTURES", {"learning": PICTURES["learning"]})
    train, validation, stopping, test = (run.predictions[f"{n}_rows"].size for n in ROLES)
    roles = f"{train} train, {validation} validation, {stopping} stopping"
    usual = html(run)
    assert f"({roles}, {test} test)" in usual
    judge = "The stopping rows judge each iteration; the refit is on the last one."
    choose = "The stopping rows choose the best iteration."
    refit = run.n_iterations < len(run.metrics)
    assert (judge in usual, choose in usual) == (refit, not refit)
    for quality, controls in (
        ({"lds": None, "frozen": None}, f" the controls divide them into {roles};"),
        ({"lds": None}, ""),
    ):
        settings = run.settings | {"method": "views"}
        summary = run.summary | {"test_quality": quality}
        text = html(replace(run, settings=settings, summary=summary))
        n = train + validation + stopping
        labels = f"{n} labelled rows train, and each judges in turn;{controls} {test} test rows"
        assert f"({labels})" in text
        assert "The stopping rows" not in text


def test_a_large_graph_keeps_fewer_edges_of_each_node(run, monkeypatch):
    monkeypatch.setattr("lds.report.neighbours.MOST_EDGES", 5 * 90)
    found = neighbourhoods(run)
    assert max(np.diff(found["first"])) == 5


def test_the_file_must_be_a_page_in_a_folder(run_folder, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.html, got 'run\.pdf'"):
        write_report(run_folder, tmp_path / "run.pdf")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_report(run_folder, tmp_path / "gone" / "run.html")
    with pytest.raises(FileNotFoundError, match="not the folder of a run"):
        write_report(tmp_path, tmp_path / "run.html")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*gone; `lds runs` lists"):
        write_report(tmp_path / "gone", tmp_path / "gone" / "run.html")
    assert not list(Path(tmp_path).iterdir())


@pytest.mark.ci
def test_the_command_writes_it(run_folder, tmp_path, text):
    result = CliRunner().invoke(app, ["report", str(run_folder), "--out", str(tmp_path / "a.html")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == text, "the same run, the same page"
