"""Members beside the PageRank of the labels: their probabilities, temperatures and weights."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from lds.structure.methods import members
from lds.structure.methods.discriminant_member import SemiSupervisedDiscriminant
from lds.structure.methods.members import (
    COLUMNS,
    FOREST,
    RANKS,
    SMALLEST,
    Member,
    Members,
    log_loss,
    stacked,
    weights_of,
)


def predictions(n=200, sharpness=1.0, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    scores = rng.standard_normal((n, 3)) + 1.5 * np.eye(3)[truth]
    return softmax(sharpness * scores, axis=1), truth


def test_the_temperature_is_the_best_of_a_fine_search():
    for sharpness in (0.5, 3.0):
        found, truth = predictions(sharpness=sharpness)
        tau = weights_of({"one": found}, truth, [("one",)]).temperature["one"]

        def cost(log_tau, found=found, truth=truth):
            z = log_softmax(np.log(found.clip(SMALLEST)) / np.exp(log_tau), axis=1)
            return -z[np.arange(len(truth)), truth].sum() + 2 * log_tau**2

        best = np.exp(minimize_scalar(cost, bounds=(-1.5, 1.8), method="bounded").x)
        assert abs(np.log(tau / best)) <= np.log(1.1)


def test_weights_follow_the_losses():
    good, truth = predictions()
    flat = np.full_like(good, 1 / 3)
    found = weights_of({"good": good, "flat": flat}, truth, [("good", "flat")])
    losses = [
        log_loss(softmax(np.log(good.clip(SMALLEST)) / found.temperature["good"], axis=1), truth),
        np.log(3),
    ]
    odds = np.exp(-np.sqrt(len(truth)) * np.array(losses))
    expected = odds / odds.sum()
    assert found.weight["good"] == pytest.approx(expected[0], rel=1e-9)
    mean = found.mean({"good": good, "flat": flat})
    np.testing.assert_allclose(mean.sum(1), 1, rtol=1e-12)
    assert log_loss(mean, truth) < losses[1]


def test_without_labels_members_count_alike():
    nothing = np.zeros((0, 3))
    found = weights_of(
        dict.fromkeys("abc", nothing), np.zeros(0, dtype=np.int64), [("a",), ("b", "c")]
    )
    assert found.weight == {"a": 0.5, "b": 0.25, "c": 0.25}
    assert set(found.temperature.values()) == {1.1**0}


def test_a_family_counts_as_one_however_many_members_it_has():
    good, truth = predictions()
    other, _ = predictions(seed=1)
    one = weights_of({"a": good, "b": other}, truth, [("a",), ("b",)])
    many = weights_of({"a": good, **dict.fromkeys("bcde", other)}, truth, [("a",), tuple("bcde")])
    assert many.weight["a"] == pytest.approx(one.weight["a"], rel=1e-12)
    assert sum(many.weight.values()) == pytest.approx(1, rel=1e-12)


def test_a_class_that_was_not_read_has_probability_0():
    x = np.random.default_rng(0).standard_normal((30, 2))
    y = np.arange(30) % 2 * 2
    for model in (LogisticRegression(), SVC()):
        member = Member(model, COLUMNS).fit({COLUMNS: x}, y, np.arange(30))
        found = member.predict({COLUMNS: x}, 4)
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
        assert not found[:, [1, 3]].any()
        assert np.array_equal(found.argmax(1), member.model.predict(x))
        assert member.predict({COLUMNS: x[:0]}, 4).shape == (0, 4)


def test_words_have_a_forest_and_linear_members():
    words = {COLUMNS: sp.csr_array(np.eye(6))}
    names = [FOREST, "logistic regression", "logistic regression, C = 10"]
    names.append("semi-supervised discriminant")
    fitted = Members.fitted(words, np.array([0, 1, 0, 1, 0, 1]), np.arange(4), 5, 0)
    assert list(fitted.each) == names
    assert fitted.metric is None
    assert fitted.each["logistic regression"].model.classes_.tolist() == [0, 1]


def test_few_rows_of_many_columns_have_no_metric():
    rng = np.random.default_rng(0)
    for n, n_members in ((20, 7), (400, 9)):
        x = rng.standard_normal((n, 20))
        fitted = Members.fitted({COLUMNS: x, RANKS: x}, np.arange(n) % 2, np.arange(12), 5, 0)
        assert len(fitted.each) == n_members
        assert (fitted.metric is None) == (n == 20)


def test_a_kernel_machine_reads_some_of_many_rows(monkeypatch):
    monkeypatch.setattr(members, "MOST_KERNEL_ROWS", 40)
    rng, y = np.random.default_rng(0), np.repeat([0, 1], [300, 100])
    x = rng.standard_normal((400, 2)) + 3 * y[:, None]
    seen = []

    class Recording(SVC):
        def fit(self, rows, labels):
            seen.append(labels)
            return super().fit(rows, labels)

    fitted = Member(Recording(), COLUMNS).fit({COLUMNS: x}, y, rng.permutation(400))
    assert np.bincount(seen[0]).tolist() == [30, 10]
    assert (fitted.predict({COLUMNS: x}, 2).argmax(1) == y).mean() > 0.95


def test_products_of_columns_are_known():
    """Classes by the sign of a product of two columns, which no sum over columns knows."""
    x = np.random.default_rng(0).standard_normal((300, 2))
    forms = {COLUMNS: x, RANKS: x.argsort(0).argsort(0) / 300}
    y = (x.prod(1) > 0).astype(np.int64)
    fitted = Members.fitted(forms, y, np.arange(150), 20, 0)
    right = {n: (p.argmax(1) == y)[150:].mean() for n, p in fitted.predict(forms).items()}
    assert right["products of columns"] >= 0.9 > 0.65 >= right["logistic regression"]


def test_a_transductive_member_learns_from_rows_without_a_label():
    """Two clouds 3 apart in one of 10 columns: 6 labels hardly show which one, 400 rows do."""
    rng, scores = np.random.default_rng(0), []
    for _ in range(10):
        y = np.arange(400) % 2
        x = rng.standard_normal((400, 10))
        x[:, 0] += 3 * y
        forms, read = {COLUMNS: x, RANKS: x}, rng.permutation(100)[:6]
        found = Members.fitted(forms, y, read, 5, 0).predict(forms)
        names = ("semi-supervised discriminant", "linear discriminant")
        scores.append([(found[name].argmax(1) == y).mean() for name in names])
    ours, plain = np.mean(scores, 0)
    assert ours >= 0.85
    assert ours > plain + 0.1


@pytest.mark.parametrize("width", [40, 1200])  # with a covariance, and with variances alone
def test_a_transductive_member_reads_sparse_rows_as_dense_ones(width):
    rng = np.random.default_rng(0)
    x = sp.csr_array(rng.poisson(0.1, (60, width)).astype(np.float32))
    y = np.where(np.arange(60) < 20, np.arange(60) % 3, -1)
    dense, sparse = (
        SemiSupervisedDiscriminant().fit(rows, y).predict_proba(rows) for rows in (x.toarray(), x)
    )
    np.testing.assert_allclose(sparse, dense, atol=1e-10)
    assert np.ptp(dense, 0).min() > 0.1


def test_folds_are_one_below_the_other():
    parts = [{"a": np.ones((2, 3))}, {"a": np.zeros((0, 3))}, {"a": 2 * np.ones((1, 3))}]
    assert stacked(parts)["a"][:, 0].tolist() == [1, 1, 2]
