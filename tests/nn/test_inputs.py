"""Features as networks take them, against scikit-learn's scaler and normaliser."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.preprocessing import StandardScaler, normalize

from lds.nn.inputs import UNITS, Inputs

RNG = np.random.default_rng(0)


def test_columns_in_other_units_are_standardised_new_rows_as_those_of_the_fit():
    x, new = RNG.normal(3, [1.0, 0.1, 500.0], (50, 3)), RNG.normal(3, [1.0, 0.1, 500.0], (5, 3))
    scaler = StandardScaler().fit(x)
    inputs = Inputs(x)
    np.testing.assert_allclose(inputs.of(x), scaler.transform(x), rtol=1e-12)
    np.testing.assert_allclose(inputs.of(new), scaler.transform(new), rtol=1e-12)
    assert inputs.of(x.astype(np.float32)).dtype == np.float32
    whole = (10 * x).astype(np.int64)
    found = Inputs(whole).of(whole)
    np.testing.assert_allclose(found, StandardScaler().fit_transform(whole), rtol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 0.9 * UNITS])
def test_columns_in_one_unit_stay_as_they_are(factor):
    x = RNG.permuted(np.tile(np.arange(20.0)[:, None], (1, 5)), axis=0) * [1, 1, 1, 1, factor]
    assert Inputs(x).of(x) is x


def test_a_column_that_never_varies_stays_finite():
    x = np.column_stack(
        [np.ones(30), RNG.normal(size=30), RNG.normal(size=30), 1e4 * RNG.random(30)]
    )
    assert np.isfinite(Inputs(x).of(x)).all()


def test_words_become_rows_of_length_one():
    x = sp.random_array((20, 30), density=0.1, rng=RNG, format="csr")
    for form in (x, x.toarray()):
        found = Inputs(form).of(form)
        found = found.toarray() if sp.issparse(found) else found
        np.testing.assert_allclose(found, normalize(x.toarray()), rtol=1e-12)


def test_a_table_comes_to_the_same_however_it_is_stored():
    x = RNG.random((40, 4)) * [1, 1, 1, 1000]
    inputs = Inputs(sp.csr_array(x))
    np.testing.assert_array_equal(inputs.of(sp.csr_array(x)), Inputs(x).of(x))


def test_sparse_rows_with_negative_entries_are_no_words():
    x = sp.csr_array(([1.0, -2.0], ([0, 3], [2, 5])), shape=(10, 20))
    assert Inputs(x).of(x) is x
