"""Check that a step gives the same result when it is applied again."""

import torch
from torch import Tensor

from lds.bilevel.tensors import Tree, coarsest, leaves, paths

ADVICE = (
    "whatever changes from call to call must follow from the step: take the batch by the step "
    "(inner_objective(params, hyper, step), bilevel.Batches(loader)), hand torch.Generators over "
    "as generators=[...] of the dynamics, seed numpy's and Python's random numbers by the step, "
    "count no calls, and leave modules in one mode (apply.eval(...) instead of module.eval())"
)


class ReplayError(RuntimeError):
    """A step gave another result when it was applied again, so the gradient would be wrong."""


def tolerance(dtype: torch.dtype) -> float:
    """Compute √ε, the relative difference allowed: more than rounding, less than other data."""
    return float(torch.finfo(dtype).eps ** 0.5)


def check_loss_replay(first: Tensor, again: Tensor, t: int) -> None:
    """Check that the inner loss of step `t` is the same in both applications.

    Raises:
        ReplayError: it is not; the message has both values.
    """
    a, b = float(first), float(again)
    if a != b and not abs(a - b) <= tolerance(first.dtype) * max(abs(a), abs(b)):
        raise ReplayError(
            f"step {t} of the dynamics does not repeat: its inner loss was {a:.6g}, and {b:.6g} "
            f"when it was applied again; {ADVICE}"
        )


def check_replay(before: Tree, first: Tree, again: Tree, t: int) -> None:
    """Check that the state after step `t` is the same in both applications, to rounding.

    With and without history torch takes other kernels, so the rounding is that of the coarsest
    dtype in the step, such as that of autocast.

    Arguments:
        before: the state before the step.
        first, again: the state after it, in the first and the second application, the latter with
            its history.
        t: the step.

    Raises:
        ReplayError: it is not; the message has the leaf and the difference.
    """
    for k, (s, a, b) in enumerate(zip(*map(leaves, (before, first, again)), strict=True)):
        if torch.equal(a, b.detach()):
            continue
        if not a.is_floating_point():
            raise _moved(first, k, t, 1.0)
        moved, off = float((a - s).norm()), float((b.detach() - a).norm())
        rest = off - 16 * torch.finfo(a.dtype).eps * float(a.norm())
        near = rest <= tolerance(a.dtype) * moved
        if not near and not rest <= coarsest([b]) ** 0.5 * moved:
            raise _moved(first, k, t, off / moved if moved else float("inf"))


def _moved(state: Tree, k: int, t: int, share: float) -> ReplayError:
    return ReplayError(
        f"step {t} of the dynamics does not repeat: state{paths(state)[k]} is off by {share:.2g} "
        f"of its move when the step is applied again; {ADVICE}"
    )
