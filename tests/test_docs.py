"""Every code block of the documentation runs, in the order of its page, on small budgets."""

import functools
import importlib.util
import re
import runpy
import shutil
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from typer.testing import CliRunner

from lds import LDSClassifier, ThesisLDSClassifier
from lds._sources import REGISTRY
from lds.bilevel.reverse import Reverse
from lds.cli import app
from lds.nn.registry import BACKBONES
from lds.structure.methods import committee
from lds.structure.methods.registry import METHODS
from lds.structure.methods.views import Views

pytestmark = pytest.mark.ci

EXAMPLES = Path(__file__).parent.parent / "examples"
PAGES = sorted((EXAMPLES / "docs" / "pages").glob("*.md"))
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
QUICK = ("--max-iter", "2", "--max-inner", "10", "--refit-steps", "10", "--refits", "1", "--quiet")
FEW = {"max_iter": 2, "max_inner": 50, "refits": 1, "refit_steps": 40}
"""Put into calls that train a committee: one of full length takes half a minute."""
FEW_TREES = 20
"""Of learned views, to which other calls of `LDSClassifier` go."""
CALL = re.compile(r"\b(Committee|LDSClassifier|ViewsLDSClassifier|learn_structure)\(([^()]+)\)")
OF_COMMITTEE = re.compile(r"\b(tables|n_neighbors)=")
WITH_CONTROLS = "lds fit iris --seed 1 --out runs/iris"
"""The command whose controls the first page speaks of; other pages leave controls out."""
NOT_RUN = ("pip install ",)
"""Commands that only a new environment can run."""


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, file name and text of each block that is not taken from another file."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [block for block in found if "--8<--" not in block[2]]


def shortened(text: str) -> str:
    """The code of a page with fewer iterations, training steps and trees."""
    return CALL.sub(with_few, re.sub(r"max_iter=\d+", f"max_iter={FEW['max_iter']}", text))


def with_few(call: re.Match[str]) -> str:
    """A call with what makes it short; a method stays the one that the page calls."""
    name, given = call.groups()
    few: dict[str, int] = FEW
    if name == "ViewsLDSClassifier":
        few = {"n_trees": FEW_TREES}
    elif name == "LDSClassifier" and not OF_COMMITTEE.search(given):
        few = {}
    more = [f"{option}={value}" for option, value in few.items() if f"{option}=" not in given]
    return f"{name}({', '.join([given.rstrip().rstrip(','), *more])})"


def add_module(file: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file of the package into the working folder, and import it by its own name."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    name = ".".join(path.with_suffix("").parts)
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)


@pytest.fixture
def registries():
    """Registries to which a page may add; they are as before when it has run."""
    before = [(registry, dict(registry)) for registry in (BACKBONES, METHODS, REGISTRY)]
    yield
    for registry, entries in before:
        registry.clear()
        registry.update(entries)


def run_command(line: str) -> None:
    """A line of a shell block, of which only `lds` is known."""
    program, *arguments = line.split()
    assert program == "lds", f"the tests do not know how to run {line!r}"
    more = QUICK if arguments[0] == "fit" else ()
    if more and line != WITH_CONTROLS:
        more += ("--no-controls",)
    result = CliRunner().invoke(app, [*arguments, *more], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """Copies of working folders by the commands that left them: pages begin with the same ones."""
    return defaultdict(lambda: tmp_path_factory.mktemp("left") / "folder")


SLOW = {"cluster"}
"""Pages that start processes and clusters; tests/estimators/test_n_jobs.py has what they show."""


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=[pytest.mark.slow] if p.stem in SLOW else []) for p in PAGES],
    ids=lambda page: page.stem,
)
@pytest.mark.usefixtures("registries")
def test_every_block_of_a_page_runs(page, tmp_path, monkeypatch, left):
    monkeypatch.chdir(tmp_path)
    if page.stem != "index":  # `LDSClassifier.load` reads a fit of all trees only
        monkeypatch.setattr(committee, "Views", functools.partial(Views, n_trees=FEW_TREES))
    names: dict[str, object] = {}
    lines: list[str] = []
    for language, file, text in blocks(page):
        if language == "sh":
            for line in text.splitlines():
                if line.startswith(NOT_RUN):
                    continue
                lines.append(line)
                if names:  # Python has run, and may have written files
                    run_command(line)
                elif (folder := left[tuple(lines)]).exists():
                    shutil.copytree(folder, ".", dirs_exist_ok=True)
                else:
                    run_command(line)
                    shutil.copytree(".", folder)
            continue
        assert language == "python", f"a block of {language} that no test runs"
        names.setdefault("__name__", "page")
        if file:
            add_module(file, text, monkeypatch)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # three iterations are few
            if page.stem == "graphs":  # it shows what is guessed, which is said in warnings
                warnings.simplefilter("ignore", UserWarning)
            if page.stem == "cluster":  # Dask's own
                warnings.simplefilter("ignore")
            exec(compile(shortened(text), str(page), "exec"), names)
    if page.stem == "three-uses":
        # The best rule is right on 96 % of these, and 40 rows tell 8 % from it.
        assert names["accuracy"] > 0.8
        written = Path("runs/table/predictions.csv").read_text(encoding="utf-8").splitlines()
        assert len(written) == 1 + 118
    if page.stem == "index":
        assert names["accuracy"] > 0.8


def test_the_commands_of_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"\.venv/bin/(lds .*)$", text, re.MULTILINE)
    assert commands, "README shows how to learn a graph from a shell"
    for command in commands:
        run_command(f"{command} --no-controls")


def test_there_are_pages_with_blocks():
    assert {"index", "three-uses", "which-method", "how-to-add"} <= {page.stem for page in PAGES}
    assert sum(len(blocks(page)) for page in PAGES) >= 12


def test_the_walkthrough_prints_what_its_page_shows(tmp_path, run_script):
    graph = tmp_path / "wine.graphml"
    printed = run_script(EXAMPLES / "tabular_walkthrough.py", "--max-iter 2 --out", graph)
    shown = (EXAMPLES / "docs" / "walkthrough.txt").read_text(encoding="utf-8")

    def headings(text: str) -> list[str]:
        return [line.split(":")[0] for line in text.splitlines() if not line.startswith("  ")]

    assert headings(printed)[:-1] == headings(shown)
    right = [float(x) for x in re.findall(r"([\d.]+)% (?:LDS|logistic)", printed)]
    assert len(right) == 2
    assert min(right) > 80
    assert graph.is_file()


def test_the_page_of_options_says_what_the_records_say():
    script = runpy.run_path(str(EXAMPLES / "docs" / "write_options.py"))
    now = script["PAGE"].read_text(encoding="utf-8")
    assert now == script["page"](), "python examples/docs/write_options.py writes it anew"


def files_to_the_hypergradient(fit: Callable[[], object]) -> list[str]:
    """The package's files on the call stack at the first hypergradient, in order, each once."""
    root, files = EXAMPLES.parent, []

    def note(frame: FrameType | None, event: str, argument: object) -> None:
        if files or event != "call" or frame.f_code is not Reverse.gradient.__code__:
            return
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(root / "lds"):
                files.append(path.relative_to(root).as_posix())
            frame = frame.f_back

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        fit()
    finally:
        sys.setprofile(before)
    return list(dict.fromkeys(reversed(files)))


@pytest.mark.parametrize("method", ["default", "thesis"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_files_from_fit_to_the_hypergradient(method):
    page = (EXAMPLES / "docs" / "pages" / "how-it-is-built.md").read_text(encoding="utf-8")
    named = re.findall(r"^\d+\. `(lds/[\w/]+\.py)`", page, re.MULTILINE)
    y = np.arange(40) % 2
    X = np.random.default_rng(0).standard_normal((40, 4)) + 2 * np.eye(2, 4)[y]
    classifier = LDSClassifier(refit_steps=2, refits=1, max_inner=60, max_iter=1)
    if method == "thesis":
        classifier = ThesisLDSClassifier(max_inner=60, max_iter=1)
        named = [file.replace("committee_run", "thesis_run") for file in named]
        assert "`lds/structure/methods/thesis_run.py` as the third file" in page
    found = files_to_the_hypergradient(lambda: classifier.fit(X, y))
    assert found == named
    assert len(found) <= 8
