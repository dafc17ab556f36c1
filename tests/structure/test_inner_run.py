"""One inner run: when it stops, what a hypergradient is taken of, and when."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import lds.structure.inner_run
from lds.graphs.knn import knn_adjacency
from lds.structure.context import RunContext
from lds.structure.inner_run import SequentialInnerRun
from lds.structure.learn import learn
from lds.structure.learn_many import Run, learn_many
from lds.structure.methods.committee_preparation import prepare
from lds.structure.methods.committee_run import restarts_on, starting_distribution
from lds.structure.problem import Problem
from tests.structure.blobs import blobs
from tests.structure.small import DEFAULT, THESIS

CPU = torch.device("cpu")


def fit(method=THESIS, problem=None):
    return learn(blobs() if problem is None else problem, method)


def test_inner_run_stops_after_p_steps_without_progress_by_the_tolerance():
    # No loss falls below a tenth of the best: every step after the first is without progress.
    method = dataclasses.replace(THESIS, inner_tol=9.0, inner_patience=7, max_inner=100)
    assert [record.inner_steps for record in fit(method).history] == [8, 8, 8]
    eager = dataclasses.replace(THESIS, inner_tol=0.0, inner_patience=50, max_inner=30)
    assert [record.inner_steps for record in fit(eager).history] == [30, 30, 30]


def test_alternating_minimisation_uses_the_direct_term_alone():
    method = dataclasses.replace(THESIS, truncation=0, max_inner=4, max_iter=1)
    result = fit(method)
    start = knn_adjacency(blobs().features, 3, "cosine")
    assert abs(result.edges.to_csr() - start).max() > 0
    # Through w_t a hypergradient depends on the training labels; the direct term at fresh weights
    # and one inner step of lr -> 0 does not.
    problem = blobs()
    still = dataclasses.replace(method, inner_lr=1e-30, max_inner=1)
    train, labels = problem.split.train, problem.labels.copy()
    labels[train] = (labels[train] + 1) % 3
    swapped = Problem(problem.features, labels, problem.split)
    first, second = fit(still), fit(still, swapped)
    assert torch.equal(first.edges.probs, second.edges.probs)
    through = dataclasses.replace(still, inner_lr=0.01, truncation=1)
    first, second = fit(through), fit(through, swapped)
    assert not torch.equal(first.edges.probs, second.edges.probs)


def test_learning_rate_can_be_learned_with_theta(thesis_fit):
    fixed, learned = thesis_fit, fit(dataclasses.replace(THESIS, learn_inner_lr=0.1))
    assert {record.inner_lr for record in fixed.history} == {fixed.history[0].inner_lr}
    assert math.isclose(fixed.history[0].inner_lr, 0.01, rel_tol=1e-6)
    rates = [record.inner_lr for record in learned.history]
    assert len(set(rates)) > 1
    assert all(rate > 0 for rate in rates)


# Hypergradients once the inner training has settled


def hypersteps(monkeypatch, settle: float, truncation: int, **options):
    """Inner losses of one inner run, the steps of its hypergradients, its result, and θ."""
    losses, taken = [], []
    finite, hyperstep = lds.structure.inner_run.finite, SequentialInnerRun._hyperstep

    def noted(value, name, iteration, t):
        found = finite(value, name, iteration, t)
        if name == "inner loss":
            losses.append(found)
        return found

    def stepped(self, dynamics, objective, method, memory, state, iteration, t):
        taken.append(t)
        return hyperstep(self, dynamics, objective, method, memory, state, iteration, t)

    with monkeypatch.context() as patch:
        patch.setattr(lds.structure.inner_run, "finite", noted)
        patch.setattr(SequentialInnerRun, "_hyperstep", stepped)
        method = dataclasses.replace(
            DEFAULT,
            settle=settle,
            truncation=truncation,
            max_inner=60,
            inner_patience=60,
            **options,
        )
        problem = blobs()
        prepared = prepare(method, problem, RunContext())
        edges = starting_distribution(problem, prepared)
        record = restarts_on(edges, method, problem, prepared, seed=0).iterate()
    return losses, taken, record, edges


@pytest.mark.parametrize("settle", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("truncation", [3, 5])
def test_hypergradients_are_taken_once_the_best_loss_has_settled(monkeypatch, settle, truncation):
    losses, taken, *_ = hypersteps(monkeypatch, settle, truncation, inner_lr=0.05, dropout=0.0)
    ends = range(truncation, len(losses) + 1, truncation)
    best = [min(losses[:t]) for t in ends]
    first = next(k for k in range(1, len(best)) if best[k] > best[k - 1] * (1 - settle))
    assert taken == list(ends)[first:]
    assert first > 1, "the loss must fall at first"


@pytest.mark.ci
def test_where_it_does_not_settle_the_last_window_has_a_hypergradient(monkeypatch):
    losses, taken, record, edges = hypersteps(monkeypatch, 1e-9, 20, dropout=0.0)
    assert losses[19] > losses[39] > losses[59]
    assert taken == [60]
    assert edges.coefficients.tolist() != [0, 1]
    assert math.isfinite(record.outer_loss)
    assert hypersteps(monkeypatch, 1e-9, 25, dropout=0.0)[1] == [50], "the last whole window"
    assert hypersteps(monkeypatch, 0.0, 20)[1] == [20, 40, 60], "0 takes them from the first step"


def test_an_inner_run_is_a_function_of_seed_iteration_and_rows():
    problem = blobs()
    rows = (problem.split.train, problem.split.validation)

    def run(iteration, train, validation):
        prepared = prepare(DEFAULT, problem, RunContext())
        edges = starting_distribution(problem, prepared)
        inner_run = restarts_on(edges, DEFAULT, problem, prepared, seed=0)._inner_run
        return inner_run(iteration, train, validation), edges.coefficients

    first, moved = run(0, *rows)
    again, moved_again = run(0, *rows)
    assert torch.equal(moved, moved_again)
    assert (first.inner_loss, first.outer_loss) == (again.inner_loss, again.outer_loss)
    assert all(torch.equal(first.params[name], leaf) for name, leaf in again.params.items())
    assert run(1, *rows)[0].inner_loss != first.inner_loss
    assert run(0, *rows[::-1])[0].inner_loss != first.inner_loss
    assert first.n_steps == DEFAULT.max_inner
    assert np.isfinite(first.outer_loss)


@pytest.mark.parametrize("settle", [0.0, 0.5])
def test_patience_leaves_an_inner_run_its_first_hypergradient(settle):
    method = dataclasses.replace(THESIS, inner_tol=9.0, inner_patience=4, max_inner=60)
    found = fit(dataclasses.replace(method, truncation=20, settle=settle))
    steps = [record.inner_steps for record in found.history]
    assert steps == [20, 20, 20] if settle == 0 else set(steps) <= {40, 60}  # once it has settled
    assert all(math.isfinite(record.outer_loss) for record in found.history)
    assert abs(found.edges.to_csr() - found.start).max() > 0


def test_a_batch_leaves_an_inner_run_its_first_hypergradient():
    method = dataclasses.replace(
        THESIS, inner_tol=9.0, inner_patience=4, max_inner=60, truncation=20
    )
    problem = blobs()
    one, other = learn_many([Run(problem, method, seed) for seed in (0, 1)], batch=2)
    assert [record.inner_steps for record in one.history] == [20, 20, 20]
    assert other.expected_edges != other.starting_edges
