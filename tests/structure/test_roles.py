"""Roles dealt anew: every row keeps a role, every class is halved, chance alone decides."""

import numpy as np
import pytest

from lds._random import mix
from lds._types import Split
from lds.structure.roles import redrawn

N = 60


def split(n_train: int, n_validation: int, seed: int = 0) -> Split:
    rows = np.random.default_rng(seed).permutation(N)
    ends = np.cumsum([n_train, n_validation, 10])
    return Split(*np.split(rows, ends))


def classes(seed: int = 0) -> np.ndarray:
    """Three classes, unbalanced."""
    labels = np.random.default_rng(seed).choice(3, N, p=[0.6, 0.3, 0.1])
    return labels.astype(np.int64)


@pytest.mark.parametrize(("n_train", "n_validation"), [(20, 20), (5, 30), (30, 1), (1, 1), (1, 2)])
def test_the_deal_is_a_partition_of_the_rows_of_both_roles(n_train, n_validation):
    given, labels = split(n_train, n_validation), classes()
    for seed in range(20):
        train, validation = redrawn(given, labels, seed)
        both = np.concatenate([train, validation])
        expected = np.concatenate([given.train, given.validation])
        assert np.array_equal(np.sort(both), np.sort(expected))
        assert train.size >= 1
        assert validation.size >= 1
        assert abs(train.size - validation.size) <= 1
        assert np.array_equal(train, np.sort(train))
        assert np.array_equal(validation, np.sort(validation))
        assert train.dtype == validation.dtype == np.int64


def test_every_class_gives_half_of_its_rows_to_each_role():
    given, labels = split(23, 18), classes()
    for seed in range(30):
        train, validation = redrawn(given, labels, seed)
        counts = [np.bincount(labels[rows], minlength=3) for rows in (train, validation)]
        assert (abs(counts[0] - counts[1]) <= 1).all()


def test_the_seed_decides_and_iterations_differ():
    given, labels = split(20, 20), classes()
    first, again = redrawn(given, labels, 5), redrawn(given, labels, 5)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    deals = {tuple(redrawn(given, labels, mix(0, iteration, -7))[0]) for iteration in range(20)}
    assert len(deals) == 20


def test_the_only_row_of_a_class_is_dealt_by_chance():
    labels = np.zeros(N, dtype=np.int64)
    labels[7] = 1
    given = Split(np.arange(7), np.arange(7, 13), np.arange(13, 20), np.arange(20, N))
    trains = sum(7 in redrawn(given, labels, seed)[0] for seed in range(400))
    # Binomial(400, 1/2): four standard deviations around the mean.
    assert abs(trains - 200) <= 4 * 10


def test_every_row_trains_as_often_as_it_judges():
    given, labels = split(13, 22), classes()
    n_deals, rows = 400, np.concatenate([given.train, given.validation])
    counts = np.zeros(N)
    for seed in range(n_deals):
        counts[redrawn(given, labels, seed)[0]] += 1
    assert (abs(counts[rows] - n_deals / 2) <= 4.5 * 10).all()  # of 35 rows, each 4.5 deviations


def test_nothing_but_the_labels_of_both_roles_is_read():
    given, labels = split(20, 20), classes()
    hidden = np.full(N, -1)
    rows = np.concatenate([given.train, given.validation])
    hidden[rows] = labels[rows]
    for one, two in zip(redrawn(given, labels, 1), redrawn(given, hidden, 1), strict=True):
        assert np.array_equal(one, two)
