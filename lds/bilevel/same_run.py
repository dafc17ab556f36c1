"""What a resumed run must share with the run before it: starts and settings, and first values.

A loss cannot be compared with another as a function. So a run with a checkpoint takes its first
step once more, and keeps the losses there: numbers, which are compared up to rounding.
"""

import hashlib
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lds._random import DIRECTIONS, START, mix
from lds.bilevel.checks import check_leaves, check_mode
from lds.bilevel.dynamics import Dynamics
from lds.bilevel.linear import random_like
from lds.bilevel.outer import OuterStep
from lds.bilevel.step import Start, Step, evaluate
from lds.bilevel.tensors import Tree, axpy, devices, leaves, norm, paths, rebuild

RTOL = 1e-3
"""Relative difference up to which first values are the same. Differences by the order of sums, by
another number of threads and by TF32 are smaller."""

SHOWN = 4
"""Largest number of entries of a tensor that a message shows; of larger ones it shows a digest."""

FAR = 10.0
"""Distance, relative to the size of 1 + |λ|, of the points by which projections are compared."""

Values = dict[str, float]
"""First values by name."""


def starts(trees: dict[str, Tree]) -> dict[str, str]:
    """Return shape, dtype and values of each leaf, as text by name."""
    found = {}
    for name, tree in trees.items():
        for path, leaf in zip(paths(tree), leaves(tree), strict=True):
            found[f"{name}{path}"] = f"{tuple(leaf.shape)} {leaf.dtype}"
            found[f"first values of {name}{path}"] = _digest(leaf)
    return found


def _digest(leaf: Tensor) -> str:
    flat = leaf.detach().cpu().reshape(-1)
    if flat.numel() <= SHOWN:
        return str(flat.tolist())
    return f"sha256 {hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()[:12]}"


def of_projection(outer: OuterStep) -> Values:
    """Return the sizes of the projections of two points far from the first λ, on either side."""
    given = leaves(outer.hyper)
    drawn = random_like(given, torch.Generator().manual_seed(mix(DIRECTIONS)))
    far = [
        None if part is None else part * FAR * (1 + leaf.abs())
        for part, leaf in zip(drawn, given, strict=True)
    ]
    found: Values = {}
    for k, side in enumerate((1.0, -1.0)):
        point = rebuild(outer.hyper, axpy(side, far, given))
        with suppress(ValueError, ArithmeticError, RuntimeError):  # defined near its set alone
            projected = outer.projected(point)
            for path, leaf in zip(paths(projected), leaves(projected), strict=True):
                found[f"size of hyper{path} as projected from far point {k + 1}"] = norm([leaf])
    return found


def measured(first: Callable[[], Values], outer: OuterStep) -> Values:
    """Return the first values of a loop and of its projection."""
    return first() | of_projection(outer)


def of_objectives(
    dynamics: Dynamics,
    objective: Callable[[Tree, Tree, int], Tensor],
    params: Tree,
    hyper: Tree,
    n_steps: int,
    seed: int,
) -> Values:
    """Return L and E at the start, and the length of the first step, with the draws of a run.

    Arguments:
        dynamics: Φ.
        objective: E(params, hyper, step).
        params: first weights.
        hyper: first λ.
        n_steps: number of steps before E; with 0 no step is taken.
        seed: seed of the run. Torch's random state is restored.

    Returns:
        By names that hold the kind of device, for other devices draw other numbers. Nothing in a
        process group, whose other processes would wait for what an objective exchanges.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return {}
    check_mode()
    check_leaves("params", params)
    state = Start(dynamics, params, hyper, mix(seed, 0, START)).run()
    before = dynamics.params(state)
    end = mix(seed, 0, n_steps)
    outer = evaluate(dynamics, objective, state, hyper, n_steps, end)
    found: dict[str, Any] = {"the outer objective": outer.value}
    if n_steps > 0:
        new, found["the inner objective"] = Step(dynamics, state, hyper, 0, mix(seed, 0, 0)).run()
        moved = axpy(-1.0, leaves(before), leaves(dynamics.params(new)))
        found["the length of the first step"] = norm(moved)
    device = "cuda" if devices(state, hyper) else "cpu"
    return {
        f"{name} at the start, on {device}": float(value)
        for name, value in found.items()
        if value is not None  # a dynamics without a loss
    }


def refuse_others(
    folder: str | Path, theirs: Values, mine: Values, again: Callable[[], Values]
) -> None:
    """Refuse a checkpoint whose first values differ from those of this run.

    Arguments:
        folder: of the checkpoint.
        theirs: values of the checkpoint.
        mine: values of this run.
        again: computes `mine` once more. A value that differs from itself is not compared: it
            depends on more than the seed.

    Raises:
        ValueError: a value that both have differs.
    """
    wrong = [name for name in theirs if name in mine and not _same(theirs[name], mine[name])]
    if not wrong:
        return
    repeated = again()
    differs = [
        f"{name}: {theirs[name]:.6g} there, {mine[name]:.6g} here"
        for name in wrong
        if _same(mine[name], repeated[name])
    ]
    if differs:
        raise ValueError(
            f"checkpoint {Path(folder)} is of another run ({'; '.join(differs)}); go on with the "
            "losses, settings and projection of that run, or give another folder"
        )


def _same(a: float, b: float) -> bool:
    tiny = torch.finfo(torch.float32).eps
    return math.isclose(a, b, rel_tol=RTOL, abs_tol=tiny) or (math.isnan(a) and math.isnan(b))
