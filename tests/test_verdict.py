"""The sentence about the test rows, and its intervals."""

import numpy as np
import pytest

from lds._verdict import accuracy_interval, gain_interval, verdict


def summary(accuracy, n_rows, **paired):
    return {"test_accuracy": {"lds": accuracy}, "rows": {"test": n_rows}, "paired": paired}


def test_the_interval_of_an_accuracy_is_wilsons():
    """The ends are the shares p with |accuracy - p| = 1.96 √(p(1-p)/n)."""
    for accuracy, n in ((0.9, 30), (0.0, 5), (1.0, 16), (0.5, 1000)):
        for end in accuracy_interval(accuracy, n):
            if 0 < end < 1:
                gap = abs(accuracy - end)
                assert gap == pytest.approx(1.96 * np.sqrt(end * (1 - end) / n), abs=1e-9)


def test_the_interval_of_a_gain_holds_the_truth_95_times_of_100():
    rng, n, shares = np.random.default_rng(0), 60, [0.15, 0.05, 0.8]
    counts = rng.multinomial(n, shares, 4000)
    found = np.array([gain_interval(a, b, n) for a, b, _ in counts])
    covered = ((found[:, 0] <= 0.1) & (found[:, 1] >= 0.1)).mean()
    assert 0.93 < covered < 0.98


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        (summary(None, 0), "There are no test rows, so nothing measures the predictions."),
        (
            {**summary(None, 0), "left_out": (40, 4, 400)},
            "The graph helps: +9.0 points of accuracy on 400 labels left "
            "out in turn (95 % interval +5.8",
        ),
        (
            {**summary(None, 0), "left_out": (1, 1, 16)},
            "No clear gain by the graph over the members without one: +0.0 points of accuracy on "
            "16 labels left out in turn (95 % interval -18.9 to +18.9).",
        ),
        ({**summary(None, 0), "left_out": (4, 40, 400)}, "The graph does harm: -9.0 points"),
        (
            summary(0.875, 16, frozen=(1, 1)),
            "No clear gain over the frozen graph: +0.0 points of accuracy on 16 test rows (95 % "
            "interval -18.9 to +18.9).",
        ),
        (summary(0.9, 400, frozen=(40, 4)), "Learning the graph helped: +9.0 points of accuracy"),
        (summary(0.9, 400, frozen=(4, 40)), "Learning the graph did harm: -9.0 points of"),
        (
            summary(0.9, 400, frozen=(4, 4), gcn_train=(2, 40), gcn_train_validation=(9, 9)),
            "A plain GCN on the starting graph and the train labels is better, by 9.5 points.",
        ),
        (summary(0.9, 30), "Accuracy 90.0 % on 30 test rows (95 % interval 74.4 to 96.5 %); no"),
        (summary(1.0, 1, frozen=(0, 0)), "points of accuracy on 1 test row ("),
        ({"test_accuracy": {"lds": 0.9}}, "There are no test rows"),
    ],
)
def test_the_sentence(known, sentence):
    assert sentence in verdict(known)
