"""Functions that can be differentiated once only: an error, where torch returns 0 silently."""

import numpy as np
import pytest
import torch
from torch.autograd.function import once_differentiable

from lds import bilevel
from tests.problems import scalar

W = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)


class Square(torch.autograd.Function):
    """x² with a backward that can be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class Marked(Square):
    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class Detached(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return (2 * x * grad).detach()


class Numpy(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return torch.as_tensor(2 * np.asarray(x.detach()) * np.asarray(grad.detach()))


class Frozen(Square):
    """Right in the derivative that arrives, and wrong in x."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x.detach() * grad


def last(square):  # the derivative that arrives is a constant
    return lambda w, hyper: square(w * hyper).sum()


def part(square):  # beside a part that has second derivatives
    return lambda w, hyper: square(w * hyper).sum() + hyper * (w**2).sum()


METHODS = {
    "default": None,
    "no tape": bilevel.Reverse(tape=False),
    "forward": bilevel.Forward(),
    "implicit": bilevel.FixedPoint(3),
    "SOBA": bilevel.SOBA(0.1),
}


def run(inner, method=None, hyper=0.7, n_steps=1):
    return bilevel.hypergradient(
        bilevel.GradientDescent(inner, 0.1),
        lambda w, hyper: (w**2).sum(),
        W,
        scalar(hyper),
        n_steps,
        method=method,
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("inner", [last, part])
@pytest.mark.parametrize("kind", [Marked, Detached, Numpy])
def test_a_function_that_is_differentiable_once(kind, inner, method):
    with pytest.raises(
        bilevel.OnceDifferentiableError, match=r"step \d of .* once only \(.*FirstOrder\(\), F2SA\("
    ):
        run(inner(kind.apply), METHODS[method])


@pytest.mark.parametrize("method", ["default", "no tape", "forward"])
@pytest.mark.parametrize("inner", [last, part])
def test_a_function_that_is_differentiable_twice(inner, method):
    """The same gradient as by finite differences."""
    found = run(inner(Square.apply), METHODS[method], n_steps=3).grad
    ahead, behind = (run(inner(torch.square), None, 0.7 + h, 3).value for h in (1e-6, -1e-6))
    torch.testing.assert_close(found, (ahead - behind) / 2e-6, rtol=1e-7, atol=0)


@pytest.mark.parametrize(
    "method", [bilevel.FirstOrder(), bilevel.ConjugateGradient(3, differences=True)]
)
def test_methods_without_second_derivatives_take_it(method):
    inner = part(Marked.apply)
    if isinstance(method, bilevel.FirstOrder):
        inner = lambda w, hyper: Marked.apply(w).sum()  # noqa: E731
        dynamics = bilevel.GradientDescent(inner, lr=lambda hyper: hyper)
    else:
        dynamics = bilevel.GradientDescent(inner, 0.1)
    bilevel.hypergradient(dynamics, lambda w, h: (w**2).sum(), W, scalar(0.1), 2, method=method)


CUT = {
    "detach": lambda w, h: (w**2).sum() * h * (1 + h.detach()),
    "data": lambda w, h: (w**2).sum() * h * (1 + h.data),
    "item": lambda w, h: (w**2).sum() * h * (1 + h.item()),
    "a backward that is wrong in x": part(Frozen.apply),
}


@pytest.mark.parametrize("kind", CUT)
def test_check_reveals_what_is_cut_off_in_part(kind):
    dynamics = bilevel.GradientDescent(CUT[kind], 0.1)
    report = bilevel.check(dynamics, lambda w, h: (w**2).sum(), W, scalar(0.7))
    assert not report.ok
    assert "finite differences 1" in [row.name for row in report.rows if row.verdict == "differs"]


def test_check_reveals_a_block_without_gradients():
    def inner(w, h):
        with torch.no_grad():
            scale = 1 + h
        return (w**2).sum() * h * scale

    dynamics = bilevel.GradientDescent(inner, 0.1)
    report = bilevel.check(dynamics, lambda w, h: (w**2).sum(), W, scalar(0.7))
    assert "finite differences 1" in [row.name for row in report.rows if row.verdict == "differs"]


@pytest.mark.parametrize("cut", [lambda h: h.detach(), lambda h: h.data, lambda h: h.item()])
def test_a_tensor_that_is_cut_off_as_a_whole_is_refused(cut):
    for call in (
        run,
        lambda inner: bilevel.check(
            bilevel.GradientDescent(inner, 0.1), lambda w, h: (w**2).sum(), W, scalar(0.7)
        ),
    ):
        inner = lambda w, h: (w**2).sum() * cut(h)  # noqa: E731
        if call is run:
            with pytest.raises(ValueError, match=r"no influence.*look for what cuts it off"):
                call(inner)
        else:
            assert [row.name for row in call(inner).rows] == ["influence"]
