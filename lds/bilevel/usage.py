"""Find hyperparameters that nothing depends on, whose gradient of 0 is a mistake of the user."""

from collections.abc import Callable

import torch
from torch import Tensor

from lds.bilevel.method import AbstractHypergradient
from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tensors import Tree, leaves, paths, vjp

CUTS = ".detach(), .item(), float(), torch.no_grad()"
"""What cuts a tensor off from a function of it."""


def refuse_cut_off(hyper: Tree, outer: Outer) -> None:
    """Refuse a hyperparameter without a path to an outer objective that the weights do not reach.

    Where E does not depend on the weights, λ acts on E directly or not at all. A direct derivative
    alone is a hypergradient.

    Arguments:
        hyper: λ.
        outer: E, as applied.

    Raises:
        ValueError: E depends neither on the weights nor directly on a hyperparameter.
    """
    given = [leaf for leaf in leaves(outer.step.state) if leaf.is_floating_point()]
    if not given or any(part is not None for part in outer.adjoint):
        return
    for path, leaf, direct in zip(paths(hyper), leaves(hyper), outer.direct, strict=True):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and direct is None:
            raise ValueError(
                f"hyper{path} has no influence: the outer objective depends neither on the weights "
                "nor directly on it in a way that can be differentiated; look for what cuts the "
                f"weights off in the outer objective ({CUTS}, or other weights than those given)"
            )


def refuse_unused(
    hyper: Tree,
    grads: list[object],
    outer: Outer,
    start: Start,
    step_at: Callable[..., Step],
    n_steps: int,
    method: AbstractHypergradient,
    *,
    start_once: bool = False,
) -> None:
    """Refuse a hyperparameter whose gradient is 0 because nothing that `method` sees uses it.

    A hyperparameter that is used before the truncation window only, or at later steps of a
    schedule, rightly has a gradient of 0. So the run is repeated for the leaves whose gradient is
    0, up to the step that uses the last of them.

    Arguments:
        hyper: λ.
        grads: its gradients, leaf by leaf; None stands for zero.
        outer, start: E and Φ_0, as applied.
        step_at: step_at(state, t), step t of the run.
        n_steps: number of steps.
        method: the method that computed the gradients.
        start_once: whether later outer iterations start without Φ_0.

    Raises:
        ValueError: nothing uses a hyperparameter; or only Φ_0 does, which an implicit method and a
            loop with warm_start="state" do not see; or only the steps do, and an unrolled method
            had none. The message names the path.
    """
    floats = [
        k
        for k, leaf in enumerate(leaves(hyper))
        if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]
    no_steps = method.unrolled and n_steps == 0
    keeps_start = method.unrolled and not start_once
    suspects = {
        k
        for k in floats
        if no_steps or ((start_once or _is_zero(grads[k])) and outer.direct[k] is None)
    }
    if not suspects:
        return
    traced, state = start.traced()
    by_start = _reached(leaves(state), [traced]) & suspects
    if keeps_start:
        suspects -= by_start
    state = start.run()
    for t in range(max(1, n_steps)):  # with n_steps=0 look at the first step
        if not suspects:
            return
        step = step_at(state, t)
        traced, new = method.trace(step)
        found = _reached(leaves(new), [traced]) & suspects
        if found and no_steps:
            raise ValueError(
                f"hyper{paths(hyper)[min(found)]} acts through the steps of the dynamics, and with "
                f"n_steps=0 {type(method).__name__} differentiates none; take steps, or use an "
                "implicit method (FixedPoint, ConjugateGradient) at a solution found elsewhere"
            )
        suspects -= found
        state, _ = step.run()
    suspects -= {k for k in suspects if outer.direct[k] is not None}
    if suspects & by_start:
        path = paths(hyper)[min(suspects & by_start)]
        if not method.unrolled:
            raise ValueError(
                f"hyper{path} acts through start= alone: it changes where the training begins, not "
                "where its solution lies, so an implicit method has no gradient for it; use "
                "Reverse or Forward"
            )
        raise ValueError(
            f"hyper{path} acts through start= alone, and warm_start='state' applies start= in the "
            "first outer iteration only; use warm_start=False"
        )
    if suspects:
        k = min(suspects)
        raise ValueError(
            f"hyper{paths(hyper)[k]} has no influence: neither the outer objective nor any of the "
            f"{n_steps} steps depends on it in a way that can be differentiated; use it, leave it "
            f"out, or look for what cuts it off ({CUTS}, and FirstOrder() inside the inner "
            "objective)"
        )


def _is_zero(grad: object) -> bool:
    return grad is None or (isinstance(grad, Tensor) and not bool(grad.any()))


def _reached(outputs: list[Tensor], traced: list[object]) -> set[int]:
    """Return the numbers of the leaves that an output depends on."""
    ones = [torch.ones_like(leaf) for leaf in outputs]
    found = vjp(outputs, ones, traced)[0]  # type: ignore[arg-type]
    return {k for k, grad in enumerate(found) if grad is not None}
