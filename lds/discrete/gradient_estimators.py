"""Gradients through a draw: ∇_θ E[h(z)], z ~ P_θ, θ the parameter of the distribution.

There are two kinds. `straight_through`, `reinmax` and `gumbel_softmax` return a draw; the caller
evaluates h at it and differentiates as usual. They need ∇h, and work inside a dynamics and with
every hypergradient method. `score_function` and `disarm` call h and return the gradient. They need
only values of h, so h may be a whole inner training that has no derivative.
"""

import torch
from torch import Tensor

from lds._numbers import check_flag, integer
from lds.discrete.base import AbstractDiscrete, uniform_like
from lds.discrete.bernoulli import Bernoulli
from lds.discrete.categorical import Categorical
from lds.discrete.checks import (
    Values,
    check_distribution,
    check_interior,
    check_slope,
    check_temperature,
    narrow,
    unfit,
    values_of,
    wide,
)


def straight_through(
    distribution: AbstractDiscrete, *, generator: torch.Generator | None = None
) -> Tensor:
    """Draw z with the gradient of its mean: ∂z/∂θ := ∂E[z]/∂θ, the identity on probabilities.

    The estimate is exact in expectation where h is linear in each variable (products of distinct
    variables included), and biased elsewhere, as for (az - b)²/2 (Appendix D). The variables of a
    KSubset depend on each other; there it is exact where h is linear in z as a whole. An estimate
    costs one evaluation of h and its gradient, at an outcome: h need not be defined elsewhere.

    References:
        Bengio, Léonard and Courville, 2013, https://arxiv.org/abs/1308.3432
        Franceschi, 2021, §9.3.2 (eq. 9.11) and Appendix D (eq. D.1); for k-subsets Ahmed et al.,
        2023, https://arxiv.org/abs/2210.01941

    Arguments:
        distribution: P_θ.
        generator: source of randomness; None is torch's own, which the bilevel core seeds for
            every step.

    Returns:
        z, in the shape and dtype of θ, with derivatives of every order.

    Raises:
        TypeError: `distribution` is none, such as a tensor.
    """
    check_distribution("straight_through", distribution)
    return with_slope(distribution.draw(generator=generator), distribution.mean)


def reinmax(distribution: AbstractDiscrete, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw z with the straight-through gradient corrected to second order.

    The correction averages ∇h over both ends of each change of a variable (Heun's rule). The
    estimate is exact in expectation where h is at most quadratic in each variable, given the
    others, and every outcome has a positive probability; it is biased elsewhere, also at
    probabilities of 0 and 1. On Bernoulli probabilities it is ∂z/∂θ := 1 / (2 P(z)). An estimate
    costs one evaluation of h and its gradient, at an outcome.

    References:
        Liu et al., 2023, Algorithm 2, https://arxiv.org/abs/2304.08612

    Arguments:
        distribution: a Bernoulli or a Categorical.
        generator: as for `straight_through`.

    Returns:
        z, in the shape and dtype of θ; first derivatives only.

    Raises:
        TypeError: the distribution is neither.
        ArithmeticError: P(z) is so small that 1 / P(z) overflows the dtype of θ.
    """
    if not isinstance(distribution, Bernoulli | Categorical):
        raise unfit("reinmax", distribution, "a Bernoulli or a Categorical")
    z, probs = distribution.draw(generator=generator), distribution.probs
    if isinstance(distribution, Bernoulli):
        chance = torch.where(z > 0.5, probs.detach(), 1 - probs.detach())
        narrow("reinmax", 1 / (2 * chance.double()), z.dtype)
        return with_slope(z, probs / (2 * chance))
    # 2 ∂softmax(log π1) - ½ ∂softmax(log π), with π1 = (z + π) / 2, by log π. As ∂ log π = ∂π / π,
    # the ratio π1 / π stays finite where an outcome that was not drawn has π = 0.
    pi = probs.detach()
    pi1 = (z + pi) / 2
    ratio = 0.5 + torch.where(z > 0.5, 0.5 / torch.where(z > 0.5, pi, 1.0).double(), 0.0)
    ratio = narrow("reinmax", ratio, z.dtype)
    move = probs - pi
    first = ratio * move - pi1 * (ratio * move).sum(-1, keepdim=True)
    second = move - pi * move.sum(-1, keepdim=True)
    return with_slope(z, 2 * first - second / 2)


def gumbel_softmax(
    distribution: AbstractDiscrete,
    *,
    temperature: float | Tensor,
    hard: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw a relaxation softmax((log θ + Gumbel noise) / temperature), or σ(...) for a Bernoulli.

    Soft: h must be defined *inside* the hypercube. The gradient is exact for the relaxed E[h]; the
    difference to the discrete E[h] falls with the temperature, while the variance grows.
    Hard: the value is a discrete draw from P_θ, and the gradient is that of the relaxation. h is
    evaluated at outcomes only, and the gradient is biased even where h is linear.
    An estimate costs one evaluation of h and its gradient.

    References:
        Jang, Gu and Poole, 2017, https://arxiv.org/abs/1611.01144
        Maddison, Mnih and Teh, 2017, https://arxiv.org/abs/1611.00712

    Arguments:
        distribution: a Bernoulli or a Categorical; on probabilities, strictly between 0 and 1.
        temperature: positive, 1e-100 to 1e100; a tensor of shape () gets a gradient, as a
            hyperparameter.
        hard: whether the value is an outcome.
        generator: as for `straight_through`.

    Returns:
        Values in the shape and dtype of θ: in (0, 1) up to rounding, or 0 and 1 if `hard`.

    Raises:
        TypeError: the distribution is neither.
        ValueError: the temperature is not positive, a probability is 0 or 1, or derivatives may
            overflow the dtype of θ. They are at most 1 / (4 temperature) by a logit, and that
            divided by p (1-p) by a probability.

    Examples:
        >>> import torch
        >>> from lds.discrete import Bernoulli, gumbel_softmax
        >>> coin = Bernoulli(torch.tensor([0.2, 0.9]))
        >>> z = gumbel_softmax(coin, temperature=0.5, generator=torch.Generator().manual_seed(0))
        >>> bool(((z > 0) & (z < 1)).all())
        True
    """
    if not isinstance(distribution, Bernoulli | Categorical):
        raise unfit("gumbel_softmax", distribution, "a Bernoulli or a Categorical")
    check_flag("hard", hard)
    theta = distribution.parameter
    level = check_temperature(temperature, theta.device)
    check_interior("gumbel_softmax", distribution)
    steepest = 0.25 / float(level.detach())
    check_slope(
        "gumbel_softmax", distribution, steepest, variance(distribution), "a higher temperature"
    )
    # In float64: rounding of a large logit in less precision would lose the noise, hence the draw.
    logits, inverse = distribution.with_parameter(theta.double()).logits, level.reciprocal()
    if isinstance(distribution, Bernoulli):
        uniform = distribution.uniform(generator=generator)
        noise = -uniform.clamp(min=1e-300).logit()  # logit θ > logit ε: 1[ε < θ]
        soft = ((logits + noise) * inverse).sigmoid().to(theta.dtype)
        return with_slope(distribution.at_uniform(uniform), soft) if hard else soft
    uniform = uniform_like(theta, None, theta.shape, generator)
    # Less their largest: beside a large number rounding would lose the noise.
    logits = logits - logits.detach().amax(-1, keepdim=True)
    logits = logits - (-uniform.clamp(min=1e-300).log()).log()
    top = logits.detach().max(-1, keepdim=True)
    soft = ((logits - top.values) * inverse).softmax(-1).to(theta.dtype)
    if not hard:
        return soft
    return with_slope(torch.zeros_like(soft).scatter(-1, top.indices, 1.0), soft)


def score_function(
    distribution: AbstractDiscrete,
    h: Values,
    n_draws: int = 64,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Estimate ∇_θ E[h(z)] as the mean of (h(z_s) - b_s) ∇_θ log P_θ(z_s), from values of h alone.

    The baseline b_s is the mean of h over the other draws: it adds no bias and removes most of the
    variance. The estimate is exact in expectation where every outcome has a positive probability.
    It costs `n_draws` evaluations of h, at outcomes, and no derivative of h.

    References:
        Williams, 1992; Kool, van Hoof and Welling, 2019,
        https://openreview.net/forum?id=r1lgTGL5DE; Mohamed et al., 2020, §4,
        https://arxiv.org/abs/1906.10652

    Arguments:
        distribution: P_θ; on probabilities, strictly between 0 and 1.
        h: draws `(n_draws, *shape)` to values `(n_draws,)`; any function, such as a training.
        n_draws: S >= 2.
        generator: source of randomness; None is torch's own.

    Returns:
        The gradient, in the shape and dtype of θ, without gradient history.

    Raises:
        TypeError: `distribution` is none, such as a tensor, or `n_draws` is no integer.
        ValueError: `n_draws` is below 2, a probability is 0 or 1 (an outcome that is never drawn
            does not enter the estimate), or h returns a wrong shape or a value that is not finite.
        ArithmeticError: the gradient overflows the dtype of θ.
    """
    check_distribution("score_function", distribution)
    n_draws = integer("n_draws", n_draws)
    if n_draws < 2:
        raise ValueError(
            f"score_function: n_draws must be at least 2, as each draw is compared with the "
            f"others, got {n_draws}"
        )
    check_interior("score_function", distribution)
    made = wide(distribution)
    theta = made.parameter
    z = distribution.draw(n_draws, generator=generator)
    values = values_of(h, z, theta.dtype).detach()
    weights = ((values - values.mean()) / (n_draws - 1)).to(theta.dtype)
    with torch.enable_grad():
        log_prob = made.log_prob(z).reshape(n_draws, -1).sum(1)
        (grad,) = torch.autograd.grad(log_prob @ weights, theta)
    return narrow("score_function", grad, z.dtype)


def disarm(
    distribution: AbstractDiscrete,
    h: Values,
    n_draws: int = 64,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Estimate ∇_θ E[h(z)] of Bernoulli variables from antithetic draws (DisARM, also named U2G).

    A pair of draws is z = 1[1 - ε < p] and z' = 1[ε < p]. Its estimate of the derivative by the
    logit of each p is ½ (h(z) - h(z')) (-1)^z' 1[z ≠ z'] max(p, 1-p). It is exact in expectation
    where 0 < p < 1, and has less variance than the score function at the same number of
    evaluations. A pair costs two evaluations of h, at outcomes, and no derivative of h.

    References:
        Dong, Mnih and Tucker, 2020, eq. 7, https://arxiv.org/abs/2006.10680
        Yin, Ho, Yan, Qian and Zhou, 2020, https://arxiv.org/abs/2006.06448

    Arguments:
        distribution: a Bernoulli; on probabilities, strictly between 0 and 1.
        h: draws `(n_draws, *shape)` to values `(n_draws,)`; called twice.
        n_draws: S >= 1 pairs.
        generator: source of randomness; None is torch's own.

    Returns:
        The gradient, in the shape and dtype of θ, without gradient history.

    Raises:
        TypeError: the distribution is not a Bernoulli, or `n_draws` is no integer.
        ValueError: `n_draws` is below 1, a probability is 0 or 1, or h returns a wrong shape or a
            value that is not finite.
        ArithmeticError: the gradient overflows the dtype of θ.
    """
    if not isinstance(distribution, Bernoulli):
        raise unfit("disarm", distribution, "a Bernoulli")
    check_interior("disarm", distribution)
    n_draws = integer("n_draws", n_draws)
    made = wide(distribution)
    theta = made.parameter
    uniform = distribution.uniform(n_draws, generator=generator)
    z, other = distribution.at_uniform(1 - uniform), distribution.at_uniform(uniform)
    first, second = (values_of(h, draws, theta.dtype).detach() for draws in (z, other))
    change = ((first - second) / (2 * n_draws)).to(theta.dtype)
    with torch.enable_grad():
        logits = made.logits
        p = logits.detach().sigmoid()
        sign = (1 - 2 * other) * (z != other) * torch.maximum(p, 1 - p)
        by_logit = torch.tensordot(change, sign, 1)
        if distribution.symmetric:  # one variable for each pair
            by_logit = by_logit.triu()
        (grad,) = torch.autograd.grad(logits, theta, by_logit)
    return narrow("disarm", grad, z.dtype)


def variance(distribution: Bernoulli | Categorical) -> Tensor:
    """Return the derivative of each probability by its logit; Categorical: by its logarithm."""
    p = distribution.probs.detach().double()
    return p * (1 - p) if isinstance(distribution, Bernoulli) else p


def with_slope(value: Tensor, surrogate: Tensor) -> Tensor:
    """Return `value` with the derivatives of `surrogate`, in every mode of differentiation."""
    return value + (surrogate - surrogate.detach())
