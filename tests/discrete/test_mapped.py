"""Draws inside `torch.vmap`, on which `bilevel.over_tasks` stands, are those of a batch."""

import functools

import pytest
import torch

from lds import bilevel, discrete
from lds.discrete import Bernoulli, Categorical, KSubset

THETA = torch.tensor([[0.2, 0.7, 0.1], [0.3, 0.5, 0.2]], dtype=torch.float64)
SLOPE = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
SOFT = functools.partial(discrete.gumbel_softmax, temperature=0.5)
HARD = functools.partial(discrete.gumbel_softmax, temperature=0.5, hard=True)
DRAWS = {
    "straight-through": (Bernoulli, discrete.straight_through),
    "categorical": (Categorical, discrete.straight_through),
    "categorical-reinmax": (Categorical, discrete.reinmax),
    "subset": (lambda theta: KSubset(theta, 2), discrete.straight_through),
    "subset-of-probs": (
        lambda theta: KSubset.from_probs(theta / theta.sum(-1, keepdim=True), 1),
        discrete.straight_through,
    ),
    "reinmax": (Bernoulli, discrete.reinmax),
    "relaxed": (Bernoulli, SOFT),
    "relaxed-categorical": (Categorical.from_logits, HARD),
    "imle": (Bernoulli, discrete.imle),
    "imle-categorical": (Categorical.from_logits, functools.partial(discrete.imle, step=2.0)),
}


@pytest.mark.parametrize(("make", "draw"), DRAWS.values(), ids=DRAWS)
def test_a_draw_by_task_is_that_of_a_batch(make, draw):
    def value(theta):
        return (draw(make(theta)) * SLOPE).sum(-1)

    def both(function):
        theta = THETA.clone().requires_grad_()
        torch.manual_seed(3)
        found = function(theta)
        return found.detach(), torch.autograd.grad(found.sum(), theta)[0]

    mapped = both(torch.vmap(value, randomness="different"))
    batch = both(value)
    for found, wanted in zip(mapped, batch, strict=True):
        torch.testing.assert_close(found, wanted)
    assert bool(batch[1].any())


def test_probabilities_that_differ_by_task_are_clamped_without_a_check():
    found = torch.vmap(lambda p: Bernoulli(p).probs)(torch.tensor([[0.5, 1 + 1e-8], [-1e-8, 0.25]]))
    assert found.tolist() == [[0.5, 1.0], [0.0, 0.25]]


def test_permutations_by_task_are_refused():
    def inner(w, hyper, task):
        drawn = discrete.gumbel_sinkhorn(hyper.reshape(2, 2), temperature=0.5)
        return ((w * drawn.flatten() - task) ** 2).sum()

    total, mean = bilevel.over_tasks(inner, lambda w, hyper, task: w.sum(), torch.zeros(3))
    phi = bilevel.GradientDescent(total, 0.1)
    with pytest.raises(TypeError, match="must be the same for all tasks of over_tasks"):
        bilevel.hypergradient(phi, mean, torch.zeros(3, 4), torch.full((4,), 0.4), 2)


def test_a_temperature_by_task_is_refused():
    draw = torch.vmap(
        lambda level: discrete.gumbel_softmax(Bernoulli(THETA[0]), temperature=level),
        randomness="different",
    )
    with pytest.raises(ValueError, match="temperature must be one for all tasks"):
        draw(torch.tensor([0.5, 1.0]))


def test_a_flag_is_no_temperature():
    with pytest.raises(ValueError, match=r"temperature must be a positive number .*, got True"):
        discrete.gumbel_softmax(Bernoulli(THETA), temperature=True)


FLAGS = {
    "symmetric": lambda: Bernoulli(THETA[:, :2], symmetric="no"),
    "symmetric-logits": lambda: Bernoulli.from_logits(THETA[:, :2], symmetric="no"),
    "hard": lambda: discrete.gumbel_softmax(Bernoulli(THETA), temperature=0.5, hard="no"),
    "hard-sinkhorn": lambda: discrete.gumbel_sinkhorn(THETA[:, :2], temperature=0.5, hard="no"),
}


@pytest.mark.parametrize("make", FLAGS.values(), ids=FLAGS)
def test_a_text_is_no_flag(make):
    with pytest.raises(TypeError, match=r"(symmetric|hard) must be True or False, got 'no'"):
        make()


GENERATORS = {
    "bernoulli": lambda g: Bernoulli(THETA).draw(generator=g),
    "categorical": lambda g: Categorical(THETA).draw(2, generator=g),
    "subset": lambda g: KSubset(THETA, 1).draw(generator=g),
    "softmax": lambda g: HARD(Categorical(THETA), generator=g),
    "imle": lambda g: discrete.imle(Categorical(THETA), generator=g),
    "disarm": lambda g: discrete.disarm(Bernoulli(THETA), lambda z: z.sum((1, 2)), generator=g),
    "sinkhorn": lambda g: discrete.gumbel_sinkhorn(THETA[:, :2], temperature=0.5, generator=g),
    "table": lambda g: discrete.ThinningTable(torch.full((32,), 0.5)).draw(1, generator=g),
}


@pytest.mark.parametrize("draw", GENERATORS.values(), ids=GENERATORS)
def test_a_number_is_no_generator(draw):
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator, .*, got int"):
        draw(0)
