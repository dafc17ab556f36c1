"""Equality of two results, bit for bit."""

import numpy as np
import torch

from lds.structure.result import Learned


def assert_same(ours: Learned, theirs: Learned) -> None:
    """Fail unless history, weights, distribution and predictions are equal bit for bit."""
    assert repr(ours.history) == repr(theirs.history), "a loss may be nan, which equals nothing"
    assert (ours.best, ours.reason) == (theirs.best, theirs.reason)
    assert ours.params.keys() == theirs.params.keys()
    assert all(torch.equal(ours.params[name], theirs.params[name]) for name in theirs.params)
    assert torch.equal(ours.edges.probs, theirs.edges.probs)
    assert np.array_equal(ours.probabilities, theirs.probabilities)
    assert np.array_equal(ours.mutual_information, theirs.mutual_information)
    assert np.array_equal(ours.hidden, theirs.hidden)
