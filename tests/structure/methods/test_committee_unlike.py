"""When edges between unlike nodes are left as they are: cases in which the answer is known."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds._types import Split
from lds._verdict import verdict
from lds.edges.logistic import BESIDE_GRAPH, CERTAIN
from lds.nn.deep_sage import DeepSAGE
from lds.nn.ensemble import MoreMembers
from lds.nn.sage import SAGE
from lds.structure.context import RunContext
from lds.structure.learn import learn
from lds.structure.methods import committee_run, committee_unlike
from lds.structure.methods.committee_preparation import prepare
from lds.structure.methods.committee_run import (
    AGREEMENT,
    COEFFICIENTS,
    members_say,
    predict_new,
    starting_distribution,
)
from lds.structure.methods.committee_unlike import informative_unlike
from lds.structure.problem import Problem
from lds.structure.result import Learned
from tests.structure.small import DEFAULT, KINDS_OF_MEASUREMENTS

N = 240
METHOD = dataclasses.replace(DEFAULT, hidden_channels=16, refit_steps=40)


def graph_between(
    labels: np.ndarray, allowed: np.ndarray, rng: np.random.Generator
) -> sp.csr_array:
    """Random edges, about 6 a node, between nodes whose pair of classes is allowed."""
    able = np.triu(allowed[labels[:, None], labels], 1)
    upper = able & (rng.random((N, N)) < 3 * N / able.sum())
    return sp.csr_array((upper | upper.T).astype(np.float32))


def problem_with(allowed: np.ndarray, strength: float) -> Problem:
    """Four classes; features of that strength, and edges between the allowed pairs of classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 4
    x = rng.standard_normal((N, 8)) + strength * np.eye(8)[labels]
    split = Split(*np.split(np.arange(N), [60, 100, 180]))
    graph = graph_between(labels, allowed, rng)
    return Problem(x.astype(np.float32), labels.astype(np.int64), split, graph)


LIKE, ANY = np.eye(4, dtype=bool), np.ones((4, 4), dtype=bool)
PARTNER = np.eye(4, dtype=bool)[[1, 0, 3, 2]]
"""Each class has edges to one other class alone, so neighbours tell the class."""


def answer(problem: Problem, method=METHOD) -> bool:
    prepared = prepare(method, problem, RunContext())
    edges = starting_distribution(problem, prepared)
    before = edges.coefficients.clone()
    found = informative_unlike(problem, prepared.task, prepared.ensemble, edges, method, 0)
    assert torch.equal(edges.coefficients, before)
    return found


def test_neighbours_of_another_class_that_tell_the_class():
    assert answer(problem_with(PARTNER, 1.5))


def test_random_edges_tell_nothing():
    assert not answer(problem_with(ANY, 3.0))


@pytest.mark.parametrize("case", ["like", "no graph", "denoising", "no known edge"])
def test_the_answer_is_no_before_anything_is_trained(case, monkeypatch):
    monkeypatch.setattr(committee_unlike, "train_members", None)
    problem, method = problem_with(PARTNER, 1.5), METHOD
    if case == "like":
        problem = problem_with(LIKE, 1.5)
    elif case == "no graph":
        problem = dataclasses.replace(problem, graph=None)
    elif case == "denoising":
        method = dataclasses.replace(METHOD, denoising_weight=1.0)
    else:
        test = np.zeros(N, dtype=np.float32)
        test[problem.split.test] = 1
        only = sp.diags_array(test) @ problem.graph @ sp.diags_array(test)
        problem = dataclasses.replace(problem, graph=sp.csr_array(only))
    assert not answer(problem, method)


def test_it_does_not_read_labels_of_test_rows():
    problem = problem_with(PARTNER, 1.5)
    labels = problem.labels.copy()
    labels[problem.split.test] = -1
    assert answer(dataclasses.replace(problem, labels=labels))


@pytest.fixture(scope="module")
def found() -> Learned:
    return learn(problem_with(PARTNER, 1.5), METHOD)


@pytest.mark.ci
def test_edges_that_tell_classes_are_certain_and_the_only_ones(found):
    problem = found.problem
    graph = problem.graph.toarray()
    np.testing.assert_allclose(found.edges.to_csr().toarray(), CERTAIN * graph, rtol=1e-5)
    np.testing.assert_allclose(found.start.toarray(), CERTAIN * graph, rtol=1e-5)
    assert found.params[COEFFICIENTS].tolist() == [BESIDE_GRAPH, 1, 1]
    assert float(found.params[AGREEMENT]) == 0
    assert len(found.history) == 2, "one iteration, then the refit"
    assert found.method == METHOD


@pytest.mark.ci
def test_the_frozen_control_asks_the_same_question(found):
    """Learning the graph took no part, so it is credited with nothing."""
    control = learn(found.problem, METHOD.frozen())
    assert MoreMembers.among(control.params) == MoreMembers(sage=True, forest=True, deep=True)
    assert np.array_equal(control.probabilities, found.probabilities)


def test_a_reader_is_told_that_the_edges_stayed(found, tmp_path):
    sentence = "the given edges were left as they are: they join unlike nodes and tell classes"
    found.save(tmp_path)
    for result in (found, Learned.load(tmp_path)):
        assert result.facts()["expected edges"].endswith(f" after it; {sentence}")
        summary = result.as_run().summary
        assert verdict(summary).startswith(f"T{sentence[1:]}. Accuracy ")
    learned = dataclasses.replace(found, left_as_given=False)
    assert learned.facts()["expected edges"].endswith(" after it")
    assert verdict(learned.as_run().summary).startswith("Accuracy ")


@pytest.mark.ci
def test_so_it_is_where_a_part_of_the_graph_learns():
    """The deep SAGE of the part predicts all nodes, on the given edges alone."""
    problem = problem_with(PARTNER, 1.5)
    with pytest.warns(UserWarning, match="trained on 200 of 240 nodes"):
        learned = learn(problem, dataclasses.replace(METHOD, max_nodes=200))
    graph = problem.graph.toarray()
    np.testing.assert_allclose(learned.edges.to_csr().toarray(), CERTAIN * graph, rtol=1e-5)
    assert MoreMembers.among(learned.params) == MoreMembers(sage=True, forest=True, deep=True)
    test = problem.split.test
    assert (learned.probabilities.argmax(1) == problem.labels)[test].mean() > 0.9


def test_without_the_rule_edges_move_and_predictions_are_no_better(found, monkeypatch):
    problem = found.problem
    monkeypatch.setattr(committee_run, "informative_unlike", lambda *_: False)
    moved = learn(problem, METHOD)
    assert moved.params[COEFFICIENTS].tolist() != [BESIDE_GRAPH, 1, 1]
    assert len(moved.history) == 1 + METHOD.max_iter
    assert MoreMembers.among(moved.params) == MoreMembers(sage=True, forest=True)
    test = problem.split.test
    right, right_moved = (
        (result.probabilities.argmax(1) == problem.labels)[test].mean() for result in (found, moved)
    )
    assert right >= right_moved


def test_a_deep_sage_is_a_member_and_has_a_weight(found):
    assert MoreMembers.among(found.params) == MoreMembers(sage=True, forest=True, deep=True)
    members = members_say(found)
    weights, predictions = zip(*members.values(), strict=True)
    assert len(members) == 10
    assert sum(weights) == pytest.approx(1, rel=1e-5)
    assert members["deep SAGE"][0] > 0
    test, truth = found.problem.split.test, found.problem.labels
    assert (members["deep SAGE"][1].argmax(1) == truth)[test].mean() > 0.7
    mean = sum(w * p for w, p in zip(weights, predictions, strict=True))
    np.testing.assert_allclose(mean[test], found.probabilities[test], atol=0.02)  # 4 draws


def test_a_run_read_from_a_folder_has_the_same_members_and_predictions(found, tmp_path):
    new = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    found.save(tmp_path)
    read = Learned.load(tmp_path)
    assert read.problem.graph is None, "the folder has no graph, so the members tell"
    np.testing.assert_allclose(predict_new(read, new), predict_new(found, new), atol=1e-5)
    assert {name: weight for name, (weight, _) in members_say(read).items()} == pytest.approx(
        {name: weight for name, (weight, _) in members_say(found).items()}
    )


def test_without_a_graph_there_are_no_members_for_edges_between_unlike_nodes():
    """Then the committee has the members, and so the numbers, that it had before they came."""
    problem = dataclasses.replace(problem_with(PARTNER, 1.5), graph=None)
    prepared = prepare(METHOD, problem, RunContext())
    assert len(prepared.ensemble.kinds) == KINDS_OF_MEASUREMENTS
    assert not any(isinstance(kind, SAGE | DeepSAGE) for kind in prepared.ensemble.kinds)
