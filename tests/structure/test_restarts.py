"""The outer loop: scores, patience, step sizes, groups of pairs, and how a run ends."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds.bilevel.checks import NonFiniteError
from lds.graphs.knn import knn_adjacency
from lds.structure.context import RunContext
from lds.structure.inner_run import SequentialInnerRun
from lds.structure.learn import learn
from lds.structure.methods.thesis_run import restarts_of, starting_graph
from lds.structure.restarts import Best
from tests.structure.blobs import blobs
from tests.structure.small import THESIS


def fit(method=THESIS, problem=None, **options):
    return learn(blobs() if problem is None else problem, method, **options)


def restarts(method=THESIS, seed=0):
    problem = blobs()
    start = starting_graph(method, problem)
    return restarts_of(method, problem, start, RunContext(seed))


def test_outer_patience_and_step_decay():
    method = dataclasses.replace(
        THESIS, max_inner=5, max_iter=30, patience=2, outer_lr=0.5, outer_lr_decay=0.5
    )
    result = fit(method)
    assert result.reason == "patience"
    assert len(result.history) - 1 - result.best == 2
    assert [r.outer_lr for r in result.history] == [
        0.5**k for k in range(1, len(result.history) + 1)
    ]
    scores = [(r.stopping_accuracy, -r.stopping_loss) for r in result.history]
    assert result.best == max(range(len(scores)), key=scores.__getitem__)


def test_frozen_control_takes_the_same_steps_until_theta_first_moves():
    # One window per inner run: θ moves only after the last inner step, so the first outer iteration
    # of both takes the same inner steps on the same draws.
    method = dataclasses.replace(THESIS, max_inner=5, max_iter=2)
    moving, frozen = fit(method), fit(method.frozen())
    assert moving.history[0].inner_loss == frozen.history[0].inner_loss
    assert moving.history[0].outer_loss == frozen.history[0].outer_loss
    assert moving.history[1].inner_loss != frozen.history[1].inner_loss
    start = knn_adjacency(blobs().features, 3, "cosine")
    assert abs(frozen.edges.to_csr() - start).max() == 0


def test_interrupt_returns_the_best_so_far():
    def stop(record):
        if record.iteration == 1:
            raise KeyboardInterrupt

    result = fit(on_iteration=stop)
    assert result.reason == "interrupted"
    assert len(result.history) == 2
    whole = fit(dataclasses.replace(THESIS, max_iter=2))
    assert torch.equal(result.edges.probs, whole.edges.probs)


def test_an_interrupt_before_the_first_outer_iteration_ended_is_raised(monkeypatch):
    def stop(self, iteration, train, validation):
        raise KeyboardInterrupt

    monkeypatch.setattr(SequentialInnerRun, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        fit()


def test_non_finite_loss_stops_with_step_and_cause_and_keeps_the_last_good_state(monkeypatch):
    inner_run = SequentialInnerRun.__call__

    def poisoned(self, iteration, train, validation):
        if iteration == 2:
            self.variables.edges.probs.zero_()
            self.variables.log_lr = torch.tensor(float("nan"))
        return inner_run(self, iteration, train, validation)

    monkeypatch.setattr(SequentialInnerRun, "__call__", poisoned)
    result = fit()
    assert result.reason.startswith(
        "non-finite: inner loss is nan at outer iteration 2, inner step 1"
    )
    assert len(result.history) == 2
    assert np.isfinite(result.probabilities).all()
    with pytest.raises(NonFiniteError, match="at outer iteration 0"):
        fit(dataclasses.replace(THESIS, inner_lr=1e30))


def test_the_history_has_the_mean_probability_of_groups_and_held_out_edges_change_nothing(
    thesis_fit,
):
    upper = np.zeros((60, 60), dtype=np.float32)
    upper[40, 43] = upper[41, 44] = 1
    watched = fit(problem=blobs(held_out=sp.csr_array(upper + upper.T)))
    assert torch.equal(thesis_fit.edges.probs, watched.edges.probs)
    last = watched.history[watched.best].group_probs
    dense = watched.edges.to_csr().toarray()
    assert last["held_out"] == pytest.approx((dense[40, 43] + dense[41, 44]) / 2, rel=1e-5)
    assert last["same"] > last["different"], "these classes lie far apart"
    assert watched.hidden.shape == (60, THESIS.hidden_channels)
    assert (watched.hidden >= 0).all()


def test_restarts_go_on_from_a_state_to_the_same_bits():
    whole, first, second = restarts(), restarts(), restarts()
    for _ in range(3):
        whole.iterate()
    for _ in range(2):
        first.iterate()
    second.restore(first.state())
    assert second.history == first.history
    second.iterate()
    assert second.history == whole.history
    assert torch.equal(second.variables.edges.probs, whole.variables.edges.probs)
    assert second.variables.outer_lr == whole.variables.outer_lr
    assert second.best.iteration == whole.best.iteration
    (params, edges), (expected, of_whole) = second.best.found(), whole.best.found()
    assert torch.equal(edges.probs, of_whole.probs)
    assert all(torch.equal(params[name], leaf) for name, leaf in expected.items())


def test_there_is_no_best_before_the_first_iteration():
    assert restarts().ended() is None
    with pytest.raises(RuntimeError, match="no outer iteration has ended"):
        Best().found()
