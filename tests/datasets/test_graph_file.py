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
    path = write_edges(tmp_path / "edges.csv", header, weight=0.75)
    data = load(nodes, target="colour", edges=path)
    np.testing.assert_array_equal(data.adjacency.toarray(), 0.75 * expected())


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
    assert data.split.dealt
    assert any("features are made from the graph" in text for text in data.file.found)
    assert data.identifiers == tuple(NAMES)


@pytest.mark.parametrize("options", [{"target": -1}, {"target": " colour ", "drop": ["1"]}])
def test_names_and_positions_say_which_attributes_of_a_graph_are_features(tmp_path, options):
    graph = as_networkx()
    for node in graph:
        colour = graph.nodes[node].pop("colour")
        if "drop" not in options:
            del graph.nodes[node]["size"]
        graph.nodes[node]["colour"] = colour
    nx.write_graphml(graph, tmp_path / "bare.graphml")
    data = load(tmp_path / "bare.graphml", **options)
    assert any("features are made from the graph" in text for text in data.file.found)
    assert [data.classes[c] for c in data.labels] == [class_of(k) for k in range(30)]


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
    assert data.split.dealt == (layout != "masks")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros(3)}, r"must have features .* got the arrays a"),
        ({"x": np.eye(3), "y": np.array([0, 1, 0.5])}, "must have one class .* with fractions"),
        ({"x": np.eye(3), "y": np.zeros(2)}, "must have one class number a node"),
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
    with pytest.raises(ValueError, match="separator is for a table, got ',' for the graph"):
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


def table_of_ids(folder, written, name="id"):
    """A table of nodes whose column `name` holds these cells, and another of numbers."""
    path = folder / "ids.csv"
    lines = [f"{one};{k % 7};{class_of(k)}" for k, one in enumerate(written)]
    path.write_text("\n".join([f"{name};size;colour", *lines]) + "\n")
    return path


def table_of_edges(folder, pairs, header="source,target"):
    path = folder / "edges.csv"
    path.write_text("\n".join([header, *(",".join(map(str, pair)) for pair in pairs)]) + "\n")
    return path


CHAIN = [(k, k + 1) for k in range(1, 60)]  # by identifiers from 1; no edge of the node 0


@pytest.mark.parametrize("form", ["{:03d}", "{}.0", "{},0", "+{}"])
@pytest.mark.parametrize("given", [None, "id"])
def test_identifiers_that_are_equal_as_numbers_match_and_it_is_said(tmp_path, form, given):
    nodes = table_of_ids(tmp_path, [form.format(k) for k in range(1, 61)])
    edges = table_of_edges(tmp_path, CHAIN)
    data = load(nodes, target="colour", edges=edges, identifier=given)
    found = data.adjacency.tocoo()
    assert {(i, j) for i, j in zip(*found.coords, strict=True) if i < j} == {
        (i - 1, j - 1) for i, j in CHAIN
    }
    text = f"by the column 'id', as numbers: '1' is '{form.format(1)}' there"
    assert any(text in one for one in data.file.found)


def test_numbers_that_two_rows_share_do_not_match(tmp_path):
    nodes = table_of_ids(tmp_path, [*(f"{k:03d}" for k in range(1, 60)), "1"])
    edges = table_of_edges(tmp_path, CHAIN[:-1])
    with pytest.raises(
        ValueError,
        match=r"got 59 different .* in 60 rows of column 'id' \('001' in row 0, '1' in row 59\)",
    ):
        load(nodes, target="colour", edges=edges)


@pytest.mark.parametrize(("size", "first"), [("0.5", 1), ("0,5", 1000)])
def test_numbers_are_read_in_the_number_format_of_each_file(tmp_path, size, first):
    path = tmp_path / "nodes.csv"
    lines = [f"{k}.000;{k % 7}{size[1:]};{class_of(k)}" for k in range(1, 61)]
    path.write_text("\n".join(["id;size;colour", *lines]) + "\n")
    pairs = [(first * i, first * j) for i, j in CHAIN]
    data = load(path, target="colour", edges=table_of_edges(tmp_path, pairs))
    assert f"by the column 'id', as numbers: '{first}' is '1.000' there" in " ".join(
        data.file.found
    )
    assert data.adjacency[0, 1] == 1


@pytest.mark.filterwarnings("ignore:columns that identify rows")
def test_row_numbers_are_said(nodes, tmp_path):
    edges = table_of_edges(tmp_path, EDGES)
    data = load(nodes, target="colour", edges=edges)
    assert "edge ends are row numbers, from 0" in data.file.found
    np.testing.assert_array_equal(data.adjacency.toarray(), expected())


@pytest.mark.parametrize("form", ["{}", "{:03d}"])
@pytest.mark.parametrize("given", [None, "id"])
def test_a_wrong_end_is_named_alone_with_its_row(tmp_path, form, given):
    nodes = table_of_ids(tmp_path, [form.format(k) for k in range(1, 61)])
    with pytest.raises(ValueError, match=r"'id'; in row 59 got 1 that no row has \('999'\)"):
        load(
            nodes,
            target="colour",
            edges=table_of_edges(tmp_path, [*CHAIN, (999, 60)]),
            identifier=given,
        )
    with pytest.raises(ValueError, match=r"in rows 0, 60 got 2 that no row has \('0', 'x'\)"):
        load(
            nodes,
            target="colour",
            edges=table_of_edges(tmp_path, [(0, 1), *CHAIN, ("x", 60)]),
            identifier=given,
        )


def test_a_blank_end_is_named_with_its_row(tmp_path):
    nodes = table_of_ids(tmp_path, range(1, 61))
    with pytest.raises(ValueError, match=r"both ends .* blank cell in row 59 of column 'target'"):
        load(nodes, target="colour", edges=table_of_edges(tmp_path, [*CHAIN, (60, "")]))


@pytest.mark.filterwarnings("ignore:columns that identify rows")
def test_ends_without_a_column_must_be_row_numbers(nodes, tmp_path):
    edges = table_of_edges(tmp_path, [(0, 1), (2, 30), ("a", "b"), ("c", "d")])
    with pytest.raises(
        ValueError, match=r"row numbers from 0 to 29; in rows 1, 2, ... got 5 .* \('30', 'a', 'b', "
    ):
        load(nodes, target="colour", edges=edges)


def test_two_columns_that_have_all_ends_in_different_rows_are_refused(tmp_path):
    path = tmp_path / "nodes.csv"
    lines = [f"{k},{k + 1},{k % 7}.5,{class_of(k)}" for k in range(60)]
    path.write_text("\n".join(["index,rank,size,colour", *lines]) + "\n")
    edges = table_of_edges(tmp_path, CHAIN[:-1])
    with pytest.raises(ValueError, match="got none: 'index' and 'rank' both have every end"):
        load(path, target="colour", edges=edges)
    data = load(path, target="colour", edges=edges, identifier="rank", drop=["index"])
    assert data.adjacency[0, 1] == 1


def test_the_column_by_which_edges_name_nodes_cannot_be_dropped(nodes, tmp_path):
    edges = write_edges(tmp_path / "edges.csv")
    with pytest.raises(ValueError, match=r"'person': edges.csv names nodes by it, so it is the id"):
        load(nodes, target="colour", edges=edges, drop=["size,person"])


@pytest.mark.parametrize(
    ("header", "weight", "value"),
    [
        ("source;target;strength", "0,5", 0.5),
        ("source;target;weight", "75%", 0.75),
        ("source;strength;target", None, None),
        ("kind;source;target;weight", "0,75", 0.75),
        ("source;target;kind", "friend", None),
        ("source;target;kind;strength", None, None),
    ],
)
def test_each_further_column_of_edges_is_read_as_in_a_table_or_said_to_be_left_out(
    nodes, tmp_path, header, weight, value
):
    names = header.split(";")
    weights = [name for name in names if name in ("strength", "weight", "kind")][-1:]
    lines = [header]
    for i, j in EDGES:
        cells = {"source": NAMES[i], "target": NAMES[j], "kind": "friend", "strength": "0,75"}
        lines.append(
            ";".join((cells | {weights[0]: weight or cells[weights[0]]})[n] for n in names)
        )
    path = tmp_path / "edges.csv"
    path.write_text("\n".join(lines) + "\n")
    value = 0.75 if header == "source;strength;target" else value
    data = load(nodes, target="colour", edges=path)
    np.testing.assert_array_equal(data.adjacency.toarray(), (value or 1) * expected())
    said = " | ".join(data.file.found)
    further = set(names) - {"source", "target"}
    used = set(weights) if value else set()
    assert all(f"in edges.csv the column {name!r} holds the weights" in said for name in used)
    left = said.partition("left out: ")[2]
    assert all(repr(name) in left for name in further - used)
    assert bool(left) == bool(further - used)


@pytest.mark.parametrize("name", ["weight", "strength"])
@pytest.mark.parametrize(
    ("cell", "got"),
    [
        ("", "numbers in its column '{}', the weights, got a blank cell in row 1"),
        ("n/a", "numbers in its column '{}', the weights, got 'n/a' in row 1"),
        ("1.2.3", "numbers in its column '{}', the weights, got '1.2.3' in row 1"),
        ("-1", "weights of 0 or more in column '{}', got '-1' in row 1"),
        ("inf", "finite weights of 0 or more in column '{}', got 'inf' in row 1"),
    ],
)
def test_a_cell_that_is_no_weight_is_named(nodes, tmp_path, name, cell, got):
    pairs = [("p01", "p02", 0.5), ("p02", "p03", cell), ("p03", "p04", 0.25)]
    edges = table_of_edges(tmp_path, pairs, f"source,target,{name}")
    with pytest.raises(ValueError, match=got.format(name)):
        load(nodes, target="colour", edges=edges)


def test_weights_in_two_forms_are_said(nodes, tmp_path):
    pairs = [("p01", "p02", "50%"), ("p02", "p03", 0.5)]
    edges = table_of_edges(tmp_path, pairs, "source,target,weight")
    with pytest.warns(UserWarning, match="with and without a percent sign"):
        assert load(nodes, target="colour", edges=edges).adjacency[1, 2] == 0.5
