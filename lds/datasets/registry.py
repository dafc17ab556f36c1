"""Load a data set by its name, or a table or graph of the user's own by its path.

The names stand in `lds._sources.REGISTRY`, one line for each data set. To add one, write a module
with a function `load(name, seed, root)` and add its line there. The shell reads that list before
torch and pandas are imported, so it lies outside this package.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path

import scipy.sparse as sp

from lds._sources import REGISTRY, check_source, check_table, is_a_graph, is_a_table, registered
from lds.datasets.base import NodeDataset
from lds.datasets.graph_file import load_graph, load_with_edges
from lds.datasets.table import load as load_table
from lds.datasets.table_options import TableOptions
from lds.graphs.adjacency import keep_edges


def names() -> tuple[str, ...]:
    """List the names that `load` knows."""
    return tuple(REGISTRY)


def data_root(root: str | Path | None = None) -> Path:
    """Return the folder of downloaded data: `root`, else the variable LDS_DATA, else ~/.cache/lds.

    Arguments:
        root: a folder; None takes the variable or the default.
    """
    chosen = root or os.environ.get("LDS_DATA") or Path("~/.cache/lds")
    return Path(chosen).expanduser()


def load(
    name: str | Path,
    *,
    seed: int = 0,
    root: str | Path | None = None,
    retain: float | None = None,
    target: str | int | None = None,
    test_size: float | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    drop: Sequence[str] = (),
    identifier: str | int | None = None,
    unlabelled: Sequence[str] | None = None,
    edges: str | Path | None = None,
) -> NodeDataset:
    """Load a data set by name, or a table or graph of the user's own by path.

    Arguments:
        name: one of `names()` (upper or lower case; "cancer" is "breast_cancer"), or the path of a
            table: a text file or a parquet file (see `reading.read_table`); or of a graph with
            attributes of its nodes: .graphml, .gexf or .npz (see `graph_file.load_graph`).
        seed: of the split, and of the edges that `retain` keeps.
        root: folder of downloaded data, see `data_root`; missing files are downloaded into it.
        retain: share in [0, 1] of the undirected edges kept, for data sets with a graph; 0 keeps
            none (`adjacency` is None), None keeps all.
        target: for tables, the column of labels by name or by position (-1 is the last); rows
            whose cell is blank are unlabelled.
        test_size: for tables and graphs by path without masks, share in [0, 1) of the labelled rows
            held out as test; None takes `table_options.TEST_SIZE`.
        separator, encoding, header: for tables, how the file is written (see
            `reading.read_table`); None detects it.
        drop: for tables, columns to leave out, by name or by position.
        identifier: for tables, the column that names the rows; it becomes no feature.
        unlabelled: for tables, text in the target that marks a row without a label, besides a
            blank cell; if given, even as ("",), any other text is the name of a class. None
            refuses text that often means a missing label, such as "?".
        edges: for tables, a file of edges between the rows (see `edge_list.EdgeList`).

    Raises:
        ValueError: the name or the file extension is unknown, an option does not apply, or the
            table cannot be used (see `table.load`).
        FileNotFoundError: a file does not exist and cannot be downloaded.

    Examples:
        >>> wine = load("wine", seed=1)
        >>> wine.features.shape, wine.classes, wine.split.train.size
        ((178, 13), ('class_0', 'class_1', 'class_2'), 10)
    """
    key = None if is_a_table(name) else registered(name)
    if retain is not None:
        _check_retain(name, key, retain)
    check_source(name)
    options = TableOptions(
        seed=seed,
        target=target,
        test_size=test_size,
        separator=separator,
        encoding=encoding,
        header=header,
        drop=drop,
        identifier=identifier,
        unlabelled=unlabelled,
        edges=edges,
    )
    if key is not None:
        every = [field.name for field in fields(options) if field.name != "seed"]
        options.refuse(every, "a table", f"the data set {key!r}")
        loader: Callable[[str, int, Path], NodeDataset] = import_module(REGISTRY[key].module).load
        dataset = loader(key, seed, data_root(root))
        return dataset if retain is None else _without_edges(dataset, retain, seed)
    options.check_share()
    if is_a_graph(name):
        only_of_tables = ("separator", "encoding", "header", "identifier", "edges")
        options.refuse(only_of_tables, "a table", f"the graph {str(name)!r}")
        return load_graph(Path(name), options)
    if edges is None:
        return load_table(Path(name), options)
    check_table(Path(edges))
    return load_with_edges(Path(name), Path(edges), options)


def _check_retain(name: str | Path, key: str | None, retain: float) -> None:
    with_graph = [known for known, source in REGISTRY.items() if source.has_graph]
    if key not in with_graph:
        raise ValueError(
            f"retain is for data sets with a graph ({', '.join(with_graph)}), got "
            f"{retain} for {str(name)!r}; leave it out"
        )
    if not 0 <= retain <= 1:
        raise ValueError(f"retain (share of the edges kept) must be in [0, 1], got {retain}")


def _without_edges(dataset: NodeDataset, retain: float, seed: int) -> NodeDataset:
    """Keep a share of the edges in `adjacency` and move the others to `held_out`."""
    if dataset.adjacency is None:
        return dataset
    kept = keep_edges(dataset.adjacency, retain, seed)
    held_out = sp.csr_array(dataset.adjacency - kept)
    held_out.eliminate_zeros()
    return replace(
        dataset,
        adjacency=kept if retain else None,
        held_out=held_out if held_out.nnz else None,
    )
