"""The pairs that are near in any view."""

from types import SimpleNamespace

import numpy as np

from lds.structure.methods.views_pairs import Seen


def test_similarities_that_are_equal_have_no_scale():
    view = SimpleNamespace(of_pairs=lambda row, col: np.full(len(row), 0.1))
    near = 104 * np.arange(102) + 1  # each row and the next
    seen = Seen.of({"one": view}, [near], 103, np.dtype(np.float64))
    assert np.abs(seen.features[:, 1]).max() < 1e-12
    np.testing.assert_allclose(seen.standardised([np.array([0.6])]), [[1, 0.5]])
