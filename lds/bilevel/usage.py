"""Which hyperparameters anything depends on: a gradient of 0 may be an answer, or a mistake."""

from collections.abc import Callable

import torch
from torch import Tensor

from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tensors import Tree, leaves, paths, vjp


def refuse_unused(
    hyper: Tree, grads: list[object], outer: Outer, start: Start, step_at: Callable[..., Step],
    n_steps: int,
) -> None:  # fmt: skip
    """Refuse a hyperparameter that nothing depends on, at no step.

    One used only in Φ_0, before a truncation window, or at other steps of a schedule has a
    legitimate gradient of 0. So only leaves whose gradient is 0 are looked into, and the run is
    repeated no further than to where each of them is used.

    Arguments:
        hyper: λ.
        grads: its gradients, leaf by leaf; None is a zero that was never formed.
        outer, start: E and Φ_0, as applied.
        step_at: step_at(state, t), the step to be met again.
        n_steps: how many there were.

    Raises:
        ValueError: one is, by its path.
    """
    suspects = {
        k
        for k, (leaf, grad) in enumerate(zip(leaves(hyper), grads, strict=True))
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and _is_zero(grad)
    }
    suspects -= {k for k in suspects if outer.direct[k] is not None}
    if not suspects:
        return
    traced, state = start.traced()
    suspects -= _reached(leaves(state), [traced])
    state = start.run()
    for t in range(max(1, n_steps)):  # without a step, those to come count
        if not suspects:
            return
        step = step_at(state, t)
        _, traced, new = step.traced()
        suspects -= _reached(leaves(new), [traced])
        state, _ = step.run()
    if suspects:
        k = min(suspects)
        raise ValueError(
            f"hyper{paths(hyper)[k]} has no influence: neither the outer objective nor any of the "
            f"{n_steps} steps depends on it in a way that can be differentiated; use it, leave it "
            "out, or look for what cuts it off (.detach(), .item(), float(), torch.no_grad())"
        )


def _is_zero(grad: object) -> bool:
    return grad is None or (isinstance(grad, Tensor) and not bool(grad.any()))


def _reached(outputs: list[Tensor], traced: list[object]) -> set[int]:
    """Which leaves some output depends on."""
    ones = [torch.ones_like(leaf) for leaf in outputs]
    found = vjp(outputs, ones, traced)[0]  # type: ignore[arg-type]
    return {k for k, grad in enumerate(found) if grad is not None}
