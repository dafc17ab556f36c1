"""Check a hypergradient: a table of comparisons, with the way out where they differ.

Reverse and forward mode share the second derivatives of torch; finite differences share nothing
with either. So they find a wrong second derivative, a random number that is drawn again, or a
`.detach()` too many.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from lds._numbers import integer
from lds._random import DIRECTIONS, mix
from lds.bilevel.checks import (
    NonFiniteError,
    check_count,
    check_function,
    check_hyper,
    check_leaves,
)
from lds.bilevel.dynamics import Dynamics
from lds.bilevel.forward import Forward
from lds.bilevel.linear import random_like
from lds.bilevel.replay import ReplayError
from lds.bilevel.reverse import Reverse
from lds.bilevel.signatures import with_step
from lds.bilevel.tensors import (
    Tree,
    axpy,
    differentiate,
    dot,
    leaves,
    norm,
    paths,
    rebuild,
    requires_grad,
    tree_map,
)
from lds.bilevel.unroll import check_dynamics, hypergradient
from lds.bilevel.usage import CUTS

RTOL = 1e-4
"""Relative difference above which two routes differ. The error of central differences of step 1e-5
on smooth float64 losses is smaller, that of wrong second derivatives larger."""

STEP = 1e-5
"""Step of the finite differences, relative to the size of hyper."""

LONGEST = 1e-2
"""Largest step that is tried where a shorter one does not agree, relative to the size of hyper."""

ALONE = 6
"""Number of leaves of hyper that get finite differences of their own."""

HARD = (
    "the outer value stays as it is, or jumps, where the hypergradient has a slope, as with hard "
    "draws (straight_through): finite differences prove nothing there; check the program with "
    "distribution.mean, or a soft gumbel_softmax, in place of the draw"
)
"""Advice where a slope has no finite differences."""

Verdict = Literal["ok", "differs", "failed", "skipped"]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: what was compared.
        verdict: "ok", "differs", "failed" (an error) or "skipped".
        found: the result as text.
        advice: what to do; empty if there is nothing to do.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Report:
    """The result of `check`.

    Attributes:
        rows: one row a comparison.
    """

    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing differs and nothing failed."""
        return all(row.verdict in ("ok", "skipped") for row in self.rows)

    def __repr__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        lines = [
            "the hypergradient can be trusted" if self.ok else "do not trust the hypergradient"
        ]
        for row in self.rows:
            lines.append(f"  {row.name:<{width}}  {row.verdict:<7}  {row.found}")
            if row.advice:
                lines.append(f"  {'':<{width}}  -> {row.advice}")
        return "\n".join(lines)


def check(
    dynamics: Dynamics,
    outer_objective: Callable[..., Tensor],
    params: Tree,
    hyper: Tree,
    n_steps: int = 3,
    *,
    n_directions: int = 2,
    seed: int = 0,
) -> Report:
    """Compute the hypergradient of a short run by several routes, and compare them.

    All of it in float64, also on float32 data inside the objectives. Time: a few dozen runs.

    Arguments:
        dynamics: Φ.
        outer_objective: E(params, hyper[, step]) -> scalar tensor.
        params: first weights, the argument of Φ_0.
        hyper: λ, a pytree of tensors.
        n_steps: T, steps of each run; a few find most faults.
        n_directions: number of random directions in hyper for finite differences.
        seed: seed of the directions and of the randomness inside Φ; one run uses the next seed.

    Returns:
        A report with `rows` and `ok`, to be printed.

    Raises:
        TypeError, ValueError: an argument does not fit.

    Examples:
        >>> import torch
        >>> from lds import bilevel
        >>> inner = bilevel.GradientDescent(lambda w, lam: 0.5 * lam * (w - 2) ** 2, lr=0.5)
        >>> bilevel.check(inner, lambda w, lam: w**2, torch.tensor(0.0), torch.tensor(1.0)).ok
        True
    """
    check_dynamics(dynamics, outer_objective)
    check_function("outer_objective", outer_objective, "(params, hyper[, step])")
    check_leaves("params", params)
    check_hyper(hyper)
    n_steps = check_count("n_steps", n_steps, 0)
    n_directions = check_count("n_directions", n_directions, 1)
    seed = integer("seed", seed)
    params, hyper = _double(params), _double(hyper)

    objective, sees_weights = with_step(outer_objective, 2), False

    def outer(params: Tree, hyper: Tree, step: int) -> Tensor:
        nonlocal sees_weights
        value: Tensor = objective(params, hyper, step)
        if isinstance(value, Tensor) and value.dim() == 0 and not sees_weights:
            weights = [leaf for leaf in leaves(params) if requires_grad(leaf)]
            found = differentiate([value], weights, retain_graph=True)
            sees_weights = any(part is not None for part in found)
        return value

    def run(at: Tree, method: Any, seed: int = seed) -> Any:
        with _Doubled():
            return hypergradient(dynamics, outer, params, at, n_steps, method, seed)

    rows: list[Row] = []
    try:
        reverse = run(hyper, Reverse(check=True))
    except ReplayError as error:
        return Report((Row("replay", "failed", *_sentence(error)),))
    except NonFiniteError as error:
        return Report((Row("reverse mode", "failed", *_sentence(error)),))
    except ValueError as error:
        if "has no influence" not in str(error):
            raise
        return Report((Row("influence", "failed", *_sentence(error)),))
    rows.append(_influence(hyper, reverse.grad, sees_weights))
    again = run(hyper, Reverse(check=True))
    rows.append(
        _compare(
            "replay",
            _off(again.grad, reverse.grad),
            "two runs of one seed differ, so something outside is changed by a run: keep it in the "
            "state, or make it a function of the step",
            tolerance=1e-12,
        )
    )
    rows.append(_forward(lambda: run(hyper, Forward()), reverse.grad))
    differences = [
        _difference(run, hyper, reverse.grad, name, direction)
        for name, direction in _directions(hyper, n_directions, seed)
    ]
    if any(row.advice == HARD for row in differences):  # by one leaf, so in a direction of all too
        mixed = [row.verdict == "differs" and "alone" not in row.name for row in differences]
        differences = [
            replace(row, advice=HARD) if hard else row
            for row, hard in zip(differences, mixed, strict=True)
        ]
    rows += differences
    other = run(hyper, Reverse(), seed + 1)
    off = _off(other.grad, reverse.grad)
    rows.append(
        Row(
            "another seed",
            "ok",
            "the same"
            if off == 0
            else f"off by {off:.2g}: the run draws random numbers; average over seeds if this "
            "is large",
        )
    )
    return Report(tuple(rows))


class _Doubled(TorchFunctionMode):
    """In a block, any operation converts float32 tensors, such as data, to float64."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Convert the arguments, unless the function writes to them or differentiates by them."""
        name, module = getattr(func, "__name__", ""), getattr(func, "__module__", None) or ""
        if not (name.endswith("_") or name.startswith("set") or "autograd" in module):
            args, kwargs = pytree.tree_map(_as_double, (tuple(args), kwargs or {}))
        return func(*args, **(kwargs or {}))


def _as_double(leaf: Any) -> Any:
    return leaf.double() if isinstance(leaf, Tensor) and leaf.dtype == torch.float32 else leaf


def _double(tree: Tree) -> Tree:
    return tree_map(
        lambda leaf: (
            leaf.detach().double()
            if isinstance(leaf, Tensor) and leaf.is_floating_point()
            else leaf
        ),
        tree,
    )


def _sentence(error: Exception) -> tuple[str, str]:
    """Split an error message into what was found, and what to do."""
    found, _, advice = str(error).partition("; ")
    return found, advice


def _off(a: Tree, b: Tree) -> float:
    """Compute ‖a - b‖ relative to the larger norm."""
    size = max(norm(leaves(a)), norm(leaves(b)))
    return norm(axpy(-1.0, leaves(b), leaves(a))) / size if size else 0.0


def _compare(name: str, off: float, advice: str, tolerance: float = RTOL) -> Row:
    if off <= tolerance:
        return Row(name, "ok", f"agrees to {off:.1e}")
    return Row(name, "differs", f"off by {off:.2g}, where {tolerance:.0e} is allowed", advice)


def _influence(hyper: Tree, grad: Tree, sees_weights: bool) -> Row:
    if not sees_weights:
        return Row(
            "influence",
            "ok",
            "the outer objective does not depend on the weights: its direct derivative is all",
            f"see that it ought to be: {CUTS} in the outer objective cut the weights off",
        )
    zero = [
        f"hyper{path}"
        for path, leaf, g in zip(paths(hyper), leaves(hyper), leaves(grad), strict=True)
        if leaf.is_floating_point() and not bool(g.any())
    ]
    if not zero:
        return Row("influence", "ok", "every hyperparameter has a gradient")
    return Row(
        "influence",
        "ok",
        f"the gradient of {', '.join(zero[:3])} is 0 in these steps",
        "see that it ought to be: used at later steps only, multiplied by 0, or acting on weights "
        "that the outer objective does not use",
    )


def _forward(run: Callable[[], Any], grad: Tree) -> Row:
    try:
        found = run().grad
    except (NotImplementedError, RuntimeError, MemoryError) as error:
        return Row("forward mode", "skipped", str(error).splitlines()[0][:160])
    return _compare(
        "forward mode",
        _off(found, grad),
        "the second derivatives of the inner objective are not symmetric: an operation in it has a "
        "wrong second derivative (torch._weight_norm has), or a custom backward is not "
        "differentiable; write that operation with plain ones",
    )


def _directions(hyper: Tree, n: int, seed: int) -> list[tuple[str, list[Any]]]:
    """Draw random directions in all leaves, and in each of the first few alone; with names.

    The direction is scaled by the size of each leaf, so that a rate of 1e-4 and a penalty of 10
    have equal weight. In a direction in one leaf, no larger derivative by another leaf hides an
    error.
    """
    generator = torch.Generator().manual_seed(mix(seed, DIRECTIONS))
    given = leaves(hyper)

    def draw() -> list[Any]:
        drawn = random_like(given, generator)
        return [
            None if d is None else d * max(float(leaf.abs().mean()), 1e-3)
            for d, leaf in zip(drawn, given, strict=True)
        ]

    directions = [(f"finite differences {k + 1}", draw()) for k in range(n)]
    moving = [k for k, leaf in enumerate(given) if leaf.is_floating_point()]
    for k in moving[:ALONE] if len(moving) > 1 else []:
        alone = [part if j == k else None for j, part in enumerate(draw())]
        directions.append((f"  by hyper{paths(hyper)[k]} alone", alone))
    return directions


def _difference(
    run: Callable[..., Any], hyper: Tree, grad: Tree, name: str, direction: list[Any]
) -> Row:
    """Compare with central differences along one direction; two step sizes reveal a kink.

    Where they differ, larger steps follow, up to `LONGEST`: rounding, which Adam enlarges for a
    weight whose gradient is nothing else, hides the slope from a short step. A wrong hypergradient
    agrees with none.
    """
    given = leaves(hyper)
    slope = float(dot(leaves(grad), direction))

    @functools.cache
    def half(h: float) -> tuple[float, float]:
        """Compute half the difference of two values, and the size of a value."""
        up, down = (
            float(run(rebuild(hyper, axpy(by, direction, given)), Reverse(1)).value)
            for by in (h, -h)
        )
        return (up - down) / 2, abs(up)

    def compared(step: float) -> tuple[float, float, float]:
        """Return how far the slope is off, and two step sizes from each other; and the size."""
        fine, coarse = half(step)[0] / step, half(10 * step)[0] / (10 * step)
        best = (100 * fine - coarse) / 99  # Richardson: without the error of second order
        rounding = 100 * torch.finfo(torch.float64).eps * half(step)[1] / step
        size = max(abs(best), abs(slope), rounding)
        off = max(0.0, abs(best - slope) - rounding) / size if size else 0.0
        return off, abs(fine - coarse), size

    off, apart, size = compared(STEP)
    if off > RTOL and half(STEP)[0] == half(10 * STEP)[0]:  # flat, or a jump between the steps
        return Row(name, "differs", f"off by {off:.2g}", HARD)
    longer, first = STEP, off
    while not off <= RTOL and longer < LONGEST:
        longer *= 10
        try:
            off = compared(longer)[0]
        except (ArithmeticError, ValueError):  # so far away the run has no value
            break
    if not off <= RTOL and apart > 0.1 * size:
        return Row(
            name,
            "differs",
            f"off by {first:.2g}, and two step sizes by {apart / size:.2g}",
            "the outer value is not smooth here (a kink, a sort, a hard draw, a run that "
            "diverges): check at other params or hyper, or with a smaller step size",
        )
    return _compare(
        name,
        off if off <= RTOL else first,
        "the hypergradient is wrong: an operation has a wrong second derivative (an embedding "
        "with scale_grad_by_freq=True has), something is cut off (.detach(), .item(), "
        "torch.no_grad()); leave parts of the objectives out until it agrees",
    )
