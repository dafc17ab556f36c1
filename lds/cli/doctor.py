"""`lds doctor`."""

from typing import Annotated, Any

import typer
from rich.table import Table

from lds.cli.console import Json, line, out, print_json
from lds.structure.methods.thesis import Thesis

EXAMPLES = "lds doctor\n\nlds doctor 19717    (a graph of so many nodes)"

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 1_000_000)
OPTIONAL = {
    "matplotlib": "plot",
    "chardet": "table",
    "clevercsv": "table",
    "pandas": "table",
    "pyarrow": "table",
}
"""Optional packages, and the extra that installs each."""


def doctor(
    n_nodes: Annotated[
        list[int] | None,
        typer.Argument(help="Numbers of nodes; default: six sizes from 1,000 to 1,000,000."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show versions, devices and memory, and which support fits a graph of each size.

    `support=all` stores N²/2 probabilities of N nodes twice (the current and the best ones);
    `support=sparse` stores those of its candidate pairs.
    """
    sizes = n_nodes or list(SIZES)
    if min(sizes) < 2:
        raise ValueError(f"N_NODES must be at least 2, got {min(sizes)}; one node has no pairs")
    found = {"versions": _versions(), **_machine(), "data": _data(), "support": _support(sizes)}
    if as_json:
        print_json(found)
    else:
        _print(found)


def _versions() -> dict[str, str | None]:
    """Find the versions of Python, lds and its packages; None: not installed."""
    import platform
    from importlib import metadata

    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("lds", "torch", "torch-geometric", "scikit-learn", *OPTIONAL):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _machine() -> dict[str, Any]:
    import os

    import torch

    from lds._memory import available_bytes

    names = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
    devices = {
        name: {
            "name": torch.cuda.get_device_name(name)
            if name != "cpu"
            else f"{os.cpu_count()} cores",
            "available_bytes": available_bytes(name),
        }
        for name in names
    }
    return {
        "threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "torch_cuda": torch.version.cuda,
        "devices": devices,
    }


def _data() -> dict[str, Any]:
    from lds.datasets.registry import data_root

    root = data_root()
    return {"root": str(root), "exists": root.is_dir()}


def _support(sizes: list[int]) -> list[dict[str, Any]]:
    """For each size, compute the memory of both supports and what "auto" chooses."""
    import torch

    from lds.edges.memory import all_pairs_bytes, keeps_all_pairs, sparse_bytes

    dtype, kept = torch.float32, Thesis().pairs_per_node
    lines = []
    for n in sizes:
        needed, there = all_pairs_bytes(n, dtype, "cpu")
        lines.append(
            {
                "n_nodes": n,
                "all_pairs_bytes": needed,
                "all_pairs_fit": needed <= there,
                "sparse_bytes": sparse_bytes(n, kept, dtype),
                "auto": "all" if keeps_all_pairs("auto", n, dtype, "cpu") else "sparse",
            }
        )
    return lines


def _print(found: dict[str, Any]) -> None:
    from lds._memory import gigabytes

    for name, version in found["versions"].items():
        missing = f"not installed (pip install 'lds[{OPTIONAL.get(name, '')}]')"
        line(f"{name:16} {version or missing}")
    for name, device in found["devices"].items():
        there = device["available_bytes"]
        memory = "" if there is None else f", {gigabytes(there)} available"
        line(f"{name:16} {device['name']}{memory}")
    omp = found["OMP_NUM_THREADS"]
    line(f"{'threads':16} {found['threads']}" + (f" (OMP_NUM_THREADS={omp})" if omp else ""))
    root = found["data"]
    note = "" if root["exists"] else " (not there yet; LDS_DATA or --root name another)"
    line(f"{'data':16} {root['root']}{note}")
    table = Table(title="support: which pairs may become edges (on the CPU)")
    for column in ("nodes", "all pairs", "fits", "sparse", "auto"):
        table.add_column(column, justify="right")
    for each in found["support"]:
        all_pairs, sparse = (gigabytes(each[f"{name}_bytes"]) for name in ("all_pairs", "sparse"))
        fits = "yes" if each["all_pairs_fit"] else "no"
        table.add_row(f"{each['n_nodes']:,}", all_pairs, fits, sparse, each["auto"])
    out.print(table)
    line("all pairs, sparse: bytes of edge probabilities; features and network come on top")
