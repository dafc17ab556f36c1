"""When edges between unlike nodes are left as they are: cases in which the answer is known."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds._types import Split
from lds.structure.learn import learn
from lds.structure.methods import committee_run, committee_unlike
from lds.structure.methods.committee_run import COEFFICIENTS, prepare, starting_distribution
from lds.structure.methods.committee_unlike import informative_unlike
from lds.structure.problem import Problem
from tests.structure.small import DEFAULT

N = 240
METHOD = dataclasses.replace(DEFAULT, hidden_channels=16, refit_steps=100)


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
    prepared = prepare(method, problem, torch.float32, torch.device("cpu"))
    edges = starting_distribution(problem, prepared)
    before = edges.coefficients.clone()
    found = informative_unlike(problem, prepared.task, prepared.ensemble, edges, method, 0)
    assert torch.equal(edges.coefficients, before)
    return found


def test_neighbours_of_another_class_that_tell_the_class():
    assert answer(problem_with(PARTNER, 1.5))


def test_random_edges_tell_nothing():
    assert not answer(problem_with(ANY, 3.0))


@pytest.mark.parametrize("case", ["like", "no graph", "not updated", "denoising", "no known edge"])
def test_the_answer_is_no_before_anything_is_trained(case, monkeypatch):
    monkeypatch.setattr(committee_unlike, "train_member", None)
    problem, method = problem_with(PARTNER, 1.5), METHOD
    if case == "like":
        problem = problem_with(LIKE, 1.5)
    elif case == "no graph":
        problem = dataclasses.replace(problem, graph=None)
    elif case == "not updated":
        method = METHOD.frozen()
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


def test_edges_that_tell_classes_stay_as_they_were(monkeypatch):
    problem = problem_with(PARTNER, 1.5)
    found = learn(problem, METHOD)
    assert found.params[COEFFICIENTS].tolist() == [-4, 1, 1]
    assert len(found.history) == 2, "one iteration, then the refit"
    assert found.method == METHOD
    monkeypatch.setattr(committee_run, "informative_unlike", lambda *_: False)
    moved = learn(problem, METHOD)
    assert moved.params[COEFFICIENTS].tolist() != [-4, 1, 1]
    assert len(moved.history) == 1 + METHOD.max_iter
    test = problem.split.test
    right, right_moved = (
        (result.probabilities.argmax(1) == problem.labels)[test].mean() for result in (found, moved)
    )
    assert right >= right_moved
