"""`lds datasets`."""

from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from lds._sources import REGISTRY
from lds.cli.console import Json, out, print_json
from lds.cli.table_options import Root

EXAMPLES = "lds datasets\n\nlds fit wine"


class Facts(NamedTuple):
    """The size, licence and files of a data set; `data/README.md` has its source.

    Arguments:
        rows, features, classes: numbers of each.
        edges: undirected edges of its graph; 0: it has no graph.
        licence: that its source states.
        files: paths under the root, one of which is enough; (): scikit-learn has the data set.
    """

    rows: int
    features: int
    classes: int
    edges: int
    licence: str
    files: tuple[str, ...] = ()


FACTS = {
    "iris": Facts(150, 4, 3, 0, "CC BY 4.0"),
    "wine": Facts(178, 13, 3, 0, "CC BY 4.0"),
    "breast_cancer": Facts(569, 30, 2, 0, "CC BY 4.0"),
    "digits": Facts(1797, 64, 10, 0, "CC BY 4.0"),
    "20news10": Facts(
        9607,
        236,
        10,
        0,
        "none stated",
        ("20news10/20news10_tfidf.npz", "20news-bydate_py3.pkz"),
    ),
    "mnist": Facts(5000, 784, 10, 0, "none stated", ("mnist/mnist.npz", "openml")),
    "cora": Facts(2708, 1433, 7, 5278, "MIT", ("planetoid/Cora/raw", "Cora/raw")),
    "citeseer": Facts(3327, 3703, 6, 4552, "MIT", ("planetoid/CiteSeer/raw", "CiteSeer/raw")),
    "pubmed": Facts(19717, 500, 3, 44324, "MIT", ("planetoid/PubMed/raw", "PubMed/raw")),
}
"""Facts of the data sets by name."""


def datasets(
    root: Root = None,
    as_json: Json = False,
) -> None:
    """List the data sets that have a name: sizes, licences, and whether their files are there.

    Missing files are downloaded by the first fit. `lds fit` takes any table (.csv and others), too.
    """
    from lds.datasets.registry import data_root

    folder = data_root(root)
    found = [_described(name, folder) for name in REGISTRY]
    if as_json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("name")
    for name in ("rows", "features", "classes", "edges"):
        table.add_column(name, justify="right")
    for name in ("licence", "files"):
        table.add_column(name)
    for each in found:
        numbers = (each[name] for name in ("rows", "features", "classes", "edges"))
        texts = ("-" if not number else f"{number:,}" for number in numbers)
        table.add_row(each["name"], *texts, each["licence"] or "-", each["files"])
    out.print(table)
    out.print(f"downloaded data: {folder}", highlight=False, soft_wrap=True, markup=False)


def _described(name: str, root: Path) -> dict[str, Any]:
    known = FACTS.get(name)
    described: dict[str, Any] = {"name": name, "has_graph": REGISTRY[name].has_graph}
    if known is None:
        unknown = dict.fromkeys(("rows", "features", "classes", "edges", "licence"))
        return {**described, **unknown, "files": "unknown"}
    if not known.files:
        files = "in scikit-learn"
    elif any((root / file).exists() for file in known.files):
        files = "there"
    else:
        files = "to download"
    return {**described, **known._asdict(), "files": files}
