"""Graphs larger than `max_nodes`: what learns, and what all nodes are predicted with."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds._types import Split
from lds.edges.logistic import with_agreement
from lds.nn.ensemble import LOG_WEIGHTS
from lds.structure.learn import learn
from lds.structure.methods import committee_large
from lds.structure.methods.committee import Committee
from lds.structure.methods.committee_large import learning_nodes
from lds.structure.methods.committee_run import COEFFICIENTS
from lds.structure.methods.refit import expected_graph
from lds.structure.predict import predict_draws
from lds.structure.problem import Problem
from lds.structure.result import Learned

SMALL = Committee(
    n_neighbors=4,
    hidden_channels=8,
    max_iter=2,
    max_inner=20,
    refit_steps=20,
    refits=2,
    n_draws=3,
    max_nodes=120,
)
TOLD = "trained on 120 of 300 nodes, labelled ones and their neighbours first, and edges on 80"


def community(n=300, n_labelled=45, seed=0, words=False, shift=1.0) -> Problem:
    """Three classes, features that tell them a little, and edges that mostly stay inside one."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = rng.standard_normal((n, 6)) + shift * np.eye(6)[labels]
    if words:
        x = rng.poisson(0.03 + 0.4 * np.kron(np.eye(3), np.ones((1, 20)))[labels]).astype(float)
    same = labels[:, None] == labels
    upper = np.triu(rng.random((n, n)) < np.where(same, 0.04, 0.004), 1)
    graph = sp.csr_array((upper | upper.T).astype(np.float64))
    order = rng.permutation(n)[:n_labelled]
    train, validation, stopping = np.split(np.sort(order)[rng.permutation(n_labelled)], 3)
    test = np.setdiff1d(np.arange(n), order)
    return Problem(x, labels, Split(train, validation, stopping, test), graph)


@pytest.fixture(scope="module")
def found() -> Learned:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(committee_large, "COEFFICIENT_NODES", 80)
        with pytest.warns(UserWarning, match=TOLD):
            return learn(community(), SMALL, seed=1)


def test_labelled_nodes_come_first_with_their_neighbours():
    problem = community()
    known = np.concatenate([problem.labelled, problem.split.stopping])
    assert np.array_equal(learning_nodes(problem, 300, 0), np.arange(300))
    rows = learning_nodes(problem, 200, 0)
    assert len(rows) == 200
    assert np.isin(known, rows).all()
    ring = np.unique(problem.graph[known].indices)
    assert np.isin(ring, rows).all(), "there is room for all neighbours of labelled nodes"
    few = learning_nodes(problem, 40, 0)
    assert len(few) == 40
    inside = problem.graph[few][:, few].sum() / problem.graph[few].sum()
    drawn = np.random.default_rng(0).choice(300, 40, replace=False)
    assert inside > 2 * problem.graph[drawn][:, drawn].sum() / problem.graph[drawn].sum()
    part = problem.part(few)
    for role in ("train", "validation", "stopping"):
        assert set(part.labels[getattr(part.split, role)]) == {0, 1, 2}
    assert np.array_equal(part.graph.toarray(), problem.graph.toarray()[np.ix_(few, few)])
    assert not np.array_equal(few, learning_nodes(problem, 40, 1))
    assert len(learning_nodes(problem, 1, 0)) <= 10, "one of each class in each role"
    alone = dataclasses.replace(problem, graph=None)
    assert np.isin(known, learning_nodes(alone, 60, 0)).all()


def test_the_label_of_a_test_node_chooses_no_node():
    problem = community()
    chosen = learning_nodes(problem, 60, 0)
    labels = problem.labels.copy()
    labels[problem.split.test[~np.isin(problem.split.test, chosen)][0]] = 3
    other = dataclasses.replace(problem, labels=labels)
    assert np.array_equal(learning_nodes(other, 60, 0), chosen)
    assert other.part(chosen).n_classes == 4


def test_components_that_hold_no_label_fill_what_is_left():
    problem = community()
    cut = problem.graph.tolil()
    cut[:, 100:] = 0
    cut[100:] = 0
    rows = np.arange(30)
    split = Split(rows[:10], rows[10:20], rows[20:], np.arange(30, 300))
    apart = dataclasses.replace(problem, graph=sp.csr_array(cut.tocsr()), split=split)
    assert len(learning_nodes(apart, 250, 0)) == 250


@pytest.mark.ci
def test_up_to_the_limit_nothing_changes():
    problem = community(n=120)
    at, above = (dataclasses.replace(SMALL, max_nodes=k) for k in (120, 1200))
    one, two = (learn(problem, method, seed=0) for method in (at, above))
    assert np.array_equal(one.probabilities, two.probabilities)
    assert one.hidden.shape[1] > 3


def test_all_nodes_are_predicted_by_what_a_part_learned(found):
    """Networks are applied to a dense expected graph of all nodes, written out here."""
    problem = community()
    assert found.problem.n_nodes == 300
    assert found.probabilities.shape == found.hidden.shape == (300, 3)
    right = found.probabilities.argmax(1) == problem.labels
    assert right[problem.split.test].mean() > 0.8
    theta = found.edges.to_csr().toarray()
    assert (theta[problem.graph.toarray() > 0] > 0).all(), "every given edge is a pair"
    assert len(found.history) == 3
    assert found.params[COEFFICIENTS].tolist() != [-4, 1, 1]
    assert float(found.params[LOG_WEIGHTS].exp().sum()) == pytest.approx(1, rel=1e-5)
    prepared = found.preparation
    gcn = prepared.ensemble.of_member(found.params, 0)
    a = theta + np.eye(300)
    scale = a.sum(1) ** -0.5
    walk = scale[:, None] * a * scale
    x = prepared.task.features.x.numpy().astype(np.float64)
    logits = walk @ np.maximum(walk @ x @ gcn["W1"].numpy(), 0) @ gcn["W2"].numpy()
    network = prepared.ensemble.members[0]
    mine = network(gcn, prepared.task.features, expected_graph(found.edges), training=False)[0]
    np.testing.assert_allclose(mine.numpy(), logits, rtol=1e-3, atol=1e-4)


def test_members_in_closed_form_read_every_label(found):
    """The PageRank of the labels starts from the labels of all nodes, not of the part's alone."""
    prepared, problem = found.preparation, found.problem
    k = next(
        k
        for k, kind in enumerate(prepared.ensemble.members)
        if type(kind).__name__ == "LabelPageRank"
    )
    mass = prepared.ensemble.of_member(found.params, k)["labels"]
    assert np.array_equal(np.flatnonzero(mass.sum(1)), np.sort(problem.labelled))


def test_new_rows_folders_and_reports_know_all_nodes(found, tmp_path):
    new = found.problem.features[:20] + 0.01
    expected = found.predict_new(new)
    assert expected.shape == (20, 3)
    found.save(tmp_path)
    loaded = Learned.load(tmp_path)
    np.testing.assert_allclose(loaded.predict_new(new), expected, rtol=1e-5, atol=1e-6)
    assert set(found.history[-1].group_probs) == {"same", "different", "unknown"}
    assert found.starting_edges > 0


@pytest.mark.parametrize("words", [False, True])
def test_a_table_with_roles_learns_on_a_part_too(words):
    problem = dataclasses.replace(community(words=words, shift=4.0), graph=None)
    with pytest.warns(UserWarning, match="of 300 nodes"):
        found = learn(problem, SMALL, seed=0)
    right = found.probabilities.argmax(1) == problem.labels
    assert right[problem.split.test].mean() > 0.9


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore:networks are trained on 120 of 300")
def test_a_stopped_run_goes_on_to_the_same(tmp_path):
    problem = community()
    first = dataclasses.replace(SMALL, max_iter=1)
    whole = learn(problem, SMALL, seed=0)
    learn(problem, first, seed=0, checkpoint=tmp_path)
    again = learn(problem, SMALL, seed=0, checkpoint=tmp_path, resume=True)
    assert np.array_equal(again.probabilities, whole.probabilities)


def test_more_neighbours_than_nodes_that_learn_are_refused():
    method = dataclasses.replace(SMALL, n_neighbors=150)
    with pytest.raises(ValueError, match=r"nodes that learn, 120 of 300, got 150; a larger max_no"):
        learn(community(), method, seed=0)


def test_agreement_is_of_all_nodes(found):
    base, names = found.edges, found.edges.names
    assert names[-1] == "agreement"
    assert base.features.shape[0] == base.pairs.n_pairs
    draws = predict_draws(found.preparation.task, found.params, base, 3, 0)
    assert draws.shape == (3, 300, 3)
    assert torch.isfinite(draws).all()
    assert with_agreement(base, draws.mean(0)).pairs.n_nodes == 300
