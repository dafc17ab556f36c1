"""Draws of very many independent Bernoulli variables at the cost of the ones drawn.

With λ = -log(1 - θ), the variables hit at least once by a Poisson process of rate λ are exactly a
Ber(θ) draw: P(no hit) = e^{-λ} = 1 - θ. Points are proposed at the rate cθ ≥ λ, whose sums need no
logarithm, and kept with probability λ / (cθ); variables above θ = 1/2 are drawn one by one.

The table has two levels. Blocks of entries are proposed by sums that may be slightly too large
(float32 with a margin); the place within a block is found by exact float64 sums, and a point that
falls into the margin is dropped, so the margin costs nothing but a few points.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lds.discrete.checks import NEAREST, check_parameter, outside

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
        TypeError: `probs` is not a floating point tensor.
        ValueError: `probs` is not flat, its length is no multiple of `BLOCK`, or an entry is NaN or
            outside [0, 1] by more than rounding (`checks.ROUNDING`).
    """

    def __init__(self, probs: Tensor) -> None:
        check_parameter("probs", probs)
        if probs.dim() != 1 or probs.numel() % BLOCK:
            raise ValueError(
                f"probs must be flat with a multiple of {BLOCK} entries, got {tuple(probs.shape)}"
            )
        self._blocks = probs.view(-1, BLOCK)
        self.refresh()

    def refresh(self) -> None:
        """Read θ again, after it was changed in place; it must still lie in [0, 1]."""
        outside(self._blocks.view(-1), "lie in [0, 1]", NEAREST)
        mass, self._large, self._large_probs = _read(self._blocks)
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
        uniform = _uniform(target.shape, device, generator)
        offset, kept = _within(self._blocks.index_select(0, block), target - before, uniform)
        return (draw * self._blocks.numel() + block * BLOCK + offset)[kept]


class ThinningRows:
    """A table for each of several θ of one length: draws of all of them, made together.

    A draw of a row is the one that its own `ThinningTable` makes with its generator. Only the
    random numbers themselves are taken row by row.

    Arguments:
        probs: θ, `(n_rows, n)`, n a multiple of `BLOCK`, in [0, 1]. Not copied: `refresh` after a
            change.

    Raises:
        ValueError: `probs` has no rows, or rows of another length.
    """

    def __init__(self, probs: Tensor) -> None:
        if probs.dim() != 2 or probs.shape[1] % BLOCK:
            raise ValueError(
                f"probs must be rows with a multiple of {BLOCK} entries, got {tuple(probs.shape)}"
            )
        self._probs = probs
        self.refresh()

    def refresh(self) -> None:
        """Read θ again, after it was changed in place."""
        n_rows, n = self._probs.shape
        mass, self._large, self._large_probs = _read(self._probs.view(-1, BLOCK))
        self._n_large: list[int] = torch.bincount(self._large // n, minlength=n_rows).tolist()
        self._block_mass = mass.view(n_rows, -1) * _MARGIN
        self._cumulative = self._block_mass.cumsum(1)

    @property
    def finite(self) -> Tensor:
        """Whether all θ of a row are numbers, bool `(n_rows,)`."""
        return self._cumulative[:, -1].isfinite()

    def draw(self, generators: Sequence[Sequence[torch.Generator]]) -> Tensor:
        """S draws of every row.

        Arguments:
            generators: for each draw a source of randomness of each row, on the device of θ.

        Returns:
            int64, flat and ascending: (draw · n_rows + row) · n + index of each one drawn.
        """
        n_draws, (n_rows, n_blocks) = len(generators), self._cumulative.shape
        each = [generator for draw in generators for generator in draw]
        device, mass = self._probs.device, self._cumulative[:, -1].repeat(n_draws)
        of_large = torch.empty((n_draws, len(self._large)), dtype=torch.float64, device=device)
        parts = [part for draw in of_large for part in draw.split(self._n_large)]
        points = []
        for part, rate, generator in zip(parts, (_RATE * mass).split(1), each, strict=True):
            part.uniform_(generator=generator)
            points.append(torch.poisson(rate, generator=generator))
        counts = torch.cat(points).long()
        n_points: list[int] = counts.tolist()
        widest = max(n_points)
        # Rows with fewer points than the widest have some more, which are left out below.
        target, uniform = torch.zeros((2, len(each), widest), dtype=torch.float64, device=device)
        for row, (count, generator) in enumerate(zip(n_points, each, strict=True)):
            target[row, :count].uniform_(generator=generator)
            uniform[row, :count].uniform_(generator=generator)
        target *= mass.unsqueeze(1)
        # Points of a row, of all draws, side by side: one search in its table.
        by_row = target.view(n_draws, n_rows, widest).transpose(0, 1).reshape(n_rows, -1)
        block = torch.searchsorted(self._cumulative, by_row, right=True)
        block.clamp_(max=n_blocks - 1)
        before = self._cumulative.gather(1, block) - self._block_mass.gather(1, block)
        rest = (by_row - before).view(n_rows, n_draws, widest).transpose(0, 1).flatten()
        block += torch.arange(n_rows, device=device).unsqueeze(1) * n_blocks
        block = block.view(n_rows, n_draws, widest).transpose(0, 1).flatten()
        entries = self._probs.view(-1, BLOCK).index_select(0, block)
        offset, kept = _within(entries, rest, uniform.flatten())
        kept &= (torch.arange(widest, device=device) < counts.unsqueeze(1)).flatten()
        draw = torch.arange(n_draws, device=device).repeat_interleave(n_rows * widest)
        small = (draw * self._probs.numel() + block * BLOCK + offset)[kept]
        draw, position = (of_large < self._large_probs).nonzero(as_tuple=True)
        large = draw * self._probs.numel() + self._large.index_select(0, position)
        return _ascending(torch.cat([large, small]))


def _read(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Σθ of each block without its large entries, and where and what the large ones are.

    Arguments:
        blocks: θ, `(n_blocks, BLOCK)`.

    Returns:
        float64 `(n_blocks,)`, flat positions int64 `(n_large,)`, ascending, float64 `(n_large,)`.
    """
    sums = torch.promote_types(
        blocks.dtype, torch.float32
    )  # float16 rounds by more than the margin
    ones = blocks.new_ones(BLOCK, dtype=sums)
    mass = (blocks.to(sums) @ ones).double()
    hot = (blocks.amax(1) > _LARGE).nonzero().squeeze(1)
    entries = blocks.index_select(0, hot).flatten()
    found = _positions(entries > _LARGE)
    which = found // BLOCK
    large = hot.index_select(0, which) * BLOCK + (found - which * BLOCK)
    probs = entries.index_select(0, found).double()
    entries.index_fill_(0, found, 0)
    mass.index_copy_(0, hot, (entries.view(-1, BLOCK).to(sums) @ ones).double())
    return mass, large, probs


def _within(entries: Tensor, rest: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """The place of each point in its block, and whether it is kept.

    Arguments:
        entries: θ of the block of each point, `(n_points, BLOCK)`.
        rest: how far into the mass of its block each point lies, `(n_points,)`.
        uniform: decides with which probability it is kept, `(n_points,)`.
    """
    entries = entries.double()
    sums = entries.masked_fill(entries > _LARGE, 0).cumsum(1)
    offset = torch.searchsorted(sums, rest.unsqueeze(1), right=True).squeeze(1)
    inside = offset < BLOCK  # the rest fell into the margin
    offset.clamp_(max=BLOCK - 1)
    theta = entries.gather(1, offset.unsqueeze(1)).squeeze(1)
    kept = inside & (theta <= _LARGE) & (uniform * (_RATE * theta) < -torch.log1p(-theta))
    return offset, kept


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
