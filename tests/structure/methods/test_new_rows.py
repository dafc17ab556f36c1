"""How the default method predicts rows that were not in the fit."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.ensemble import ExtraTreesClassifier

from lds._random import mix, replayed
from lds._types import Split
from lds.edges.logistic import MIDDLE_KERNEL, SLOPE
from lds.graphs.similarity import Similarity
from lds.nn.ensemble import LOG_WEIGHTS, default_ensemble
from lds.nn.features import node_features
from lds.nn.new_nodes import NewEdges
from lds.nn.node_forest import N_TREES, SMALLEST
from lds.nn.preparation import FeaturePreparation
from lds.nn.whitening import whitened
from lds.structure.learn import learn
from lds.structure.methods.committee_preparation import WHITENING
from lds.structure.methods.committee_run import AGREEMENT, COEFFICIENTS, predict_new
from lds.structure.methods.views import Views
from lds.structure.problem import Problem
from lds.structure.result import Learned
from lds.structure.seeds import NEW_ROWS
from tests.structure.blobs import around_centres, blobs, in_units, words
from tests.structure.small import ALONE, DEFAULT

NEW = around_centres(6, seed=1)[0]


def test_new_nodes_have_the_edges_of_the_coefficients_and_the_mean_of_the_members(alone_fit):
    """By the formula of the edges, then the members' own way with new nodes, draw by draw.

    Trees that scikit-learn grows from the same seed read the new rows themselves.
    """
    result = dataclasses.replace(alone_fit, seed=3)
    found = predict_new(result, NEW)
    x, metric = result.problem.features, result.params[WHITENING]
    prepared = FeaturePreparation(x)
    x, new = (whitened(prepared.transform(rows), metric) for rows in (x, NEW))
    near, alike = Similarity(x, "auto", 5).of_new(new)
    beta = result.params[COEFFICIENTS].double().numpy()
    logit = beta[0] + beta[1] * SLOPE * (alike - MIDDLE_KERNEL)
    weight = torch.from_numpy(1 / (1 + np.exp(-logit))).float()
    with replayed(mix(3, NEW_ROWS)):
        graph = result.edges.draw(ALONE.n_draws)
    params, rows = result.params, result.problem.labelled
    network = default_ensemble(5, ALONE.hidden_channels, 3, ALONE.dropout)
    forest = len(network.kinds)  # the last of all members
    logits = network.attach(
        params | {LOG_WEIGHTS: params[LOG_WEIGHTS][:forest]},
        node_features(x),
        graph,
        node_features(new),
        NewEdges(torch.from_numpy(near), weight),
    )
    trees = ExtraTreesClassifier(N_TREES, random_state=int(params[f"{forest}.seed"]) % 2**32)
    columns = [np.float32(prepared.transform(rows)) for rows in (result.problem.features, NEW)]
    trees.fit(columns[0][rows], result.problem.labels[rows])
    says = np.maximum(trees.predict_proba(columns[1]), SMALLEST)
    says = torch.from_numpy(says ** float(params[f"{forest}.sharpness"])).float()
    expected = logits.exp().mean(0) + params[LOG_WEIGHTS][forest].exp() * (
        says / says.sum(1, keepdim=True)
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)  # float32


def test_a_forest_sees_what_neighbours_do_not_tell(tmp_path):
    """Neighbours are of all columns; the class is in the size of one of them. Their mean: 0.77."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 6))
    y = (np.abs(x[:, 0]) > 0.67).astype(np.int64)
    split = Split(np.arange(120), np.arange(120, 160), np.arange(160, 200), np.zeros(0, np.int64))
    known = np.where(np.arange(300) < 200, y[:300], -1)
    result = learn(Problem(x[:300], known, split), dataclasses.replace(DEFAULT, refit_steps=30))
    found = result.predict_new(x[300:])
    assert (found.argmax(1) == y[300:]).mean() > 0.85
    result.save(tmp_path)
    np.testing.assert_array_equal(Learned.load(tmp_path).predict_new(x[300:]), found)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (blobs, {}),
        (words, {}),
        (in_units, {}),
        (words, {"agreement": 0.0}),
        (in_units, {"metric_rank": 3}),
    ],
)
def test_rows_of_the_fit_taken_for_new_come_out_as_they_did(kind, options):
    method = dataclasses.replace(DEFAULT, refit_steps=30, **options)
    problem = kind()
    result = learn(problem, method)
    found = predict_new(result, problem.features)
    assert (found.argmax(1).numpy() == result.probabilities.argmax(1)).mean() >= 0.95
    np.testing.assert_allclose(found.sum(1).numpy(), 1, rtol=1e-5)


def test_agreement_that_was_refused_is_not_used_for_new_nodes(default_fit):
    def found(params, method):
        fitted = dataclasses.replace(default_fit, params=params, method=method)
        return predict_new(fitted, NEW)

    refused = default_fit.params | {AGREEMENT: torch.tensor(0.0)}
    half = dataclasses.replace(DEFAULT, agreement=0.5)  # what counts is what was learned with
    assert torch.equal(found(refused, DEFAULT), found(refused, half))
    assert not torch.equal(found(refused, DEFAULT), found(default_fit.params, DEFAULT))


def test_predictions_of_new_nodes_follow_the_seed(default_fit):
    one, again, other = (
        predict_new(dataclasses.replace(default_fit, seed=seed), NEW) for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("method", [DEFAULT, Views(n_neighbors=5, n_trees=5, max_iter=2)])
@pytest.mark.parametrize("shared", [True, False], ids=["two empty", "no word is in two rows"])
def test_rows_of_words_without_a_neighbour_are_predicted(method, shared):
    problem = words()
    x = problem.features.tolil()
    x[[40, 50]] = 0
    x = sp.csr_array(x) if shared else sp.csr_array(np.eye(60))
    result = learn(dataclasses.replace(problem, features=x), method)
    new = result.predict_new(sp.csr_array((2, x.shape[1])))
    for found in (result.probabilities, new):
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    if shared:
        np.testing.assert_allclose(result.probabilities[40], result.probabilities[50], atol=0.05)
