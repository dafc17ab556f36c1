"""Fits that several files look at; nothing may change them."""

import pytest

from lds.structure.learn import learn
from lds.structure.result import Learned
from tests.structure import small
from tests.structure.blobs import blobs


@pytest.fixture(scope="session")
def thesis_fit() -> Learned:
    """The thesis's method on `blobs`, seed 0."""
    return learn(blobs(), small.THESIS)


@pytest.fixture(scope="session")
def default_fit() -> Learned:
    """The default method on `blobs`, seed 0."""
    return learn(blobs(), small.DEFAULT)


@pytest.fixture(scope="session")
def alone_fit() -> Learned:
    """The default method with one refit on `blobs`, seed 0."""
    return learn(blobs(), small.ALONE)
