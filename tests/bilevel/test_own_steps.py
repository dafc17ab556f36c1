"""Gradients that a step of the user's own takes for constants."""

import pytest
import torch
from torch import Tensor

from lds import bilevel

A = torch.linspace(-1, 2, 15, dtype=torch.float64).view(5, 3).cos()
HYPER = torch.tensor(-1.0, dtype=torch.float64)


def loss(w: Tensor, h: Tensor) -> Tensor:
    return ((A @ w - 1) ** 4).mean() + h.exp() * (w**2).sum()


def with_history(s, h):
    w = s if s.requires_grad else s.detach().requires_grad_()
    return torch.autograd.grad(loss(w, h), w, create_graph=True)[0]


def by_a_function(s, h):
    return torch.func.grad(loss)(s, h)


def without_graph(s, h):
    w = s if s.requires_grad else s.detach().requires_grad_()
    return torch.autograd.grad(loss(w, h), w)[0]


def detached(s, h):
    w = s.detach().requires_grad_()
    return torch.autograd.grad(loss(w, h), w)[0]


def cloned(s, h):
    w = s.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(w, h), [w], create_graph=True)[0]


def backwards(s, h):
    w = s.detach().requires_grad_()
    loss(w, h).backward()
    return w.grad


def dynamics(gradient) -> bilevel.Dynamics:
    def step(state, hyper, t):
        with torch.enable_grad():
            return state - 0.02 * gradient(state, hyper)

    return bilevel.Dynamics(lambda params, h: params, step, lambda state: state)


def outer(w, h):
    return (w**2).sum()


def with_another_leaf(s, h):
    """A derivative by a variable of its own, whose values are those of no weight."""
    w = s if s.requires_grad else s.detach().requires_grad_()
    zero = torch.zeros_like(s, requires_grad=True)
    return torch.autograd.grad(loss(w + zero, h), zero, create_graph=True)[0]


METHODS = [
    bilevel.Reverse(),
    bilevel.Reverse(tape=False),
    bilevel.Reverse(truncation=1),
    bilevel.Forward(),
]
START = torch.full((3,), 0.1, dtype=torch.float64)


def plain(h: float) -> float:
    w = START
    for _ in range(4):
        w = w.detach().requires_grad_()
        w = w - 0.02 * torch.autograd.grad(loss(w, torch.tensor(h, dtype=torch.float64)), w)[0]
    return float(outer(w, h).detach())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        (without_graph, "is computed without create_graph=True"),
        (detached, "is computed without create_graph=True"),
        (backwards, "is computed without create_graph=True"),
        (cloned, "is that by a detached copy of state"),
    ],
)
def test_a_gradient_that_is_a_constant_is_warned_of(gradient, message, method):
    message = f"a gradient in step . of the dynamics {message}"
    with pytest.warns(UserWarning, match=message) as found:
        bilevel.hypergradient(
            dynamics(gradient), lambda w, h: outer(w, h) + 1e-9 * h, START, HYPER, 4, method
        )
    assert len(found) == 1


@pytest.mark.parametrize("method", [method for method in METHODS if method != METHODS[2]])
@pytest.mark.parametrize("gradient", [with_history, by_a_function, with_another_leaf])
def test_a_gradient_with_history_is_right_and_silent(gradient, method):
    found = bilevel.hypergradient(dynamics(gradient), outer, START, HYPER, 4, method).grad
    e = 1e-5
    expected = (plain(-1.0 + e) - plain(-1.0 - e)) / (2 * e)
    assert float(found) == pytest.approx(expected, rel=1e-6)  # of differences


def test_an_online_run_warns_too():
    with pytest.warns(UserWarning, match="a gradient in step 0 of the dynamics is computed"):
        bilevel.solve_online(
            dynamics(detached), lambda w, h: outer(w, h) + 1e-9 * h, START, HYPER, 3
        )


def test_an_online_run_refuses_a_function_that_is_differentiable_once():
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

    inner = bilevel.GradientDescent(lambda w, h: (Square.apply(w) * h).sum(), 0.1)
    with pytest.raises(RuntimeError, match="once"):
        bilevel.solve_online(inner, outer, START, HYPER, 3)
