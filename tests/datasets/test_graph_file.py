"""The user's own graph from files: nodes and edges, GraphML, GEXF, npz; identifiers are kept."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from lds.datasets.registry import load

NAMES = [f"p{k:02d}" for k in range(30)]
EDGES = [(i, (i * 7 + 3) % 30) for i in range(30) if i != (i * 7 + 3) % 30]


def class_of(k):
    return "red" if k % 2 else "blue"


@pytest.fixture
def nodes(tmp_path):
    lines = ["person,size,weight,colour"]
    lines += [f"{name},{k % 5}.5,{k * 3 % 11},{class_of(k)}" for k, name in enumerate(NAMES)]
    path = tmp_path / "nodes.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_edges(path, header="source,target", weight=None):
    rows = [header] if header else []
    for i, j in EDGES:
        end = "" if weight is None else f",{weight}"
        rows.append(f"{NAMES[i]},{NAMES[j]}{end}")
    path.write_text("\n".join(rows) + "\n")
    return path


def expected():
    graph = nx.Graph(EDGES)
    graph.add_nodes_from(range(30))
    return nx.to_numpy_array(graph, nodelist=range(30))


def as_networkx(**kinds):
    graph = nx.Graph()
    for k, name in enumerate(NAMES):
        graph.add_node(name, size=k % 5 + 0.5, colour=class_of(k))
    graph.add_edges_from((NAMES[i], NAMES[j]) for i, j in EDGES)
    return graph


@pytest.mark.parametrize("header", ["source,target", "from,to", "a,b"])
def test_nodes_and_edges(nodes, tmp_path, header):
    data = load(nodes, target="colour", edges=write_edges(tmp_path / "edges.csv", header))
    np.testing.assert_array_equal(data.adjacency.toarray(), expected())
    assert data.identifiers == tuple(NAMES)
    assert data.features.shape[0] == 30
    assert set(data.classes) == {"red", "blue"}
    assert any("edges name nodes by the column 'person'" in text for text in data.file.found)


def test_rows_without_identifier_count_from_0(nodes, tmp_path):
    path = tmp_path / "edges.csv"
    path.write_text("source,target\n" + "\n".join(f"{i},{j}" for i, j in EDGES) + "\n")
    data = load(nodes, target="colour", drop=["person"], edges=path)
    np.testing.assert_array_equal(data.adjacency.toarray(), expected())
    assert data.identifiers is None


@pytest.mark.parametrize("named", [True, False])
def test_weights(nodes, tmp_path, named):
    header = "source,target,weight" if named else "source,target,strength"
    path = write_edges(tmp_path / "edges.csv", header, weight=0.25)
    data = load(nodes, target="colour", edges=path)
    np.testing.assert_array_equal(data.adjacency.toarray(), 0.25 * expected())


def test_an_unknown_node_is_named(nodes, tmp_path):
    path = tmp_path / "edges.csv"
    path.write_text("source,target\np01,p02\np03,stranger\n")
    with pytest.raises(ValueError, match=r"got 1 that no row has \('stranger'\); --id names"):
        load(nodes, target="colour", identifier="person", edges=path)


def test_identifiers_must_differ(tmp_path):
    nodes, edges = tmp_path / "nodes.csv", tmp_path / "edges.csv"
    nodes.write_text(
        "person,size,colour\n"
        + "\n".join(f"p{k // 2},{k % 7}.5,{class_of(k)}" for k in range(30))
        + "\n"
    )
    edges.write_text("source,target\np1,p2\np3,p4\n")
    with (
        pytest.warns(UserWarning, match="is the same in several rows"),
        pytest.raises(ValueError, match="got 15 different ones in 30 rows"),
    ):
        load(nodes, target="colour", identifier="person", edges=edges)


def test_weights_in_words_are_refused(nodes, tmp_path):
    path = write_edges(tmp_path / "edges.csv", "source,target,weight", weight="strong")
    with pytest.raises(ValueError, match="must have numbers in its column 'weight'"):
        load(nodes, target="colour", edges=path)


@pytest.mark.parametrize("suffix", [".graphml", ".gexf"])
def test_xml(tmp_path, suffix):
    path = tmp_path / f"graph{suffix}"
    write = nx.write_graphml if suffix == ".graphml" else nx.write_gexf
    write(as_networkx(), path)
    data = load(path, target="colour")
    np.testing.assert_array_equal(data.adjacency.toarray(), expected())
    assert data.identifiers == tuple(NAMES)
    assert np.unique(data.features).size <= 5
    assert [data.classes[c] for c in data.labels] == [class_of(k) for k in range(30)]


def test_a_label_of_gexf_can_be_the_target(tmp_path):
    graph = as_networkx()
    for k, node in enumerate(NAMES):
        graph.nodes[node]["label"] = class_of(k)
    nx.write_gexf(graph, tmp_path / "g.gexf")
    data = load(tmp_path / "g.gexf", target="label", drop=["colour"])
    assert [data.classes[c] for c in data.labels] == [class_of(k) for k in range(30)]
    assert np.unique(data.features).size <= 5


def test_a_graph_without_features_gets_structural_ones(tmp_path):
    graph = as_networkx()
    for node in graph:
        del graph.nodes[node]["size"]
    nx.write_graphml(graph, tmp_path / "bare.graphml")
    data = load(tmp_path / "bare.graphml", target="colour")
    assert data.features.shape[1] > 1
    assert any("features are made from the graph" in text for text in data.file.found)
    assert data.identifiers == tuple(NAMES)


def arrays_of(layout):
    y = (np.arange(30) % 2).astype(np.int64)
    x = sp.csr_array(np.eye(30, 4, dtype=np.float32))
    a = sp.csr_array(expected())
    parts = ("data", "indices", "indptr", "shape")
    if layout == "masks":
        masks = {
            f"{role}_masks": np.stack([np.arange(30) % 3 == k, np.arange(30) // 10 == k])
            for k, role in enumerate(("train", "val", "test"))
        }
        dense = {"node_features": x.toarray(), "node_labels": y, "edges": np.array(EDGES)}
        return dense | masks
    name, label = ("attr", "labels") if layout == "benchmark" else ("x", "y")
    matrices = {name: x, "adj": a}
    found = {f"{n}_{p}": getattr(m, p) for n, m in matrices.items() for p in parts}
    return found | {label: y}


@pytest.mark.parametrize("layout", ["masks", "benchmark", "graphdata"])
def test_npz_of_the_collections(tmp_path, layout):
    path = tmp_path / "graph.npz"
    extra = {"node_names": np.array(["a", None], dtype=object)} if layout == "benchmark" else {}
    np.savez(path, **arrays_of(layout), **extra)
    data = load(path, seed=1)
    np.testing.assert_array_equal(data.adjacency.toarray(), expected())
    dense = data.features if layout == "masks" else data.features.toarray()
    np.testing.assert_array_equal(dense, np.eye(30, 4))
    np.testing.assert_array_equal(data.labels, np.arange(30) % 2)
    if layout == "masks":
        np.testing.assert_array_equal(data.split.train, np.arange(10))
        np.testing.assert_array_equal(data.split.test, np.arange(20, 30))
        assert data.split.validation.size == data.split.stopping.size == 5
        again = load(path, seed=3)  # two splits
        np.testing.assert_array_equal(again.split.train, data.split.train)
    else:
        assert data.split.test.size == 6


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros(3)}, r"must have features .* got the arrays a"),
        ({"x": np.eye(3), "y": np.zeros(3)}, "must have one class number a node"),
        ({"x": np.eye(3), "y": np.arange(3)}, "must have edges or adj"),
        (
            {"x": np.eye(3), "y": np.arange(3), "edges": np.array([[0, 3]])},
            "must number nodes from 0 to 2",
        ),
        ({"x": np.array([[None]], dtype=object)}, "must be an .npz file of plain arrays"),
    ],
)
def test_odd_npz(tmp_path, arrays, words):
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "odd.npz")


def test_options_that_do_not_apply(tmp_path, nodes):
    np.savez(tmp_path / "g.npz", **arrays_of("graphdata"))
    with pytest.raises(ValueError, match="target is for a table, GraphML or GEXF, got 'y' for"):
        load(tmp_path / "g.npz", target="y")
    with pytest.raises(ValueError, match=r"separator is for a table, got it for the graph"):
        load(tmp_path / "g.npz", separator=",")
    with pytest.raises(ValueError, match=r"edges is for a table, got 'e\.csv' for the data set"):
        load("wine", edges="e.csv")
    with pytest.raises(FileNotFoundError, match=r"there is no table at .*none\.csv"):
        load(nodes, target="colour", edges=tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError, match=r"there is no graph at .*none\.graphml"):
        load(tmp_path / "none.graphml", target="colour")
    (tmp_path / "bad.graphml").write_text("no xml")
    with pytest.raises(ValueError, match="cannot be read as a graph"):
        load(tmp_path / "bad.graphml", target="colour")
