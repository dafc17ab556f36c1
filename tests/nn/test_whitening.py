"""The metric of measurements, against scikit-learn's covariance and data whose answer is known."""

import numpy as np
import pytest
import torch
from scipy.linalg import fractional_matrix_power
from sklearn.datasets import load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestNeighbors

from lds.nn.whitening import MAX_SHRINKAGE, whitened, whitening


def hidden(n=1000, seed=0):
    """Two classes 6 apart along a direction of deviation 1, beside three of deviation 20."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = rng.standard_normal((n, 4)) * [1, 20, 20, 20]
    x[:, 0] += 6 * y
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    return x @ turn + 5, y.astype(np.int64)


def agreeing(x, y):
    """Share of the five nearest neighbours that are of the same class."""
    near = NearestNeighbors(n_neighbors=5).fit(x).kneighbors(return_distance=False)
    return float((y[near] == y[:, None]).mean())


def test_with_every_label_it_is_the_root_of_scikit_learns_covariance_within_classes():
    """float64, two ways to a root: 1e-8."""
    x, y = load_wine(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    lda = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(x, y)
    p = 13 * 14 / 2
    share = p / (p + len(x))
    within = (1 - share) * lda.covariance_ + share * np.trace(lda.covariance_) / 13 * np.eye(13)
    root = fractional_matrix_power(within, -0.5)
    expected = x @ root
    expected *= np.sqrt((x**2).mean() / (expected**2).mean())
    found = whitened(x, whitening(x, y, np.arange(len(x))))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_few_labels_suffice_to_find_the_informative_direction():
    x, y = hidden()
    metric = whitening(x, y, np.arange(12))
    assert agreeing(x, y) < 0.7 < 0.97 < agreeing(whitened(x, metric), y)


def test_it_is_the_same_map_for_later_rows_and_keeps_place_size_and_type():
    x, y = hidden()
    metric = whitening(x, y, np.arange(12))
    both = whitened(np.concatenate([x, x[:3] + 1]), metric)
    np.testing.assert_allclose(both[:1000], whitened(x, metric), rtol=1e-12)
    step = both[1000:] - both[:3]
    np.testing.assert_allclose(step, np.broadcast_to(metric[1:].sum(0).numpy(), (3, 4)), rtol=1e-9)
    assert both[:1000].mean(0) == pytest.approx(np.zeros(4), abs=1e-10)
    assert both[:1000].var() == pytest.approx(x.var(0).mean(), rel=1e-9)
    assert whitened(x.astype(np.float32), metric).dtype == np.float32


def test_other_labels_are_not_read():
    x, y = hidden()
    other = y.copy()
    other[12:] = -1
    one, two = (whitening(x, labels, np.arange(12)) for labels in (y, other))
    assert torch.equal(one, two)


def test_none_where_rows_are_too_few_for_a_covariance_or_nothing_varies():
    rng = np.random.default_rng(0)
    y = np.arange(50) % 2
    for d in (5, 28, 31, 80):  # 9 unknowns a row at d = 29.5
        metric = whitening(rng.standard_normal((50, d)), y, np.arange(10))
        assert (metric is None) == (d * (d + 1) / 2 > MAX_SHRINKAGE / (1 - MAX_SHRINKAGE) * 50)
    assert whitening(np.ones((50, 3)), y, np.arange(10)) is None
    x = rng.standard_normal((50, 3))
    assert whitened(x, None) is x
