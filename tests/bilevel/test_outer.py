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


OTHERS = {
    "clones": lambda tensors: torch.optim.SGD([t.clone() for t in tensors], lr=0.1),
    "others": lambda tensors: torch.optim.SGD([torch.zeros(2)], lr=0.1),
    "some": lambda tensors: torch.optim.SGD(tensors[:1], lr=0.1),
    "more": lambda tensors: torch.optim.SGD([*tensors, torch.zeros(2)], lr=0.1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_optimizer_of_other_tensors_is_refused(name):
    hyper = {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}
    with pytest.raises(ValueError, match="optimizer must hold the tensors that it is called with"):
        outer.OuterStep(hyper, OTHERS[name], None)
    groups = lambda t: torch.optim.SGD([{"params": t[1:]}, {"params": t[:1], "lr": 1.0}], lr=0.5)  # noqa: E731
    step = outer.OuterStep(hyper, groups, None)
    step.take({"a": torch.tensor(1.0), "b": torch.tensor(1.0)}, 0.0)
    assert step.hyper == {"a": 0.0, "b": 1.5}


def test_complex_hyperparameters_are_refused():
    hyper = {"a": torch.tensor(1.0), "b": torch.tensor(1j)}
    message = r"hyper\['b'\] must be real, got torch.complex64"
    with pytest.raises(TypeError, match=message):
        outer.OuterStep(hyper, sgd(0.1), None)
    inner = bilevel.GradientDescent(lambda w, h: (w - h["b"].real) ** 2, 0.1)
    for method in (None, bilevel.Forward(), bilevel.FirstOrder(), bilevel.FixedPoint(2)):
        with pytest.raises(TypeError, match=message):
            bilevel.hypergradient(inner, lambda w, h: w, torch.tensor(0.0), hyper, 2, method)


def test_a_complex_state_is_refused():
    own = bilevel.Dynamics(
        lambda params, h: params, lambda s, h, t: s * (1 - 0.1 * h), lambda state: state.real
    )
    with pytest.raises(TypeError, match=r"of a state must be real, got torch.complex64"):
        bilevel.hypergradient(own, lambda w, h: w, torch.tensor(1j), torch.tensor(1.0), 2)


def test_a_hypergradient_by_integers_alone_is_refused():
    inner = bilevel.GradientDescent(lambda w, h: (w - h) ** 2, 0.1)
    with pytest.raises(ValueError, match=r"hyper must hold a floating point .* got torch.int64"):
        bilevel.hypergradient(inner, lambda w, h: w, torch.tensor(0.0), torch.tensor(2), 2)
