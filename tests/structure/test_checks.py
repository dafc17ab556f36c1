"""Warnings of labelled rows that are copies: when the scores of a fit are too high for it."""

import dataclasses
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from lds._types import Split
from lds.structure.checks import warn_of_copies
from lds.structure.learn import learn
from lds.structure.methods.views import Views
from lds.structure.problem import Problem
from tests.structure.blobs import path
from tests.structure.small import ALONE

TOLD = "16 of 24 labelled rows are copies of another, class and all"


def problem(n_copied=8, n_unlabelled=40, form=np.asarray, n_equal=0, **more) -> Problem:
    """24 labelled rows, so many of which are there twice, and others, so many equal to these."""
    rng = np.random.default_rng(0)
    once = rng.standard_normal((24 - n_copied, 4))
    others = rng.standard_normal((n_unlabelled, 4))
    others[:n_equal] = once[0]
    labels = np.arange(24 - n_copied) % 2
    y = np.concatenate([labels, labels[:n_copied], np.zeros(n_unlabelled, int)])
    x = np.concatenate([once, once[:n_copied], others])
    roles = np.split(np.arange(len(x)), [8, 16, 24])
    return Problem(form(x), y, Split(*roles, dealt=True), **more)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_copies_among_the_labelled_rows_are_counted(form):
    with pytest.warns(UserWarning, match=TOLD):
        warn_of_copies(problem(form=form))
    with pytest.warns(UserWarning, match=TOLD):
        warn_of_copies(problem(n_unlabelled=0))


@pytest.mark.parametrize(
    "given",
    [
        problem(n_copied=0),
        problem(n_copied=1),  # 8 % of the labelled rows
        problem(n_equal=14),  # and a third of the others is equal to one of these
        problem(n_copied=6, n_unlabelled=0),  # half of them
        problem(graph=path(64)),  # equal nodes have other edges
    ],
    ids=["none", "few", "as many of the others", "half of all", "on a graph"],
)
def test_copies_that_are_to_be_expected_are_not(given):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_copies(given)


def test_where_all_rows_are_equal_none_is_a_copy():
    given = problem()
    warn_of_copies(dataclasses.replace(given, features=np.ones((64, 2))))


def test_equal_rows_of_other_classes_are_no_copies():
    given = problem()
    labels = given.labels.copy()
    labels[16:24] = 1 - labels[:8]
    warn_of_copies(dataclasses.replace(given, labels=labels))


@pytest.mark.parametrize("method", [ALONE, Views(n_neighbors=3, n_trees=5, max_iter=1)])
def test_a_fit_warns_once_where_it_deals_the_labels(method):
    given = problem()
    with pytest.warns(UserWarning, match="copies of another") as found:
        learn(given, method)
    assert len(found) == 1
    split = dataclasses.replace(given.split, dealt=False)
    given = dataclasses.replace(given, split=split)
    if method.reads_roles:
        learn(given, method)
    else:
        with pytest.warns(UserWarning, match="copies of another"):
            learn(given, method)
