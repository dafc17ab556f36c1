"""A bare parameter in the place of a distribution, and integers of other libraries."""

import numpy as np
import pytest
import torch

from lds.discrete import (
    Bernoulli,
    Categorical,
    KSubset,
    disarm,
    gumbel_softmax,
    imle,
    rebar,
    reinmax,
    score_function,
    straight_through,
)

THETA = torch.tensor([0.2, 0.5])


def total(z):
    return z.sum(1)


ESTIMATORS = {
    "straight_through": straight_through,
    "reinmax": reinmax,
    "gumbel_softmax": lambda theta: gumbel_softmax(theta, temperature=0.5),
    "imle": imle,
    "score_function": lambda theta: score_function(theta, total),
    "disarm": lambda theta: disarm(theta, total),
    "rebar": lambda theta: rebar(theta, total),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("bad", [THETA, THETA.numpy(), 0.5, None, Bernoulli])
def test_what_is_no_distribution_is_to_be_wrapped(name, bad):
    with pytest.raises(TypeError, match=rf"^{name} needs a distribution, .*Bernoulli\(theta\)"):
        ESTIMATORS[name](bad)


COUNTS = {
    "KSubset": lambda n: KSubset(torch.zeros(4), n).mean,
    "from_probs": lambda n: KSubset.from_probs(torch.full((4,), 0.5), n).mean,
    "draw": lambda n: Bernoulli(THETA).draw(n, generator=seeded()),
    "categorical": lambda n: Categorical(torch.tensor([0.3, 0.7])).draw(n, generator=seeded()),
    "score_function": lambda n: score_function(Bernoulli(THETA), total, n, generator=seeded()),
    "disarm": lambda n: disarm(Bernoulli(THETA), total, n, generator=seeded()),
    "rebar": lambda n: rebar(Bernoulli(THETA), total, n, generator=seeded()),
}


def seeded():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, torch.tensor])
@pytest.mark.parametrize("name", COUNTS)
def test_integers_of_other_libraries(name, kind):
    assert torch.equal(COUNTS[name](kind(2)), COUNTS[name](2))
    assert type(KSubset(torch.zeros(4), kind(2)).k) is int


@pytest.mark.parametrize("bad", [2.0, True, np.float64(2), torch.tensor(True)])
@pytest.mark.parametrize("name", COUNTS)
def test_other_kinds_are_refused(name, bad):
    with pytest.raises((TypeError, ValueError), match="must be an integer"):
        COUNTS[name](bad)
