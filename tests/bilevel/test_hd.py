"""Hypergradient descent asks for first derivatives alone."""

import functools

import torch

from lds import bilevel


class Gradient(torch.autograd.Function):
    """A gradient that must not be differentiated."""

    @staticmethod
    def forward(ctx, w):
        return w.clone()

    @staticmethod
    def backward(ctx, grad):
        raise AssertionError("a second derivative was asked for")


class HalfSquare(torch.autograd.Function):
    """w² / 2."""

    @staticmethod
    def forward(ctx, w):
        ctx.save_for_backward(w)
        return 0.5 * w**2

    @staticmethod
    def backward(ctx, grad):
        return grad * Gradient.apply(ctx.saved_tensors[0])


def test_discount_0_goes_by_the_product_of_two_gradients():
    beta, lr, w = 0.01, 0.1, 2.0
    solution = bilevel.solve_online(
        bilevel.GradientDescent(lambda w, lam: HalfSquare.apply(w), lr=lambda lam: lam),
        lambda w, lam: (w - 1) ** 2,
        torch.tensor(w, dtype=torch.float64),
        torch.tensor(lr, dtype=torch.float64),
        20,
        discount=0,
        optimizer=functools.partial(torch.optim.SGD, lr=beta),
    )
    for _ in range(20):
        gradient = w
        w -= lr * gradient
        lr -= beta * 2 * (w - 1) * -gradient
    torch.testing.assert_close(float(solution.last.hyper), lr, rtol=1e-12, atol=0)
    torch.testing.assert_close(float(solution.last.params), w, rtol=1e-12, atol=0)
