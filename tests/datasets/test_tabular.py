import numpy as np
import pytest
from sklearn import config_context
from sklearn.datasets import load_digits, load_iris

from lds.datasets.registry import load

SIZES = {
    "iris": (150, 4, 3, 10),
    "wine": (178, 13, 3, 10),
    "breast_cancer": (569, 30, 2, 10),
    "digits": (1797, 64, 10, 50),
}


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_features_are_arrays_whatever_transformers_return(output: str) -> None:
    with config_context(transform_output=output):
        features = load("wine").features
    np.testing.assert_array_equal(features, load("wine").features)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_roles(name: str) -> None:
    n_nodes, n_features, n_classes, n_labels = SIZES[name]
    data = load(name, seed=0)
    split = data.split
    assert data.name == name
    assert isinstance(data.features, np.ndarray)
    assert data.features.shape == (n_nodes, n_features)
    assert data.features.dtype == np.float32
    assert len(data.classes) == n_classes
    assert data.adjacency is None
    assert split.train.size == split.validation.size == split.stopping.size == n_labels
    assert split.test.size == n_nodes - 3 * n_labels
    for role in (split.train, split.validation, split.stopping, split.test):
        assert set(data.labels[role].tolist()) == set(range(n_classes)), "a class is missing"


@pytest.mark.parametrize("name", SIZES)
def test_the_split_follows_the_seed(name: str) -> None:
    first, again, other = (load(name, seed=seed) for seed in (1, 1, 2))
    for role in ("train", "validation", "stopping", "test"):
        np.testing.assert_array_equal(getattr(first.split, role), getattr(again.split, role))
    assert not np.array_equal(first.split.train, other.split.train)
    np.testing.assert_array_equal(first.features, other.features)


@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_features_are_standardised(name: str) -> None:
    X = load(name).features.astype(np.float64)
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-6)  # of float32 values
    np.testing.assert_allclose(X.std(axis=0), 1, atol=1e-6)


def test_raw_values_are_kept() -> None:
    np.testing.assert_array_equal(load("iris").features, load_iris().data.astype(np.float32))
    np.testing.assert_array_equal(load("digits").features * 16, load_digits().data)


def test_an_alias_and_capitals() -> None:
    assert load("Cancer").name == "breast_cancer"
    assert load("breast_cancer").classes == ("malignant", "benign")
