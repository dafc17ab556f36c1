"""A learned graph as a file that other programs open.

| suffix | holds | read by |
|---|---|---|
| .graphml | edges, node attributes | networkx, Gephi, Cytoscape, igraph |
| .gexf | edges, node attributes | Gephi, networkx |
| .csv | source, target, probability; with node attribute "id", source_id, target_id | anything |
| .npz | symmetric CSR of probabilities | `scipy.sparse.load_npz` |
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import networkx as nx
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._files import write_atomically
from lds._types import Split
from lds.graphs.interop import select_edges, to_networkx

Nodes = Mapping[str, Sequence[Any] | NDArray[Any]]


def save_graph(
    path: str | Path,
    edge_probs: sp.csr_array,
    nodes: Nodes | None = None,
    *,
    threshold: float | None = None,
    top_k: int | None = None,
    n_edges: int | None = None,
) -> None:
    """Write a graph in the format its suffix names; the file is complete or not there.

    Arguments:
        path: ends in .graphml, .gexf, .csv or .npz.
        edge_probs: symmetric CSR of probabilities. GraphML and GEXF hold them twice, as
            "probability" and as the "weight" that layouts and statistics go by.
        nodes: node attributes by name, one value a node (None: this node has none); GraphML and
            GEXF only. GEXF calls "label" "given_label": its own label is a node's number.
        threshold, top_k, n_edges: which edges, see `interop.select_edges`; all without a rule.

    Raises:
        TypeError, ValueError: another suffix, or a rule that is not one.
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    if path.suffix not in _WRITERS:
        raise ValueError(f"path must end in one of {', '.join(_WRITERS)}, got {path.name!r}")
    kept = select_edges(edge_probs, threshold, top_k, n_edges)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")
    write_atomically(path, lambda file: _WRITERS[path.suffix](file, kept, nodes))


def node_attributes(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating[Any]],
    split: Split,
    classes: Sequence[Any] | NDArray[Any] | None = None,
    **more: Sequence[Any] | NDArray[Any],
) -> dict[str, Sequence[Any] | NDArray[Any]]:
    """What is known of every node, for `to_networkx` and `save_graph`.

    Arguments:
        labels: `(n_nodes,)`, -1 where unknown.
        probabilities: `(n_nodes, n_classes)`, of the prediction.
        split: the roles of nodes.
        classes: class c has the name classes[c]; None names it c.
        more: further attributes by name.

    Returns:
        "label" (None where unknown), "prediction", "confidence" (its probability) and "split":
        train, validation, stopping, test or unlabelled.
    """
    n_classes = max(probabilities.shape[1], int(labels.max(initial=-1)) + 1)
    plain = np.arange(n_classes).tolist() if classes is None else np.asarray(classes).tolist()
    role = np.full(len(labels), "unlabelled", dtype=object)
    for name, rows in vars(split).items():
        role[rows] = name
    return {
        "label": [plain[label] if label >= 0 else None for label in labels.tolist()],
        "prediction": [plain[c] for c in probabilities.argmax(1).tolist()],
        "confidence": probabilities.max(1),
        "split": role.tolist(),
        **more,
    }


def _graph(edge_probs: sp.csr_array, nodes: Nodes | None) -> nx.Graph:
    graph = to_networkx(edge_probs, nodes)
    for _, _, edge in graph.edges(data=True):
        edge["weight"] = edge["probability"]
    return graph


def _graphml(file: BinaryIO, edge_probs: sp.csr_array, nodes: Nodes | None) -> None:
    nx.write_graphml_xml(_graph(edge_probs, nodes), file)


def _gexf(file: BinaryIO, edge_probs: sp.csr_array, nodes: Nodes | None) -> None:
    # GEXF's own label of a node is the text drawn beside it; a class in it would be lost.
    renamed = {"given_label" if name == "label" else name: v for name, v in (nodes or {}).items()}
    nx.write_gexf(_graph(edge_probs, renamed), file)


def _csv(file: BinaryIO, edge_probs: sp.csr_array, nodes: Nodes | None) -> None:
    edges = sp.triu(edge_probs, k=1).tocoo()
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = (nodes or {}).get("id")
    table.writerow(["source", "target", "probability", *_ENDS * (names is not None)])
    for row, col, probability in zip(edges.row, edges.col, edges.data, strict=True):
        ends = [] if names is None else [names[row], names[col]]
        table.writerow([row, col, repr(float(probability)), *ends])
    file.write(text.getvalue().encode())


def _npz(file: BinaryIO, edge_probs: sp.csr_array, nodes: Nodes | None) -> None:
    sp.save_npz(file, edge_probs)


_ENDS = ("source_id", "target_id")

_WRITERS: dict[str, Callable[[BinaryIO, sp.csr_array, Nodes | None], None]] = {
    ".graphml": _graphml,
    ".gexf": _gexf,
    ".csv": _csv,
    ".npz": _npz,
}
