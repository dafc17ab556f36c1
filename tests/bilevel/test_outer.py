"""The outer step: values handed out stay as they are, and few copies are made."""

import functools

import pytest
import torch

from lds import bilevel
from lds.bilevel import outer


def sgd(lr: float):
    return functools.partial(torch.optim.SGD, lr=lr)


def test_values_handed_out_stay_as_they_are():
    given = {"a": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)}
    step = outer.OuterStep(given, sgd(0.5), bilevel.projections.box(0.0, 10.0))
    first = step.hyper
    step.take({"a": torch.tensor([1.0, 1.0]), "n": None}, 0.0)
    second = step.hyper
    step.take({"a": torch.tensor([1.0, 9.0]), "n": None}, 0.0)
    assert given["a"].tolist() == first["a"].tolist() == [1.0, 2.0]
    assert second["a"].tolist() == [0.5, 1.5]
    assert step.hyper["a"].tolist() == [0.0, 0.0]
    assert step.hyper["n"] == 3


def test_a_step_that_fails_is_undone():
    step = outer.OuterStep(torch.tensor([1.0, 2.0]), sgd(1e30), None)
    with pytest.raises(bilevel.NonFiniteError):
        step.take(torch.tensor([1e30, 0.0]), 0.0)
    assert step.hyper.tolist() == [1.0, 2.0]
    step.take(torch.tensor([1e-30, 0.0]), 0.0)
    torch.testing.assert_close(step.hyper, torch.tensor([0.0, 2.0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("n", [5, outer.LARGE])
def test_the_default_optimizer_is_adam_also_for_many(n):
    """The fused step rounds in another order."""
    start, grad = torch.linspace(-1, 1, n), torch.linspace(2, -1, n)
    step = outer.OuterStep(start, outer.default_optimizer, None)
    plain = start.clone().requires_grad_()
    adam = torch.optim.Adam([plain], lr=1e-2)
    for k in range(3):
        step.take(grad + k, 0.0)
        plain.grad = grad + k
        adam.step()
    assert step.optimizer.defaults["fused"] is (True if n == outer.LARGE else None)
    torch.testing.assert_close(step.hyper, plain.detach(), rtol=1e-5, atol=1e-7)
