"""Unbiased gradients from values of h, with a relaxation as control variate (REBAR, RELAX)."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from lds._numbers import integer
from lds.discrete.base import AbstractDiscrete
from lds.discrete.bernoulli import Bernoulli
from lds.discrete.checks import (
    Values,
    check_interior,
    check_temperature,
    narrow,
    unfit,
    values_of,
    wide,
)


def rebar(
    distribution: AbstractDiscrete,
    h: Values,
    n_draws: int = 64,
    *,
    control: Values | None = None,
    temperature: float = 0.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Estimate ∇_θ E[h(z)] of Bernoulli variables: score function with a relaxed control variate.

    With x = logit θ + logistic noise, z = 1[x > 0], x' another draw of x given z, and
    c = control ∘ σ(· / temperature), the estimate from one draw is
    (h(z) - c(x')) ∇_θ log P_θ(z) + ∇_θ c(x) - ∇_θ c(x').
    It is exact in expectation where 0 < θ < 1, for every control and temperature; its variance is
    low where c(x') is close to h(z). In REBAR the control is h itself, or a multiple of it; in
    RELAX it is any differentiable function, so that h may be a black box. A draw costs one
    evaluation of h, at an outcome, and two of the control and its derivative, in the hypercube.

    References:
        Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein, 2017, eq. 4 and Appendix A,
        https://arxiv.org/abs/1703.07370; Grathwohl, Choi, Wu, Roeder and Duvenaud, 2018, eq. 8,
        https://arxiv.org/abs/1711.00123

    Arguments:
        distribution: a Bernoulli; on probabilities, strictly between 0 and 1.
        h: draws `(n_draws, *shape)` to values `(n_draws,)`.
        n_draws: S >= 1.
        control: a differentiable function from `(n_draws, *shape)`, values in [0, 1], to
            `(n_draws,)`; None is h.
        temperature: of the relaxation, positive.
        generator: source of randomness; None is torch's own.

    Returns:
        The gradient, in the shape and dtype of θ, without gradient history.

    Raises:
        TypeError: the distribution is not a Bernoulli, or `n_draws` is no integer.
        ValueError: `n_draws` is below 1, the temperature is not positive, a probability is 0 or 1,
            h or the control returns a wrong shape or a value that is not finite, or the control
            has no derivative.
        ArithmeticError: the gradient overflows the dtype of θ.

    Examples:
        >>> import torch
        >>> from lds.discrete import Bernoulli, rebar
        >>> coins = Bernoulli(torch.tensor([0.2, 0.9]))
        >>> rebar(coins, lambda z: z.prod(1), n_draws=8).shape
        torch.Size([2])
    """
    found = each_draw(
        distribution, h, n_draws, control=control, temperature=temperature, generator=generator
    )
    return narrow("rebar", found.mean(0), distribution.parameter.dtype)


def each_draw(
    distribution: AbstractDiscrete,
    h: Values,
    n_draws: int,
    *,
    control: Values | None = None,
    temperature: float = 0.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the estimate of `rebar` from each draw, `(n_draws, *shape)`, float32 or wider."""
    if not isinstance(distribution, Bernoulli):
        raise unfit("rebar", distribution, "a Bernoulli")
    check_interior("rebar", distribution)
    n_draws = integer("n_draws", n_draws)
    dtype = distribution.parameter.dtype
    inverse = check_temperature(temperature, distribution.parameter.device).reciprocal()
    uniform = distribution.uniform(n_draws, generator=generator)
    again = distribution.uniform(n_draws, generator=generator)
    noise, anew = (-u.clamp(min=1e-300).logit() for u in (uniform, again))
    z = distribution.at_uniform(uniform)
    made = wide(distribution)
    with torch.enable_grad():
        theta = made.parameter.detach().expand(z.shape).clone()  # one for each draw
        theta.requires_grad_()
        made = made.with_parameter(theta)
        logits = made.logits
        free = logits + noise
        # Given z = 1, the noise comes from a uniform below θ; given z = 0, from one above it.
        given = torch.where(
            z > 0.5, softplus(anew - logsigmoid(-logits)), -softplus(-anew - logsigmoid(logits))
        )
        relaxed = [(x * inverse).sigmoid().to(dtype) for x in (free, given)]
        name = "h" if control is None else "control"
        c_free, c_given = (values_of(control or h, x, theta.dtype, name) for x in relaxed)
        if not c_free.requires_grad or not c_given.requires_grad:
            raise ValueError(
                f"rebar: {name} must be differentiable inside the hypercube, got values without "
                "history; pass control=, or use disarm, which needs no derivative"
            )
        values = values_of(h, z, theta.dtype).detach()
        log_prob = made.log_prob(z).reshape(n_draws, -1).sum(1)
        total = ((values - c_given.detach()) * log_prob + c_free - c_given).sum()
        (grads,) = torch.autograd.grad(total, theta)
    return grads
