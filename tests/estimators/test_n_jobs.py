"""Fits in several processes, and on a cluster, are equal bit for bit to those of one."""

import joblib
import numpy as np
import pytest

from lds import LDSClassifier, ViewsLDSClassifier
from tests.estimators.test_views import QUICK, wine


def fit(n_jobs):
    frame, y, _ = wine()
    return ViewsLDSClassifier(**QUICK, n_jobs=n_jobs).fit(frame[:150], y[:150])


def assert_same(found, expected):
    assert np.array_equal(found.label_distributions_, expected.label_distributions_)
    assert found.view_coefficients_ == expected.view_coefficients_
    later = wine()[0][150:] + 0.1
    assert np.array_equal(found.predict_proba(later), expected.predict_proba(later))


@pytest.fixture(scope="module")
def alone():
    return fit(1)


@pytest.mark.ci
def test_two_processes_come_to_the_same(alone):
    assert_same(fit(2), alone)


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore")  # Dask's own
def test_a_cluster_of_two_dask_workers_comes_to_the_same(alone, dask_client):
    from distributed import get_task_stream

    with get_task_stream(dask_client) as stream, joblib.parallel_config(backend="dask"):
        workers = dask_client.scheduler_info(n_workers=-1)["workers"]
        found = fit(None)
    assert_same(found, alone)
    assert {task["worker"] for task in stream.data} == set(workers), "both workers had work"


def test_a_number_of_processes_that_cannot_be_is_refused_before_the_fit():
    frame, y, _ = wine()
    with pytest.raises(ValueError, match="n_jobs must be at least 1"):
        LDSClassifier(n_jobs=0).fit(frame, y)
