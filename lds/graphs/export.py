"""Write a learned graph to a file that other programs read.

| suffix | holds | read by |
|---|---|---|
| .graphml | edges, node attributes | networkx, Gephi, Cytoscape, igraph |
| .gexf | edges, node attributes | Gephi, networkx |
| .csv | source, target, probability; with node attribute "id", source_id, target_id | anything |
| .npz | symmetric CSR of probabilities | `scipy.sparse.load_npz` |

All but .npz hold the probability before learning, too, where it is given: an edge that was added
has a low one, and one that was removed a high one.
"""

import csv
import io
import re
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import networkx as nx
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._files import check_output_file, write_atomically
from lds._types import ROLES, Split
from lds.graphs.interop import STARTING, before_learning, to_networkx

FORBIDDEN = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 forbids (2008, §2.2), and the carriage return, which it changes."""

GEXF_NAMES = frozenset(
    ("label", "id", "pid", "for", "start", "end", "parents", "slices", "spells", "viz")
)
"""Node attributes with a meaning of their own in GEXF, such as the label drawn beside a node."""

Nodes = Mapping[str, Sequence[Any] | NDArray[Any]]
Start = sp.csr_array | None


def save_graph(
    path: str | Path,
    edge_probs: sp.csr_array,
    nodes: Nodes | None = None,
    start: sp.csr_array | None = None,
) -> None:
    """Write a graph in the format of the path's suffix; the file is complete or absent.

    Arguments:
        path: ends in .graphml, .gexf, .csv or .npz.
        edge_probs: symmetric CSR of probabilities of the edges to write, see
            `interop.select_edges`. GraphML and GEXF hold them twice, as
            "probability" and as "weight", which layouts and statistics use.
        nodes: node attributes by name, one value for each node; None where a node has none.
            GraphML and GEXF only. Values of several types become text, or floats where all are
            numbers. Characters that XML forbids, such as control characters, are written as Python
            escapes, with a warning. Names with a meaning in GEXF are prefixed: "label" becomes
            "given_label".
        start: symmetric CSR of the probabilities before learning, written for each edge as
            "starting_probability", except to .npz; None: they are not written.

    Raises:
        TypeError, ValueError: an unknown suffix, or an attribute of the wrong
            length.
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    check_graph_path(path)
    write_atomically(path, lambda file: _WRITERS[path.suffix](file, edge_probs, nodes, start))


def node_attributes(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating[Any]],
    split: Split,
    classes: Sequence[Any] | NDArray[Any] | None = None,
    **more: Sequence[Any] | NDArray[Any],
) -> dict[str, Sequence[Any] | NDArray[Any]]:
    """Collect labels, predictions and roles as node attributes.

    The result is for `to_networkx` and `save_graph`.

    Arguments:
        labels: `(n_nodes,)`, -1 where unknown.
        probabilities: `(n_nodes, n_classes)`, predicted.
        split: the roles of nodes.
        classes: names of the classes; None uses their numbers.
        more: further attributes by name.

    Returns:
        "label" (None where unknown), "prediction", "confidence" (its probability) and "split":
        train, validation, stopping, test or unlabelled.
    """
    n_classes = max(probabilities.shape[1], int(labels.max(initial=-1)) + 1)
    plain = np.arange(n_classes).tolist() if classes is None else np.asarray(classes).tolist()
    role = np.full(len(labels), "unlabelled", dtype=object)
    for name in ROLES:
        role[getattr(split, name)] = name
    return {
        "label": [plain[label] if label >= 0 else None for label in labels.tolist()],
        "prediction": [plain[c] for c in probabilities.argmax(1).tolist()],
        "confidence": probabilities.max(1),
        "split": role.tolist(),
        **more,
    }


def check_graph_path(path: Path) -> None:
    """Refuse a path that `save_graph` cannot write.

    Raises:
        FileNotFoundError, ValueError: its folder does not exist, or its suffix is unknown.
    """
    check_output_file(path, "path", _WRITERS)


def _graph(
    edge_probs: sp.csr_array, nodes: Nodes | None, start: Start, taken: Container[str] = ()
) -> nx.Graph:
    graph = to_networkx(edge_probs, _for_xml(nodes or {}, edge_probs.shape[0], taken), start)
    for _, _, edge in graph.edges(data=True):
        edge["weight"] = edge["probability"]
    return graph


def _for_xml(nodes: Nodes, n_nodes: int, taken: Container[str]) -> dict[str, list[Any]]:
    """Return attributes of one type each, without characters that XML forbids."""
    columns: dict[str, list[Any]] = {}
    bad: list[str] = []
    for name, values in nodes.items():
        if len(values) != n_nodes:
            raise ValueError(
                f"nodes[{name!r}] must have one value a node, {n_nodes}, got {len(values)}"
            )
        found = _of_one_type(values)
        texts = [str(name), *(value for value in found if isinstance(value, str))]
        bad += [f"{text!r} of {str(name)!r}" for text in texts if FORBIDDEN.search(text)][:1]
        title = f"given_{name}" if name in taken else _legal(str(name))
        while title in columns:
            title += "_"
        columns[title] = [_legal(v) if isinstance(v, str) else v for v in found]
    if bad:
        warnings.warn(
            f"node attributes hold characters that XML cannot, such as {', '.join(bad)}; the "
            "characters are written as escapes, such as \\x00",
            UserWarning,
            stacklevel=6,
        )
    return columns


def _of_one_type(values: Sequence[Any] | NDArray[Any]) -> list[Any]:
    """Return plain values of one type that GraphML and GEXF have; None stays None."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "mM":
        values = [None if np.isnat(value) else str(value) for value in values]
    plain = [value.item() if hasattr(value, "item") else value for value in values]
    kinds = {type(value) for value in plain if value is not None}
    if len(kinds) <= 1 and kinds <= {str, int, float, bool}:
        return plain
    kind = float if kinds <= {int, float} else str
    return [None if value is None else kind(value) for value in plain]


def _legal(text: str) -> str:
    return FORBIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _graphml(file: BinaryIO, edge_probs: sp.csr_array, nodes: Nodes | None, start: Start) -> None:
    nx.write_graphml_xml(_graph(edge_probs, nodes, start), file)


def _gexf(file: BinaryIO, edge_probs: sp.csr_array, nodes: Nodes | None, start: Start) -> None:
    nx.write_gexf(_graph(edge_probs, nodes, start, GEXF_NAMES), file)


def _csv(file: BinaryIO, edge_probs: sp.csr_array, nodes: Nodes | None, start: Start) -> None:
    edges = sp.triu(edge_probs, k=1).tocoo()
    before = None if start is None else before_learning(start, edges).tolist()
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = (nodes or {}).get("id")
    more = [*[STARTING] * (before is not None), *_ENDS * (names is not None)]
    table.writerow(["source", "target", "probability", *more])
    entries = zip(edges.row, edges.col, edges.data.tolist(), strict=True)
    for k, (row, col, probability) in enumerate(entries):
        first = [] if before is None else [before[k]]
        ends = [] if names is None else [names[row], names[col]]
        table.writerow([row, col, probability, *first, *ends])
    file.write(text.getvalue().encode())


def _npz(file: BinaryIO, edge_probs: sp.csr_array, nodes: Nodes | None, start: Start) -> None:
    sp.save_npz(file, edge_probs)


_ENDS = ("source_id", "target_id")

_WRITERS: dict[str, Callable[[BinaryIO, sp.csr_array, Nodes | None, Start], None]] = {
    ".graphml": _graphml,
    ".gexf": _gexf,
    ".csv": _csv,
    ".npz": _npz,
}
