"""Options and rows that tests of several commands share."""

import numpy as np

THESIS = ["--max-iter", "2", "--max-inner", "10", "--quiet", "--no-controls"]
"""A short fit of either method."""

QUICK = [*THESIS, "--refit-steps", "4"]
"""A short fit of the default method."""


def rows(n, seed):
    """Two kinds of pets that overlap a little; a number, a number and a colour each."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(n) % 2
    numbers = rng.standard_normal((n, 2)) * [1, 100] + kinds[:, None] * [2, 200]
    colors = np.where(rng.random(n) < 0.3 + 0.4 * kinds, "red", "blue")
    return numbers, colors, kinds
