"""What the default method makes of features: words, units, metrics, learned directions."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds._types import Split
from lds.edges.logistic import (
    starting_edges,
)
from lds.graphs.similarity import Similarity
from lds.nn.preparation import FeaturePreparation
from lds.nn.whitening import whitening
from lds.structure.context import RunContext
from lds.structure.learn import learn
from lds.structure.methods.committee_preparation import WHITENING, prepare
from lds.structure.methods.committee_run import restarts_on, starting_distribution
from lds.structure.problem import Problem
from tests.structure.blobs import blobs, in_units, words
from tests.structure.same import assert_same
from tests.structure.small import ALONE, DEFAULT

CPU = torch.device("cpu")


def fit(method=DEFAULT, problem=None, **options):
    return learn(blobs() if problem is None else problem, method, **options)


def with_features(problem: Problem, features) -> Problem:
    return Problem(features, problem.labels, problem.split, problem.graph)


@pytest.fixture(scope="module")
def words_fit():
    return fit(problem=words())


@pytest.mark.ci
def test_counts_in_another_unit_a_row_are_the_same_words(words_fit):
    """Twice as long a document: rows have length 1 for the networks, and cosine for the edges."""
    problem = words()
    times = sp.diags_array(np.where(np.arange(60) % 2, 2.0, 1.0))
    longer = sp.csr_array(times @ problem.features).astype(np.float32)
    assert_same(fit(problem=with_features(problem, longer)), words_fit)


@pytest.mark.ci
def test_the_unit_of_a_column_that_differs_from_the_others_does_not_matter():
    problem = in_units()
    further = problem.features * np.array([1, 1, 8, 1, 1], dtype=np.float32)
    one, other = fit(problem=problem), fit(problem=with_features(problem, further))
    np.testing.assert_allclose(one.start.toarray(), other.start.toarray(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-2)


@pytest.mark.ci
def test_integer_counts_are_words_too():
    problem = words()
    whole, floats = (
        fit(problem=with_features(problem, problem.features.astype(kind)))
        for kind in (np.int64, np.float64)
    )
    assert np.array_equal(whole.probabilities, floats.probabilities)


def test_sparse_measurements_are_no_words(default_fit):
    problem = blobs()
    result = fit(problem=with_features(problem, sp.csr_array(problem.features)))
    np.testing.assert_allclose(
        result.start.toarray(), default_fit.start.toarray(), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(result.probabilities, default_fit.probabilities, atol=1e-2)


@pytest.mark.ci
def test_measurements_alone_are_seen_in_a_metric_of_training_and_validation_labels(
    alone_fit, words_fit
):
    def expected(problem):
        inputs = FeaturePreparation(problem.features).transform(problem.features)
        return whitening(inputs, problem.labels, problem.labelled)

    assert torch.equal(alone_fit.params[WHITENING], expected(blobs()))
    units = in_units()
    assert torch.equal(fit(ALONE, units).params[WHITENING], expected(units))
    assert WHITENING not in words_fit.params
    own = dataclasses.replace(ALONE, metric="cityblock")
    assert WHITENING not in fit(own).params, "a metric of the user's own is of the features"


@pytest.mark.ci
def test_a_metric_may_be_named(words_fit):
    """ "auto" on words is the cosine; a named metric is that of features as they come."""
    by_name = fit(dataclasses.replace(DEFAULT, metric="cosine"), words())
    assert np.array_equal(by_name.probabilities, words_fit.probabilities)
    assert repr(by_name.history) == repr(words_fit.history)
    problem = blobs()
    named, other = (
        dataclasses.replace(DEFAULT, metric=name) for name in ("euclidean", "manhattan")
    )
    assert not np.array_equal(fit(other).probabilities, fit(named).probabilities)
    for method in (named, other):
        edges = starting_distribution(
            problem, prepare(method, problem, RunContext(dtype=torch.float64))
        )
        inputs = FeaturePreparation(problem.features).transform(problem.features)
        similar = Similarity(inputs, method.metric, 5)
        direct = starting_edges(similar, None, 12, torch.float64, CPU)
        assert torch.equal(edges.probs, direct.probs)


@pytest.mark.ci
def test_a_learned_metric_finds_the_direction_in_which_classes_differ():
    """Two of three directions are noise of more variance; features come as they are."""
    rng, n = np.random.default_rng(0), 300
    y = np.arange(n) % 2
    x = rng.standard_normal((n, 4)) * [3, 2.5, 0.3, 0.1]
    x[:, 2] += 2 * y
    split = Split(np.arange(100), np.arange(100, 200), np.arange(200, 220), np.arange(220, n))
    method = dataclasses.replace(
        ALONE,
        metric="euclidean",
        metric_rank=3,
        max_inner=60,
        inner_patience=60,
        inner_lr=0.05,
    )
    problem = Problem(x, y, split)
    prepared = prepare(method, problem, RunContext())
    edges = starting_distribution(problem, prepared)
    restarts = restarts_on(edges, method, problem, prepared, seed=0)
    for _ in range(4):
        restarts.iterate()
    learned = dict(zip(edges.names, edges.coefficients.tolist(), strict=True))
    assert learned["direction 2"] > 0.3
    assert learned["direction 2"] > max(learned["direction 0"], learned["direction 1"]) + 0.3


def test_a_rank_that_features_do_not_have_is_refused():
    with pytest.raises(ValueError, match=r"^metric_rank must be below .*, \(60, 5\), got 5$"):
        fit(dataclasses.replace(DEFAULT, metric_rank=5))
