"""`lds datasets`."""

from pathlib import Path
from typing import Any

from rich.table import Table

from lds._sources import REGISTRY, TABULAR
from lds.cli.console import Json, out, print_json, print_path
from lds.cli.table_options import Root

EXAMPLES = "lds datasets\n\nlds fit wine"


def datasets(
    root: Root = None,
    as_json: Json = False,
) -> None:
    """List the data sets that have a name: sizes, licences, and whether their files are there.

    Missing files are downloaded by the first fit. `lds fit` takes any table (.csv and others)
    and graph, too.
    """
    from lds.datasets.registry import data_root

    folder = data_root(root)
    found = [_described(name, folder) for name in REGISTRY]
    if as_json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True, overflow="fold")
    for name in ("rows", "features", "classes", "edges"):
        table.add_column(name, justify="right")
    for name in ("licence", "files"):
        table.add_column(name)
    for each in found:
        numbers = (each[name] for name in ("rows", "features", "classes", "edges"))
        texts = ("-" if not number else f"{number:,}" for number in numbers)
        table.add_row(each["name"], *texts, each["licence"] or "-", each["files"])
    out.print(table)
    print_path("downloaded data", folder)


def _described(name: str, root: Path) -> dict[str, Any]:
    source = REGISTRY[name]
    facts = {key: value for key, value in source._asdict().items() if key != "module"}
    if not source.files:
        files = "in scikit-learn" if source.module == TABULAR else "none needed"
    elif any((root / file).exists() for file in source.files):
        files = "there"
    else:
        files = "to download"
    return {"name": name, "has_graph": source.has_graph, **facts, "files": files}
