"""Runs in one batch against `learn`, run by run: draws, hypergradients, stopping, failures."""

import dataclasses
import functools

import numpy as np
import psutil
import pytest
import scipy.sparse as sp
import torch
from lds.config import LDSConfig
from lds.structure.learner import learn
from lds.structure.side_by_side.runs import ALIKE, Run, learn_replicates

from lds._types import Split
from lds.bilevel.checks import NonFiniteError
from lds.edges.free import FreeEdges
from lds.graphs.knn import knn_adjacency
from lds.graphs.product import FactoredGradient
from lds.structure.side_by_side.batch import NEEDED, Batch
from lds.structure.side_by_side.edges import JointAll, JointListed

N = 60
SMALL = LDSConfig(
    n_neighbors=3, max_inner=28, max_iter=3, hidden_channels=4, truncation=5, inner_patience=6,
    pairs_per_node=6, grow_every=2,
)  # fmt: skip
LABELS = (np.arange(N) % 3).astype(np.int64)


def features(sparse: bool = False):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 8)) + 1.5 * np.eye(8)[LABELS]
    return sp.csr_array(x * (rng.random(x.shape) < 0.1) + np.eye(8)[LABELS]) if sparse else x


def split(seed: int) -> Split:
    """Another split for each seed, with other numbers of train and validation rows."""
    rows = np.random.default_rng(seed).permutation(N)
    train, validation, stopping, test = np.split(rows, [9 + 3 * seed, 32, 44])
    return Split(train, validation, stopping, test)


def varied(x, **options) -> list[Run]:
    """Four runs that differ in whatever may differ in a batch."""
    base = dataclasses.replace(SMALL, **options)
    settings = [
        {"inner_lr": 0.01, "weight_decay": 5e-4, "dropout": 0.5, "outer_lr": 1.0, "n_draws": 16},
        {"inner_lr": 0.02, "weight_decay": 0.0, "dropout": 0.0, "outer_lr": 3.0, "max_iter": 2,
         "learn_inner_lr": 0.1},
        {"inner_lr": 0.05, "weight_decay": 1e-2, "dropout": 0.3, "outer_lr": 0.5, "max_iter": 4,
         "inner_patience": 9, "outer_lr_decay": 0.7},
        {"inner_lr": 0.1, "weight_decay": 1e-3, "dropout": 0.6, "outer_lr": 10.0, "max_iter": 2,
         "learn_inner_lr": 0.05, "pairs_per_node": 9, "grow_every": 3, "inner_tol": 0.02},
    ]  # fmt: skip
    return [
        Run(
            split(seed),
            knn_adjacency(x, 3 + seed % 2, "cosine"),
            dataclasses.replace(base, seed=seed, **setting),
        )
        for seed, setting in enumerate(settings)
    ]


def alone(x, run: Run, **options):
    return learn(x, LABELS, run.split, run.start, run.config, **options)


@functools.cache
def varied_alone(index: int, sparse_features: bool = False, support: str = SMALL.support):
    """What one of the `varied` runs comes to without the others, in float64."""
    x = features(sparse_features)
    return alone(x, varied(x, support=support)[index], dtype=torch.float64)


def assert_same_run(result, expected) -> None:
    """Up to the rounding of float64; the runs are too short for it to grow much."""
    assert [r.inner_steps for r in result.history] == [r.inner_steps for r in expected.history]
    assert (result.reason, result.best) == (expected.reason, expected.best)
    assert result.config == expected.config
    for mine, other in zip(result.history, expected.history, strict=True):
        records = dataclasses.asdict(mine), dataclasses.asdict(other)
        flat, wanted = (record.pop("group_probs") | record for record in records)
        assert flat == pytest.approx(wanted, rel=1e-10, abs=1e-12, nan_ok=True)
    for name, leaf in expected.params.items():
        torch.testing.assert_close(result.params[name], leaf, rtol=1e-10, atol=1e-12)
    assert abs(result.edges.to_csr() - expected.edges.to_csr()).max() < 1e-12
    np.testing.assert_allclose(result.probabilities, expected.probabilities, rtol=1e-10)
    np.testing.assert_allclose(
        result.mutual_information, expected.mutual_information, rtol=1e-8, atol=1e-12
    )
    np.testing.assert_allclose(result.hidden, expected.hidden, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("sparse_features", [False, True])
@pytest.mark.parametrize("support", ["all", "sparse"])
def test_every_run_of_a_batch_is_the_run_alone(support, sparse_features, batch):
    x = features(sparse_features)
    runs = varied(x, support=support)
    told = []
    results = learn_replicates(
        x, LABELS, runs, batch=batch, dtype=torch.float64,
        on_iteration=lambda index, record: told.append((index, record)),
    )  # fmt: skip
    assert len({record.inner_steps for _, record in told}) > 3, "they never went apart"
    for index, result in enumerate(results):
        assert_same_run(result, varied_alone(index, sparse_features, support))
        assert [record for k, record in told if k == index] == result.history


@pytest.mark.parametrize(
    "options",
    [{"truncation": 0, "max_inner": 12}, {"truncation": 1, "max_inner": 8},
     {"update_edges": False}, {"support": "auto"},
     {"support": "sparse", "grow_every": 0}, {"hidden_channels": 1}],
)  # fmt: skip
def test_so_it_is_with_other_options(options):
    x = features()
    runs = varied(x, **options)
    for run, result in zip(
        runs, learn_replicates(x, LABELS, runs, dtype=torch.float64), strict=True
    ):
        assert_same_run(result, alone(x, run, dtype=torch.float64))


@pytest.mark.parametrize("support", ["all", "sparse"])
def test_one_hypergradient_of_each_is_that_of_a_separate_run(support, monkeypatch):
    """From a starting graph of fractions, so that every graph is a draw."""
    x = features(sparse=True)
    runs = [
        dataclasses.replace(
            run,
            start=0.6 * run.start,
            config=dataclasses.replace(run.config, max_iter=1, max_inner=5, grow_every=0),
        )
        for run in varied(x, support=support)
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
    for kind in (JointAll, JointListed):
        monkeypatch.setattr(kind, "descend", note_joint)
    for run in runs:
        alone(x, run, dtype=torch.float64)
    learn_replicates(x, LABELS, runs, dtype=torch.float64)
    assert len(single) == len(joint) == len(runs)
    for mine, expected in zip(joint, single, strict=True):
        assert np.linalg.norm(mine - expected) <= 1e-12 * np.linalg.norm(expected)
    assert np.linalg.norm(single[0] - single[1]) > 0.1 * np.linalg.norm(single[0])


def test_runs_of_other_shapes_get_batches_of_their_own_and_results_keep_their_order(monkeypatch):
    x = features()
    shapes = [
        {"hidden_channels": 4}, {"hidden_channels": 3}, {"support": "sparse"}, {"truncation": 3},
        {"update_edges": False}, {"hidden_channels": 3, "inner_lr": 0.05},
    ]  # fmt: skip
    base = dataclasses.replace(SMALL, max_iter=2)
    runs = [
        Run(split(k), knn_adjacency(x, 3, "cosine"), dataclasses.replace(base, seed=k, **shape))
        for k, shape in enumerate(shapes)
    ]
    sizes = []
    begin = Batch.__init__

    def noted(self, slots):
        begin(self, slots)
        sizes.append(len(slots))

    monkeypatch.setattr(Batch, "__init__", noted)
    results = learn_replicates(x, LABELS, runs, dtype=torch.float64)
    assert sorted(sizes) == [1, 1, 1, 1, 2]
    for run, result in zip(runs, results, strict=True):
        assert_same_run(result, alone(x, run, dtype=torch.float64))


@pytest.mark.parametrize("support", ["all", "sparse"])
def test_a_run_that_is_not_finite_ends_alone(support):
    x = features()
    runs = varied(x, support=support)
    broken = dataclasses.replace(runs[1].config, inner_lr=1e300)
    # The learning rate leaves the range of numbers after some iterations.
    late = dataclasses.replace(runs[3].config, learn_inner_lr=1e6, max_iter=20)
    runs[1], runs[3] = (
        dataclasses.replace(runs[k], config=config) for k, config in ((1, broken), (3, late))
    )
    results = learn_replicates(x, LABELS, runs, dtype=torch.float64)
    with pytest.raises(NonFiniteError) as error:
        alone(x, runs[1], dtype=torch.float64)
    assert isinstance(results[1], NonFiniteError)
    assert str(results[1]) == str(error.value)
    for k in (0, 2):
        assert_same_run(results[k], varied_alone(k, support=support))


def test_theta_that_is_not_finite_ends_its_run_alone(monkeypatch):
    """A hypergradient that is no number at the second step of one run."""
    x = features()
    runs = varied(x)
    descend, calls = JointAll.descend, []

    def poisoned(self, gradient, lr):
        calls.append(1)
        if len(calls) == 2:
            left = tuple(part.clone() for part in gradient.left)
            left[0][2 * N] = np.nan
            gradient = FactoredGradient(left, gradient.right)
        descend(self, gradient, lr)

    monkeypatch.setattr(JointAll, "descend", poisoned)
    results = learn_replicates(x, LABELS, runs, dtype=torch.float64)
    assert "hypergradient of θ" in str(results[2])
    for k in (0, 1, 3):
        assert_same_run(results[k], varied_alone(k))


def test_the_same_batch_is_bitwise_the_same():
    x = features()
    first, again = (learn_replicates(x, LABELS, varied(x), batch=3) for _ in range(2))
    for mine, other in zip(first, again, strict=True):
        assert torch.equal(mine.edges.probs, other.edges.probs)
        assert mine.history == other.history


def test_no_runs_have_no_results():
    assert learn_replicates(features(), LABELS, []) == []


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
def test_what_only_learn_knows_is_refused(options, words):
    x = features()
    run = Run(split(0), knn_adjacency(x, 3, "cosine"), dataclasses.replace(SMALL, **options))
    with pytest.raises(ValueError, match=words):
        learn_replicates(x, LABELS, [run])


def test_a_batch_has_room_for_one_at_least_and_fits_into_memory(monkeypatch):
    x = features()
    runs = varied(x)
    with pytest.raises(ValueError, match="batch must be at least 1 run, or None for all, got 0"):
        learn_replicates(x, LABELS, runs, batch=0)
    memory = psutil.virtual_memory()
    # One run needs two buffers of all pairs; four side by side, with as many results, eight.
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=5 * N * 64 * 4))
    with pytest.raises(ValueError, match="4 runs side by side and of 4 results"):
        learn_replicates(x, LABELS, runs)
    assert len(learn_replicates(x, LABELS, runs[:2], batch=1)) == 2


def test_mean_accuracy_over_ten_seeds_is_that_of_separate_runs():
    """In float32, where rounding moves whole runs apart; within a standard error of the mean."""
    x = features().astype(np.float32)
    config = dataclasses.replace(SMALL, max_inner=40, max_iter=4)
    runs = [
        Run(split(seed % 4), knn_adjacency(x, 5, "cosine"), dataclasses.replace(config, seed=seed))
        for seed in range(10)
    ]

    def accuracy(run, result):
        return (result.probabilities.argmax(1) == LABELS)[run.split.test].mean()

    batched = learn_replicates(x, LABELS, runs)
    mine = [accuracy(run, result) for run, result in zip(runs, batched, strict=True)]
    separate = [accuracy(run, alone(x, run)) for run in runs]
    error = np.std(separate, ddof=1) / np.sqrt(len(runs))
    assert error > 0
    assert abs(np.mean(mine) - np.mean(separate)) <= error
    assert 0.5 < np.mean(separate) < 0.97, "a problem in which nothing can go wrong"


OWN = {
    "n_neighbors", "metric", "dropout", "weight_decay", "inner_lr", "learn_inner_lr", "outer_lr",
    "outer_lr_decay", "n_draws", "inner_tol", "inner_patience", "max_inner", "patience", "max_iter",
    "support", "pairs_per_node", "grow_every", "seed",
    "label_weight", "agreement", "metric_rank",  # no effect beside the values needed
}  # fmt: skip
"""Options that each run of a batch has for itself."""


def test_a_batch_knows_of_every_option():
    """A new option is one that runs of a batch agree in, or have each, or that only `learn` has."""
    options = {field.name for field in dataclasses.fields(LDSConfig)}
    assert options == OWN | NEEDED.keys() | set(ALIKE)
