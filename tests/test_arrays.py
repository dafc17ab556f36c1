"""Arrays of a user: sparse ones in one form, masked ones refused where they cannot be missing."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from torch_geometric.data import Data

from lds import LDSClassifier, ViewsLDSClassifier, learn_structure
from lds._arrays import canonical

X = sp.random_array((60, 40), density=0.1, rng=np.random.default_rng(0), format="csr")


def halves(x):
    """Return x with each entry in two halves, columns in descending order, and a stored 0."""
    values, columns, starts = [], [], [0]
    for row in range(x.shape[0]):
        entries = slice(x.indptr[row], x.indptr[row + 1])
        mine, at = x.data[entries], x.indices[entries]
        values += [*(mine / 2)[::-1], *(mine / 2), 0.0]
        columns += [*at[::-1], *at, 0]
        starts.append(len(values))
    return sp.csr_array((values, np.int32(columns), np.int32(starts)), shape=x.shape)


def wide(x):
    """Return x with int64 indices."""
    return sp.csr_array((x.data, np.int64(x.indices), np.int64(x.indptr)), shape=x.shape)


FORMS = {"halves": halves, "int64": wide, "csc": sp.csc_array, "coo": sp.coo_array}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_the_same_arrays_and_the_given_ones_stay(form):
    given = FORMS[form](X)
    before = given.copy()
    found = canonical(given)
    assert found.has_canonical_format
    assert found.indices.dtype == found.indptr.dtype == np.int32
    assert np.array_equal(found.data, X.data)
    assert np.array_equal(found.indices, X.indices)
    assert np.array_equal(found.indptr, X.indptr)
    assert (given.data == before.data).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16])
@pytest.mark.parametrize("form", [sp.coo_array, sp.csr_array])
def test_repeated_entries_of_integers_do_not_overflow(form, dtype):
    most = np.iinfo(dtype).max
    parts = (np.array([most, most, 1], dtype=dtype), (np.array([0, 0, 1]), np.array([1, 1, 0])))
    given = sp.coo_array(parts, shape=(2, 2))
    if form is sp.csr_array:
        given = sp.csr_array((parts[0], parts[1][1], [0, 2, 3]), shape=(2, 2))
    found = canonical(given)
    assert found.dtype == np.float64
    assert np.array_equal(found.toarray(), [[0, 2 * most], [1, 0]])
    assert given.dtype == dtype


def test_dense_features_are_not_copied():
    x = np.zeros((2, 3))
    assert canonical(x) is x


@pytest.mark.ci
@pytest.mark.parametrize(
    "classifier",
    [
        ViewsLDSClassifier(n_trees=10, max_iter=2, random_state=0),
        LDSClassifier(max_iter=1, refits=1, refit_steps=20, random_state=0),
    ],
)
def test_a_fit_depends_on_the_values_of_sparse_rows_alone(classifier):
    y = np.where(np.arange(60) < 15, np.arange(60) % 3, -1)
    new = X[:5] + X[5:10]
    plain, other = (clone(classifier).fit(x, y) for x in (X, wide(halves(X))))
    assert np.array_equal(other.label_distributions_, plain.label_distributions_)
    assert np.array_equal(other.predict_proba(wide(halves(new))), plain.predict_proba(new))


@pytest.mark.ci
def test_what_a_mask_hides_is_never_read():
    x, y = X.toarray(), np.arange(60) % 3
    hide_first = np.arange(60) == 0
    clf = LDSClassifier(max_iter=1, refits=1, refit_steps=2, random_state=0)
    for name, value in (
        ("adjacency", np.ma.masked_array(np.eye(60), np.diag(hide_first))),
        ("sample_weight", np.ma.masked_array(np.ones(60), hide_first)),
        ("validation", np.ma.masked_array([0, 1, 2, 3], [True, False, False, False])),
    ):
        given = {"stopping": [4, 5, 6]} if name == "validation" else {}
        with pytest.raises(ValueError, match=f"{name} must have no masked entries, got "):
            clf.fit(x, y, **{name: value}, **given)
    nothing = np.ma.masked_array(np.ones((60, 60)), False)
    fitted = clf.fit(x, y, adjacency=nothing)
    with pytest.raises(ValueError, match="sample_weight must have no masked entries, got 1;"):
        fitted.score(x, y, np.ma.masked_array(np.ones(60), hide_first))
    data = Data(x=torch.from_numpy(x), y=torch.from_numpy(y))
    rows = np.ma.masked_array(np.arange(30), np.arange(30) < 2)
    with pytest.raises(ValueError, match="must have no masked entries, got 2;"):
        learn_structure(data, split={"train": rows})
