"""`method="auto"`: the cheapest exact method that fits, by the cost model of §6.1."""

from torch import Tensor

from lds._memory import available_bytes, gigabytes
from lds.bilevel.forward import Forward
from lds.bilevel.method import AbstractHypergradient
from lds.bilevel.reverse import Reverse
from lds.bilevel.tensors import Tree, leaves
from lds.bilevel.trajectory import bytes_of

SHARE = 0.5
"""Share of the free memory that a method may take."""


def choose(
    state: Tree, hyper: Tree, n_steps: int, free: int | None = None
) -> tuple[AbstractHypergradient, str]:
    """Choose a method; return it and the reason.

    With c the time of one ∇L, T steps, a state of d' numbers and m hyperparameters: reverse mode
    takes time 4Tc and memory for T d' numbers, with √T checkpoints 5Tc and 2√T d'; forward mode
    (1 + 1.5m)Tc and m d', whatever T is (§6.1, and as measured in the benchmarks). Implicit methods
    compute another gradient, that of the limit, and are never chosen.

    Arguments:
        state: s_0.
        hyper: λ.
        n_steps: T.
        free: free bytes; None asks the device.
    """
    one = bytes_of(state)
    given = leaves(hyper)
    owned = any(not isinstance(leaf, Tensor) for leaf in given)
    m = sum(leaf.numel() for leaf in given if isinstance(leaf, Tensor) and leaf.is_floating_point())
    if free is None:
        device = next((leaf.device for leaf in leaves(state)), "cpu")
        free = available_bytes(device)
    room = float("inf") if free is None else SHARE * free
    whole, few = n_steps * one, 2 * n_steps**0.5 * one
    sizes = f"m = {m}, T = {n_steps}, a state of {gigabytes(one)}"
    if m == 1 and not owned:
        return (
            Forward(),
            f"one hyperparameter: forward mode is fastest and keeps no state ({sizes})",
        )
    if whole <= room:
        return Reverse(), (
            f"all states fit ({gigabytes(whole)}): one sweep serves all hyperparameters ({sizes})"
        )
    if few <= room:
        return Reverse(checkpoint="sqrt"), (
            f"all states would need {gigabytes(whole)}, √T checkpoints {gigabytes(few)} ({sizes})"
        )
    if m * one <= room and not owned:
        return Forward(), (
            f"√T checkpoints would need {gigabytes(few)}, tangents {gigabytes(m * one)} ({sizes})"
        )
    raise MemoryError(
        f"no exact method fits in {gigabytes(room)}: √T checkpoints need {gigabytes(few)}, the "
        f"tangents of forward mode {gigabytes(m * one)} ({sizes}); "
        "Reverse(truncation=K) keeps K states, FixedPoint none"
    )
