"""A problem is checked once, when it is made."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from lds.structure.problem import Problem
from tests.structure.blobs import around_centres, blobs, path, roles


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y, s: (np.where(x == x.max(), np.nan, x), y, s), "features must be finite"),
        (
            lambda x, y, s: (sp.csr_array(np.where(x == x.max(), np.inf, x)), y, s),
            "features must be finite",
        ),
        (lambda x, y, s: (x[:, 0], y, s), r"must be \(n_nodes, n_features\), got shape \(60,\)"),
        (lambda x, y, s: (x, y[:-1], s), "labels must have one entry a row"),
        (lambda x, y, s: (x, np.zeros_like(y), s), "at least two classes"),
        (lambda x, y, s: (x, np.full_like(y, -1), s), "labelled rows only"),
        (
            lambda x, y, s: (x, y, dataclasses.replace(s, train=s.train[:0])),
            "split.train must have",
        ),
        (
            lambda x, y, s: (x, y, dataclasses.replace(s, stopping=np.array([99]))),
            "must index the 60",
        ),
    ],
)
def test_bad_problems_are_refused_in_one_sentence(change, message):
    with pytest.raises(ValueError, match=message) as error:
        Problem(*change(*around_centres(), roles()))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (sp.csr_array((59, 59)), r"must have shape \(60, 60\)"),
        (sp.csr_array(np.triu(np.ones((60, 60)), 1)), "must be symmetric"),
        (sp.csr_array(2 * np.ones((60, 60))), r"weights in \[0, 1\]"),
        (path(weight=1.5), r"weights in \[0, 1\]"),
    ],
)
def test_bad_graphs_are_refused(start, message):
    with pytest.raises(ValueError, match=message):
        blobs(graph=start)


def test_a_problem_knows_its_nodes_classes_and_labelled_rows():
    problem = blobs()
    assert (problem.n_nodes, problem.n_classes) == (60, 3)
    assert problem.labelled.tolist() == list(range(24))


def test_labels_of_test_rows_may_be_unknown():
    x, y = around_centres()
    y[36:] = -1
    assert Problem(x, y, roles()).n_classes == 3


def test_a_problem_does_not_change():
    problem = blobs()
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.graph = path()
    assert dataclasses.replace(problem, graph=path()).graph.nnz == path().nnz
