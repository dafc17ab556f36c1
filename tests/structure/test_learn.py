"""A run of the thesis's method as a whole: what it learns, and what it follows from."""

import dataclasses

import numpy as np
import pytest
import torch

from lds.graphs.knn import knn_adjacency
from lds.structure.learn import learn
from lds.structure.methods.committee import Committee
from tests.structure.blobs import blobs
from tests.structure.small import DEFAULT, THESIS


def fit(method=THESIS, **options):
    return learn(blobs(), method, **options)


@pytest.mark.ci
def test_separable_classes_are_learned_and_theta_stays_a_distribution():
    problem = blobs()
    result = fit(dataclasses.replace(THESIS, max_inner=60))
    right = result.probabilities.argmax(1) == problem.labels
    assert right[problem.split.test].mean() >= 0.95
    np.testing.assert_allclose(result.probabilities.sum(1), 1, rtol=1e-5)
    theta = result.edges.probs
    assert bool(((theta >= 0) & (theta <= 1)).all())
    start = knn_adjacency(problem.features, 3, "cosine")
    assert abs(result.edges.to_csr() - start).max() > 0, "θ never moved"


def test_the_same_seed_gives_bitwise_the_same_run_and_another_seed_does_not(thesis_fit):
    again = fit()
    assert torch.equal(thesis_fit.edges.probs, again.edges.probs)
    assert all(torch.equal(thesis_fit.params[k], again.params[k]) for k in thesis_fit.params)
    assert np.array_equal(thesis_fit.probabilities, again.probabilities)
    assert thesis_fit.history == again.history
    other = fit(seed=1)
    assert not torch.equal(thesis_fit.edges.probs, other.edges.probs)
    assert (thesis_fit.seed, other.seed) == (0, 1)


def test_the_run_leaves_the_global_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fit()
    assert torch.equal(torch.rand(4), expected)


def test_without_a_method_the_default_learns(monkeypatch):
    class ReachedError(Exception):
        pass

    def prepare(method, *_):
        assert method == Committee()
        raise ReachedError

    monkeypatch.setattr("lds.structure.methods.committee_run.prepare", prepare)
    with pytest.raises(ReachedError):
        learn(blobs())


@pytest.mark.parametrize("method", [THESIS, DEFAULT], ids=["thesis", "default"])
def test_what_is_no_seed_is_refused(method):
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        fit(method, seed=-1)
    for seed in (True, 1.5, None):
        with pytest.raises(TypeError, match=f"seed must be an integer, got {seed}"):
            fit(method, seed=seed)


@pytest.mark.parametrize("method", [THESIS, DEFAULT], ids=["thesis", "default"])
def test_resume_needs_a_folder(method):
    with pytest.raises(ValueError, match="resume=True needs checkpoint="):
        fit(method, resume=True)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="device must be one torch knows and has, got 'abacus'"):
        fit(device="abacus")
