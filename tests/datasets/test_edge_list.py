"""The columns of a file of edges that hold ends: by name, by position, after edge numbers."""

import networkx as nx
import numpy as np
import pytest

from lds.datasets.registry import load

N = 24
PAIRS = [(i, (i * 7 + 3) % N) for i in range(N)] + [(i, (i + 5) % N) for i in range(N)]


@pytest.fixture
def nodes(tmp_path):
    path = tmp_path / "nodes.csv"
    lines = [f"{k % 5}.5,{k * 3 % 11},{'red' if k % 2 else 'blue'}" for k in range(N)]
    path.write_text("\n".join(["size,width,colour", *lines]) + "\n")
    return path


def expected():
    return nx.to_numpy_array(nx.Graph(PAIRS), nodelist=range(N))


def read(nodes, header, rows):
    path = nodes.parent / "edges.csv"
    lines = [header] * bool(header) + [",".join(map(str, row)) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return load(nodes, target="colour", edges=path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("source_id", "target_id"),
        ("Source", "Target"),
        ("node1", "node2"),
        ("node_1", "node_2"),
        ("id1", "id2"),
        ("U", "V"),
        ("from_node_id", "to_node_id"),
        ("FromNodeId", "ToNodeId"),
        ("src", "dst"),
        ("i", "j"),
        ("nodeA", "nodeB"),
    ],
)
@pytest.mark.parametrize("first", ["edge_id", "id", "time"])
def test_ends_are_found_by_their_names_wherever_they_stand(nodes, one, other, first):
    rows = [(k, i, j, 0.5) for k, (i, j) in enumerate(PAIRS)]
    data = read(nodes, f"{first},{one},{other},weight", rows)
    np.testing.assert_array_equal(data.adjacency.toarray(), 0.5 * expected())
    assert f"in edges.csv a further column is left out: {first!r}" in data.file.found


@pytest.mark.parametrize("header", ["edge_id,a,b", "ID,a,b", "index,a,b", "k,a,b", ""])
@pytest.mark.parametrize("start", [0, 1])
def test_a_column_that_numbers_the_edges_is_no_end(nodes, header, start):
    data = read(nodes, header, [(k + start, *pair) for k, pair in enumerate(PAIRS)])
    np.testing.assert_array_equal(data.adjacency.toarray(), expected())
    said = " | ".join(data.file.found)
    assert "numbers the edges, so that" in said
    assert "left out" not in said


@pytest.mark.parametrize("header", ["a,b,strength", "id,friend,strength", "id,friend,weight", ""])
def test_ends_that_count_up_are_ends_before_weights(nodes, header):
    ring = [(k, (k + 1) % N, (k % 3 + 1) / 4) for k in range(N)]
    data = read(nodes, header, ring)
    graph = nx.Graph()
    graph.add_weighted_edges_from(ring)
    np.testing.assert_array_equal(
        data.adjacency.toarray(), nx.to_numpy_array(graph, nodelist=range(N))
    )


@pytest.mark.filterwarnings("ignore:.*the largest weight of a pair is taken")
@pytest.mark.parametrize("header", ["a,b,c", ""])
def test_nodes_are_refused_as_weights(nodes, header):
    rows = [(i, j, k * 5 % N) for k, (i, j) in enumerate(PAIRS)]
    with pytest.raises(ValueError, match=r"got nodes in the columns .*; call those of the ends"):
        read(nodes, header, rows)
    with pytest.warns(UserWarning, match="weight goes up to 23"):
        read(nodes, "source,target,c", [(i, j, k % N) for k, (i, j) in enumerate(PAIRS)])


def test_edges_without_node_0_are_said(nodes):
    pairs = [(i, j) for i, j in PAIRS if i and j]
    data = read(nodes, "source,target", pairs)
    assert any("from 0; no edge has node 0: if edges number the" in t for t in data.file.found)
    with pytest.raises(ValueError, match=r"got 1 that no row has \('24'\).*; no edge has node 0:"):
        read(nodes, "source,target", [(i + 1, j + 1) for i, j in PAIRS])
    assert "node 0" not in " ".join(read(nodes, "source,target", PAIRS).file.found)


@pytest.mark.parametrize(
    "pairs",
    [
        [(k, k + 1) for k in range(N - 1)],  # counts up, as names of columns do
        [("ann", "bob"), ("bob", "cy"), ("cy", "di")],
        [("ann", "di"), ("bob", "cy")],  # neither is an end below
        [("ann", "bob")],
        [("n1", 2), (3, 4), (5, 6)],  # a word and a number above numbers
    ],
)
def test_a_first_edge_without_a_header_above_it_is_kept(tmp_path, pairs):
    names = ["ann", "bob", "cy", "di", "n1", *map(str, range(N))]
    rows = [f"{name},{k % 5}.5,{'red' if k % 2 else 'blue'}" for k, name in enumerate(names)]
    (tmp_path / "nodes.csv").write_text("\n".join(["who,size,colour", *rows]) + "\n")
    (tmp_path / "edges.csv").write_text("".join(",".join(map(str, one)) + "\n" for one in pairs))
    data = load(tmp_path / "nodes.csv", target="colour", edges=tmp_path / "edges.csv")
    place = {name: k for k, name in enumerate(names)}
    wanted = {frozenset((place[str(one[0])], place[str(one[1])])) for one in pairs}
    assert {frozenset(pair.tolist()) for pair in np.argwhere(data.adjacency.toarray())} == wanted
    assert not any("--no-header" in text for text in data.file.found)


def test_words_that_are_no_nodes_are_a_header_and_said_to_be(tmp_path):
    names = [f"n{k}" for k in range(N)]
    rows = [f"{name},{k % 5}.5,{'red' if k % 2 else 'blue'}" for k, name in enumerate(names)]
    (tmp_path / "nodes.csv").write_text("\n".join(["who,size,colour", *rows]) + "\n")
    lines = ["left,right", *(f"n{k},n{k + 1}" for k in range(N - 1))]
    (tmp_path / "edges.csv").write_text("\n".join(lines) + "\n")
    data = load(tmp_path / "nodes.csv", target="colour", edges=tmp_path / "edges.csv")
    assert data.adjacency.nnz == 2 * (N - 1)
    said = next(text for text in data.file.found if "read as a header" in text)
    assert said.endswith("if it is an edge, write the line source,target above it")
