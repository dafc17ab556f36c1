"""ogbn-arxiv, read by the package `ogb` (the extra lds[ogb]), on its split by year.

169,343 papers, 128 averaged word vectors, 40 subjects; citations count in both directions.

References:
    Hu et al., 2020, https://arxiv.org/abs/2005.00687.
"""

from pathlib import Path
from typing import Any

import numpy as np

from lds._types import Split
from lds.datasets.base import NodeDataset
from lds.datasets.graph_arrays import symmetric
from lds.datasets.splits import halved


def load(name: str, seed: int, root: Path) -> NodeDataset:
    """Load the graph; the seed halves the validation rows.

    Arguments:
        name: "ogbn-arxiv".
        seed: of the half of the validation rows that serves the outer objective; the other half
            serves early stopping.
        root: folder that holds, or will hold, ogbn_arxiv.

    Raises:
        ImportError: ogb is not installed.
        FileNotFoundError: the files do not exist and cannot be fetched.
    """
    try:
        from ogb.nodeproppred import NodePropPredDataset  # optional, and slow to import
    except ImportError as error:
        raise ImportError(f"{name} needs ogb: pip install 'lds[ogb]' ({error})") from error
    try:
        source = NodePropPredDataset(name, str(root))
    except OSError as error:
        raise FileNotFoundError(
            f"{name} needs {root / 'ogbn_arxiv'}, and fetching it there failed ({error})"
        ) from error
    graph, y = source[0]
    return of_ogb(name, graph, y, source.get_idx_split(), seed)


def of_ogb(
    name: str, graph: dict[str, Any], y: Any, roles: dict[str, Any], seed: int
) -> NodeDataset:
    """Convert what ogb returns: a graph, labels `(n_nodes, 1)` and rows by role."""
    labels = np.asarray(y).reshape(-1).astype(np.int64)
    row, col = np.asarray(graph["edge_index"], dtype=np.int64)
    train, validation, test = (
        np.sort(np.asarray(roles[role], dtype=np.int64)) for role in ("train", "valid", "test")
    )
    return NodeDataset(
        name,
        np.asarray(graph["node_feat"], dtype=np.float32),
        labels,
        tuple(str(c) for c in range(int(labels.max()) + 1)),
        Split(train, *halved(validation, seed, labels, train), test),
        symmetric(row, col, labels.size),
    )
