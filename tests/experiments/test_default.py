"""A guard: with its defaults the library is not behind a GCN that trains on the same labels."""

import numpy as np
import pytest

from lds.config import LDSConfig
from lds.datasets.base import load
from lds.experiments.fit import fit_dataset, quality_on_test, starting_graph
from lds.structure.baselines import fit_gcn


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
