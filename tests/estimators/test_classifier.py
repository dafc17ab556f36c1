"""LDSClassifier and ThesisLDSClassifier: fits, predictions, the learned graph, refusals."""

import networkx as nx
import numpy as np
import pandas as pd
import psutil
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lds import LDSClassifier, ThesisLDSClassifier
from tests.estimators.options import CLASSIFIERS, classifier

QUICK = {"n_neighbors": 4, "max_inner": 20, "patience": 2, "random_state": 0}

both_methods = pytest.mark.parametrize("method", CLASSIFIERS)


def blobs(n=90, labelled=45, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    x = rng.standard_normal((n, 4)) + 5 * np.eye(4)[truth]
    y = truth.copy()
    y[labelled:] = -1
    return x, y, truth


def quick(**parameters):
    """The default classifier with a short refit."""
    return classifier("default", **QUICK | parameters)


@pytest.fixture(scope="module", params=CLASSIFIERS)
def fitted(request):
    x, y, truth = blobs()
    return classifier(request.param, **QUICK).fit(x, y), x, y, truth


def test_rows_of_fit_are_classified(fitted):
    clf, _, y, truth = fitted
    assert (clf.transduction_[y < 0] == truth[y < 0]).mean() >= 0.95
    np.testing.assert_allclose(clf.label_distributions_.sum(1), 1, rtol=1e-5)
    assert clf.classes_.tolist() == [0, 1, 2]
    assert clf.n_iter_ == len(clf.history_)


def test_edge_probabilities_are_symmetric_probabilities_above_the_cutoff(fitted):
    edges = fitted[0].edge_probabilities_
    assert abs(edges - edges.T).max() == 0
    assert edges.data.min() > 1e-4
    assert edges.data.max() <= 1
    assert edges.diagonal().max() == 0
    assert 0 <= fitted[0].dropped_probability_ < 1


def test_new_rows_are_classified_and_known_rows_keep_their_answer(fitted):
    clf, x, _, _ = fitted
    new, _, truth = blobs(seed=1)
    assert (clf.predict(new) == truth).mean() >= 0.95
    np.testing.assert_allclose(clf.predict_proba(new).sum(1), 1, rtol=1e-5)
    assert np.array_equal(clf.predict(x), clf.transduction_)
    assert np.array_equal(clf.predict_proba(x), clf.label_distributions_)


def test_a_new_row_of_the_thesiss_method_reads_as_its_neighbours_do_by_the_networks_formula():
    # With the graph frozen at 0/1 every draw is the starting graph, and a new row's output can be
    # written down: the rows of A of its neighbours, mixed, as its own row of the adjacency.
    x, y, _ = blobs()
    clf = ThesisLDSClassifier(**QUICK, outer_lr=1e-30).fit(x, y)
    a = clf.edge_probabilities_.toarray() + np.eye(len(x))
    scale = 1 / np.sqrt(a.sum(1))
    w1, w2 = (clf.learned_.params[name].double().numpy() for name in ("W1", "W2"))
    hidden = np.maximum(scale[:, None] * a * scale @ (x.astype(np.float32) @ w1), 0)
    new = np.random.default_rng(5).standard_normal((3, 4)).astype(np.float32)
    similarity = cosine_similarity(new, x.astype(np.float32))
    for row, sims, found in zip(new, similarity, clf.predict_proba(new), strict=True):
        near = np.argsort(-sims)[:4]
        q = 1 / (1 - sims[near]) / (1 / (1 - sims[near])).sum()
        edges = q @ (a - np.eye(len(x)))[near]
        degree = 1 + edges.sum()
        weight = edges * scale / np.sqrt(degree)
        h = np.maximum(weight @ (x @ w1) + row @ w1 / degree, 0)
        logits = weight @ (hidden @ w2) + h @ w2 / degree
        expected = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(found, expected, atol=1e-4)  # float32 network


@both_methods
def test_known_rows_keep_their_answer_where_many_rows_are_equally_near(method):
    # All cosine distances of one positive column are 0: the row itself need not be among the k.
    x, y, _ = blobs(n=30, labelled=15)
    column = np.abs(x[:, :1])
    clf = classifier(method, **QUICK).fit(column, y)
    assert np.array_equal(clf.predict_proba(column), clf.label_distributions_)


def test_new_rows_may_be_sparse_where_the_fit_was_dense_and_the_other_way(fitted):
    clf, x, y, _ = fitted
    new = blobs(n=6, seed=1)[0]
    mixed = np.concatenate([x[:3], new])
    expected = clf.predict_proba(mixed)
    np.testing.assert_allclose(clf.predict_proba(sp.csr_array(mixed)), expected, atol=1e-6)
    sparse = clone(clf).fit(sp.csr_array(x), y)
    found = sparse.predict_proba(mixed)
    assert np.array_equal(found[:3], sparse.label_distributions_[:3])
    np.testing.assert_allclose(found, sparse.predict_proba(sp.csr_array(mixed)), atol=1e-6)


def test_rows_of_fit_come_out_as_their_transduction_found_by_their_neighbours_alone(fitted):
    """Not looked up: a rounding away from equal, so that the way of new rows is taken."""
    clf, x, _, _ = fitted
    near = x + 1e-6 * np.random.default_rng(0).standard_normal(x.shape)
    assert not (near.astype(np.float32) == x.astype(np.float32)).all(1).any()
    assert (clf.predict(near) == clf.transduction_).mean() >= 0.99
    # Other draws of the graphs: S of them leave a deviation of at most 1 / (2 √S) a probability.
    found = clf.predict_proba(near)
    assert np.abs(found - clf.label_distributions_).max() < 3 / (2 * np.sqrt(16))
    assert np.abs(found - clf.label_distributions_).mean() < 0.02


def test_each_new_row_is_alone(fitted):
    clf = fitted[0]
    new = blobs(n=12, seed=1)[0]
    together = clf.predict_proba(new)
    alone = np.concatenate([clf.predict_proba(row[None]) for row in new])
    np.testing.assert_allclose(alone, together, atol=1e-6)  # float32 network


def test_settings_changed_after_fit_do_not_change_predictions(fitted):
    clf, x, y, _ = fitted
    new = blobs(n=6, seed=1)[0]
    other = clone(clf).fit(x, y).set_params(n_neighbors=80, metric="manhattan")
    assert np.array_equal(other.predict_proba(new), clf.predict_proba(new))


def test_the_graph_for_a_look_has_exactly_the_edges_above_the_threshold(fitted):
    clf = fitted[0]
    graph = clf.to_networkx(threshold=0.5)
    dense = clf.edge_probabilities_.toarray()
    expected = {(i, j) for i, j in zip(*np.nonzero(np.triu(dense) >= 0.5), strict=True)}
    assert {tuple(sorted(edge)) for edge in graph.edges} == expected
    assert graph.number_of_nodes() == 90
    i, j = next(iter(graph.edges))
    assert graph.edges[i, j]["probability"] == pytest.approx(dense[i, j])
    before = clf.learned_.start.toarray()
    found = {(i, j): value for i, j, value in graph.edges(data="starting_probability")}
    assert found == {edge: pytest.approx(before[edge]) for edge in found}
    assert graph.nodes[0]["prediction"] == clf.transduction_[0]
    assert isinstance(graph, nx.Graph)


def test_fits_repeat_under_an_int_seed(fitted):
    clf, x, y, _ = fitted
    again = clone(clf).fit(x, y)
    assert np.array_equal(again.label_distributions_, clf.label_distributions_)
    assert abs(again.edge_probabilities_ - clf.edge_probabilities_).max() == 0
    assert "split_" not in vars(clone(clf))


def test_data_frames_string_labels_and_blanks():
    x, y, truth = blobs()
    names = np.array(["ant", "bee", "cow"], dtype=object)[truth]
    names[y < 0] = None
    names[-1] = np.nan
    frame = pd.DataFrame(x, columns=["a", "b", "c", "d"])
    clf = quick().fit(frame, names)
    assert clf.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert clf.classes_.tolist() == ["ant", "bee", "cow"]
    right = np.array(["ant", "bee", "cow"])[truth]
    assert (clf.transduction_ == right).mean() >= 0.95
    assert clf.score(frame, right) >= 0.95


@pytest.mark.ci
def test_sparse_rows_and_a_pipeline_give_what_dense_rows_give(fitted):
    clf, x, y, _ = fitted
    sparse = clone(clf).fit(sp.csr_array(x), y)
    assert (sparse.transduction_ == clf.transduction_).all()
    assert (sparse.predict(sp.csr_array(x[:5])) == clf.transduction_[:5]).all()
    piped = make_pipeline(StandardScaler(), clone(clf)).fit(x, y)
    assert piped.predict(x).shape == (90,)


def test_a_given_graph_and_given_roles_are_used():
    x, y, truth = blobs()
    same = (truth[:, None] == truth[None, :]).astype(float)
    np.fill_diagonal(same, 0)
    noise = np.random.default_rng(0).standard_normal(x.shape)
    rows = np.flatnonzero(y >= 0)
    clf = quick().fit(
        noise, y, adjacency=same, validation=rows[15:30], stopping=np.isin(np.arange(90), rows[30:])
    )
    assert clf.split_.train.tolist() == rows[:15].tolist()
    assert clf.split_.validation.tolist() == rows[15:30].tolist()
    assert clf.split_.stopping.tolist() == rows[30:].tolist()
    assert (clf.transduction_ == truth).mean() >= 0.9, "the classes are in the graph alone"


def test_a_verbose_fit_tells_of_outer_iterations_and_the_refit(capsys):
    x, y, _ = blobs()
    quick(max_iter=2, verbose=True).fit(x, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["1", "2"]
    done = [0] + [8 * turn + k for turn in range(3) for k in range(4, 9)]  # four side by side
    assert lines[2:] == [f"refit, {k} of 24 members trained" for k in done]
    quick(max_iter=1).fit(x, y)
    assert not capsys.readouterr().out


def test_too_few_outer_iterations_warn():
    x, y, _ = blobs()
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        ThesisLDSClassifier(**QUICK, max_iter=1).fit(x, y)


def test_a_committee_is_made_for_so_many_outer_iterations_as_it_is_given():
    clf = quick(max_iter=1).fit(*blobs()[:2])  # a warning would be an error
    assert [record.improved for record in clf.history_] == [True, True]
    assert clf.n_iter_ == 2, "one, and the refit"


def bad(**change):
    x, y, _ = blobs(n=30, labelled=15)
    arguments = {"X": x, "y": y, "options": {}, "fit": {}}
    return {name: change.get(name, value) for name, value in arguments.items()}


X30, Y30, _ = blobs(n=30, labelled=15)
HALF = np.triu(np.ones((30, 30)), 1)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (bad(X=np.where(X30.max() == X30, np.inf, X30)), "infinity"),
        (bad(y=np.full(30, -1)), "y must label at least 4 rows .*, got no labelled row"),
        (
            bad(y=np.where(Y30 >= 0, 7, -1)),
            "two classes or more .*, got 15 of class 7; -1 was read as no label",
        ),
        (
            bad(y=np.r_[0, 1, np.full(28, -1)]),
            "at least 4 rows .*, got 1 of class 0 and 1 of class 1",
        ),
        (bad(y=Y30[:-1]), r"y must have one label a row of X, \(30,\), got \(29,\)"),
        (bad(fit={"adjacency": np.ones((29, 29))}), r"adjacency must have shape \(30, 30\)"),
        (bad(fit={"adjacency": -HALF}), "adjacency weight must be finite and 0 or more"),
        (bad(options={"n_neighbors": 31}), "n_neighbors must be at least 1 and below"),
        (bad(X=X30[:1], y=Y30[:1]), "minimum of 2 is required"),
        (bad(options={"metric": "fancy"}), "metric must be one of"),
        (bad(options={"dropout": 1.0}), r"dropout must be in \[0, 1\)"),
        (bad(options={"truncation": -1}), "truncation must be 0 or more"),
        (bad(fit={"validation": [0]}), "must be given together"),
        (bad(fit={"validation": [0, 1], "stopping": [1, 2]}), "must not share rows, got row 1"),
        (
            bad(fit={"validation": [0, 3], "stopping": np.arange(30) % 3 > 0}),
            "hold labelled rows",
        ),
        (
            bad(fit={"validation": np.arange(15) % 3 == 9, "stopping": [1]}),
            r"validation as a mask must have shape \(30,\)",
        ),
        (
            bad(fit={"validation": np.flatnonzero(np.arange(15) % 3), "stopping": [0]}),
            "outside of validation and stopping must show at least two classes, got 4 of class 0",
        ),
        (bad(fit={"validation": [0], "stopping": [99]}), "must index the 30 rows"),
        (bad(fit={"validation": [0], "stopping": [20]}), "must hold labelled rows, got row 20"),
    ],
)
@both_methods
def test_bad_input_is_one_clear_sentence(case, message, method):
    clf = classifier(method, **QUICK | case["options"])
    with pytest.raises(ValueError, match=message):
        clf.fit(case["X"], case["y"], **case["fit"])


def test_more_neighbours_than_other_rows_are_refused_unless_they_are_the_default():
    with pytest.raises(ValueError, match=r"n_neighbors must be .* below the number of rows \(30\)"):
        ThesisLDSClassifier(**QUICK | {"n_neighbors": 30}).fit(X30, Y30)
    with pytest.raises(ValueError, match=r"n_neighbors must be .* below the number of rows \(30\)"):
        quick(n_neighbors=31).fit(X30, Y30)
    quick(n_neighbors=30).fit(X30, Y30)  # the default: cut to the 29 other rows


@pytest.mark.ci
def test_three_labels_a_class_suffice_and_fewer_warn():
    x, y, _ = blobs(labelled=9)
    quick().fit(x, y)
    x, y, _ = blobs(labelled=8)
    with pytest.warns(UserWarning, match="cannot be split by class"):
        quick().fit(x, y)


def test_all_pairs_that_do_not_fit_name_the_way_out(monkeypatch):
    memory = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(ValueError, match="support='sparse'"):
        ThesisLDSClassifier(**QUICK).fit(*blobs()[:2])


@both_methods
def test_each_classifier_fits_its_own_method(method):
    clf = CLASSIFIERS[method](n_neighbors=4, random_state=3)
    assert clf._method().name == method
    assert clf._method().n_neighbors == 4
    assert clf._seed() == 3
    assert type(clone(clf)) is CLASSIFIERS[method]
    assert clone(clf).get_params() == clf.get_params()


def test_predict_before_fit_is_refused():
    with pytest.raises(NotFittedError):
        LDSClassifier().predict(np.ones((2, 2)))


def test_uncertainty_of_rows_and_edges(fitted):
    clf = fitted[0]
    p = clf.label_distributions_.astype(float)
    np.testing.assert_allclose(clf.entropy_, -(p * np.log(p)).sum(1), rtol=1e-4, atol=1e-6)
    assert (clf.mutual_information_ <= clf.entropy_ + 1e-6).all()
    assert clf.mutual_information_.max() > 0
    found = clf.edge_marginals(n_draws=400)
    assert found.n_draws == 400
    certain = clf.edge_probabilities_.toarray() == 1
    assert (found.counts.toarray()[certain] == 400).all()


def test_the_graph_as_a_file(fitted, tmp_path):
    clf, _, y, _ = fitted
    clf.save_graph(tmp_path / "graph.gexf", n_edges=50)
    graph = nx.read_gexf(tmp_path / "graph.gexf", node_type=int)
    assert graph.number_of_edges() == 50 == clf.to_networkx(n_edges=50).number_of_edges()
    assert graph.nodes[0]["given_label"] == y[0]
    assert "given_label" not in graph.nodes[89], "it is unlabelled"
    assert graph.nodes[89]["prediction"] == clf.transduction_[89]
    roles = {graph.nodes[k]["split"] for k in graph}
    assert roles == {"train", "validation", "stopping", "unlabelled"}
    clf.save_graph(tmp_path / "graph.npz")
    assert (sp.load_npz(tmp_path / "graph.npz") - clf.edge_probabilities_).nnz == 0


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_another_network_on_connected_graphs_predicts_new_rows():
    x, y, _ = blobs()
    options = {
        **QUICK,
        "max_iter": 2,
        "backbone": "TAGConv",
        "connected": True,
        "support": "sparse",
    }
    clf = ThesisLDSClassifier(**options).fit(x, y)
    new, _, truth = blobs(n=15, seed=1)
    assert (clf.predict(new) == truth).mean() >= 0.9
    assert np.array_equal(clf.predict(x), clf.transduction_)
    one = nx.from_scipy_sparse_array(clf.edge_marginals(n_draws=1).counts)
    assert nx.is_connected(one)
    with pytest.raises(ValueError, match="needs connected=True"):
        ThesisLDSClassifier(**{**options, "connected": False}).fit(x, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@both_methods
def test_a_fit_goes_on_from_its_checkpoint_to_the_same_bits(tmp_path, method):
    X, y = load_iris(return_X_y=True)
    y = np.where(np.arange(150) % 2, y, -1)
    quick = {"max_inner": 10, "patience": 9, "random_state": 0}

    def fitted(**options):
        return classifier(method, **quick, **options).fit(X, y)

    whole = fitted(max_iter=4)
    fitted(max_iter=2, checkpoint=tmp_path)
    resumed = fitted(max_iter=4, checkpoint=tmp_path, resume=True)
    assert repr(resumed.history_) == repr(whole.history_), "a loss may be nan"
    assert np.array_equal(resumed.label_distributions_, whole.label_distributions_)
    assert (resumed.edge_probabilities_ != whole.edge_probabilities_).nnz == 0
    other = classifier(method, **quick, checkpoint=tmp_path, resume=True, dropout=0.4)
    with pytest.raises(ValueError, match=r"is of another run .*dropout: 0\.5 there, 0\.4 here"):
        other.fit(X, y)
    with pytest.raises(ValueError, match="resume=True needs checkpoint="):
        classifier(method, **quick, resume=True).fit(X, y)
