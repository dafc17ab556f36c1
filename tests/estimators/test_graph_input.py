"""Graphs as people have them: each form gives the arrays of the plain one, or one sentence."""

import warnings

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import ToDense, ToSparseTensor
from torch_geometric.utils import to_undirected

from lds import LDSClassifier, LearnStructure, learn_structure
from lds.estimators.data_object import class_numbers, without_edges
from lds.estimators.graph_input import check_same, graph_input
from lds.structure.methods.committee import Committee
from tests.estimators.test_pyg import blobs

N = 90
ROWS = torch.arange(N)
Y = ROWS % 3
TRAIN, VAL = ROWS < 15, (ROWS >= 15) & (ROWS < 45)
READ = TRAIN | VAL
SMALL = {
    "n_neighbors": 4,
    "max_inner": 5,
    "max_iter": 1,
    "n_draws": 2,
    "refits": 1,
    "refit_steps": 4,
}


def ring(n=N):
    """Both directions of a cycle."""
    nodes = torch.arange(n)
    after = torch.stack([nodes, (nodes + 1) % n])
    return torch.cat([after, after.flip(0)], 1)


def prepared(data, split=None, edge_weight=None, seed=0):
    return graph_input(data, Committee(tables="committee"), seed, split, edge_weight)


def quietly(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return prepared(data)


def assert_same(one, other):
    """The problems that `learn` is given are equal to the bit, and so is what it returns."""
    one, other = one.problem, other.problem
    for name in ("features", "graph"):
        a, b = getattr(one, name), getattr(other, name)
        if a is None or isinstance(a, np.ndarray):
            assert np.array_equal(a, b)
        else:
            assert a.dtype == b.dtype
            assert (a != b).nnz == 0
    assert np.array_equal(one.labels, other.labels)
    for role in ("train", "validation", "stopping"):
        assert np.array_equal(getattr(one.split, role), getattr(other.split, role))


PLAIN = blobs(edge_index=ring())


# Changes that must not matter


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("layout", ["to_sparse_coo", "to_sparse_csr"])
def test_edge_index_may_be_a_sparse_adjacency(layout):
    edges = torch.zeros(N, N).index_put(tuple(ring()), torch.tensor(1.0))
    sparse = blobs(edge_index=getattr(edges, layout)())
    assert_same(prepared(sparse), prepared(PLAIN))
    plain = without_edges(sparse, N)
    assert plain.edge_index is None
    assert torch.equal(plain.x, sparse.x)


@pytest.mark.parametrize("numbers", [(1, 6, 9), (0, 100, 10**6), (-7, 0, 5), (-1000, -3, -2)])
@pytest.mark.parametrize("blank", [-1, -9, 10**9])
def test_classes_may_have_any_numbers(numbers, blank):
    y = torch.tensor(numbers)[Y]
    found = prepared(blobs(edge_index=ring(), y=torch.where(READ, y, blank)))
    assert_same(found, prepared(PLAIN))
    assert found.classes.tolist() == sorted(numbers)


@pytest.mark.parametrize(
    "y",
    [
        torch.where(READ, Y, torch.nan),
        torch.where(READ, Y, -1).double(),
        torch.where(READ, Y, 0.5),
        torch.where(READ, Y, torch.inf).half(),
        Y[:, None],
        Y.to(torch.uint8),
        Y.int(),
    ],
    ids=str,
)
def test_labels_may_be_of_any_kind_and_are_read_in_the_masks_only(y):
    assert_same(prepared(blobs(edge_index=ring(), y=y)), prepared(PLAIN))


def test_true_and_false_are_two_classes():
    assert_same(prepared(blobs(y=Y == 1)), prepared(blobs(y=(Y == 1).long())))


@pytest.mark.parametrize(
    "masks",
    [
        {"train_mask": TRAIN.to(torch.uint8), "val_mask": VAL.int()},
        {"train_mask": TRAIN[:, None], "val_mask": VAL.long()[:, None]},
        {"train_mask": ROWS[:15].flip(0), "val_mask": ROWS[15:45].int()},
        {"test_mask": torch.ones(3), "train_mask": TRAIN},
    ],
)
def test_masks_may_be_of_any_kind(masks):
    assert_same(prepared(blobs(edge_index=ring(), **masks)), prepared(PLAIN))


def test_split_chooses_a_column_or_names_the_nodes():
    many = torch.stack([VAL, TRAIN, ~READ], 1)
    judging = torch.stack([TRAIN, VAL, TRAIN], 1)
    plain = prepared(PLAIN)
    both = blobs(edge_index=ring(), train_mask=many, val_mask=judging)
    assert_same(prepared(both, split=1), plain)
    assert_same(prepared(blobs(edge_index=ring(), train_mask=many), split=1), plain)
    ogb = {"train": np.arange(15), "valid": ROWS[15:45], "test": ROWS[45:]}
    none = blobs(edge_index=ring(), train_mask=None, val_mask=None)
    assert_same(prepared(none, split=ogb), plain)
    for bad, got in ((None, ""), (3, ", got 3"), (-1, ", got -1")):
        message = f"data.train_mask holds 3 splits: split=0 to 2 chooses one{got}$"
        with pytest.raises(ValueError, match=message):
            prepared(both, split=bad)
    with pytest.raises(ValueError, match="split must be None where the masks hold one split"):
        prepared(PLAIN, split=0)
    one = blobs(train_mask=TRAIN[:, None], val_mask=VAL[:, None], edge_index=ring())
    assert_same(prepared(one, split=0), plain)
    with pytest.raises(ValueError, match=r"split must be 0 or None where .* one split, got 5"):
        prepared(one, split=5)
    with pytest.raises(ValueError, match=r"split must map 'train' and 'valid' .* got \['test'\]"):
        prepared(PLAIN, split={"test": ROWS})
    for odd in ("0", True, 0.0):
        with pytest.raises(TypeError, match="split must be a column"):
            prepared(PLAIN, split=odd)


EDGES = {
    "repeated": torch.cat([ring(), ring()[:, 7:30]], 1),
    "with loops": torch.cat([ring(), torch.stack([ROWS, ROWS])], 1),
    "shuffled": ring()[:, torch.randperm(2 * N, generator=torch.Generator().manual_seed(0))],
    "int32": ring().int(),
    "to_undirected": to_undirected(ring()),
}


@pytest.mark.parametrize("edges", EDGES)
def test_how_edges_are_listed_does_not_matter(edges):
    assert_same(prepared(blobs(edge_index=EDGES[edges])), prepared(PLAIN))


def test_one_direction_of_edges_is_enough():
    with pytest.warns(UserWarning, match="^data.edge_index holds 90 edges in one direction only"):
        assert_same(prepared(blobs(edge_index=ring()[:, :N])), prepared(PLAIN))
    mixed = ring()[:, 5:]
    with pytest.warns(UserWarning, match="holds 5 of 90 edges in one direction only"):
        assert_same(prepared(blobs(edge_index=mixed)), prepared(PLAIN))


@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_coo])
def test_adj_t_is_a_graph(layout):
    data = ToSparseTensor(layout=layout)(blobs(edge_index=ring()))
    assert data.edge_index is None
    assert_same(prepared(data), prepared(PLAIN))


def test_a_matrix_is_a_graph_and_what_is_not_read_beside_it_is_said():
    plain = prepared(blobs(edge_index=ring(), edge_weight=WEIGHTS))
    weighted = ToDense()(blobs(edge_index=ring(), edge_attr=WEIGHTS))
    assert_same(prepared(weighted), plain)
    beside = ToSparseTensor(layout=torch.sparse_csr)(blobs(edge_index=ring(), edge_attr=WEIGHTS))
    with pytest.warns(UserWarning, match="data.edge_attr is not read beside data.adj_t"):
        assert_same(prepared(beside), prepared(PLAIN))
    assert_same(prepared(beside, edge_weight="ignore"), prepared(PLAIN))
    both = blobs(edge_index=ring(), adj=torch.ones(N, N))
    with pytest.warns(UserWarning, match="data.adj is not read; data.edge_index is$"):
        assert_same(prepared(both), prepared(PLAIN))
    with pytest.warns(UserWarning, match="adj_matrix is not read; data.edge_index is, and is not"):
        assert_same(prepared(blobs(adj_matrix=torch.ones(N, N))), prepared(blobs()))


WEIGHTS = (torch.arange(1, N + 1) / N).repeat(2)


def test_weights_above_one_are_scaled_with_a_word_and_as_told():
    plain = prepared(blobs(edge_index=ring(), edge_weight=WEIGHTS))
    assert plain.problem.graph[0, 1] == pytest.approx(1 / N)
    assert_same(prepared(blobs(edge_index=ring(), edge_weight=WEIGHTS), edge_weight="given"), plain)
    large = blobs(edge_index=ring(), edge_weight=4 * WEIGHTS)
    with pytest.warns(UserWarning, match="data.edge_weight goes up to 4; each is divided by that"):
        assert_same(prepared(large), plain)
    assert_same(prepared(large, edge_weight="scale"), plain)
    assert_same(prepared(large, edge_weight="ignore"), prepared(PLAIN))
    with pytest.raises(ValueError, match=r"data.edge_weight must be in \[0, 1\] .* got 4 at edge"):
        prepared(large, edge_weight="given")
    small = blobs(edge_index=ring(), edge_weight=WEIGHTS / 4)
    assert_same(prepared(small, edge_weight="scale"), plain)
    with pytest.warns(UserWarning, match="data.edge_weight is at most 0.25 .* divide it by 0.25"):
        assert prepared(small).problem.graph.max() == pytest.approx(0.25)
    assert_same(prepared(small, edge_weight="given"), quietly(small))


def test_edge_attr_of_one_column_is_the_weight_and_others_are_left_out_with_a_word():
    plain = prepared(blobs(edge_index=ring(), edge_weight=WEIGHTS))
    for attr in (WEIGHTS, WEIGHTS[:, None]):
        moved = blobs(edge_index=ring(), edge_attr=attr)
        with pytest.warns(UserWarning, match="data.edge_attr has one column and is taken as the"):
            assert_same(prepared(moved), plain)
        assert_same(prepared(moved, edge_weight="ignore"), prepared(PLAIN))
    several = blobs(edge_index=ring(), edge_attr=torch.ones(2 * N, 3))
    with pytest.warns(UserWarning, match="data.edge_attr has 3 columns .* is left out"):
        assert_same(prepared(several), prepared(PLAIN))
    both = blobs(edge_index=ring(), edge_weight=WEIGHTS, edge_attr=torch.ones(2 * N, 1))
    assert_same(prepared(both), plain)
    negative = blobs(edge_index=ring(), edge_attr=-WEIGHTS[:, None])
    with (
        pytest.warns(UserWarning, match="one column"),
        pytest.raises(
            ValueError, match=r"data.edge_attr must be finite and 0 or more, got -0.0111"
        ),
    ):
        prepared(negative)


def test_weights_of_zero_leave_no_graph():
    data = blobs(edge_index=ring(), edge_weight=torch.zeros(2 * N))
    with pytest.warns(UserWarning, match="no edge of a weight above 0 .* no graph"):
        assert prepared(data).problem.graph is None


# Nodes to validate on, and to train on


def test_without_val_mask_the_training_nodes_are_divided_class_by_class():
    labelled = ROWS < 45
    for none in (None, torch.zeros(N, dtype=torch.bool)):
        data = blobs(train_mask=labelled, val_mask=none)
        with pytest.warns(UserWarning, match="no validation nodes are marked: .* 15 train") as told:
            split = prepared(data, seed=3).problem.split
        assert len(told) == 1
        roles = [split.train, split.validation, split.stopping]
        assert sorted(np.concatenate(roles)) == list(range(45))
        for role in roles:
            assert np.bincount(Y[role]).tolist() == [5, 5, 5]
    clf = LDSClassifier(**SMALL, random_state=3)
    clf.fit(data.x.numpy(), np.where(labelled, Y, -1))
    assert np.array_equal(split.train, clf.split_.train), "as the estimator deals them"


def test_without_train_mask_the_labelled_nodes_train():
    data = blobs(edge_index=ring(), train_mask=None, y=torch.where(READ, Y, -1))
    with pytest.warns(UserWarning, match="data.train_mask is not there: the 15 labelled nodes"):
        assert_same(prepared(data), prepared(PLAIN))
    with pytest.raises(ValueError, match=r"data\.train_mask must mark the nodes whose labels may"):
        prepared(blobs(train_mask=None))


# Features


@pytest.mark.parametrize(
    "dtype",
    [torch.int64, torch.int32, torch.double, torch.half, torch.bfloat16, torch.uint8],
)
@pytest.mark.parametrize("layout", ["dense", "coo", "csr", "csc"])
def test_features_of_any_kind_hold_the_same_numbers(dtype, layout):
    few = torch.where(blobs().x > 3, blobs().x.round(), 0).to(dtype)
    given = few if layout == "dense" else getattr(few, f"to_sparse_{layout}")()
    found = prepared(blobs(x=given)).problem.features
    dense = found.toarray() if sp.issparse(found) else found
    assert np.array_equal(dense, few.double().numpy())
    exact = dtype in (torch.int64, torch.int32, torch.double)
    assert found.dtype == (np.float64 if exact else np.float32)


def test_float64_features_are_not_rounded():
    x = blobs().x.double() + 5e8
    assert np.array_equal(prepared(blobs(x=x)).problem.features, x.numpy())


@pytest.mark.parametrize(
    "change",
    [
        {"x": None},
        {"x": torch.ones(N, 0)},
        {"x": torch.ones(N, 2)},
        {"x": torch.ones(N, 2).to_sparse_csr()},
    ],
    ids=str,
)
def test_without_features_some_are_made_from_the_graph(change):
    with pytest.warns(UserWarning, match="features are made from the graph, 32 eigenvectors and"):
        found = prepared(blobs(edge_index=ring(), **change))
    assert found.problem.features.shape == (N, 33)
    with pytest.raises(ValueError, match="must have features that tell nodes apart, or edges"):
        prepared(blobs(**change))


def test_a_graph_without_features_is_learned_and_keeps_its_number_of_nodes():
    data = Data(edge_index=to_undirected(ring()[:, :20]), y=Y, train_mask=TRAIN, val_mask=VAL)
    with pytest.warns(UserWarning, match="made from the graph"):
        learned = learn_structure(data, **SMALL)
    assert learned.predictions.shape == (N,)
    assert learned.to_data(n_edges=3).num_nodes == N


# Objects


def test_a_networkx_graph_is_the_data_object_of_its_attributes():
    graph = nx.Graph()
    for node in reversed(range(N)):
        graph.add_node(node, x=blobs().x[node].tolist(), train_mask=node < 15)
        graph.nodes[node]["val_mask"] = 15 <= node < 45
        if node < 45:
            graph.nodes[node]["y"] = node % 3
    graph.add_edges_from(ring()[:, :N].T.tolist())
    plain = prepared(blobs(edge_index=ring(), x=blobs().x.double()))
    assert_same(prepared(graph), plain)
    assert_same(quietly(graph.to_directed()), plain)
    forward = nx.DiGraph(graph)
    forward.remove_edges_from(ring()[:, N:].T.tolist())
    with pytest.warns(UserWarning, match="90 edges in one direction only"):
        assert_same(prepared(forward), plain)
    in_order = nx.Graph()
    in_order.add_nodes_from(sorted(graph.nodes(data=True)))
    in_order.add_edges_from(graph.edges)
    assert_same(prepared(nx.relabel_nodes(in_order, lambda node: f"node {node}")), plain)
    for node in graph:
        del graph.nodes[node]["train_mask"]
        graph.nodes[node]["test_mask"] = node < 5
    with pytest.warns(UserWarning, match="10 labelled nodes that test_mask leaves train"):
        assert prepared(graph).problem.split.train.tolist() == list(range(5, 15))


@pytest.mark.parametrize(
    ("attributes", "error", "message"),
    [
        ({}, ValueError, 'class number of a node as its attribute "y"'),
        ({"y": "Officer"}, TypeError, "y of node 0 must be a number, got 'Officer'; LDSClassifier"),
        ({"y": 1, "x": "red"}, TypeError, "x of node 0 must be numbers, got 'red'"),
        ({"y": 1, "train_mask": "yes"}, TypeError, "train_mask of node 0 must be a number"),
    ],
)
def test_a_networkx_graph_without_what_is_needed_is_refused(attributes, error, message):
    graph = nx.path_graph(5)
    nx.set_node_attributes(graph, dict.fromkeys(graph, attributes))
    with pytest.raises(error, match=message):
        prepared(graph)


def test_features_of_some_nodes_only_are_refused():
    graph = nx.path_graph(5)
    nx.set_node_attributes(graph, 1, "y")
    nx.set_node_attributes(graph, {0: [1.0, 2.0], 1: [1.0]}, "x")
    with pytest.raises(ValueError, match=r"one length at every node, got \[1.0\] at node 1"):
        prepared(graph)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (HeteroData(), r"got HeteroData; data.to_homogeneous\(\) makes"),
        ([blobs()], r"got list; its first graph is data\[0\]"),
        (DataLoader([blobs()]), r"got DataLoader; its dataset holds them: loader.dataset\[0\]"),
        ({"x": 1}, r"got dict; Data\(\*\*data\) makes one"),
        (sp.eye_array(3), r"got dia_array; LDSClassifier\(\).fit\(X, y, adjacency=...\)"),
        (torch.eye(3), "got Tensor; LDSClassifier"),
        (None, "got NoneType$"),
    ],
)
def test_another_object_is_refused_with_the_way_out(data, message):
    wanted = rf"^data must be a torch_geometric.data.Data or a networkx graph, {message}"
    with pytest.raises(TypeError, match=wanted):
        learn_structure(data)


# The whole way


def test_predictions_are_in_the_users_numbers():
    y = torch.tensor([6, -3, 1000])[Y]
    data = blobs(y=torch.where(READ, y, torch.nan))
    options = {"n_neighbors": 4, "max_inner": 40, "max_iter": 2, "method": "thesis"}
    learned = learn_structure(data, **options)
    assert learned.classes.tolist() == [-3, 6, 1000]
    assert learned.probabilities.shape == (N, 3)
    assert (learned.predictions == y)[45:].float().mean() >= 0.9
    plain = learn_structure(blobs(y=torch.tensor([1, 0, 2])[Y]), **options)
    assert torch.equal(plain.probabilities, learned.probabilities)


def test_a_transform_takes_a_split_and_weights():
    many = torch.stack([~READ, TRAIN], 1)
    data = blobs(edge_index=ring(), edge_weight=3 * WEIGHTS, train_mask=many)
    transform = LearnStructure(n_edges=5, split=1, edge_weight="scale", **SMALL)
    assert repr(transform).startswith("LearnStructure(n_edges=5, split=1, edge_weight='scale'")
    assert transform(data).edge_index.shape == (2, 10)
    with pytest.raises(ValueError, match="edge_weight must be None or one of"):
        LearnStructure(edge_weight="divide")
    with pytest.raises(TypeError, match="split must be"):
        LearnStructure(split="first")


def two_blocks(seed, n=400):
    rng, y = np.random.default_rng(seed), np.arange(n) % 2
    upper = np.triu(rng.random((n, n)) < np.where(y[:, None] == y, 0.1, 0.01), 1)
    edge_index = torch.from_numpy(np.stack(np.nonzero(upper + upper.T)))
    order = rng.permutation(n // 2)
    train = np.isin(np.arange(n) // 2, order[:10])
    val = np.isin(np.arange(n) // 2, order[10:20])
    masks = {"train_mask": torch.from_numpy(train), "val_mask": torch.from_numpy(val)}
    return Data(edge_index=edge_index, y=torch.from_numpy(y), **masks), ~(train | val)


@pytest.mark.ci
@pytest.mark.parametrize("x", [None, torch.ones(400, 1)], ids=["no x", "constant x"])
def test_two_blocks_are_found_from_the_graph_alone(x):
    data, rest = two_blocks(0)
    data.x = x
    with pytest.warns(UserWarning, match="made from the graph"):
        learned = learn_structure(data, method="thesis", max_iter=1, max_inner=150)
    assert (learned.predictions == data.y)[rest].float().mean() >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("method", ["default", "thesis"])
@pytest.mark.parametrize("seed", range(5))
def test_two_blocks_are_found_from_the_graph_alone_on_every_seed(seed, method):
    data, rest = two_blocks(seed)
    with pytest.warns(UserWarning, match="made from the graph"):
        learned = learn_structure(data, method=method, max_iter=5)
    assert (learned.predictions == data.y)[rest].float().mean() >= 0.95


def test_sparse_tensors_are_read_as_dense_ones():
    weight = torch.arange(2.0 * N) / (2 * N)
    given = blobs(edge_index=ring(), edge_weight=weight)
    sparse = blobs(edge_index=ring().to_sparse(), edge_weight=weight.to_sparse())
    sparse.y, sparse.train_mask = given.y.to_sparse(), given.train_mask.to_sparse()
    assert_same(quietly(sparse), quietly(given))


def test_a_split_that_is_no_list_of_nodes_is_refused():
    with pytest.raises(TypeError, match=r"split\['train'\] must be node numbers .*, got str"):
        prepared(PLAIN, split={"train": "x", "valid": [1, 2]})


@pytest.mark.ci
def test_a_split_into_roles_is_said_only_where_roles_are_read():
    data = blobs(60, train_mask=torch.arange(60) < 30, val_mask=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learned = learn_structure(data)
    assert learned.learned.method.name == "views"
    with pytest.warns(UserWarning, match="no validation nodes are marked: the 30 training ones"):
        learn_structure(data, **SMALL)


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        ([1.0, 2.0], [1, 2]),
        ([5, 7], [5, 7]),
        (["3", "7"], [3, 7]),
        (["-2", "+4"], [-2, 4]),
        (["7", "07"], [0, 1]),
        (["-1", "1"], [0, 1]),
        (["1", "two"], [0, 1]),
        ([str(2**70), "1"], [0, 1]),
    ],
)
def test_whole_numbers_are_the_classes_of_a_run(names, numbers):
    assert class_numbers(names).tolist() == numbers


def test_data_without_features_is_what_a_run_learned_from_whatever_its_last_nodes():
    nodes = torch.arange(16)
    path = torch.stack([nodes[:-4], nodes[:-4] + 1])  # the last three nodes have no edge
    data = Data(y=nodes % 2, train_mask=nodes < 12, val_mask=nodes >= 12)
    data.edge_index = to_undirected(path)
    with pytest.warns(UserWarning, match="features are made"):
        given = prepared(data)

    def check(**fields):
        check_same(Data(**{**data.to_dict(), **fields}), given.problem, given.classes)

    check()
    check(y=data.y.bfloat16())
    check(y=data.y.bool())
    with pytest.raises(ValueError, match="the 16 nodes of the run, got 5"):
        check(y=data.y[:5])
    with pytest.raises(ValueError, match=r"data.y must have one class a node, \(16,\)"):
        check(y=torch.eye(2)[data.y])
    with pytest.raises(ValueError, match="node 0 is of class 0, got 1"):
        check(y=~data.y.bool())


@pytest.mark.parametrize("form", [torch.Tensor.clone, torch.Tensor.to_sparse])
def test_what_is_done_to_x_after_a_fit_changes_nothing_of_it(form):
    x = form(torch.eye(6)[torch.arange(12) % 6])
    data = Data(x=x, y=torch.arange(12) % 2, train_mask=torch.arange(12) < 8)
    given = quietly(data).problem.features
    before = given.copy()
    (x.coalesce().values() if x.is_sparse else x).zero_()
    assert abs(given - before).max() == 0
