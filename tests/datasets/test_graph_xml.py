"""Weights of GraphML and GEXF: directed and parallel edges, and weights that are no numbers."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from lds.datasets.registry import load
from lds.graphs.export import save_graph

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


@SUFFIXES
@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph])
@pytest.mark.parametrize("weight", ["strong", "nan", "-1", ""])
def test_a_weight_that_is_no_number_is_named_with_its_edge(tmp_path, suffix, kind, weight):
    path = written(tmp_path, suffix, kind, [("p03", "p17", 0.123)])
    text = path.read_text()
    assert text.count("0.123") == 1
    path.write_text(text.replace("0.123", weight or " "))  # blank, but not left out
    got = f"got '?{weight or ' '}.*'? at the edge \\('p03', 'p17'\\)"
    with pytest.raises(ValueError, match=rf"{path.name} must have finite numbers .*{got}"):
        load(path, target="colour")


def test_a_weight_stored_as_text_is_read_if_it_is_a_number(tmp_path):
    path = written(tmp_path, ".graphml", nx.Graph, [("p03", "p17", 0.125)])
    typed = 'attr.name="weight" attr.type='
    text = path.read_text()
    assert typed + '"double"' in text
    path.write_text(text.replace(typed + '"double"', typed + '"string"'))
    assert load(path, target="colour").adjacency[3, 17] == 0.125
    path.write_text(path.read_text().replace("0.125", "strong"))
    with pytest.raises(ValueError, match=r"got 'strong' at the edge \('p03', 'p17'\)"):
        load(path, target="colour")


def test_a_weight_among_the_attributes_of_a_gexf_edge_is_named(tmp_path):
    path = written(tmp_path, ".gexf", nx.Graph, [("p03", "p17", 0.125)])
    text = path.read_text()
    title = '<attributes mode="static" class="edge"><attribute id="w" title="weight" type="float"/>'
    text = text.replace("<nodes>", title + "</attributes><nodes>")
    start = text.index('weight="0.125"')
    end = text.index("/>", start)
    value = '><attvalues><attvalue for="w" value="strong"/></attvalues></edge>'
    path.write_text(text[:end] + value + text[end + 2 :])
    with pytest.raises(ValueError, match=r"got 'strong' at the edge \('p03', 'p17'\)"):
        load(path, target="colour")


@SUFFIXES
def test_edges_without_a_weight_beside_others_are_said(tmp_path, suffix):
    graph = nx.Graph()
    for k in range(30):
        graph.add_node(f"p{k:02d}", size=k % 5 + 0.5, colour="red" if k % 2 else "blue")
        graph.add_edge(f"p{k:02d}", f"p{(k + 1) % 30:02d}", **({"weight": 5.0} if k < 20 else {}))
    WRITE[suffix](graph, tmp_path / f"g{suffix}")
    with (
        pytest.warns(UserWarning, match="10 of 30 edges of the graph have no weight and count as"),
        pytest.warns(UserWarning, match="goes up to 5; each is divided"),
    ):
        data = load(tmp_path / f"g{suffix}", target="colour")
    assert sorted(set(data.adjacency.data.tolist())) == pytest.approx([0.2, 1])


def labelled(folder, suffix, name):
    """A ring of 30 nodes, of which every third has the label `name(k)`, not a colour."""
    graph = nx.cycle_graph(30)
    graph = nx.relabel_nodes(graph, {k: f"n{k}" for k in graph})
    for k, node in enumerate(graph):
        graph.nodes[node]["size"] = k % 7 + 0.5
        label = name(k) if k % 3 == 0 else ("red" if k % 2 else "blue")
        if label is not None:
            graph.nodes[node]["label"] = label
    path = folder / f"g{suffix}"
    WRITE[suffix](graph, path)
    return path


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        (".gexf", lambda k: None),  # networkx writes the identifier
        (".gexf", lambda k: f"n{k}"),
        (".graphml", lambda k: f"n{k}"),
    ],
)
def test_a_label_that_is_the_identifier_of_the_node_is_none(tmp_path, suffix, name):
    data = load(labelled(tmp_path, suffix, name), target="label")
    assert data.classes == ("blue", "red")
    assert (data.labels < 0).tolist() == [k % 3 == 0 for k in range(30)]
    assert "10 nodes have their own identifier as label (such as 'n0'), which is no label" in (
        data.file.found
    )


def test_an_identifier_that_is_the_label_of_other_nodes_too_is_one_in_graphml(tmp_path):
    data = load(labelled(tmp_path, ".graphml", lambda k: "n0"), target="label")
    assert data.classes == ("blue", "n0", "red")
    assert (data.labels >= 0).all()


def test_identifiers_alone_are_no_labels(tmp_path):
    path = tmp_path / "g.gexf"
    nx.write_gexf(nx.cycle_graph(30), path)
    with pytest.raises(ValueError, match=r"g\.gexf must have classes as the labels of its nodes"):
        load(path, target="label")


@SUFFIXES
def test_identifiers_are_kept_from_an_export_to_a_fit(tmp_path, suffix):
    names = [f"patient {(k * 7) % 30}" for k in range(30)]
    ring = np.roll(np.eye(30, dtype=np.float32), 1, axis=1)
    more = {"id": names, "kind": ["x", "y"] * 15, "size": np.arange(30) % 7 + 0.5}
    save_graph(tmp_path / f"g{suffix}", sp.csr_array(ring + ring.T), more)
    data = load(tmp_path / f"g{suffix}", target="kind")
    assert data.identifiers == tuple(names)
    assert list(data.encoding.names) == ["size"]
    assert any("nodes are named by their attribute" in text for text in data.file.found)


@pytest.mark.parametrize("own", [[None, *"ab"] * 10, ["a", "b", "c"] * 10])
def test_an_attribute_id_that_does_not_name_each_node_is_a_column(tmp_path, own):
    graph = nx.cycle_graph([f"p{k:02d}" for k in range(30)])
    for k, (node, name) in enumerate(zip(list(graph), own, strict=True)):
        graph.add_node(node, size=k % 5 + 0.5, colour="red" if k % 2 else "blue")
        if name is not None:
            graph.nodes[node]["id"] = name
    nx.write_graphml(graph, tmp_path / "g.graphml")
    data = load(tmp_path / "g.graphml", target="colour")
    assert data.identifiers == tuple(graph)
    assert "id_2" in data.file.columns
    assert "the attribute 'id' does not name each node: it is the column 'id_2'" in data.file.found
