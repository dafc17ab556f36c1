"""Whether columns of numbers are in different units, such as years and francs."""

import numpy as np
from numpy.typing import ArrayLike

UNITS_RATIO = 10.0
"""Columns are in different units where the largest of their standard deviations is more than this
many times the median one."""


def in_different_units(deviations: ArrayLike) -> bool:
    """Tell by the standard deviations of columns whether they are in different units.

    Of an even number the median is the lower of the two in the middle, not their mean: of two
    columns the mean would be at least half of the largest, whatever their units.

    Arguments:
        deviations: `(n_columns,)`; a column of deviation 0 says nothing.
    """
    found = np.asarray(deviations)
    varying = found[found > 0]
    if not varying.size:
        return False
    return bool(varying.max() > UNITS_RATIO * np.percentile(varying, 50, method="lower"))
