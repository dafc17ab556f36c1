"""Input that would be read as something else than was meant is refused, or what is read is said."""

import json

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data

from lds import (
    LDSClassifier,
    LDSSearch,
    LearnedStructure,
    ViewsLDSClassifier,
    learn_structure,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of guesses that others test

N = 40
TRUTH = np.arange(N) % 2
SHORT = {"n_neighbors": 4, "max_inner": 5, "max_iter": 1, "refits": 1, "refit_steps": 4}


def table(seed=0):
    """Two classes apart, with an index of its own; half of the rows have no label."""
    x = np.random.default_rng(seed).standard_normal((N, 3)) + 4 * TRUTH[:, None]
    index = [f"row {k}" for k in range(N)]
    return pd.DataFrame(x, columns=["a", "b", "c"], index=index), pd.Series(
        np.where(np.arange(N) < N // 2, TRUTH, -1), index=index
    )


def views():
    return ViewsLDSClassifier(n_folds=2, n_trees=5, max_iter=1, random_state=0)


def graph_data():
    x, y = table()
    ring = torch.arange(N)
    return Data(
        x=torch.tensor(x.to_numpy()),
        y=torch.tensor(TRUTH),
        train_mask=torch.tensor(y.to_numpy() >= 0),
        edge_index=torch.stack([ring, (ring + 2) % N]),
    )


def test_a_table_whose_columns_tell_nothing_is_fitted():
    """No tree has a split that gains, so no column has an importance."""
    truth = np.arange(60) % 2
    design = np.c_[np.repeat([0, 1], 30), np.tile(np.repeat([0, 1], 15), 2)]
    for x in (pd.DataFrame({"sex": ["m"] * 30 + ["f"] * 30}), design):
        found = views().fit(x, truth)
        assert np.isfinite(found.predict_proba(x)).all()


def test_a_column_that_holds_the_labels_is_said():
    x, y = table()
    y = pd.Series(np.where(y >= 0, np.where(y == 1, "yes", "no"), None), index=y.index)
    with pytest.warns(UserWarning, match="column t of X equals y at all 20 labelled rows"):
        views().fit(x.assign(t=pd.Series(np.where(TRUTH, "yes", "no"), index=x.index)), y)
    with pytest.warns(UserWarning, match="column 3 of X equals y at all 20 labelled rows"):
        views().fit(np.c_[x.to_numpy(), TRUTH], np.where(y.notna(), TRUTH, -1))
    views().fit(np.c_[x.to_numpy(), 1 - TRUTH], np.where(y.notna(), TRUTH, -1))


def test_labels_of_which_a_part_has_the_index_of_x_are_refused():
    x, y = table()
    with pytest.raises(ValueError, match="the index of X, got one of which only a part"):
        views().fit(x.iloc[:-3], y.iloc[3:])
    views().fit(x, pd.Series(y.to_numpy()))  # nothing is the same: rows go by position


@pytest.mark.filterwarnings("ignore:.*one direction")
def test_nodes_of_the_test_mask_do_not_train_where_there_is_no_train_mask():
    data = graph_data()
    test = ~data.train_mask
    data.y = torch.where(torch.arange(N) == N - 1, -1, data.y)  # a node has no label
    del data.train_mask
    data.test_mask = test
    with pytest.warns(UserWarning, match=r"the 20 labelled nodes that test_mask leaves train"):
        found = learn_structure(data, max_iter=1, refits=1, max_inner=10, refit_steps=5)
    split = found.learned.problem.split
    assert not np.isin(np.flatnonzero(test.numpy()), split.learning).any()


@pytest.mark.filterwarnings("ignore:.*one direction")
def test_a_mask_by_another_name_is_said():
    data = graph_data()
    data.valid_mask = ~data.train_mask
    with pytest.warns(UserWarning, match="data.valid_mask is not read; data.val_mask is, and is"):
        learn_structure(data, max_iter=1, refits=1, max_inner=10, refit_steps=5)


# Rows of pandas in another order


@pytest.mark.parametrize("name", ["sample_weight", "validation", "stopping", "adjacency"])
def test_arguments_of_fit_with_the_index_of_x_in_another_order_are_refused(name):
    x, y = table()
    given = pd.Series(1.0, index=x.index)
    if name == "adjacency":
        given = pd.DataFrame(1.0, index=x.index, columns=x.index)
    with pytest.raises(ValueError, match=f"{name} must have the index of X in its order, got it"):
        views().fit(x, y, **{name: given.iloc[::-1]})


def test_score_refuses_labels_and_weights_in_another_order():
    x, y = table()
    clf, truth = views().fit(x, y), pd.Series(TRUTH, index=x.index)
    assert clf.score(x, truth) == clf.score(x, TRUTH) >= 0.9
    with pytest.raises(ValueError, match="y must have the index of X in its order"):
        clf.score(x, truth.iloc[::-1])
    with pytest.raises(ValueError, match="sample_weight must have the index of X in its order"):
        clf.score(x, truth, sample_weight=pd.Series(1.0, index=x.index).iloc[::-1])


def labelled_ring(x):
    """Return a path of the rows of each class, by the labels of the rows."""
    near = np.abs(np.subtract.outer(np.arange(N), np.arange(N))) == 2
    return pd.DataFrame(near.astype(float), index=x.index, columns=x.index)


def shuffled(labels, seed=0):
    return labels[np.random.default_rng(seed).permutation(N)]


OUT_OF_ORDER = {
    "both": lambda s: s.loc[shuffled(s.index), shuffled(s.index)],
    "the columns": lambda s: s[shuffled(s.index)],
    "the rows": lambda s: s.loc[shuffled(s.index)],
    "each in its own": lambda s: s.loc[shuffled(s.index), shuffled(s.index, 1)],
    "the columns, of unnamed rows": lambda s: s[shuffled(s.index)].reset_index(drop=True),
    "the rows, of unnamed columns": lambda s: s.loc[shuffled(s.index)].set_axis(range(N), axis=1),
}


@pytest.mark.parametrize("order", OUT_OF_ORDER)
@pytest.mark.parametrize("search", [False, True])
def test_an_adjacency_that_is_not_in_the_order_of_x_is_refused(order, search):
    x, y = table()
    fit = views().fit
    if search:
        fit = LDSSearch({"n_neighbors": [4]}, LDSClassifier(**SHORT), seeds=(0,)).fit
    with pytest.raises(
        ValueError, match=r"adjacency must have the index of X .* adjacency.loc\[X.index, X.index\]"
    ):
        fit(x, y, adjacency=OUT_OF_ORDER[order](labelled_ring(x)))


def test_the_advice_about_an_adjacency_out_of_order_gives_its_graph():
    x, y = table()
    ring = labelled_ring(x)
    given = OUT_OF_ORDER["each in its own"](ring).loc[x.index, x.index]
    right = LDSClassifier(**SHORT, random_state=0).fit(x, y, adjacency=ring.to_numpy())
    for same in (given, ring.set_axis(range(N), axis=1), ring.reset_index(drop=True)):
        clf = LDSClassifier(**SHORT, random_state=0).fit(x, y, adjacency=same)
        assert (clf.learned_.problem.graph != right.learned_.problem.graph).nnz == 0


@pytest.mark.parametrize(
    "order", ["the columns", "the rows", "each in its own", "as text", "another label"]
)
def test_an_adjacency_whose_columns_are_not_its_rows_is_refused_without_an_index_of_x(order):
    x, y = table()
    if order == "as text":  # as of pandas.read_csv with an index
        ring = labelled_ring(x.reset_index(drop=True))
        given = ring[shuffled(ring.index)].rename(columns=str)
    elif order == "another label":
        given = labelled_ring(x).rename(columns={"row 3": "row 40"})
    else:
        given = OUT_OF_ORDER[order](labelled_ring(x))
    with pytest.raises(ValueError, match="adjacency must have the same labels in rows and columns"):
        views().fit(x.to_numpy(), y.to_numpy(), adjacency=given)


def test_an_adjacency_in_an_order_of_its_own_goes_by_position_with_an_array():
    x, y = table()
    ring = labelled_ring(x)
    both = ring.set_axis(shuffled(x.index), axis=0).set_axis(shuffled(x.index), axis=1)
    texts = labelled_ring(x.reset_index(drop=True)).rename(columns=str)
    for given in (both, texts, ring.add_prefix("to ", axis=1)):
        clf = LDSClassifier(**SHORT).fit(x.to_numpy(), y.to_numpy(), adjacency=given)
        assert np.array_equal(clf.learned_.problem.graph.toarray(), ring.to_numpy())


# Masks


def test_roles_as_zeros_and_ones_are_masks_as_roles_of_booleans_are():
    x, y = table()
    judge, stop = np.arange(N) % 5 == 0, np.arange(N) % 5 == 1
    judge, stop = judge & (y.to_numpy() >= 0), stop & (y.to_numpy() >= 0)
    splits = [
        LDSClassifier(**SHORT, random_state=0).fit(x, y, validation=a, stopping=b).split_
        for a, b in (
            (judge, stop),
            (judge.astype(int), stop.astype(np.uint8)),
            (np.flatnonzero(judge), stop.astype(int).tolist()),
        )
    ]
    for split in splits:
        assert np.array_equal(split.validation, np.flatnonzero(judge))
        assert np.array_equal(split.stopping, np.flatnonzero(stop))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 1, 0], r"validation as a mask must have shape \(40,\), got \(3,\)"),
        (np.ones(N), "validation must be row numbers or a mask .* astype\\(bool\\) makes a mask"),
    ],
)
def test_roles_that_are_neither_rows_nor_masks_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        LDSClassifier(**SHORT).fit(*table(), validation=rows, stopping=[6, 7])


@pytest.mark.parametrize("keys", [("train", "validation"), ("train", "valid", "val"), ("valid",)])
def test_unknown_roles_of_a_split_are_refused(keys):
    split = dict.fromkeys(keys, torch.arange(4))
    with pytest.raises(ValueError, match=r"'train' and 'valid' \(or 'val'\) to nodes, got \['"):
        learn_structure(graph_data(), split=split)


# Graphs that say nothing, options with which nothing is learned, classes of another type


@pytest.mark.ci
def test_a_graph_without_edges_is_no_graph():
    x, y = table()
    with pytest.warns(UserWarning, match="adjacency has no edge of a weight above 0"):
        empty = LDSClassifier(random_state=0, n_jobs=1).fit(x, y, adjacency=np.zeros((N, N)))
    assert empty.learned_.method.name == "views"
    data = graph_data()
    data.edge_index = torch.zeros(2, 0, dtype=torch.int64)
    with pytest.warns(UserWarning, match=r"data\.edge_index has no edge of a weight above 0"):
        learned = learn_structure(data, **SHORT)
    assert learned.edge_index.shape[1] > 0


def test_an_inner_run_shorter_than_its_window_is_refused():
    with pytest.raises(ValueError, match=r"max_inner must be at least truncation, 5, .* got 4"):
        LDSClassifier(**SHORT | {"max_inner": 4}).fit(*table())


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ({"0": 2.0}, "the class '0', which no labelled row has; the class 0 is of type int, not"),
        ({-1: 0.5}, "the class -1, which no labelled row has; the classes are 0, 1$"),
    ],
)
def test_weights_of_classes_of_another_type_say_so(weight, message):
    clf = views().set_params(class_weight=weight)
    with pytest.raises(ValueError, match=message):
        clf.fit(*table())


@pytest.mark.parametrize("dtype", [bytes, object])
def test_labels_of_bytes_are_refused(dtype):
    x, _ = table()
    y = np.array([b"a", b"b"], dtype=dtype)[TRUTH]
    with pytest.raises(TypeError, match=r"y must hold .*bytes"):
        views().fit(x, y)


def test_labels_in_a_table_of_arrow_and_features_with_a_gradient_are_read():
    pa = pytest.importorskip("pyarrow")
    x, y = table()
    with pytest.warns(UserWarning, match="column-vector"):
        clf = views().fit(x, pa.table({"y": y.to_numpy()}))
    assert (clf.transduction_ == TRUTH).mean() > 0.9
    graph = nx.path_graph(12)
    for node in graph:
        graph.nodes[node].update(x=torch.ones(2, requires_grad=True) * node, y=node % 2)
        graph.nodes[node]["train_mask"] = node < 10
    assert learn_structure(graph, **SHORT).predictions.shape == (12,)


def test_seeds_of_numpy_are_seeds():
    plain = learn_structure(graph_data(), seed=3, **SHORT)
    assert torch.equal(
        plain.probabilities, learn_structure(graph_data(), seed=np.int64(3), **SHORT).probabilities
    )


# Folders


def test_a_fit_written_over_a_run_of_lds_fit_leaves_nothing_of_it(tmp_path):
    clf = views().fit(*table())
    clf.save(tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text())
    (tmp_path / "controls").mkdir()
    left = ["predictions.csv", "checkpoint.pt", "checkpoint.before.pt", "controls/checkpoint.pt"]
    for name in left:
        (tmp_path / name).write_text("of another run")
    clf.save(tmp_path, overwrite=True)
    assert all((tmp_path / name).exists() for name in left), "the run was not of lds fit"
    (tmp_path / "settings.json").write_text(json.dumps({**settings, "source": {"name": "wine"}}))
    clf.save(tmp_path, overwrite=True)
    assert not any((tmp_path / name).exists() for name in left)
    assert np.array_equal(ViewsLDSClassifier.load(tmp_path).transduction_, clf.transduction_)


def test_a_fit_is_not_written_over_settings_that_are_of_no_run(tmp_path):
    clf = views().fit(*table())
    (tmp_path / "settings.json").write_text('{"editor.fontSize": 14}')
    with pytest.raises(FileExistsError, match=r"of a run, and its settings\.json would be lost"):
        clf.save(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_a_flag_that_is_text_is_refused(tmp_path):
    for clf in (views(), LDSClassifier(**SHORT)):
        clf.set_params(resume="no", checkpoint=tmp_path / "kept")
        with pytest.raises(TypeError, match="resume must be True or False, got 'no'"):
            clf.fit(*table())
    with pytest.raises(TypeError, match="resume must be True or False, got 'no'"):
        learn_structure(graph_data(), resume="no", checkpoint=tmp_path / "kept")


@pytest.mark.parametrize("lost", ["seed", "method", "options", "classes", "n_folds", "class"])
def test_settings_that_were_damaged_by_hand_are_refused_as_damaged(lost, tmp_path):
    views().fit(*table()).save(tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text())
    if lost == "class":
        settings["classes"].append("further")
    elif lost in settings:
        del settings[lost]
    else:
        del settings["options"][lost]
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="damaged"):
        ViewsLDSClassifier.load(tmp_path)


def test_a_run_is_not_loaded_onto_other_data(tmp_path):
    data = graph_data()
    learn_structure(data, **SHORT).save(tmp_path)
    assert LearnedStructure.load(tmp_path, data).predictions.shape == (N,)
    other = data.clone()
    other.y = 1 - other.y
    with pytest.raises(ValueError, match=r"learned from, where node . is of class ., got"):
        LearnedStructure.load(tmp_path, other)


# Repeated entries of integers


def test_repeated_integers_in_sparse_rows_do_not_overflow():
    x, y = table()
    dense = np.round(np.abs(x.to_numpy()) * 20)
    halves = np.concatenate([dense.ravel(), np.full(dense.size, 250.0)]).astype(np.uint8)
    row, col = (np.tile(part.ravel(), 2) for part in np.indices(dense.shape))
    given = sp.coo_array((halves, (row, col)), shape=dense.shape)
    clf = views().fit(given, y)
    assert np.array_equal(clf.learned_.problem.features.toarray(), dense + 250)
    assert np.array_equal(clf.predict_proba(given), clf.label_distributions_)
    data = graph_data()
    data.x = torch.sparse_coo_tensor(np.stack([row, col]), torch.from_numpy(halves), dense.shape)
    features = learn_structure(data, **SHORT).learned.problem.features
    features = features.toarray() if sp.issparse(features) else features
    assert np.array_equal(features, dense + 250)


# Numbers of what is drawn or listed


@pytest.fixture(scope="module")
def learned():
    return learn_structure(graph_data(), **SHORT)


def test_integers_of_numpy_and_torch_draw_what_those_of_python_do(learned):
    assert torch.equal(learned.sample(np.int64(3)), learned.sample(3))
    assert torch.equal(learned.sample(torch.tensor(3)), learned.sample(3))
    assert len(learned.explain(0, most=np.int64(2)).neighbours) <= 2
    assert learned.explain(0, most=0).neighbours == []


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda a: a.sample(3.7), TypeError, "seed must be an integer, got 3.7"),
        (lambda a: a.sample(True), TypeError, "seed must be an integer, got True"),
        (lambda a: a.sample(-1), ValueError, "seed must be 0 or more and below 2.64, got -1"),
        (lambda a: a.sample(2**64), ValueError, "seed must be 0 or more and below 2.64, got 1844"),
        (lambda a: a.edge_marginals(2.5), TypeError, "n_draws must be an integer, got 2.5"),
        (lambda a: a.edge_marginals(True), TypeError, "n_draws must be an integer, got True"),
        (lambda a: a.edge_marginals(2, seed=0.5), TypeError, "seed must be an integer, got 0.5"),
        (lambda a: a.explain(0, most=-1), ValueError, "most must be 0 or more, got -1"),
        (lambda a: a.explain(0, most=2.5), TypeError, "most must be an integer, got 2.5"),
    ],
)
def test_numbers_that_are_out_of_range_or_no_integers_are_refused(learned, draw, error, message):
    with pytest.raises(error, match=message):
        draw(learned)
