"""`lds datasets`."""

from lds._sources import REGISTRY
from lds.cli.console import Json, out, print_json

EXAMPLES = "lds datasets\n\nlds fit wine"


def datasets(as_json: Json = False) -> None:
    """List the data sets that have a name. `lds fit` takes any table (.csv and others), too."""
    if as_json:
        print_json([{"name": name, "has_graph": s.has_graph} for name, s in REGISTRY.items()])
        return
    for name, source in REGISTRY.items():
        out.print(f"{name}  (with a graph)" if source.has_graph else name, highlight=False)
