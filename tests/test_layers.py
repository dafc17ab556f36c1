"""Reads every import in the package and fails on one that points the wrong way.

The rules are those of the layers: `structure` stands on `nn`, `bilevel` and `discrete`; `nn` and
`datasets` stand on `graphs`; the three foundations know nothing of each other; and what a person
runs (the edge) may use everything and is used by nothing below it.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "lds").rglob("*.py"))
MAX_LINES = 400

LOW = {
    "_checkpoint",
    "_files",
    "_jobs",
    "_labels",
    "_memory",
    "_numbers",
    "_progress",
    "_projections",
    "_random",
    "_run_files",
    "_run_list",
    "_warn_once",
    "_words",
    "_sources",
    "_arrays",
    "_types",
    "_units",
    "_verdict",
    "_version",
    "_weights",
    "_tensors",
    "run_folder",
}
EDGE = {"estimators", "experiments", "plots", "report", "cli", "__main__", "__init__"}
# What each layer may import besides itself; the edge may import everything.
MAY_IMPORT = {
    "_checkpoint": {"_files", "_run_files"},
    "_files": set(),
    "_jobs": {"_warn_once"},
    "_labels": {"_numbers"},
    "_memory": set(),
    "_numbers": set(),
    "_progress": set(),
    "_projections": set(),
    "_random": set(),
    "_run_files": set(),
    "_run_list": {"_run_files", "_verdict"},
    "_warn_once": set(),
    "_words": set(),
    "_sources": {"_files", "_words"},
    "_arrays": {"_types"},
    "_types": set(),
    "_units": set(),
    "_verdict": {"_words"},
    "_version": set(),
    "_weights": set(),
    "_tensors": set(),
    "run_folder": {"_arrays", "_files", "_run_files", "_types"},
    "bilevel": LOW,
    "discrete": LOW,
    "graphs": LOW,
    "nn": LOW | {"graphs"},
    "datasets": LOW | {"graphs"},
    "edges": LOW | {"graphs", "nn", "discrete"},
    "structure": LOW | {"edges", "nn", "graphs", "bilevel", "discrete"},
}
# Layers that import nothing else from outside the package and the standard library.
ONLY_PACKAGES = {
    "bilevel": {"torch"},
    "discrete": {"torch", "scipy"},  # whose assignment solver permutations stand on
    "_projections": {"torch"},
}
# The only places, layers or modules, that import these packages.
ONLY_PLACES = {
    "sklearn": {
        "_labels",
        "estimators",
        "experiments.compare",
        "experiments.graphs",
        "experiments.reproduce.baselines",
        "experiments.reproduce.groups",
        "experiments.reproduce.phonemes",
        "experiments.tables",
        "datasets.mnist",
        "datasets.newsgroups",
        "datasets.splits",
        "datasets.table",
        "datasets.tabular",
        "datasets.text",
        "graphs.directions",
        "graphs.knn",
        "graphs.neighbourhood",
        "nn.node_forest",
        "nn.preparation",
        "plots.predictions",
        "structure.methods.members",
        "structure.methods.views_rows",
        "structure.surroundings",
    },
    "torch_geometric": {
        "estimators",
        "datasets.planetoid",
        "datasets.pyg",
        "graphs.interop",
        "nn.pyg",
    },
    "networkx": EDGE | {"datasets.graph_file", "graphs.interop", "graphs.export"},
}


def imported_modules(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """The line and absolute name of each module imported anywhere in a file of `package`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                for alias in node.names:
                    yield node.lineno, alias.name
            case ast.ImportFrom(level=0, module=str(module)):
                yield node.lineno, module
            case ast.ImportFrom():
                parents = package.split(".")
                parents = parents[: len(parents) - node.level + 1]
                yield node.lineno, ".".join([*parents, *filter(None, [node.module])])
            case ast.Call(
                func=ast.Attribute(attr="import_module")
                | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield node.lineno, module


def complaint(importer: str, imported: str) -> str | None:
    """Why module `importer` (its name inside the package) must not import `imported`, or None."""
    layer = importer.split(".")[0]
    top, _, inside = imported.partition(".")
    if top == "lds":
        target = inside.split(".")[0]
        if importer == "__init__":
            return None
        package = importer.removesuffix(".__init__")
        if not inside or package.startswith(f"{inside}."):
            return f"{imported} is its parent package: import a sibling by its own module"
        if layer not in EDGE and target not in {layer, *MAY_IMPORT[layer]}:
            return f"{layer} may not import {target}"
        return None
    if layer in ONLY_PACKAGES and top not in ONLY_PACKAGES[layer] | sys.stdlib_module_names:
        return f"{layer} may import only {', '.join(sorted(ONLY_PACKAGES[layer]))}, not {top}"
    if top in ONLY_PLACES and not {layer, importer} & ONLY_PLACES[top]:
        return f"only {', '.join(sorted(ONLY_PLACES[top]))} may import {top}"
    return None


def complaints(path: Path, root: Path) -> list[str]:
    """One line for each import in `path` that breaks a rule; `root` holds the folder `lds`."""
    parts = path.relative_to(root).with_suffix("").parts
    importer = ".".join(parts[1:])
    if parts[1] not in EDGE | MAY_IMPORT.keys():
        return [f"{'/'.join(parts)}.py: belongs to no layer; name it in tests/test_layers.py"]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        f"{'/'.join(parts)}.py:{line}: {reason}"
        for line, imported in imported_modules(tree, package=".".join(parts[:-1]))
        if (reason := complaint(importer, imported))
    ]


@pytest.mark.ci
def test_imports_point_one_way() -> None:
    assert SOURCES, "no source found: the other checks would pass on nothing"
    found = [text for path in SOURCES for text in complaints(path, ROOT)]
    assert not found, "\n".join(found)


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    long = {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > MAX_LINES}
    assert not long, f"more than {MAX_LINES} lines: {long}"


def imports_of_each() -> dict[str, set[str]]:
    """The modules of the package that each module imports when it runs, deferred imports too."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in SOURCES}
    found = {}
    for name, path in names.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tree.body = [node for node in tree.body if not is_for_types(node)]
        package = name.rpartition(".")[0]
        modules = {module for _, module in imported_modules(tree, package)}
        found[name] = {module for module in modules if module in names and module != name}
    return found


def is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Every circle that a search in depth meets."""
    done: set[str] = set()
    found = []

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            found.append([*way[way.index(name) :], name])
        elif name not in done:
            for other in sorted(imports[name]):
                visit(other, [*way, name])
            done.add(name)

    for name in imports:
        visit(name, [])
    return found


def test_no_import_circle() -> None:
    """Deferred imports count: one that hid a circle would be found."""
    imports = imports_of_each()
    assert sum(map(len, imports.values())) > 300, "hardly any import was read"
    assert not circles(imports)


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c", "a"]]


METHOD_NAMES = {"default", "thesis", "committee"}


def branches_on_a_method(tree: ast.AST) -> list[int]:
    """Lines that compare something called a method, or its name, with a method's name."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            texts = {ast.unparse(side) for side in sides}
            words = {side.value for side in sides if isinstance(side, ast.Constant)}
            about = any("method" in text for text in texts)
            if about and words & METHOD_NAMES:
                found.append(node.lineno)
        if isinstance(node, ast.match_case) and isinstance(node.pattern, ast.MatchValue):
            value = node.pattern.value
            if isinstance(value, ast.Constant) and value.value in METHOD_NAMES:
                found.append(node.pattern.lineno)
    return found


def test_nothing_branches_on_a_methods_name() -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in SOURCES
        if path.name != "registry.py"
        and (lines := branches_on_a_method(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert not found


@pytest.mark.parametrize(
    "text", ["if method == 'thesis': pass", "x = 1 if run.method.name != 'default' else 2"]
)
def test_a_branch_on_a_methods_name_is_found(text: str) -> None:
    assert branches_on_a_method(ast.parse(text)) == [1]


def plant(root: Path, name: str, text: str) -> list[str]:
    path = root / "lds" / name
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return complaints(path, root)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("graphs/bad.py", "from lds.structure.learn import learn", "may not import structure"),
        ("graphs/bad.py", "import lds.nn.gcn as gcn", "may not import nn"),
        ("graphs/bad.py", "import os, lds.nn", "may not import nn"),
        ("graphs/bad.py", "from ..nn import gcn", "may not import nn"),
        ("graphs/bad.py", "def late():\n    from lds.discrete.base import X", ":2: graphs may not"),
        ("graphs/bad.py", "if TYPE_CHECKING:\n    import lds.bilevel", "may not import bilevel"),
        ("graphs/bad.py", "importlib.import_module('lds.cli')", "may not import cli"),
        ("graphs/bad.py", "from sklearn.neighbors import X", "may import sklearn"),
        ("graphs/bad.py", "import torch_geometric.data", "may import torch_geometric"),
        ("graphs/bad.py", "from lds import knn", "import a sibling by its own module"),
        ("graphs/bad.py", "from lds.graphs import knn", "import a sibling by its own module"),
        ("graphs/bad.py", "from . import knn", "import a sibling by its own module"),
        ("graphs/bad.py", "from .. import nn", "import a sibling by its own module"),
        ("graphs/__init__.py", "import lds", "import a sibling by its own module"),
        ("cli/bad.py", "from lds import datasets", "import a sibling by its own module"),
        ("bilevel/bad.py", "import numpy as np", "may import only torch"),
        ("discrete/bad.py", "import numpy as np", "may import only"),
        ("discrete/bad.py", "from lds.bilevel.tensors import dot", "may not import bilevel"),
        ("nn/bad.py", "from lds.edges.free import X", "may not import edges"),
        ("datasets/bad.py", "from lds.structure.learn import X", "may not import structure"),
        ("structure/bad.py", "from lds.datasets.base import X", "may not import datasets"),
        ("structure/bad.py", "from lds.estimators.classifier import X", "import estimators"),
        ("structure/bad.py", "import networkx", "may import networkx"),
        ("_types.py", "from lds.run_folder import X", "may not import run_folder"),
        ("_types.py", "from lds.graphs.knn import X", "may not import graphs"),
        ("misc/new.py", "", "belongs to no layer"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, name: str, text: str, reason: str) -> None:
    (found,) = plant(tmp_path, name, text)
    assert found.startswith(f"lds/{name}:")
    assert reason in found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("__init__.py", "from lds import bilevel\nfrom .estimators.classifier import X"),
        ("cli/good.py", "import networkx\nfrom lds.structure.learn import learn"),
        ("bilevel/good.py", "import math\nimport torch.nn\nfrom .tensors import dot"),
        ("bilevel/__init__.py", "from lds.bilevel.reverse import Reverse"),
        ("bilevel/good.py", "from lds.run_folder import save"),
        ("structure/good.py", "from lds.bilevel import Reverse\nfrom ..graphs.knn import X"),
        ("graphs/knn.py", "from sklearn.neighbors import NearestNeighbors"),
        ("datasets/planetoid.py", "def load():\n    from torch_geometric.datasets import X"),
        ("estimators/good.py", "import sklearn\nimport torch_geometric"),
    ],
)
def test_a_right_import_passes(tmp_path: Path, name: str, text: str) -> None:
    assert plant(tmp_path, name, text) == []
