"""A warning is given once for a fit."""

import warnings

import numpy as np
import pytest

from lds._jobs import _one_thread, _results, one_thread_each
from lds._types import Split
from lds._warn_once import once
from lds.structure.learn import learn
from lds.structure.methods import views_preparation
from lds.structure.methods.views import Views
from lds.structure.problem import Problem


def fold(k):
    with warnings.catch_warnings():  # as a fold that silences others: what was shown is forgotten
        warnings.simplefilter("ignore", DeprecationWarning)
    warnings.warn(f"fold {k} did not converge", RuntimeWarning, stacklevel=1)
    return k


def fit(*folds):
    with once():
        for k in folds:
            fold(k)
        with once():  # a control within a fit
            fold(9)


def test_a_warning_that_folds_repeat_is_given_once():
    with pytest.warns(RuntimeWarning) as found:
        fit(0, 1, 2)
    assert [str(each.message) for each in found] == ["fold 0 did not converge"]
    with pytest.warns(RuntimeWarning, match="fold 4"):  # another fit
        fit(4)
    assert warnings.showwarning.__module__ != "lds._warn_once"


@pytest.mark.filterwarnings("error")
def test_filters_are_those_of_the_caller():
    with pytest.raises(RuntimeWarning):
        fit(0)


@pytest.mark.filterwarnings("always")
def test_warnings_of_other_processes_are_raised_again():
    done = [_one_thread(-1, fold, k) for k in range(3)]  # as where the process is another
    with pytest.warns(RuntimeWarning) as found, once():
        assert _results(done) == [0, 1, 2]
    assert len(found) == 1


@pytest.mark.ci
def test_warnings_of_other_processes_are_given_too():
    with pytest.warns(RuntimeWarning) as found, once():
        assert one_thread_each(fold, [(0,), (1,), (2,)], n_jobs=2) == [0, 1, 2]
    assert len(found) == 1


def test_a_fit_whose_folds_warn_does_so_once(monkeypatch):
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    x = rng.standard_normal((60, 4)) + 3 * np.eye(4)[labels]
    split = Split(*(np.arange(8 * k, 8 * k + 8) for k in range(3)), np.arange(24, 60))
    plain, calls = views_preparation.fitted, []

    def warning(*arguments):
        calls.append(fold(len(calls)))
        return plain(*arguments)

    monkeypatch.setattr(views_preparation, "fitted", warning)
    method = Views(n_neighbors=5, n_trees=4, n_hops=3, max_iter=1)
    with pytest.warns(RuntimeWarning) as found:
        learn(Problem(x, labels, split), method, seed=0)
    assert len(calls) > 2
    assert [str(each.message) for each in found] == ["fold 0 did not converge"]
