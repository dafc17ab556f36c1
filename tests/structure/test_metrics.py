"""Accuracy, NLL, ECE, entropy and mutual information, against definitions written out."""

import math

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss

from lds.structure.metrics import (
    entropy,
    expected_calibration_error,
    mutual_information,
    quality,
)


def some_probabilities(*shape, seed=0):
    return np.random.default_rng(seed).dirichlet([0.7, 0.7, 0.7], shape)


def test_quality_is_accuracy_and_nll_as_scikit_learn_has_them():
    probs = some_probabilities(50)
    labels = np.random.default_rng(1).integers(0, 3, 50)
    rows = np.arange(10, 50)
    found = quality(probs, labels, rows)
    assert found.accuracy == (probs[rows].argmax(1) == labels[rows]).mean()
    balanced = balanced_accuracy_score(labels[rows], probs[rows].argmax(1))
    assert found.balanced_accuracy == pytest.approx(balanced, rel=1e-12)
    expected = log_loss(labels[rows], probs[rows], labels=[0, 1, 2])
    assert found.nll == pytest.approx(expected, rel=1e-12)
    assert quality(probs, labels, rows[:0]) is None


def test_a_class_never_seen_in_training_is_wrong_and_not_an_error():
    found = quality(np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([2, 0]), np.arange(2))
    assert found.accuracy == 0.5
    assert found.nll == pytest.approx((-math.log(1e-12) - math.log(0.9)) / 2)


def test_ece_by_hand():
    # Two bins of (0.5, 1]: B = 4 puts 0.6 and 0.7 in the third, 0.9 and 1.0 in the fourth.
    confidence = np.array([0.6, 0.7, 0.9, 1.0])
    probs = np.stack([confidence, 1 - confidence], 1)
    labels = np.array([0, 1, 0, 0])  # right, wrong, right, right
    expected = 0.5 * abs(0.5 - 0.65) + 0.5 * abs(1 - 0.95)
    assert expected_calibration_error(probs, labels, 4) == pytest.approx(expected, rel=1e-12)


def test_ece_bin_by_bin_on_many_rows():
    probs = some_probabilities(2000)
    labels = np.random.default_rng(1).integers(0, 3, 2000)
    confidence, right, total = probs.max(1), probs.argmax(1) == labels, 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(probs, labels) == pytest.approx(total, rel=1e-12)


def test_ece_vanishes_for_labels_drawn_from_the_probabilities_and_not_for_overconfident_ones():
    rng = np.random.default_rng(0)
    probs = some_probabilities(100_000)
    labels = (probs.cumsum(1) < rng.random((len(probs), 1))).sum(1)
    sharper = probs**3 / (probs**3).sum(1, keepdims=True)
    # A bin of n rows has a gap of about 0.4 / √n: 15 bins of 6,700 rows, about 0.005 in all.
    assert expected_calibration_error(probs, labels) < 0.01
    assert expected_calibration_error(sharper, labels) > 0.1


def test_entropy_of_known_distributions():
    probs = np.array([[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3])
    # A vectorised logarithm is good to four units in the last place, beside four roundings.
    rounding = 8 * np.finfo(np.float64).eps
    np.testing.assert_allclose(entropy(probs), [0, math.log(2), math.log(3)], rtol=rounding)
    assert math.copysign(1, entropy(probs)[0]) == 1


def test_mutual_information_is_the_mean_divergence_from_the_mean():
    # Another route to it: I = E[KL(p_s || mean p)].
    probs = some_probabilities(7, 20)
    mean = probs.mean(0)
    expected = (probs * np.log(probs / mean)).sum(2).mean(0)
    np.testing.assert_allclose(mutual_information(probs), expected, rtol=1e-10)


def test_mutual_information_at_its_ends():
    one = some_probabilities(1, 5)
    assert (mutual_information(np.repeat(one, 4, 0)) < 1e-12).all(), "all graphs agree"
    opposed = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert mutual_information(opposed) == pytest.approx(math.log(2)), "sure, and not of one mind"


def test_rows_without_a_label_do_not_count():
    probs, labels = some_probabilities(30), np.arange(30) % 3
    hidden = np.where(np.arange(30) < 10, -1, labels)
    assert quality(probs, hidden, np.arange(30)) == quality(probs, labels, np.arange(10, 30))
    assert quality(probs, np.full(30, -1), np.arange(30)) is None
