"""Draws of the thinning table: their distribution, by counting, and wrong ones that counts reject.

Every statistic has a fixed seed. "Four standard errors" leaves a right sampler a chance of 6e-5 a
number checked; the wrong samplers below are many more away.
"""

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from lds.discrete.thinning import BLOCK, ThinningRows, ThinningTable

N_DRAWS = 20_000


def mixed_probs(dtype=torch.float64) -> Tensor:
    """12 blocks: constants, large beside tiny, all zero, all one, ascending, and padding."""
    blocks = torch.zeros(12, BLOCK, dtype=dtype)
    blocks[0, :8] = torch.tensor([0.0, 1e-3, 0.01, 0.3, 0.5, 0.51, 0.999, 1.0])
    blocks[1] = 0.02
    blocks[2] = 1e-4
    blocks[3, ::2], blocks[3, 1::2] = 0.95, 1e-4  # large beside tiny
    blocks[4, 0], blocks[4, 31] = 1e-4, 0.5  # the two ends of a block
    # 5 is empty
    blocks[6] = torch.linspace(0, 0.5, BLOCK)
    blocks[7, :4] = 1.0
    blocks[8] = torch.linspace(0.6, 0.4, BLOCK)  # around the threshold, large ones first
    blocks[9, 5] = 1e-4
    blocks[10] = 1e-4
    blocks[11, 0], blocks[11, 2] = 0.25, 0.75
    return blocks.flatten()


Sampler = Callable[[Tensor, int, torch.Generator], Tensor]
"""(probs, n_draws, generator) -> int64 keys, draw · n + index."""


def thinning(probs: Tensor, n_draws: int, generator: torch.Generator) -> Tensor:
    return ThinningTable(probs).draw(n_draws, generator=generator)


def poisson(
    probs: Tensor,
    n_draws: int,
    generator: torch.Generator,
    *,
    rate: Callable[[Tensor], Tensor],
    duplicates: bool = False,
) -> Tensor:
    """A point process written plainly, of any rate; hits above one counted once, or not."""
    theta = probs.double()
    large = theta > 0.5
    counts = torch.poisson(rate(theta.masked_fill(large, 0)).expand(n_draws, -1), generator)
    uniform = torch.rand(n_draws, int(large.sum()), dtype=torch.float64, generator=generator)
    counts[:, large] = (uniform < theta[large]).double()
    counts = counts.long() if duplicates else (counts > 0).long()
    return torch.repeat_interleave(torch.arange(counts.numel()), counts.flatten())


SAMPLERS: dict[str, Sampler] = {
    "thinning": thinning,
    "right, written plainly": functools.partial(poisson, rate=lambda p: -torch.log1p(-p)),
    "rate θ": functools.partial(poisson, rate=lambda p: p),
    "duplicates kept": functools.partial(poisson, rate=lambda p: -torch.log1p(-p), duplicates=True),
}


def marginals_hold(probs: Tensor, counts: Tensor, n_draws: int) -> bool:
    """Whether how often each variable was 1 in `n_draws` fits its probability.

    Exact at 0 and 1. Else within four standard errors: one by one where a hundred hits are
    expected, and pooled over all variables of one (rarer) probability. And the total.
    """
    p, k = probs.double().numpy(), counts.double().numpy()
    if k[p == 0].any() or (k[p == 1] != n_draws).any():
        return False
    groups = [np.flatnonzero(p == value) for value in np.unique(p)]
    often = [np.array([i]) for i in np.flatnonzero(n_draws * p >= 100)]
    for group in [*groups, *often, np.arange(len(p))]:
        variance = n_draws * (p[group] * (1 - p[group])).sum()
        error = abs(k[group].sum() - n_draws * p[group].sum())
        if error > 4 * np.sqrt(variance) + 1e-9 * n_draws:
            return False
    return True


def counts_of(sampler: Sampler, probs: Tensor, seed: int = 0) -> Tensor:
    total = torch.zeros(probs.numel(), dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(10):  # in ten batches, to keep memory small
        keys = sampler(probs, N_DRAWS // 10, generator)
        total += torch.bincount(keys % probs.numel(), minlength=probs.numel())
    return total


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_marginals(dtype):
    probs = mixed_probs(dtype)
    assert marginals_hold(probs, counts_of(thinning, probs), N_DRAWS)


@pytest.mark.parametrize(
    ("name", "holds"),
    [("right, written plainly", True), ("rate θ", False), ("duplicates kept", False)],
)
def test_the_check_of_marginals_rejects_wrong_samplers(name, holds):
    probs = mixed_probs()
    assert marginals_hold(probs, counts_of(SAMPLERS[name], probs), N_DRAWS) is holds


def test_the_check_of_marginals_rejects_a_lost_rare_variable_and_a_drawn_zero():
    probs = mixed_probs()
    counts = counts_of(thinning, probs)
    lost = counts.clone()
    lost[probs == 1e-4] //= 2  # half of the rare ones never drawn, as by float32 sums
    assert not marginals_hold(probs, lost, N_DRAWS)
    counts[int((probs == 0).nonzero()[0])] = 1
    assert not marginals_hold(probs, counts, N_DRAWS)


def test_variables_are_independent_within_a_draw_and_between_draws():
    """Outcomes of five variables (large, small, two of one block), and of one in two draws."""
    probs = torch.zeros(2 * BLOCK, dtype=torch.float64)
    chosen = torch.tensor([3, 4, 20, 40, 63])
    probs[chosen] = torch.tensor([0.3, 0.45, 0.7, 0.5, 0.2], dtype=torch.float64)
    keys = ThinningTable(probs).draw(N_DRAWS, generator=torch.Generator().manual_seed(1))
    z = torch.zeros(N_DRAWS * probs.numel(), dtype=torch.int64)
    z[keys] = 1
    z = z.view(N_DRAWS, -1)[:, chosen]

    weights = 2 ** torch.arange(5)
    observed = torch.bincount((z * weights).sum(1), minlength=32).numpy()
    bits = (torch.arange(32).unsqueeze(1) // weights % 2).double()
    p = probs[chosen]
    expected = N_DRAWS * (p * bits + (1 - p) * (1 - bits)).prod(1).numpy()
    assert expected.min() > 20
    assert stats.chisquare(observed, expected).pvalue > 0.001

    pairs = 2 * z[0::2] + z[1::2]  # a variable in a draw and in the next
    for i in range(5):
        law = np.outer([1 - p[i], p[i]], [1 - p[i], p[i]]).ravel() * (N_DRAWS // 2)
        observed = torch.bincount(pairs[:, i], minlength=4).numpy()
        assert stats.chisquare(observed, law).pvalue > 0.001


@pytest.mark.ci
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_tiny_probabilities_among_very_many_are_drawn_evenly(dtype):
    """2^18 variables of 1e-6 behind a block of 0.4: small ones beside large sums still count."""
    n = 1 << 18
    probs = torch.full((n,), 1e-6, dtype=dtype)
    probs[:BLOCK] = 0.4
    keys = ThinningTable(probs).draw(N_DRAWS, generator=torch.Generator().manual_seed(2))
    index = keys % n
    rare = index[index >= BLOCK]
    m = n - BLOCK
    mean = N_DRAWS * m * 1e-6
    assert abs(len(rare) - mean) <= 4 * np.sqrt(mean)
    places = torch.bincount(rare % BLOCK, minlength=BLOCK).numpy()  # within a block
    assert stats.chisquare(places).pvalue > 0.001
    stretches = torch.bincount((rare - BLOCK) * 64 // m, minlength=64).numpy()
    assert stats.chisquare(stretches).pvalue > 0.001


def test_small_probabilities_behind_a_large_sum_are_not_lost():
    """Behind a sum of 10^4, where float32 has steps of 1e-3, blocks of mass 3e-5 still count."""
    n, n_large = 1 << 22, 1 << 15
    probs = torch.full((n,), 1e-6)
    probs[:n_large] = 0.3
    table = ThinningTable(probs)
    generator = torch.Generator().manual_seed(7)
    rare = torch.zeros(BLOCK, dtype=torch.int64)  # by place within a block
    for _ in range(5):
        index = table.draw(5, generator=generator) % n
        rare += torch.bincount(index[index >= n_large] % BLOCK, minlength=BLOCK)
    mean = 25 * (n - n_large) * 1e-6
    assert abs(int(rare.sum()) - mean) <= 4 * mean**0.5
    assert stats.chisquare(rare.view(8, -1).sum(1).numpy()).pvalue > 0.001


def test_the_margin_of_block_sums_changes_no_probability(monkeypatch):
    monkeypatch.setattr("lds.discrete.thinning._MARGIN", 1.5)
    probs = mixed_probs()
    assert marginals_hold(probs, counts_of(thinning, probs), N_DRAWS)


def test_keys_are_ascending_and_distinct():
    probs = mixed_probs()
    keys = ThinningTable(probs).draw(200, generator=torch.Generator().manual_seed(3))
    assert keys.dtype == torch.int64
    assert bool((keys[1:] > keys[:-1]).all())
    assert int(keys[0]) >= 0
    assert int(keys[-1]) < 200 * probs.numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_expected_is_the_sum_of_probabilities(dtype):
    probs = mixed_probs(dtype)
    # float32: block sums of 32 entries, each rounded to 6e-8
    rtol = 1e-6 if dtype == torch.float32 else 1e-12
    assert ThinningTable(probs).expected == pytest.approx(float(probs.double().sum()), rel=rtol)


def test_the_two_parts_of_a_draw_make_the_draw():
    probs = mixed_probs()
    table = ThinningTable(probs)
    keys = table.draw(50, generator=torch.Generator().manual_seed(5))
    there, rest = table.draw_parts(50, generator=torch.Generator().manual_seed(5))
    assert torch.equal(table.large, (probs > 0.5).nonzero().squeeze(1))
    draw, place = there.nonzero(as_tuple=True)
    large = draw * probs.numel() + table.large[place]
    assert torch.equal(torch.cat([large, rest]).sort().values, keys)


def test_expected_is_what_is_drawn_on_average():
    probs = mixed_probs()
    table = ThinningTable(probs)
    n_ones = len(table.draw(2000, generator=torch.Generator().manual_seed(4)))
    spread = float((probs * (1 - probs)).sum() * 2000) ** 0.5
    assert abs(n_ones - 2000 * table.expected) <= 4 * spread


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_certain_variables_alone(value):
    probs = torch.full((3 * BLOCK,), value)
    keys = ThinningTable(probs).draw(5)
    assert keys.tolist() == (list(range(5 * 3 * BLOCK)) if value else [])


def test_no_variables_at_all():
    table = ThinningTable(torch.zeros(0))
    assert table.expected == 0
    assert table.draw(3).numel() == 0


def test_draws_follow_the_generator_and_leave_the_global_state_alone():
    table = ThinningTable(mixed_probs())
    before = torch.get_rng_state()
    first, again, other = (
        table.draw(3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(table.draw(3), first), "None is torch's own state"


@pytest.mark.parametrize("shift", [0.0, 0.25])
def test_probabilities_outside_by_rounding_are_clamped(shift):
    probs = torch.full((2 * BLOCK,), shift)
    probs[3], probs[40] = -4e-7, 1 + 4e-7
    draws = [
        ThinningTable(each).draw(1000, generator=torch.Generator().manual_seed(0))
        for each in (probs, probs.clamp(0, 1))
    ]
    assert torch.equal(*draws)
    assert (draws[0] % len(probs) != 3).all()


def test_a_change_in_place_counts_after_refresh():
    probs = mixed_probs()
    table = ThinningTable(probs)
    probs.copy_(probs.flip(0)).mul_(0.9)
    probs[7] = 1.0
    table.refresh()
    assert table.expected == pytest.approx(float(probs.sum()))
    keys = table.draw(N_DRAWS, generator=torch.Generator().manual_seed(6))
    counts = torch.bincount(keys % probs.numel(), minlength=probs.numel())
    assert marginals_hold(probs, counts, N_DRAWS)


def test_the_table_changes_no_probability():
    probs = mixed_probs()
    table = ThinningTable(probs)
    table.draw(10)
    assert torch.equal(probs, mixed_probs())


@pytest.mark.parametrize("shape", [(33,), (2, 32), ()])
def test_probabilities_that_are_not_flat_blocks(shape):
    with pytest.raises(ValueError, match=r"probs must be flat with a multiple of 32 entries, got"):
        ThinningTable(torch.zeros(shape))


def test_a_draw_of_a_row_equals_that_of_its_own_table():
    """The marginals and correlations of a single table are tested above."""
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(3, 40 * BLOCK, dtype=torch.float64, generator=generator) ** 6
    probs[1] = 0  # nothing to draw
    probs[2, ::50] = 1
    rows = ThinningRows(probs)
    for change in range(2):
        tables = [ThinningTable(row) for row in probs]
        for seed in range(20):
            n_draws = 1 + seed % 3
            generators = [
                [torch.Generator().manual_seed(9 * seed + 3 * draw + k) for k in range(3)]
                for draw in range(n_draws)
            ]
            mine = rows.draw(generators)
            each = [
                (3 * draw + k) * probs.shape[1]
                + table.draw(1, generator=torch.Generator().manual_seed(9 * seed + 3 * draw + k))
                for draw in range(n_draws)
                for k, table in enumerate(tables)
            ]
            assert torch.equal(mine, torch.cat(each))
        assert rows.finite.tolist() == [True, True, True]
        probs[change].copy_(probs[0] / 2)
        rows.refresh()
    probs[1, 7] = float("nan")
    rows.refresh()
    assert rows.finite.tolist() == [True, False, True]


@pytest.mark.parametrize("shape", [(2 * BLOCK,), (2, BLOCK + 1)])
def test_rows_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match=f"rows with a multiple of {BLOCK} entries"):
        ThinningRows(torch.zeros(shape))
