"""Draws of very many independent Bernoulli variables at the cost of the ones drawn.

With λ = -log(1 - θ), the variables hit at least once by a Poisson process of rate λ are exactly a
Ber(θ) draw: P(no hit) = e^{-λ} = 1 - θ. Points are proposed at the rate cθ ≥ λ, whose sums need no
logarithm, and kept with probability λ / (cθ); variables above θ = 1/2 are drawn one by one.

The table has two levels. Blocks of entries are proposed by sums that may be slightly too large
(float32 with a margin); the place within a block is found by exact float64 sums, and a point that
falls into the margin is dropped, so the margin costs nothing but a few points.
"""

import math

import torch
from torch import Tensor

BLOCK = 32
"""Entries a leaf of the two-level table: a search over blocks, then a sum within one."""

_LARGE = 0.5
_RATE = -math.log1p(-_LARGE) / _LARGE  # c: the largest λ/θ for θ <= _LARGE
_MARGIN = 1 + 1e-5  # above the rounding of a float32 sum of BLOCK entries


class ThinningTable:
    """A table over θ from which draws cost what they contain.

    Making it reads θ once; a draw costs O(ones · (log(n / BLOCK) + BLOCK)). What decides on a draw
    (sums within a block, uniforms) is float64: in float32 half of the small probabilities would
    never be drawn.

    Arguments:
        probs: θ, flat, `(n,)`, n a multiple of `BLOCK`, in [0, 1]. Not copied: `refresh` after a
            change.

    Raises:
        ValueError: `probs` is not flat, or its length is no multiple of `BLOCK`.
    """

    def __init__(self, probs: Tensor) -> None:
        if probs.dim() != 1 or probs.numel() % BLOCK:
            raise ValueError(
                f"probs must be flat with a multiple of {BLOCK} entries, got {tuple(probs.shape)}"
            )
        self._blocks = probs.view(-1, BLOCK)
        self.refresh()

    def refresh(self) -> None:
        """Read θ again, after it was changed in place."""
        blocks = self._blocks
        ones = blocks.new_ones(BLOCK)
        mass = (blocks @ ones).double()
        hot = (blocks.amax(1) > _LARGE).nonzero().squeeze(1)
        entries = blocks.index_select(0, hot).flatten()
        found = _positions(entries > _LARGE)
        which = found // BLOCK
        self._large = hot.index_select(0, which) * BLOCK + (found - which * BLOCK)
        self._large_probs = entries.index_select(0, found).double()
        entries.index_fill_(0, found, 0)
        mass.index_copy_(0, hot, (entries.view(-1, BLOCK) @ ones).double())
        self._expected = float(mass.sum() + self._large_probs.sum())
        self._block_mass = mass * _MARGIN
        self._cumulative = self._block_mass.cumsum(0)
        self._mass = float(self._cumulative[-1]) if mass.numel() else 0.0

    @property
    def expected(self) -> float:
        """Σθ, the expected number of ones."""
        return self._expected

    def draw(self, n_draws: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Independent draws of all variables.

        Arguments:
            n_draws: S >= 1.
            generator: source of randomness; None is torch's own.

        Returns:
            int64, flat and ascending: draw · n + index of each one drawn.
        """
        there = self._draw_large(n_draws, generator)
        draw, position = there.nonzero(as_tuple=True)
        large = draw * self._blocks.numel() + self._large.index_select(0, position)
        return _ascending(torch.cat([large, self._draw_small(n_draws, generator)]))

    def draw_parts(
        self, n_draws: int, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same draws in two parts: of the variables above 1/2, and of the others.

        Returns:
            Whether each of `large` was drawn, bool `(n_draws, n_large)`, and the others as `draw`
            returns them.
        """
        there = self._draw_large(n_draws, generator)
        return there, _ascending(self._draw_small(n_draws, generator))

    @property
    def large(self) -> Tensor:
        """Which variables are above 1/2, int64, ascending."""
        return self._large

    def _draw_large(self, n_draws: int, generator: torch.Generator | None) -> Tensor:
        """Whether each variable above _LARGE is drawn, one uniform each."""
        uniform = _uniform((n_draws, self._large.numel()), self._blocks.device, generator)
        return uniform < self._large_probs

    def _draw_small(self, n_draws: int, generator: torch.Generator | None) -> Tensor:
        """The others, by thinning; may contain a variable twice."""
        device = self._blocks.device
        rate = torch.full((n_draws,), _RATE * self._mass, dtype=torch.float64, device=device)
        counts = torch.poisson(rate, generator=generator).long()
        draw = torch.repeat_interleave(torch.arange(n_draws, device=device), counts)
        target = self._mass * _uniform((draw.numel(),), device, generator)
        block = torch.searchsorted(self._cumulative, target, right=True)
        block.clamp_(max=self._cumulative.numel() - 1)
        before = self._cumulative.index_select(0, block) - self._block_mass.index_select(0, block)
        rest = target - before
        entries = self._blocks.index_select(0, block).double()
        sums = entries.masked_fill(entries > _LARGE, 0).cumsum(1)
        offset = torch.searchsorted(sums, rest.unsqueeze(1), right=True).squeeze(1)
        inside = offset < BLOCK  # the rest fell into the margin
        offset.clamp_(max=BLOCK - 1)
        theta = entries.gather(1, offset.unsqueeze(1)).squeeze(1)
        uniform = _uniform(theta.shape, device, generator)
        kept = inside & (theta <= _LARGE) & (uniform * (_RATE * theta) < -torch.log1p(-theta))
        return (draw * self._blocks.numel() + block * BLOCK + offset)[kept]


def _ascending(keys: Tensor) -> Tensor:
    """Keys in order, each once: hit twice is drawn once. `keys` itself may be sorted."""
    if keys.device.type == "cpu":
        keys.numpy().sort()  # in place, and several times faster than torch.sort
    else:
        keys = keys.sort().values
    first = torch.ones_like(keys, dtype=torch.bool)
    torch.ne(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


def _positions(mask: Tensor) -> Tensor:
    """Where a flat mask holds; NumPy's search is several times faster than torch's on a CPU."""
    if mask.device.type == "cpu":
        return torch.from_numpy(mask.numpy().nonzero()[0])
    return mask.nonzero().squeeze(1)


def _uniform(
    shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None
) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, device=device, generator=generator)
