"""Threads of one process, and settings of torch and scikit-learn around a fit, change nothing."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch
from sklearn import config_context, get_config

from lds.structure.learn import learn
from lds.structure.methods.views import Views
from lds.structure.surroundings import own_settings
from tests.structure import small
from tests.structure.blobs import blobs

METHODS = {"thesis": small.THESIS, "default": small.DEFAULT, "views": Views(max_iter=2, n_trees=20)}
NEW = blobs(12, seed=1).features


@pytest.fixture(scope="module", params=METHODS)
def fitted(request, thesis_fit, default_fit):
    """A method, its fit of `blobs`, and what that predicts for new rows."""
    method = METHODS[request.param]
    fits = {"thesis": thesis_fit, "default": default_fit}
    found = fits.get(request.param) or learn(blobs(), method)
    return method, found, found.predict_new(NEW)


@contextmanager
def default_dtype(dtype):
    outside = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(outside)


def assert_same(found, predicted, expected) -> None:
    _, fit, of_new = expected
    assert np.array_equal(found.probabilities, fit.probabilities)
    assert all(torch.equal(found.params[name], leaf) for name, leaf in fit.params.items())
    assert repr(found.history) == repr(fit.history), "a loss may be nan, which equals nothing"
    assert np.array_equal(predicted, of_new)


@pytest.mark.ci
def test_settings_of_the_caller_change_nothing(fitted):
    with ExitStack() as settings:
        for each in (
            default_dtype(torch.float64),
            torch.device("meta"),
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16),
            config_context(transform_output="pandas"),
        ):
            settings.enter_context(each)
        found = learn(blobs(), fitted[0])
        predicted = found.predict_new(NEW)
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_default_device() == torch.device("meta")
        assert get_config()["transform_output"] == "pandas"
    assert_same(found, predicted, fitted)


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_gradients_are_there_whatever_is_outside(around):
    weight = torch.ones(2, requires_grad=True)
    with around():
        with own_settings():
            assert (2 * weight).requires_grad
        assert not torch.is_grad_enabled()


@pytest.mark.ci
def test_fits_in_threads_do_not_meet(fitted):
    def fit(_):
        found = learn(blobs(), fitted[0])
        return found, found.predict_new(NEW)

    with ThreadPoolExecutor(2) as threads:
        for found, predicted in threads.map(fit, range(2)):
            assert_same(found, predicted, fitted)


def test_predictions_in_threads_do_not_meet(fitted):
    _, found, expected = fitted
    with ThreadPoolExecutor(4) as threads:
        for predicted in threads.map(lambda _: found.predict_new(NEW), range(12)):
            assert np.array_equal(predicted, expected)
