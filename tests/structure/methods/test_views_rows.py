"""What learned views make of rows, by hand."""

from types import SimpleNamespace

import numpy as np

from lds.structure.methods.views_rows import _importance


def test_an_importance_rounded_below_0_is_0():
    forest = SimpleNamespace(feature_importances_=np.array([-3.7e-18, 0.25, 1.0]))
    assert _importance(forest).tolist() == [0, 0.5, 1]
