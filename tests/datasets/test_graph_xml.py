"""Weights of GraphML and GEXF: directed and parallel edges."""

import networkx as nx
import numpy as np
import pytest

from lds.datasets.registry import load

WRITE = {".graphml": nx.write_graphml, ".gexf": nx.write_gexf}
SUFFIXES = pytest.mark.parametrize("suffix", list(WRITE))


def written(folder, suffix, kind, edges):
    """A file of 30 nodes in a ring of weights 0.5, and these edges besides."""
    graph = kind()
    for k in range(30):
        graph.add_node(f"p{k:02d}", size=k % 5 + 0.5, colour="red" if k % 2 else "blue")
    ring = [(f"p{k:02d}", f"p{(k + 1) % 30:02d}", 0.5) for k in range(30)]
    graph.add_weighted_edges_from(ring)
    graph.add_weighted_edges_from(edges)
    path = folder / f"graph{suffix}"
    WRITE[suffix](graph, path)
    return path


@SUFFIXES
@pytest.mark.parametrize(
    ("kind", "edges"),
    [
        (nx.DiGraph, [("p00", "p10", 0.9), ("p10", "p00", 0.05)]),
        (nx.MultiGraph, [("p00", "p10", 0.9), ("p00", "p10", 0.05)]),
        (nx.MultiGraph, [("p00", "p10", 0.9), ("p10", "p00", 0.05)]),
        (nx.MultiDiGraph, [("p00", "p10", 0.9), ("p00", "p10", 0.05), ("p10", "p00", 0.3)]),
    ],
)
def test_the_largest_weight_of_a_pair_is_taken_and_said(tmp_path, suffix, kind, edges):
    path = written(tmp_path, suffix, kind, edges)
    with pytest.warns(UserWarning, match=r"weights 0\.05 and 0\.9; the largest weight of a pair"):
        data = load(path, target="colour")
    expected = np.zeros((30, 30), dtype=np.float32)
    for k in range(30):
        expected[k, (k + 1) % 30] = expected[(k + 1) % 30, k] = 0.5
    expected[0, 10] = expected[10, 0] = 0.9
    np.testing.assert_array_equal(data.adjacency.toarray(), expected)
