"""Implicit maximum likelihood estimation (I-MLE): gradients from two perturbed maximisations."""

from typing import Any

import torch
from torch import Tensor

from lds._numbers import real
from lds.discrete.base import AbstractDiscrete, uniform_like
from lds.discrete.bernoulli import Bernoulli
from lds.discrete.categorical import Categorical
from lds.discrete.checks import check_interior, check_slope, unfit
from lds.discrete.gradient_estimators import variance


def imle(
    distribution: AbstractDiscrete,
    *,
    step: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw z with a gradient that compares it with the draw after a step of the logits against ∇h.

    The draw is z = MAP(logits + noise), and the gradient by the logits is
    (z - MAP(logits + noise - step ∇h(z))) / step. The noise is the same in both, so the gradient is
    0 except where the step changes the outcome.

    The estimate is biased. Take a Bernoulli on logits l, the other variables given, and let g_1 and
    g_0 be the derivative of h by a variable at 1 and at 0. The mean of the estimate is
    (σ(l) - σ(l - step g_1))⁺ / step - (σ(l - step g_0) - σ(l))⁺ / step. As the step falls to 0 the
    mean tends to σ'(l) (g_1⁺ - (-g_0)⁺), which is exact where h is linear in each variable, and the
    standard deviation grows as 1 / √step. Every entry is at most 1 / step, whatever ∇h.

    An estimate costs one evaluation of h and its gradient, at an outcome. It is not linear in ∇h,
    so it depends on the scale of h, and forward-mode methods, which do not have ∇h, refuse it.

    References:
        Niepert, Minervini and Franceschi, 2021, Algorithm 1, https://arxiv.org/abs/2106.01798

    Arguments:
        distribution: a Bernoulli or a Categorical, whose noise (logistic, Gumbel) makes z a draw
            from P_θ; on probabilities, strictly between 0 and 1.
        step: λ of the paper, positive, in logits per unit of ∇h.
        generator: as for `straight_through`.

    Returns:
        z, in the shape and dtype of θ, with first derivatives in reverse mode only.

    Raises:
        TypeError: the distribution is neither.
        ValueError: the step is not a positive finite number, a probability is 0 or 1, or the
            gradient may overflow the dtype of θ.
    """
    if not isinstance(distribution, Bernoulli | Categorical):
        raise unfit("imle", distribution, "a Bernoulli or a Categorical")
    if not 1e-100 <= real("step", step, "a positive number") <= 1e100:
        raise ValueError(f"step must be a positive number, from 1e-100 to 1e+100, got {step!r}")
    check_interior("imle", distribution)
    check_slope("imle", distribution, 1 / step, variance(distribution), "a longer step")
    theta = distribution.parameter
    logits = distribution.with_parameter(theta.double()).logits
    if isinstance(distribution, Bernoulli):
        noise = -distribution.uniform(generator=generator).clamp(min=1e-300).logit()
    else:
        uniform = uniform_like(theta, None, theta.shape, generator)
        noise = -(-uniform.clamp(min=1e-300).log()).log()
        # Less their largest: beside a large number rounding would lose the noise.
        logits = logits - logits.detach().amax(-1, keepdim=True)
    symmetric = isinstance(distribution, Bernoulli) and distribution.symmetric
    choose = _positive if isinstance(distribution, Bernoulli) else _largest
    z: Tensor = _PerturbedChoice.apply(logits, noise, step, choose, symmetric)  # type: ignore[no-untyped-call]
    return z.to(theta.dtype)


def _positive(x: Tensor) -> Tensor:
    return (x > 0).to(x.dtype)


def _largest(x: Tensor) -> Tensor:
    return torch.zeros_like(x).scatter(-1, x.argmax(-1, keepdim=True), 1.0)


class _PerturbedChoice(torch.autograd.Function):
    """The choice at perturbed logits; its gradient needs a second choice."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, noise: Tensor, step: float, choose: Any, symmetric: bool) -> Tensor:
        return choose(logits + noise)  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        logits, noise, ctx.step, ctx.choose, ctx.symmetric = inputs
        ctx.save_for_backward(logits + noise)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "imle has first derivatives by reverse mode only, as its gradient is no linear "
                "function of that of h; use bilevel.Reverse, or another estimator"
            )
        (perturbed,), grad = ctx.saved_tensors, grads[0]
        if ctx.symmetric:  # a variable has two entries
            grad = grad + grad.mT - torch.diag_embed(grad.diagonal(dim1=-2, dim2=-1))
        change = ctx.choose(perturbed) - ctx.choose(perturbed - ctx.step * grad)
        slope = change / ctx.step + 0 * grad  # 0 * grad keeps NaN
        if ctx.symmetric:
            slope = (slope + torch.diag_embed(slope.diagonal(dim1=-2, dim2=-1))) / 2
        return slope, None, None, None, None
