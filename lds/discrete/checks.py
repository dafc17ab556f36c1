"""Checks of the input of distributions and estimators, and of numbers that overflow a dtype."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from lds.discrete.base import AbstractDiscrete, is_mapped

Distribution = TypeVar("Distribution", bound=AbstractDiscrete)
Values = Callable[[Tensor], Tensor]
"""h, a function from draws `(n_draws, *shape)` to their values `(n_draws,)`."""

NEAREST = "probs.clamp(0, 1) gives the nearest that do"
"""Advice in the message on probabilities outside [0, 1]."""

ROUNDING = 4
"""Largest distance of probabilities from [0, 1], in eps of their dtype, that counts as rounding.
The eps is at least that of float32, as a float64 tensor may come from float32: 4.8e-7 for float32
and float64, 3.9e-3 for float16, 3.1e-2 for bfloat16. Such probabilities are clamped; derivatives by
them are unchanged."""

TEMPERATURES = (1e-100, 1e100)
"""Range of temperatures: their squares and the squares of their inverses are float64 numbers."""


def rounding(dtype: torch.dtype) -> float:
    """Return `ROUNDING` times the eps of a dtype, at least float32's."""
    return ROUNDING * max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)


def check_parameter(name: str, parameter: object) -> None:
    """Raise a TypeError unless `parameter` is a floating point tensor."""
    if not isinstance(parameter, Tensor) or not parameter.is_floating_point():
        got = parameter.dtype if isinstance(parameter, Tensor) else type(parameter).__name__
        raise TypeError(f"{name} must be a floating point tensor, got {got}")


def check_logits(
    logits: Tensor, name: str = "logits", way_out: str = "fix an entry by its probs"
) -> None:
    """Raise unless `logits`, an argument of this name, is a finite floating point tensor."""
    check_parameter(name, logits)
    finite = logits.detach().isfinite()
    if not is_mapped(finite) and not bool(finite.all()):
        nan = bool(logits.detach().isnan().any())
        advice = "find the computation that gives NaN" if nan else way_out
        raise ValueError(f"{name} must be finite, got {first(logits, ~finite)}; {advice}")


def check_outcome(
    value: Tensor, shape: torch.Size, wanted: str, way_out: str = "", *, ones: int | None = None
) -> Tensor:
    """Return which entries of an outcome are 1, bool in its shape.

    Arguments:
        value: to be checked; any dimensions in front.
        shape: of θ.
        wanted: what the value must be, in the message.
        way_out: advice in the message.
        ones: number of ones along the last dimension; None: any.

    Raises:
        TypeError: `value` is no tensor.
        ValueError: its last dimensions are not `shape`, an entry is neither 0 nor 1, or another
            number of entries is 1.
    """
    must = f"value must be {wanted}, in the shape {tuple(shape)} of θ with any dimensions in front"
    end = f"; {way_out}" if way_out else ""
    if not isinstance(value, Tensor):
        raise TypeError(f"{must}, got {type(value).__name__}{end}")
    if value.dim() < len(shape) or value.shape[value.dim() - len(shape) :] != shape:
        raise ValueError(f"{must}, got the shape {tuple(value.shape)}{end}")
    one = value > 0.5
    wrong = one != value
    if not is_mapped(wrong) and bool(wrong.any()):
        raise ValueError(f"{must}, got {first(value, wrong)}{end}")
    if ones is not None:
        sums = one.sum(-1)
        if not is_mapped(sums) and bool((sums != ones).any()):
            raise ValueError(f"{must}, got {first(sums, sums != ones)} entries of 1{end}")
    return one


def outside(probs: Tensor, requirement: str, way_out: str) -> bool:
    """Return whether a probability lies outside [0, 1] by rounding; under vmap, True.

    Raises:
        ValueError: one lies outside by more than `ROUNDING`, or is NaN.
    """
    values = probs.detach()
    if is_mapped(values):
        return True
    if not values.numel() or all(0 <= float(end) <= 1 for end in values.aminmax()):
        return False
    slack = rounding(values.dtype)
    wrong = ~((values >= -slack) & (values <= 1 + slack))
    if bool(wrong.any()):
        nan = bool(values[wrong].isnan().any())
        advice = "find the computation that gives NaN" if nan else way_out
        raise ValueError(f"probs must {requirement}, got {first(values, wrong)}; {advice}")
    return True


def check_sums(
    probs: Tensor, total: float, tolerance: float, requirement: str, way_out: str
) -> None:
    """Raise unless the last dimension sums to `total`, up to `tolerance` or `ROUNDING` of it."""
    sums = probs.detach().double().sum(-1)
    wrong = ~((sums - total).abs() <= total * max(tolerance, rounding(probs.dtype)))
    if not is_mapped(wrong) and bool(wrong.any()):
        raise ValueError(f"probs must {requirement}, got the sum {first(sums, wrong)}; {way_out}")


def first(values: Tensor, wrong: Tensor) -> str:
    """Describe the first wrong value, its index, and the number of further ones."""
    index = tuple(wrong.nonzero()[0].tolist())
    place = index[0] if len(index) == 1 else index
    text = f"{values.detach()[index].item()!r}" + (f" at index {place}" if index else "")
    more = int(wrong.sum()) - 1
    return f"{text} and {more} more like it" if more else text


def check_interior(name: str, distribution: AbstractDiscrete) -> None:
    """Raise a ValueError unless every outcome has a positive probability."""
    if not distribution.interior:
        raise ValueError(
            f"{name} needs every outcome to have a positive probability, got probabilities of "
            "0 or 1; keep them in [ε, 1-ε], or use logits"
        )


def check_temperature(temperature: float | Tensor, device: torch.device) -> Tensor:
    """Convert a temperature to float64; a tensor keeps its gradient history.

    Raises:
        ValueError: it is not a single number, or outside `TEMPERATURES`.
    """
    low, high = TEMPERATURES
    message = (
        "temperature must be a positive number or tensor of shape (), "
        f"from {low:g} to {high:g}, got {temperature!r}"
    )
    try:
        level = torch.as_tensor(temperature, dtype=torch.float64, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(message) from None
    if is_mapped(level):
        raise ValueError(
            "temperature must be one for all tasks, got one that differs by task of over_tasks"
        )
    one = level.dim() == 0 and not isinstance(temperature, bool)
    if not one or not bool((level >= low) & (level <= high)):
        raise ValueError(message)
    return level


def check_slope(
    name: str, distribution: AbstractDiscrete, by_logit: float, variance: Tensor, way_out: str
) -> None:
    """Raise unless the dtype of θ can hold the largest derivative of a draw by θ.

    Arguments:
        name: of the estimator.
        distribution: P_θ; every outcome has a positive probability.
        by_logit: the largest derivative by a logit.
        variance: the derivative of each probability by its logit. The derivative by a probability
            is that by its logit divided by this.
        way_out: advice in the message, besides a wider dtype.

    Raises:
        ValueError: it cannot.
    """
    theta, steepest = distribution.parameter, by_logit
    if not distribution.on_logits and theta.numel() and not is_mapped(variance):
        smallest = float(variance.min())
        steepest = max(by_logit, 1.0) / smallest if smallest else math.inf
    largest = torch.finfo(theta.dtype).max
    if steepest > largest:
        raise ValueError(
            f"{name}: the derivative of a draw by θ may reach {steepest:.3g}, and {theta.dtype} "
            f"ends at {largest:.3g}; use {way_out}, probabilities further from 0 and 1, or θ of a "
            "wider dtype"
        )


def wide(distribution: Distribution) -> Distribution:
    """Copy a distribution with a new leaf θ in float32 or wider, to accumulate gradients in."""
    theta = distribution.parameter.detach()
    made = theta.to(torch.promote_types(theta.dtype, torch.float32), copy=True)
    return distribution.with_parameter(made.requires_grad_())


def narrow(name: str, gradient: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert a gradient to the dtype of θ.

    Raises:
        ArithmeticError: it overflows.
    """
    found = gradient.to(dtype)
    if not is_mapped(found) and not bool(found.isfinite().all()):
        raise ArithmeticError(
            f"{name}: an entry of the gradient is {gradient.abs().max():.3g}, and {dtype} ends at "
            f"{torch.finfo(dtype).max:.3g}; keep probabilities further from 0 and 1, scale h, or "
            "use θ of a wider dtype"
        )
    return found


def values_of(h: Values, z: Tensor, dtype: torch.dtype, name: str = "h") -> Tensor:
    """Evaluate h at draws; the values have `dtype`, or their own if wider, and their history.

    h gets a copy of the draws, which it may change in place.

    Raises:
        ValueError: h returns a wrong shape, or a value that is not finite.
    """
    values = h(z.clone())
    if not isinstance(values, Tensor) or values.shape != z.shape[:1]:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"{name} must map draws {tuple(z.shape)} to one value each, a tensor of shape "
            f"({z.shape[0]},), got {got}"
        )
    finite = values.detach().isfinite()
    if not is_mapped(finite) and not bool(finite.all()):
        raise ValueError(
            f"{name} must return finite values, got {first(values, ~finite)} of its values"
        )
    return values.to(z.device, torch.promote_types(values.dtype, dtype))


def check_distribution(name: str, distribution: object) -> None:
    """Raise a TypeError unless an estimator got a distribution, such as for a bare θ."""
    if not isinstance(distribution, AbstractDiscrete):
        raise TypeError(
            f"{name} needs a distribution, got {type(distribution).__name__}; wrap the parameter, "
            "as in Bernoulli(theta), or Bernoulli.from_logits(theta) where it holds logits"
        )


def unfit(name: str, distribution: object, wanted: str) -> TypeError:
    """Make the error for a distribution that an estimator does not support."""
    check_distribution(name, distribution)
    return TypeError(
        f"{name} needs {wanted}, got {type(distribution).__name__}; "
        "straight_through and score_function take every distribution"
    )
