"""Seeds, and blocks that draw from a seed of their own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """One 63-bit seed from several integers (splitmix64), the same on every machine."""
    seed = 0
    for number in numbers:
        seed = (seed + number + 0x9E3779B97F4A7C15) & _MASK
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
    """Run a block under torch's random state seeded by `seed`; leave the outside undisturbed.

    Arguments:
        seed: of torch's own generators.
        cuda: devices whose generators are seeded, too.
        generators: others that are, each with a seed of its own.
    """
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
