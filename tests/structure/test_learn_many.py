"""Runs in one batch against `learn`, run by run: draws, hypergradients, stopping, failures."""

import dataclasses

import numpy as np
import psutil
import pytest
import scipy.sparse as sp
import torch

from lds.bilevel.checks import NonFiniteError
from lds.edges.free import FreeEdges
from lds.graphs.product import FactoredGradient
from lds.structure.learn_many import learn_many
from lds.structure.methods.thesis import BATCH_ALIKE, BATCH_NEEDS, Thesis
from lds.structure.problem import Problem
from lds.structure.side_by_side.batch import Batch
from lds.structure.side_by_side.edges import BatchedAllPairs, BatchedLists
from tests.structure.varied_runs import (
    LABELS,
    N,
    alone,
    assert_same_run,
    changed,
    features,
    run_on,
    varied,
    varied_alone,
)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("support", "sparse_features", "batch"),
    [("all", False, None), ("sparse", True, 2)],
)
def test_every_run_of_a_batch_is_the_run_alone(support, sparse_features, batch):
    runs, seen = varied(features(sparse_features), support=support), []
    results = learn_many(
        runs,
        batch=batch,
        dtype=torch.float64,
        on_iteration=lambda index, record: seen.append((index, record)),
    )
    assert len({record.inner_steps for _, record in seen}) > 3, "they never went apart"
    for index, result in enumerate(results):
        assert_same_run(result, varied_alone(index, sparse_features, support))
        assert [record for k, record in seen if k == index] == result.history


@pytest.mark.parametrize(
    "options",
    [
        {"truncation": 0, "max_inner": 12},
        {"truncation": 1, "max_inner": 8},
        {"update_edges": False},
        {"support": "auto"},
        {"support": "sparse", "grow_every": 0},
        {"hidden_channels": 1},
    ],
)
def test_so_it_is_with_other_options(options):
    runs = varied(features(), **options)[:2]
    for run, result in zip(runs, learn_many(runs, dtype=torch.float64), strict=True):
        assert_same_run(result, alone(run, dtype=torch.float64))


@pytest.mark.parametrize("support", ["all", "sparse"])
def test_one_hypergradient_of_each_is_that_of_a_separate_run(support, monkeypatch):
    """From a starting graph of fractions, so that every graph is a draw."""
    runs = [
        dataclasses.replace(
            changed(run, max_iter=1, max_inner=5, grow_every=0),
            problem=dataclasses.replace(run.problem, graph=0.6 * run.problem.graph),
        )
        for run in varied(features(sparse=True), support=support)
    ]
    single: list[np.ndarray] = []
    joint: list[np.ndarray] = []

    def product(gradient: FactoredGradient) -> np.ndarray:
        left, right = gradient.factors()
        return (left @ right.T).numpy()

    def note_single(self, gradient, lr, seed=0):
        single.append(product(gradient))

    def note_joint(self, gradient, lr):
        joint.extend(product(self.gradient_of(gradient, k)) for k in range(len(lr)))

    monkeypatch.setattr(FreeEdges, "descend", note_single)
    for kind in (BatchedAllPairs, BatchedLists):
        monkeypatch.setattr(kind, "descend", note_joint)
    for run in runs:
        alone(run, dtype=torch.float64)
    learn_many(runs, dtype=torch.float64)
    assert len(single) == len(joint) == len(runs)
    for mine, expected in zip(joint, single, strict=True):
        assert np.linalg.norm(mine - expected) <= 1e-12 * np.linalg.norm(expected)
    assert np.linalg.norm(single[0] - single[1]) > 0.1 * np.linalg.norm(single[0])


@pytest.mark.ci
def test_runs_of_other_shapes_get_batches_of_their_own_and_results_keep_their_order(monkeypatch):
    x = features()
    shapes = [
        {"hidden_channels": 4},
        {"hidden_channels": 3},
        {"support": "sparse"},
        {"truncation": 3},
        {"update_edges": False},
        {"hidden_channels": 3, "inner_lr": 0.05},
    ]
    # Splits repeat after four; the seeds are six.
    runs = [run_on(x, k, max_iter=1, max_inner=12, **shape) for k, shape in enumerate(shapes)]
    sizes = []
    begin = Batch.__init__

    def noted(self, placed):
        begin(self, placed)
        sizes.append(len(placed))

    monkeypatch.setattr(Batch, "__init__", noted)
    results = learn_many(runs, dtype=torch.float64)
    assert sorted(sizes) == [1, 1, 1, 1, 2]
    for run, result in zip(runs, results, strict=True):
        assert_same_run(result, alone(run, dtype=torch.float64))


@pytest.mark.ci
@pytest.mark.parametrize("support", ["all", "sparse"])
def test_a_run_that_is_not_finite_ends_alone(support):
    runs = varied(features(), support=support)
    runs[1] = changed(runs[1], inner_lr=1e300)
    results = learn_many(runs, dtype=torch.float64)
    with pytest.raises(NonFiniteError) as error:
        alone(runs[1], dtype=torch.float64)
    assert isinstance(results[1], NonFiniteError)
    assert str(results[1]) == str(error.value)
    for k in (0, 2, 3):
        assert_same_run(results[k], varied_alone(k, support=support))


@pytest.mark.ci
def test_theta_that_is_not_finite_ends_its_run_alone(monkeypatch):
    """A hypergradient that is no number at the second step of one run."""
    runs = varied(features())
    descend, calls = BatchedAllPairs.descend, []

    def poisoned(self, gradient, lr):
        calls.append(1)
        if len(calls) == 2:
            left = tuple(part.clone() for part in gradient.left)
            left[0][2 * N] = np.nan
            gradient = FactoredGradient(left, gradient.right)
        descend(self, gradient, lr)

    monkeypatch.setattr(BatchedAllPairs, "descend", poisoned)
    results = learn_many(runs, dtype=torch.float64)
    assert "hypergradient of θ" in str(results[2])
    for k in (0, 1, 3):
        assert_same_run(results[k], varied_alone(k))


@pytest.mark.ci
def test_the_same_batch_is_bitwise_the_same():
    first, again = (learn_many(varied(features(), max_inner=12), batch=3) for _ in range(2))
    for mine, other in zip(first, again, strict=True):
        assert torch.equal(mine.edges.probs, other.edges.probs)
        assert mine.history == other.history


def test_no_runs_have_no_results():
    assert learn_many([]) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backbone": "GCNConv"}, "backbone must be 'gcn' for runs in one batch, got 'GCNConv'"),
        ({"estimator": "disarm"}, "estimator must be 'straight_through'"),
        ({"connected": True}, "connected must be False"),
        ({"redraw": True}, "redraw must be False"),
        ({"batch_nodes": 5, "support": "sparse"}, "batch_nodes must be 0"),
    ],
)
def test_options_of_learn_alone_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        learn_many([run_on(features(), **options)])


def test_runs_on_other_features_or_labels_and_seeds_that_are_none_are_refused():
    x = features()
    one = run_on(x)
    other = Problem(x, LABELS.copy(), one.problem.split, one.problem.graph)
    weighted = dataclasses.replace(one.problem, weights=np.ones(len(LABELS)))
    for name, two in (
        ("features", run_on(x.copy())),
        ("labels", dataclasses.replace(one, problem=other)),
        ("weights", dataclasses.replace(one, problem=weighted)),
    ):
        with pytest.raises(ValueError, match=f"runs must share {name}, the same array"):
            learn_many([one, two])
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        learn_many([dataclasses.replace(one, seed=-1)])


def test_runs_may_share_sparse_features_of_any_form():
    dense = features() * (np.random.default_rng(0).random(features().shape) < 0.5)
    x = sp.csr_array(dense)
    x.data[0] = 0  # a stored 0: each problem makes a form of its own
    one, two = run_on(x), dataclasses.replace(run_on(x), seed=1)
    assert one.problem.features is not two.problem.features
    assert len(learn_many([one, two])) == 2
    x.data[1] += 1
    with pytest.raises(ValueError, match="runs must share features"):
        learn_many([one, run_on(x)])


def test_a_batch_has_room_for_one_at_least_and_fits_into_memory(monkeypatch):
    runs = varied(features())
    with pytest.raises(ValueError, match="batch must be at least 1 run, or None for all, got 0"):
        learn_many(runs, batch=0)
    memory = psutil.virtual_memory()
    # One run needs two buffers of all pairs; four side by side, with as many results, eight.
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=5 * N * 64 * 4))
    with pytest.raises(ValueError, match="4 runs side by side and of 4 results"):
        learn_many(runs)
    assert len(learn_many(runs[:2], batch=1)) == 2


@pytest.mark.ci
def test_mean_accuracy_over_ten_seeds_is_that_of_separate_runs():
    """In float32, where rounding moves whole runs apart; within a standard error of the mean."""
    x = features().astype(np.float32)
    runs = [run_on(x, seed, 5, max_inner=40, max_iter=2) for seed in range(10)]

    def accuracy(run, result):
        return (result.probabilities.argmax(1) == LABELS)[run.problem.split.test].mean()

    batched = learn_many(runs)
    mine = [accuracy(run, result) for run, result in zip(runs, batched, strict=True)]
    separate = [accuracy(run, alone(run)) for run in runs]
    error = np.std(separate, ddof=1) / np.sqrt(len(runs))
    assert error > 0
    assert abs(np.mean(mine) - np.mean(separate)) <= error
    assert 0.5 < np.mean(separate) < 0.97, "a problem in which nothing can go wrong"


OWN = {
    "n_neighbors",
    "metric",
    "dropout",
    "weight_decay",
    "inner_lr",
    "learn_inner_lr",
    "outer_lr",
    "outer_lr_decay",
    "n_draws",
    "inner_tol",
    "inner_patience",
    "max_inner",
    "patience",
    "max_iter",
    "support",
    "pairs_per_node",
    "grow_every",
    "label_weight",  # no effect beside the values needed
}
"""Options that each run of a batch has for itself."""


def test_a_batch_knows_of_every_option():
    """A new option is one that runs of a batch agree in, or have each, or that only `learn` has."""
    options = {field.name for field in dataclasses.fields(Thesis)}
    assert options == OWN | BATCH_NEEDS.keys() | set(BATCH_ALIKE)
