"""The gallery: its scripts run, and its pages show the code as it is."""

import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "examples" / "docs"
SCRIPTS = sorted((DOCS.parent / "gallery").glob("*.py"))
NEEDS_DATA = {"attacked_graph": "attacked/cora_graph.npz", "incomplete_graph": "planetoid/Cora/raw"}

_spec = importlib.util.spec_from_file_location("write_gallery", DOCS / "write_gallery.py")
gallery = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(gallery)


@pytest.fixture(params=SCRIPTS, ids=lambda path: path.stem)
def script(request):
    return request.param


QUICK = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in NEEDS_DATA else [])
    for path in SCRIPTS
]


def test_there_are_five_pages():
    assert len(SCRIPTS) == 5


def test_a_script_is_cells_of_text_and_code():
    found = gallery.cells(
        "# # Title\n#\n# Text.\n\n# %%\nX = 3  # small: 1\n\n# More.\n\n# %%\nX\n"
    )
    assert found == [
        ("text", "# Title\n\nText."),
        ("code", "X = 3  # small: 1"),
        ("text", "More."),
        ("code", "X"),
    ]
    names = {}
    assert gallery.run("X = 3  # small: 1\nprint(X)", names) == "3\n"
    assert gallery.run("X = 3  # small: 1\nprint(X)", names, small=True) == "1\n"
    assert gallery.shown("X = 3  # small: 1") == "X = 3"


def test_a_page_shows_the_code_of_its_script_and_what_it_printed(script):
    stem = f"gallery-{script.stem.replace('_', '-')}"
    page = (DOCS / "pages" / f"{stem}.md").read_text(encoding="utf-8")
    assert (DOCS / "pages" / f"{stem}.png").stat().st_size > 5000
    parts = gallery.cells(script.read_text(encoding="utf-8"))
    assert gallery.code_of(page) == [gallery.shown(part) for kind, part in parts if kind == "code"]
    assert all(part in page for kind, part in parts if kind == "text")
    assert "``` { .text }" in page, "what it printed"


@pytest.mark.ci
@pytest.mark.data
@pytest.mark.parametrize("script", QUICK)
def test_a_script_runs_on_a_small_budget(script, data_folder, monkeypatch):
    needed = NEEDS_DATA.get(script.stem)
    if needed and not (data_folder / needed).exists():
        pytest.skip(f"{data_folder} has no {needed}")
    monkeypatch.setenv("LDS_DATA", str(data_folder))
    text, figure = gallery.page(script.stem, small=True)
    assert figure.axes
    kept = (DOCS / "pages" / f"gallery-{script.stem.replace('_', '-')}.md").read_text("utf-8")

    def words(page):  # what is printed, without its numbers
        printed = re.findall(r"^``` { .text }\n(.*?)\n```$", page, re.DOTALL | re.MULTILINE)
        return [re.sub(r"[\d.,\[\] ]+", " ", block.split("\n")[0]) for block in printed]

    assert len(words(text)) == len(words(kept))
    for small, full in zip(words(text), words(kept), strict=True):
        assert small.split(":")[0] == full.split(":")[0]
