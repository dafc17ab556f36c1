"""Graphs in files: written, and read back by programs that are not this one."""

import xml.etree.ElementTree as ElementTree

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from lds._types import Split
from lds.graphs.export import node_attributes, save_graph
from lds.graphs.interop import select_edges

N = 6
_rng = np.random.default_rng(0)
_upper = np.triu(_rng.random((N, N)) * (_rng.random((N, N)) < 0.7), 1).astype(np.float32)
DENSE = _upper + _upper.T
PROBS = sp.csr_array(DENSE)
SPLIT = Split(np.array([0]), np.array([1]), np.array([2]), np.array([3]))
LABELS = np.array([0, 1, 0, 1, -1, -1])
PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4], [0.1, 0.9], [0.5, 0.5]])
NODES = node_attributes(
    LABELS, PROBABILITIES, SPLIT, np.array(["ant", "bee & co"]), entropy=np.linspace(0, 0.6, N)
)
READERS = {
    ".graphml": lambda path: nx.read_graphml(path, node_type=int),
    ".gexf": lambda path: nx.read_gexf(path, node_type=int),
}


def dense_of(graph, attribute):
    return nx.to_numpy_array(graph, nodelist=range(N), weight=attribute)


def test_node_attributes():
    assert NODES["label"] == ["ant", "bee & co", "ant", "bee & co", None, None]
    assert NODES["prediction"] == ["ant", "bee & co", "ant", "ant", "bee & co", "ant"]
    assert NODES["split"] == ["train", "validation", "stopping", "test", "unlabelled", "unlabelled"]
    assert NODES["confidence"].tolist() == [0.9, 0.8, 0.7, 0.6, 0.9, 0.5]
    assert node_attributes(LABELS, PROBABILITIES, SPLIT)["label"] == [0, 1, 0, 1, None, None]


@pytest.mark.parametrize("suffix", [".graphml", ".gexf"])
def test_networkx_reads_back_every_edge_and_attribute(tmp_path, suffix):
    path = tmp_path / f"graph{suffix}"
    save_graph(path, PROBS, NODES)
    graph = READERS[suffix](path)
    assert not graph.is_directed()
    assert sorted(graph) == list(range(N))
    for attribute in ("probability", "weight"):
        np.testing.assert_allclose(dense_of(graph, attribute), DENSE, rtol=1e-7)
    names = {"label": "given_label"} if suffix == ".gexf" else {}
    for name, values in NODES.items():
        found = nx.get_node_attributes(graph, names.get(name, name))
        expected = {node: v for node, v in enumerate(values) if v is not None}
        assert found == (pytest.approx(expected) if name == "entropy" else expected)


def test_gexf_is_as_gephi_reads_it(tmp_path):
    """Undirected, every attribute declared with a type and referred to, weights on edges."""
    save_graph(tmp_path / "graph.gexf", PROBS, NODES)
    root = ElementTree.parse(tmp_path / "graph.gexf").getroot()
    space = {"g": root.tag[1:].split("}")[0]}
    assert space["g"].startswith("http://www.gexf.net/1.2draft")
    graph = root.find("g:graph", space)
    assert graph.get("defaultedgetype") == "undirected"
    declared = {}
    for group in graph.findall("g:attributes", space):
        for one in group.findall("g:attribute", space):
            declared[group.get("class"), one.get("id")] = (one.get("title"), one.get("type"))
    assert dict(declared.values()) == {
        "given_label": "string",
        "prediction": "string",
        "split": "string",
        "confidence": "double",
        "entropy": "double",
        "probability": "double",
    }
    ids = [node.get("id") for node in graph.iter(f"{{{space['g']}}}node")]
    assert ids == [node.get("label") for node in graph.iter(f"{{{space['g']}}}node")]
    edges = list(graph.iter(f"{{{space['g']}}}edge"))
    assert len(edges) == PROBS.nnz // 2
    for edge in edges:
        assert {edge.get("source"), edge.get("target")} <= set(ids)
        i, j = int(edge.get("source")), int(edge.get("target"))
        assert float(edge.get("weight")) == pytest.approx(DENSE[i, j], rel=1e-6)
    for kind in ("node", "edge"):
        for value in graph.iterfind(f".//g:{kind}//g:attvalue", space):
            assert (kind, value.get("for")) in declared


def test_pandas_reads_the_edge_list_to_the_bit(tmp_path):
    save_graph(tmp_path / "graph.csv", PROBS)
    table = pd.read_csv(tmp_path / "graph.csv")
    assert table.columns.tolist() == ["source", "target", "probability"]
    assert (table.source < table.target).all()
    upper = sp.coo_array((table.probability, (table.source, table.target)), shape=(N, N))
    assert np.array_equal((upper + upper.T).toarray().astype(np.float32), DENSE)


def test_probabilities_before_learning_stand_beside_the_learned_ones(tmp_path):
    before = np.where(DENSE > 0.5, 0, DENSE**2).astype(np.float32)  # some edges are new
    start = sp.csr_array(before)
    assert ((before == 0) & (DENSE > 0)).any()
    for suffix, read in READERS.items():
        path = tmp_path / f"graph{suffix}"
        save_graph(path, PROBS, NODES, start)
        np.testing.assert_allclose(dense_of(read(path), "starting_probability"), before, rtol=1e-7)
    save_graph(tmp_path / "graph.csv", PROBS, {"id": list("abcdef")}, start)
    table = pd.read_csv(tmp_path / "graph.csv")
    columns = ["source", "target", "probability", "starting_probability", "source_id", "target_id"]
    assert table.columns.tolist() == columns
    np.testing.assert_array_equal(
        table.starting_probability.astype(np.float32), before[table.source, table.target]
    )


def test_scipy_reads_the_matrix_to_the_bit(tmp_path):
    save_graph(tmp_path / "graph.npz", PROBS)
    back = sp.load_npz(tmp_path / "graph.npz")
    assert back.format == "csr"
    assert back.dtype == np.float32
    assert np.array_equal(back.toarray(), DENSE)


def test_a_rule_chooses_the_edges(tmp_path):
    for rule in ({"threshold": 0.4}, {"top_k": 1}, {"n_edges": 3}):
        save_graph(tmp_path / "graph.graphml", select_edges(PROBS, **rule))
        graph = nx.read_graphml(tmp_path / "graph.graphml", node_type=int)
        assert sorted(graph) == list(range(N)), "nodes without an edge stay"
        assert 0 < graph.number_of_edges() < PROBS.nnz // 2
    assert graph.number_of_edges() == 3


def test_an_empty_graph_is_written_in_every_format(tmp_path):
    for suffix in (".graphml", ".gexf", ".csv", ".npz"):
        save_graph(tmp_path / f"empty{suffix}", sp.csr_array((3, 3)), {"split": ["train"] * 3})
    assert nx.read_gexf(tmp_path / "empty.gexf").number_of_nodes() == 3
    assert pd.read_csv(tmp_path / "empty.csv").empty


SUFFIXES = pytest.mark.parametrize("suffix", [".graphml", ".gexf"])


def attribute(path, name):
    """A node attribute read back: by networkx, after any XML parser has taken the file."""
    ElementTree.parse(path)
    graph = READERS[path.suffix](path)
    np.testing.assert_allclose(dense_of(graph, "probability"), DENSE, rtol=1e-7)
    found = nx.get_node_attributes(graph, name)
    return [found.get(node) for node in range(N)]


@SUFFIXES
@pytest.mark.parametrize(
    ("bad", "written"),
    [
        ("a\x00b", r"a\x00b"),
        ("bell\x07", r"bell\x07"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("half \ud800", r"half \ud800"),
        ("\uffff", r"\uffff"),
        ("line\r\n", "line\\r\n"),
    ],
    ids=ascii,
)
def test_characters_that_xml_cannot_hold_are_escaped_with_a_warning(tmp_path, suffix, bad, written):
    path = tmp_path / f"graph{suffix}"
    with pytest.warns(UserWarning, match=r"XML cannot, such as .* of 'kind'; .* escapes") as warned:
        save_graph(path, PROBS, {"kind": [bad, "plain", None, bad, "plain", "plain"]})
    assert len(warned) == 1
    assert repr(bad) in str(warned[0].message)
    assert attribute(path, "kind") == [written, "plain", None, written, "plain", "plain"]


@SUFFIXES
def test_names_of_classes_with_control_characters_stay_apart(tmp_path, suffix):
    path = tmp_path / f"graph{suffix}"
    nodes = node_attributes(LABELS, PROBABILITIES, SPLIT, ["x\x01", "x\x02"])
    with pytest.warns(UserWarning, match="XML cannot"):
        save_graph(path, PROBS, nodes)
    found = attribute(path, "prediction")
    assert found == [[r"x\x01", r"x\x02"][c] for c in PROBABILITIES.argmax(1)]


@SUFFIXES
def test_names_of_attributes_are_cleaned_too(tmp_path, suffix):
    path = tmp_path / f"graph{suffix}"
    with pytest.warns(UserWarning, match="XML cannot"):
        save_graph(path, PROBS, {"na\x01me": range(N)})
    assert attribute(path, r"na\x01me") == list(range(N))


@SUFFIXES
@pytest.mark.parametrize(
    ("values", "read"),
    [
        (["é", "日本", "😀", "\t", "a\nb", " "], None),
        (["\"<&>'", "]]>", "<!-- -->", "a,b", "&amp;", "{{x}}"], None),
        (["x" * 100_000] * N, None),
        (np.array([1, 2, 3, 4, 5, 6], dtype=np.uint8), [1, 2, 3, 4, 5, 6]),
        ([np.bool_(True), False, None, True, True, True], [True, False, None, True, True, True]),
        (np.array(list("abcdef")), list("abcdef")),
        ([np.str_("a"), None, "b", "c", "d", "e"], ["a", None, "b", "c", "d", "e"]),
        ([1, 2.5, 3, None, 4, np.inf], [1.0, 2.5, 3.0, None, 4.0, np.inf]),
        (["a", 1, 2.5, True, None, "b"], ["a", "1", "2.5", "True", None, "b"]),
        ([True, 2, 3, None, 4, 5], ["True", "2", "3", None, "4", "5"]),
        ([(1, 2), None, "a", "b", "c", "d"], ["(1, 2)", None, "a", "b", "c", "d"]),
        (
            np.array(["2020-01-01", "NaT", *["2020-01-02"] * 4], dtype="datetime64[D]"),
            ["2020-01-01", None, *["2020-01-02"] * 4],
        ),
    ],
    ids=str,
)
def test_values_of_any_kind_are_read_back(tmp_path, suffix, values, read):
    path = tmp_path / f"graph{suffix}"
    save_graph(path, PROBS, {"my attribute": values})
    assert attribute(path, "my attribute") == (list(values) if read is None else read)


@pytest.mark.parametrize("name", ["id", "label", "viz", "start", "spells", "parents", "pid"])
def test_a_name_with_a_meaning_in_gexf_is_prefixed(tmp_path, name):
    for suffix, found in ((".gexf", f"given_{name}"), (".graphml", name)):
        save_graph(tmp_path / f"graph{suffix}", PROBS, {name: list("pqrstu")})
        assert attribute(tmp_path / f"graph{suffix}", found) == list("pqrstu")


def test_attributes_of_the_wrong_length_are_refused(tmp_path):
    for n in (N - 1, N + 1):
        with pytest.raises(
            ValueError, match=rf"nodes\['kind'\] must have one value a node, 6, got {n}"
        ):
            save_graph(tmp_path / "graph.gexf", PROBS, {"kind": ["a"] * n})
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in one of \.graphml, \.gexf, .* 'g.dot'"):
        save_graph(tmp_path / "g.dot", PROBS)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save_graph(tmp_path / "no" / "g.csv", PROBS)
    assert not list(tmp_path.iterdir())
