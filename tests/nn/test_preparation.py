"""Preparation of features against scikit-learn's scaler, power transform and normaliser."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import skew
from sklearn.preprocessing import PowerTransformer, StandardScaler, normalize

from lds._units import UNITS_RATIO
from lds.nn.preparation import MAX_DEVIATIONS, FeaturePreparation

RNG = np.random.default_rng(0)


def prepared(x):
    """The rows of the fit, prepared."""
    return FeaturePreparation(x).transform(x)


def ties(n, scale):
    """Columns of few values each."""
    return RNG.integers(5, size=(n, len(scale))) * np.array(scale)


def test_columns_in_different_units_are_standardised_in_later_rows_too():
    x, new = ties(50, [1.0, 0.1, 500.0]), ties(5, [1.0, 0.1, 500.0])
    scaler = StandardScaler().fit(x)
    preparation = FeaturePreparation(x)
    np.testing.assert_allclose(preparation.transform(x), scaler.transform(x), rtol=1e-12)
    np.testing.assert_allclose(preparation.transform(new), scaler.transform(new), rtol=1e-12)
    assert preparation.transform(x.astype(np.float32)).dtype == np.float32
    whole = (10 * x).astype(np.int64)
    found = prepared(whole)
    np.testing.assert_allclose(found, StandardScaler().fit_transform(whole), rtol=1e-12)


@pytest.mark.parametrize("scale", [[12, 2e4], [1, 1, 1e4, 1e4]])
def test_an_even_number_of_columns_of_which_half_are_large_are_in_different_units(scale):
    np.testing.assert_allclose(prepared(ties(50, scale)).std(0), 1, rtol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 0.9 * UNITS_RATIO])
def test_discrete_columns_in_one_unit_have_a_minimum_of_0_and_a_mean_variance_of_1(factor):
    few = RNG.permuted(np.tile(np.arange(20.0)[:, None] // 4, (1, 5)), axis=0)
    x = few * [1, 1, 1, 1, factor]
    unit = np.sqrt(x.var(0).mean())
    np.testing.assert_allclose(prepared(x), x / unit, rtol=1e-12)
    np.testing.assert_allclose(FeaturePreparation(x - 7).transform(x), (x + 7) / unit, rtol=1e-12)
    with_constant = np.column_stack([x, np.full(20, 0.1)])  # does not vary, so does not count
    np.testing.assert_allclose(prepared(with_constant)[:, :5], x / unit, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 255.0, 1e30])
def test_a_change_of_the_common_unit_does_not_matter(scale):
    for name in ("in one unit", "no continuous column", "sparse", "very sparse and negative"):
        x = cases()[name]
        found = FeaturePreparation(scale * x[:50]).transform(scale * x)
        expected = FeaturePreparation(x[:50]).transform(x)
        if sp.issparse(found):
            found, expected = found.toarray(), expected.toarray()
        # The power is found by Brent's search, to 1.5e-8.
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("units", [False, True])
def test_continuous_columns_are_made_normal_and_their_deviations_stay_in_proportion(units):
    x = np.exp(RNG.standard_normal((200, 3))) * ([1, 1, 1e3] if units else [1, 2, 3])
    x = np.column_stack([x, ties(200, [1.0])])
    new = np.exp(RNG.standard_normal((5, 4)))
    scaler = StandardScaler().fit(x)
    power = PowerTransformer().fit(scaler.transform(x)[:, :3])
    for rows in (x, new):
        expected = scaler.transform(rows)
        expected[:, :3] = power.transform(expected[:, :3])
        if not units:
            expected[:, :3] *= x[:, :3].std(0)
            expected[:, 3] = rows[:, 3] - x[:, 3].min()
            expected /= np.sqrt(x.var(0).mean())
        np.testing.assert_allclose(FeaturePreparation(x).transform(rows), expected, rtol=1e-9)
    assert abs(skew(prepared(x)[:, 0])) < 0.5 < 1 < skew(x[:, 0])


def test_a_later_row_far_outside_is_clipped():
    x = -np.exp(RNG.standard_normal((200, 2)))  # bent by a large power
    far = FeaturePreparation(x).transform(np.array([[1e30, 0.0]]))
    assert np.isfinite(far).all()
    assert far[0, 0] <= MAX_DEVIATIONS * x[:, 0].std() + 1e-9


@pytest.mark.parametrize("units", [False, True])
@pytest.mark.parametrize("offset", [-3.0, 5e8])
def test_adding_a_constant_to_a_column_does_not_matter(offset, units):
    """Adding a constant to a column moves its numbers by half a unit in their last place."""
    x = np.column_stack([np.exp(RNG.standard_normal((200, 3))), ties(200, [1.0, 2.0])])
    x *= [1, 1, 1e3, 1, 1] if units else 1
    moved = x + np.array([offset, 0, 0, offset, 0])
    change = np.spacing(abs(offset)) / min(x[:, 0].std(), x[:, 3].std())
    # The power is found by Brent's search, to 1.5e-8; far from the mean it counts tenfold.
    bound = 1e3 * change + 1e-6
    np.testing.assert_allclose(
        prepared(moved),
        prepared(x),
        rtol=0,
        atol=bound,
    )


def test_a_column_that_never_varies_stays_finite():
    x = np.column_stack(
        [np.ones(30), RNG.normal(size=30), RNG.normal(size=30), 1e4 * RNG.random(30)]
    )
    assert np.isfinite(prepared(x)).all()


def test_words_become_rows_of_length_one():
    x = sp.random_array((20, 30), density=0.1, rng=RNG, format="csr")
    for form in (x, x.toarray()):
        found = prepared(form)
        found = found.toarray() if sp.issparse(found) else found
        np.testing.assert_allclose(found, normalize(x.toarray()), rtol=1e-12)


def test_sparse_and_dense_tables_give_the_same():
    x = RNG.random((40, 4)) * [1, 1, 1, 1000]
    np.testing.assert_array_equal(prepared(sp.csr_array(x)), prepared(x))


def test_the_rows_of_the_caller_stay_as_they_are():
    x = RNG.random((40, 4))
    before = x.copy()
    prepared(x)
    np.testing.assert_array_equal(x, before)


def test_sparse_rows_with_negative_entries_are_not_words():
    x = sp.csr_array(([1.0, -2.0], ([0, 3], [2, 5])), shape=(10, 20))
    unit = np.sqrt(x.toarray()[:, [2, 5]].var(0).mean())
    np.testing.assert_allclose(prepared(x).toarray(), x.toarray() / unit, rtol=1e-12)


def cases():
    """Features of each kind, and later rows in the same form."""
    rng = np.random.default_rng(7)
    skewed = np.exp(rng.standard_normal((60, 4)))
    few = rng.integers(4, size=(60, 2)).astype(float)
    words = sp.random_array((60, 40), density=0.05, rng=rng, format="csr")
    mixed = np.column_stack([skewed, few])
    return {
        "in units": mixed * [1, 1, 1e3, 1, 1, 1],
        "in one unit": mixed,
        "float32": mixed.astype(np.float32),
        "no continuous column": few,
        "sparse": sp.csr_array(mixed * (rng.random(mixed.shape) < 0.5)),
        "words": words,
        "dense words": words.toarray(),
        "very sparse and negative": sp.csr_array(words * -1.0),
    }


@pytest.mark.parametrize("name", cases())
def test_from_arrays_of_a_file_it_prepares_later_rows_to_the_same_bits(name, tmp_path):
    x = cases()[name]
    fitted, later = FeaturePreparation(x[:50]), x[50:]
    np.savez(tmp_path / "arrays.npz", **fitted.to_arrays())
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as file:
        loaded = FeaturePreparation.from_arrays(dict(file))
    assert loaded.measured == fitted.measured
    for rows in (x[:50], later):
        expected, found = fitted.transform(rows), loaded.transform(rows)
        assert found.dtype == expected.dtype
        assert sp.issparse(found) == sp.issparse(expected)
        if sp.issparse(expected):
            expected, found = expected.toarray(), found.toarray()
        np.testing.assert_array_equal(found, expected)
