"""Runs that differ in whatever may differ in a batch, and what each comes to alone."""

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds._types import Split
from lds.graphs.knn import knn_adjacency
from lds.structure.learn import learn
from lds.structure.learn_many import Run
from lds.structure.methods.thesis import Thesis
from lds.structure.problem import Problem
from lds.structure.result import Learned

N = 60
SMALL = Thesis(
    n_neighbors=3,
    max_inner=24,
    max_iter=3,
    hidden_channels=4,
    truncation=5,
    inner_patience=6,
    pairs_per_node=6,
    grow_every=2,
)
LABELS = (np.arange(N) % 3).astype(np.int64)

SETTINGS: list[dict[str, Any]] = [
    {
        "inner_lr": 0.01,
        "weight_decay": 5e-4,
        "dropout": 0.5,
        "outer_lr": 1.0,
        "n_draws": 16,
        "inner_patience": 3,
    },
    {
        "inner_lr": 0.02,
        "weight_decay": 0.0,
        "dropout": 0.0,
        "outer_lr": 3.0,
        "max_iter": 2,
        "learn_inner_lr": 0.1,
    },
    {
        "inner_lr": 0.05,
        "weight_decay": 1e-2,
        "dropout": 0.3,
        "outer_lr": 0.5,
        "max_iter": 4,
        "inner_patience": 9,
        "outer_lr_decay": 0.7,
    },
    {
        "inner_lr": 0.1,
        "weight_decay": 1e-3,
        "dropout": 0.6,
        "outer_lr": 10.0,
        "max_iter": 2,
        "learn_inner_lr": 0.05,
        "pairs_per_node": 9,
        "grow_every": 3,
        "inner_tol": 0.02,
    },
]


def features(sparse: bool = False) -> Any:
    """Three classes apart; sparse: most entries are 0."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 8)) + 1.5 * np.eye(8)[LABELS]
    return sp.csr_array(x * (rng.random(x.shape) < 0.1) + np.eye(8)[LABELS]) if sparse else x


def split(seed: int) -> Split:
    """Another split for each seed, with other numbers of train and validation rows."""
    rows = np.random.default_rng(seed).permutation(N)
    train, validation, stopping, test = np.split(rows, [9 + 3 * seed, 32, 44])
    return Split(train, validation, stopping, test)


def run_on(x: Any, seed: int = 0, n_neighbors: int = 3, **options: Any) -> Run:
    """A run on these features, with its own split."""
    start = knn_adjacency(x, n_neighbors, "cosine")
    problem = Problem(x, LABELS, split(seed % 4), start)
    return Run(problem, dataclasses.replace(SMALL, **options), seed)


def varied(x: Any, **options: Any) -> list[Run]:
    """Four runs with splits, starting graphs, options and seeds of their own."""
    return [
        run_on(x, seed, 3 + seed % 2, **{**options, **setting})
        for seed, setting in enumerate(SETTINGS)
    ]


def changed(run: Run, **options: Any) -> Run:
    """The run with other options."""
    return dataclasses.replace(run, method=dataclasses.replace(run.method, **options))


def alone(run: Run, **options: Any) -> Learned:
    """What a run comes to by itself."""
    return learn(run.problem, run.method, seed=run.seed, **options)


@functools.cache
def varied_alone(
    index: int, sparse_features: bool = False, support: str = SMALL.support
) -> Learned:
    """What one of the `varied` runs comes to by itself, in float64."""
    x = features(sparse_features)
    return alone(varied(x, support=support)[index], dtype=torch.float64)


def assert_same_run(result: Any, expected: Learned) -> None:
    """Up to the rounding of float64; the runs are too short for it to grow much."""
    assert [r.inner_steps for r in result.history] == [r.inner_steps for r in expected.history]
    assert (result.reason, result.best) == (expected.reason, expected.best)
    assert (result.method, result.seed) == (expected.method, expected.seed)
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
