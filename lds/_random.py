"""Derive seeds from seeds, and run a block from a seed of its own.

The seed of every random draw is `mix(seed of the run, place in the run, tag)`: the place is an
outer iteration or a step, 0 or more, and a tag, a negative number, separates uses at one place.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

import torch

_MASK = (1 << 64) - 1

LONG = 60.0
"""Seconds that a thread waits for others without a word."""

_alone = RLock()  # threads share torch's generators


def _renew() -> None:
    """Forget, in a forked process, who held the lock: that thread is not there."""
    global _alone
    _alone = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


@contextmanager
def _in_turn() -> Iterator[None]:
    """Run a block while no other thread runs one; say where the wait is long."""
    lock = _alone
    if not lock.acquire(timeout=LONG):
        warnings.warn(
            f"a thread has waited {LONG:.0f} s for another that uses torch's random numbers; if "
            "that one waits for this one, as a callback that starts threads does, neither goes on: "
            "do its work without threads, or in processes",
            RuntimeWarning,
            stacklevel=4,
        )
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# Tags of lds.bilevel. They are part of every seed, so another value changes every result.
START = -1
"""Φ_0 of an inner run."""

ONLINE_OUTER = -2
"""E in `solve_online`."""

POWER_ITERATION = -6
"""First vector of the power iteration in `contraction`."""

EVALUATE = -7
"""`evaluate` of the outer loops."""

AUGMENTATION = -7
"""Augmentation of one batch; the seed is that of `Batches`."""

ANOTHER_DRAW = -8
"""A second draw of a step, independent of the first."""

SHUFFLE = -8
"""Order of the rows of an epoch; the seed is that of `Batches`."""

DIRECTIONS = -9
"""Directions of the finite differences in `check`."""


def mix(*numbers: int) -> int:
    """Mix several integers into one 63-bit seed (splitmix64), the same on every machine."""
    seed = 0
    for number in numbers:
        seed = (seed + int(number) + 0x9E3779B97F4A7C15) & _MASK  # NumPy's would overflow
        seed = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        seed = ((seed ^ (seed >> 27)) * 0x94D049BB133111EB) & _MASK
        seed ^= seed >> 31
    return seed >> 1


@contextmanager
def replayed(
    seed: int,
    cuda: Sequence[torch.device] = (),
    generators: Sequence[torch.Generator] = (),
) -> Iterator[None]:
    """Seed torch's random numbers for a block, and restore their state after it.

    Blocks of other threads wait, because threads share the generators.

    Arguments:
        seed: seed of torch's default generator and of those of `cuda`.
        cuda: devices whose default generators are seeded, too.
        generators: further generators to seed; the k-th gets ``mix(seed, k)``.
    """
    with _in_turn():
        outside = torch.get_rng_state()
        outside_cuda = [torch.cuda.get_rng_state(device) for device in cuda]
        outside_others = [generator.get_state() for generator in generators]
        try:
            torch.default_generator.manual_seed(seed)
            for k, generator in enumerate(generators):
                generator.manual_seed(mix(seed, k))
            for device in cuda:
                torch.cuda.default_generators[device.index or 0].manual_seed(seed)
            yield
        finally:
            torch.set_rng_state(outside)
            for device, state in zip(cuda, outside_cuda, strict=True):
                torch.cuda.set_rng_state(state, device)
            for generator, state in zip(generators, outside_others, strict=True):
                generator.set_state(state)
