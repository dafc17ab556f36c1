"""Load the user's own graph: a table of nodes with a file of edges, GraphML, GEXF, or .npz."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import networkx as nx
import numpy as np
import scipy.sparse as sp

from lds._labels import Labels, numbered, warn_of_classes
from lds.datasets.base import NodeDataset
from lds.datasets.edge_ends import by_column, by_row_number, check, naming_column
from lds.datasets.edge_list import EdgeList, texts_of_ids
from lds.datasets.graph_arrays import read_arrays, symmetric
from lds.datasets.identifiers import DIFFERENT
from lds.datasets.labels import encode_column
from lds.datasets.reading import FileFormat
from lds.datasets.roles import Roles, find_column
from lds.datasets.table import dealt_split, of_frame, read
from lds.datasets.table_options import TableOptions
from lds.datasets.text_table import distinct
from lds.graphs.structural import structural_features

NODE = "id"
"""Name of the column with the identifiers of the nodes of a file."""

OWN_ID = "given_id"
"""Attribute of that name in a GEXF file that lds writes, where "id" has another meaning."""

DRAWN = ("viz", "label")
"""Attributes with which GEXF draws a node; they are no features."""


def load_with_edges(path: Path, edges: Path, options: TableOptions) -> NodeDataset:
    """Load a table of nodes and a file of the edges between them.

    Arguments:
        path: of the table.
        edges: of the edges, see `edge_list.EdgeList`.
        options: of the table; its identifier is the column by whose cells the edges name nodes.
            None finds one that has all ends and no cell twice, and takes row numbers from 0 where
            no column has most ends.

    Raises:
        FileNotFoundError, ImportError, ValueError: as of `table.load` and `EdgeList`; and a
            ValueError if an end is of no row, or rows cannot be found by the ends.
    """
    frame, how = read(path, options)
    identifier = options.identifier
    listed = EdgeList(edges, _identifiers_of(frame, how, identifier))
    naming = None
    if identifier is None:
        named = find_column(how.columns, options.target)
        others = frame.drop(columns=[] if named is None else [named])
        naming = naming_column(others, how.decimal or ".", listed)
        if naming is not None:
            identifier = naming.column
            roles = Roles.of(how.columns, options.target, options.drop, None, [])
            _check_not_dropped(roles, identifier, edges)
    data = of_frame(path, frame, how, replace(options, identifier=identifier))
    if naming is None and identifier is not None:
        column = str(find_column(how.columns, identifier))
        cells = texts_of_ids(frame[column])
        naming = by_column(column, cells, how.decimal or ".", listed)
        check(naming, listed)
    elif naming is None:
        naming = by_row_number(data.n_nodes, listed)
    graph = listed.adjacency(naming.rows, data.n_nodes)
    assert data.file is not None
    found = (
        *data.file.found,
        *listed.found,
        naming.said,
        f"{graph.nnz // 2:,} edges between nodes",
    )
    return replace(data, adjacency=graph, file=replace(data.file, found=found))


def _identifiers_of(frame: Any, how: FileFormat, identifier: str | int | None) -> set[str]:
    """Collect the cells that may name nodes: of `identifier`, else where nearly all differ."""
    name = None if identifier is None else find_column(how.columns, identifier)
    columns = [texts_of_ids(frame[each]) for each in (frame.columns if name is None else [name])]
    found = [
        set(cells)
        for cells in columns
        if name is not None or len(set(cells)) > DIFFERENT * len(cells)
    ]
    return set[str]().union(*found) - {""}


def _check_not_dropped(roles: Roles, identifier: str | None, edges: Path) -> None:
    """Refuse to drop the column by which edges name nodes."""
    if identifier in roles.drop:
        raise ValueError(
            f"drop must not name {identifier!r}: {edges.name} names nodes by it, so it is the "
            "identifier and no feature anyway; leave it out of drop"
        )


def load_graph(path: Path, options: TableOptions) -> NodeDataset:
    """Load a file that holds a graph and its nodes.

    GraphML and GEXF: the attributes of nodes are the columns of a table, and the target is one of
    them; a graph without other attributes gets features from its structure. An .npz file has one of
    the layouts of `graph_arrays`; if it holds splits, the seed chooses one of them.

    Arguments:
        path: ends in .graphml, .gexf or .npz.
        options: without those of a file of a table. An .npz file has labels, and takes neither
            target, drop nor unlabelled, with masks no test_size either.

    Raises:
        ValueError: the file cannot be read, the target is no attribute or is missing, or as for
            `table.load`.
    """
    if path.suffix.lower() == ".npz":
        options.refuse(("target", "drop", "unlabelled"), "a table, GraphML or GEXF", str(path))
        return _of_arrays(path, options)
    target = None if options.target is None else str(options.target)
    options = replace(options, target=target, identifier=NODE)
    graph, frame, nodes, named = _of_xml(path, target)
    columns = tuple(str(name) for name in frame.columns)
    found = [f"{graph.nnz // 2:,} edges between {graph.shape[0]:,} nodes", *named]
    faults = list[str]()  # `of_frame` raises them, with those of the cells
    roles = Roles.of(columns, target, options.drop, NODE, faults)
    if roles.target == "label":
        found += _blank_own_ids(path, frame, roles.target, nodes)
    how = FileFormat(None, None, True, None, "", columns, tuple(found))
    if not faults and not set(columns) - set(roles.no_features):
        return _without_features(path, graph, frame, how, roles, options)
    return replace(of_frame(path, frame, how, options), adjacency=graph)


def _of_arrays(path: Path, options: TableOptions) -> NodeDataset:
    arrays = read_arrays(path)
    known = arrays.labels >= 0
    named = Labels(known, arrays.labels[known])
    warn_of_classes(named, *numbered(named), f"{path} labels")
    data = replace(arrays.dataset(str(path), options.seed), name=str(path))
    if arrays.masks is not None:
        masks = f"{path}, whose masks say which nodes are test rows"
        options.refuse(("test_size",), "a graph without masks", masks)
        return data
    return replace(data, split=dealt_split(data.labels, options))


def _of_xml(path: Path, target: str | None) -> tuple[sp.csr_array, Any, list[str], list[str]]:
    """Read GraphML or GEXF as an adjacency and a frame of the nodes' attributes, as text.

    Returns:
        Both, the identifiers of the nodes in the file, and what is said about those in the frame.
    """
    import pandas as pd  # of the extra lds[table]

    from lds.graphs.interop import edges_of  # imports torch, which takes seconds

    read = nx.read_graphml if path.suffix.lower() == ".graphml" else nx.read_gexf
    try:
        graph = read(path)
    except Exception as error:  # networkx and the XML parser raise many kinds
        _refuse_weights_in_words(path)
        raise ValueError(f"{path} cannot be read as a graph ({error})") from error
    nodes = list(graph)
    number = {node: k for k, node in enumerate(nodes)}
    names = list(dict.fromkeys(key for _, found in graph.nodes(data=True) for key in found))
    gexf = path.suffix.lower() == ".gexf"
    kept = [n for n in names if n != NODE and not (gexf and n in DRAWN and n != target)]
    columns = {n: [_text(graph.nodes[node].get(n)) for node in nodes] for n in kept}
    ids = [str(node) for node in nodes]
    named, said = ids, list[str]()
    if NODE in names:
        columns[NODE] = [_text(graph.nodes[node].get(NODE)) for node in nodes]
    for own in (NODE, OWN_ID) if gexf else (NODE,):
        if own in columns and len({*columns[own], ""}) > len(ids):  # all differ, none is blank
            named = columns.pop(own)
            said = [f"nodes are named by their attribute {own!r}"] if named != ids else []
            break
    if NODE in columns:
        other = distinct([NODE, *columns], [])[-1]
        columns[other] = columns.pop(NODE)
        said.append(f"the attribute {NODE!r} does not name each node: it is the column {other!r}")
    frame = pd.DataFrame({NODE: named, **columns}, dtype=object)
    for one, other, attributes in graph.edges(data=True):
        if "weight" in attributes:
            attributes["weight"] = _weight(path, one, other, attributes["weight"])
    row, col, weight = edges_of(graph, number)
    return symmetric(row, col, len(nodes), weight, str(path)), frame, ids, said


def _blank_own_ids(path: Path, frame: Any, target: str, nodes: list[str]) -> list[str]:
    """Remove the labels that only repeat the node's own identifier; say how many there were.

    Programs write the identifier as the label of a node that has none: in GEXF each such label is
    one of these, in GraphML one that no other node has.

    Raises:
        ValueError: all labels are identifiers.
    """
    labels = frame[target].str.strip()
    own = labels == nodes
    if path.suffix.lower() == ".graphml":
        own &= ~labels.duplicated(keep=False)
    if not own.any():
        return []
    if (own | (labels == "")).all():
        raise ValueError(
            f"{path} must have classes as the labels of its nodes, got the identifier of each node "
            "as its label; --target names the attribute that holds the classes"
        )
    node = nodes[own.argmax()]
    frame.loc[own, target] = ""
    those = "1 node has its" if own.sum() == 1 else f"{own.sum():,} nodes have their"
    return [f"{those} own identifier as label (such as {node!r}), which is no label"]


def _weight(path: Path, one: Any, other: Any, found: Any) -> float:
    """Read the weight of an edge, a number or its text; refuse all else by the edge's ends."""
    try:
        weight = float(found)
    except (TypeError, ValueError):
        weight = np.nan
    if not (np.isfinite(weight) and weight >= 0):
        raise ValueError(
            f"{path} must have finite numbers of 0 or more as the weights of its edges, got "
            f"{found!r} at the edge ({str(one)!r}, {str(other)!r}); correct the weight, or leave "
            "it out"
        )
    return weight


def _refuse_weights_in_words(path: Path) -> None:
    """Refuse the first weight that cannot be read of a file that networkx does not read for it."""
    try:
        elements = list(ElementTree.parse(path).getroot().iter())
    except ElementTree.ParseError:
        return
    keys = set[str | None]()
    for element in elements:
        if element.get("for") == "edge" and element.get("attr.name") == "weight":
            keys.add(element.get("id"))  # of GraphML
        elif element.get("class") == "edge":  # of GEXF
            keys |= {each.get("id") for each in element if each.get("title") == "weight"}
    for edge in elements:
        if edge.tag.rpartition("}")[2] != "edge":
            continue
        texts = [edge.get("weight")]
        for each in edge.iter():
            if each.get("key") in keys - {None}:
                texts.append(each.text)
            elif each.get("for") in keys - {None}:
                texts.append(each.get("value"))
        for text in texts:
            if text is not None:
                _weight(path, edge.get("source"), edge.get("target"), text)


def _without_features(
    path: Path,
    graph: sp.csr_array,
    frame: Any,
    how: FileFormat,
    roles: Roles,
    options: TableOptions,
) -> NodeDataset:
    target = str(roles.target)
    labels, classes = encode_column(frame[target], target, options.unlabelled, options.share)
    why = "nodes have no other attribute: features are made from the graph"
    return NodeDataset(
        str(path),
        structural_features(graph),
        labels,
        classes,
        dealt_split(labels, options),
        graph,
        file=replace(how, found=(*how.found, *roles.found, why)),
        identifiers=tuple(frame[NODE]),
        made_features=True,
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)
