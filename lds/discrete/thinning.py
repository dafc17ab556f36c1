"""Draws of very many independent Bernoulli variables at a cost proportional to the ones drawn.

With λ = -log(1 - θ), the variables hit at least once by a Poisson process of rate λ are exactly a
Ber(θ) draw: P(no hit) = e^{-λ} = 1 - θ. Points are proposed at the rate cθ ≥ λ, whose sums need no
logarithm, and kept with probability λ / (cθ). Variables with θ above 1/2 are drawn one by one.

The table has two levels. A block of entries is proposed by its sum, which may be slightly too large
(float32 with a margin). The place within a block is found by exact float64 sums; a point that falls
into the margin is dropped. So the margin causes no error, only a few extra points.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lds._tensors import positions
from lds.discrete.base import check_draws, check_generator
from lds.discrete.checks import NEAREST, check_parameter, outside

BLOCK = 32
"""Number of entries in a block of the two-level table."""

_LARGE = 0.5
_RATE = -math.log1p(-_LARGE) / _LARGE  # c: the largest λ/θ for θ <= _LARGE
_MARGIN = 1 + 1e-5  # above the rounding of a float32 sum of BLOCK entries


class ThinningTable:
    """A table over θ from which a draw costs O(ones · (log(n / BLOCK) + BLOCK)).

    Making it reads θ once. Sums within a block and uniforms are float64: in float32, half of the
    variables with small probabilities would never be drawn.

    Arguments:
        probs: θ, flat, `(n,)`, n a multiple of `BLOCK`, in [0, 1]. It is not copied, unless it is
            outside by rounding: call `refresh` after a change.

    Raises:
        TypeError: `probs` is not a floating point tensor.
        ValueError: `probs` is not flat, its length is not a multiple of `BLOCK`, or an entry is NaN
            or outside [0, 1] by more than rounding (`checks.ROUNDING`).
    """

    def __init__(self, probs: Tensor) -> None:
        check_parameter("probs", probs)
        if probs.dim() != 1 or probs.numel() % BLOCK:
            raise ValueError(
                f"probs must be flat with a multiple of {BLOCK} entries, got {tuple(probs.shape)}"
            )
        self._probs = probs
        self.refresh()

    def refresh(self) -> None:
        """Read θ again after a change in place; it must still lie in [0, 1]."""
        rounded = outside(self._probs, "lie in [0, 1]", NEAREST)
        self._blocks = (self._probs.clamp(0, 1) if rounded else self._probs).view(-1, BLOCK)
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
        """Draw all variables independently.

        Arguments:
            n_draws: S >= 1.
            generator: source of randomness; None is torch's own.

        Returns:
            int64, flat and ascending: draw · n + index of each variable that is 1.

        Raises:
            TypeError: `n_draws` is no integer.
            ValueError: it is below 1.
        """
        n_draws = check_draws(n_draws)
        there = self._draw_large(n_draws, generator)
        draw, position = there.nonzero(as_tuple=True)
        large = draw * self._blocks.numel() + self._large.index_select(0, position)
        return _ascending(torch.cat([large, self._draw_small(n_draws, generator)]))

    def draw_parts(
        self, n_draws: int, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw as `draw` does, but return the variables above 1/2 separately.

        Returns:
            Whether each variable of `large` is 1, bool `(n_draws, n_large)`; and the other
            variables that are 1, in the form of `draw`.

        Raises:
            TypeError: `n_draws` is no integer.
            ValueError: it is below 1.
        """
        n_draws = check_draws(n_draws)
        there = self._draw_large(n_draws, generator)
        return there, _ascending(self._draw_small(n_draws, generator))

    @property
    def large(self) -> Tensor:
        """The indices of the variables with θ above 1/2, int64, ascending."""
        return self._large

    def _draw_large(self, n_draws: int, generator: torch.Generator | None) -> Tensor:
        """Draw the variables above _LARGE, with one uniform for each."""
        uniform = _uniform((n_draws, self._large.numel()), self._blocks.device, generator)
        return uniform < self._large_probs

    def _draw_small(self, n_draws: int, generator: torch.Generator | None) -> Tensor:
        """Draw the other variables by thinning; a variable may occur twice."""
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
    """A table for each of several θ of one length, drawn from together.

    A draw of a row equals that of a `ThinningTable` over the row with the same generator. Only the
    random numbers are taken row by row.

    Arguments:
        probs: θ, `(n_rows, n)`, n a multiple of `BLOCK`, in [0, 1]. It is not copied: call
            `refresh` after a change.

    Raises:
        ValueError: `probs` is not two-dimensional, or n is not a multiple of `BLOCK`.
    """

    def __init__(self, probs: Tensor) -> None:
        if probs.dim() != 2 or probs.shape[1] % BLOCK:
            raise ValueError(
                f"probs must be rows with a multiple of {BLOCK} entries, got {tuple(probs.shape)}"
            )
        self._probs = probs
        self.refresh()

    def refresh(self) -> None:
        """Read θ again after a change in place."""
        n_rows, n = self._probs.shape
        mass, self._large, self._large_probs = _read(self._probs.view(-1, BLOCK))
        self._n_large: list[int] = torch.bincount(self._large // n, minlength=n_rows).tolist()
        self._block_mass = mass.view(n_rows, -1) * _MARGIN
        self._cumulative = self._block_mass.cumsum(1)

    @property
    def finite(self) -> Tensor:
        """Whether all θ of a row are finite, bool `(n_rows,)`."""
        return self._cumulative[:, -1].isfinite()

    def draw(self, generators: Sequence[Sequence[torch.Generator]]) -> Tensor:
        """Draw every row S times.

        Arguments:
            generators: for each draw, a generator for each row, on the device of θ.

        Returns:
            int64, flat and ascending: (draw · n_rows + row) · n + index of each variable that is 1.
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
        # Rows with fewer points than the widest row are padded; the padding is dropped below.
        target, uniform = torch.zeros((2, len(each), widest), dtype=torch.float64, device=device)
        for row, (count, generator) in enumerate(zip(n_points, each, strict=True)):
            target[row, :count].uniform_(generator=generator)
            uniform[row, :count].uniform_(generator=generator)
        target *= mass.unsqueeze(1)
        # Collect the points of all draws of a row, to search its table once.
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
    """Sum θ over each block without its large entries; return the large entries as well.

    Arguments:
        blocks: θ, `(n_blocks, BLOCK)`.

    Returns:
        The sums, float64 `(n_blocks,)`; the flat positions of the large entries, int64
        `(n_large,)`, ascending; and their values, float64 `(n_large,)`.
    """
    # float16 would round by more than the margin.
    sums = torch.promote_types(blocks.dtype, torch.float32)
    ones = blocks.new_ones(BLOCK, dtype=sums)
    mass = (blocks.to(sums) @ ones).double()
    hot = (blocks.amax(1) > _LARGE).nonzero().squeeze(1)
    entries = blocks.index_select(0, hot).flatten()
    found = positions(entries > _LARGE)
    which = found // BLOCK
    large = hot.index_select(0, which) * BLOCK + (found - which * BLOCK)
    probs = entries.index_select(0, found).double()
    entries.index_fill_(0, found, 0)
    mass.index_copy_(0, hot, (entries.view(-1, BLOCK).to(sums) @ ones).double())
    return mass, large, probs


def _within(entries: Tensor, rest: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place of each point in its block, and whether the point is kept.

    Arguments:
        entries: θ of the block of each point, `(n_points, BLOCK)`.
        rest: position of each point within the mass of its block, `(n_points,)`.
        uniform: in [0, 1), decides whether each point is kept, `(n_points,)`.
    """
    entries = entries.double()
    sums = entries.masked_fill(entries > _LARGE, 0).cumsum(1)
    offset = torch.searchsorted(sums, rest.unsqueeze(1), right=True).squeeze(1)
    inside = offset < BLOCK  # else the point fell into the margin
    offset.clamp_(max=BLOCK - 1)
    theta = entries.gather(1, offset.unsqueeze(1)).squeeze(1)
    kept = inside & (theta <= _LARGE) & (uniform * (_RATE * theta) < -torch.log1p(-theta))
    return offset, kept


def _ascending(keys: Tensor) -> Tensor:
    """Sort keys and drop repetitions; `keys` may be sorted in place."""
    if keys.device.type == "cpu":
        keys.numpy().sort()  # in place, and several times faster than torch.sort
    else:
        keys = keys.sort().values
    first = torch.ones_like(keys, dtype=torch.bool)
    torch.ne(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


def _uniform(
    shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None
) -> Tensor:
    check_generator(generator)
    return torch.rand(shape, dtype=torch.float64, device=device, generator=generator)
