"""Fits in several processes, and on a cluster, are equal bit for bit to those of one."""

import joblib
import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from torch_geometric.data import Data

from lds import LDSClassifier, ViewsLDSClassifier, learn_structure
from lds.structure.methods import committee_members
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


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore:.*one direction")
@pytest.mark.parametrize(
    "stack_bytes", [0, committee_members.STACK_BYTES], ids=["apart", "side by side"]
)
def test_networks_of_a_committee_in_two_processes_come_to_the_same(stack_bytes, monkeypatch):
    """With a graph: members of every turn, and their weights; the third turn has a teacher."""
    monkeypatch.setattr(committee_members, "STACK_BYTES", stack_bytes)
    x, truth = load_wine(return_X_y=True)
    rows = np.random.default_rng(0).permutation(178)
    data = Data(
        x=torch.from_numpy(x),
        y=torch.from_numpy(truth),
        edge_index=torch.from_numpy(np.stack([rows, np.roll(rows, 1)])),
        train_mask=torch.from_numpy(rows[:24]),
        val_mask=torch.from_numpy(rows[24:48]),
    )
    few = {"max_iter": 1, "max_inner": 10, "refit_steps": 10, "hidden_channels": 8, "refits": 2}
    told: dict[int | None, list[tuple[int, int]]] = {1: [], 2: [], None: []}

    def fit(n_jobs):
        note = told[n_jobs].append
        return learn_structure(
            data, n_jobs=n_jobs, on_member=lambda *done: note(done), **few
        ).learned

    one, two, plain = (fit(n) for n in told)
    for found in (two, plain):  # one thread in the tests, so that `plain` is the same too
        assert np.array_equal(found.probabilities, one.probabilities)
        assert all(torch.equal(found.params[name], leaf) for name, leaf in one.params.items())
    n_members = told[None][-1][1]
    assert told[2] == [(0, n_members), (n_members // 2, n_members), (n_members,) * 2]
    first = 1 if stack_bytes == 0 else 5  # networks that are trained at once
    turn = range(first, n_members // 2 + 1)
    counts = [0, *turn, *(n_members // 2 + k for k in turn)]
    assert told[None] == told[1] == [(k, n_members) for k in counts]
