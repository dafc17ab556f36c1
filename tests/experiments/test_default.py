"""A guard: with its defaults the library is not behind a GCN that trains on the same labels."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from lds.config import LDSConfig
from lds.datasets.base import load
from lds.experiments.fit import fit_dataset, quality_on_test, starting_graph
from lds.structure.baselines import fit_gcn

pytestmark = pytest.mark.usefixtures("whole_refits")


@pytest.mark.parametrize("name", ["wine", pytest.param("digits", marks=pytest.mark.slow)])
def test_the_default_is_at_most_two_points_behind_control_b(name):
    data = load(name, seed=0)
    ours = fit_dataset(data, LDSConfig.of(), controls=False).test_accuracy["lds"]
    config = LDSConfig(support="auto")
    both = np.concatenate([data.split.train, data.split.validation])
    gcn = fit_gcn(
        data.features, data.labels, both, data.split.stopping, starting_graph(data, config), config
    )
    control = quality_on_test(gcn.probabilities, data)
    assert ours is not None
    assert control is not None
    print(f"{name}: {100 * ours:.1f} %, control (b) {100 * control.accuracy:.1f} %")
    assert ours >= control.accuracy - 0.02


@pytest.mark.slow
def test_a_given_graph_that_joins_other_classes_is_turned_down():
    """Digits with 6 edges a row, all between two classes: they start at 0.9."""
    data = load("digits", seed=0)
    rng = np.random.default_rng(0)
    row, col = rng.integers(data.n_nodes, size=(2, 20_000))
    wrong = data.labels[row] != data.labels[col]
    row, col = row[wrong][: 3 * data.n_nodes], col[wrong][: 3 * data.n_nodes]
    half = sp.coo_array(
        (np.ones(len(row), dtype=np.float32), (row, col)), shape=2 * (data.n_nodes,)
    )
    graph = sp.csr_array((half + half.T) > 0).astype(np.float32)
    result = fit_dataset(
        dataclasses.replace(data, adjacency=sp.csr_array(graph)), LDSConfig.of(), controls=False
    ).result
    learned = result.params["edge_coefficients"][2] * np.log(0.9 / 0.1)
    accuracy = quality_on_test(result.probabilities, data).accuracy
    print(f"given edges {float(learned.sigmoid()):.2f}, {100 * accuracy:.1f} %")
    assert learned.sigmoid() < 0.5
    assert accuracy > 0.93, "logistic regression on the pixels has 89 %"
