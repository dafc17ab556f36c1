"""Half precision, extreme logits and temperatures, probabilities outside [0, 1] by rounding."""

import math

import pytest
import torch
from torch import Tensor

from lds.discrete import (
    Bernoulli,
    Categorical,
    KSubset,
    ThinningTable,
    disarm,
    gumbel_softmax,
    reinmax,
    score_function,
    straight_through,
)

F64 = torch.float64
HALVES = [torch.float16, torch.bfloat16]
DTYPES = [*HALVES, torch.float32, torch.float64]

# Logits as far apart as ±1e4, whose probabilities round to 0 and 1, and probabilities near those.
EXTREME = {
    "bernoulli": (Bernoulli, [0.3, 0.5, 1e-3, 0.998]),
    "bernoulli on logits": (Bernoulli.from_logits, [1e4, -1e4, 0.0, 20.0, -20.0]),
    "categorical": (Categorical, [0.5, 0.4375, 0.0625]),
    "categorical on logits": (Categorical.from_logits, [1e4, -1e4, 0.0, 9990.0]),
}
SUBSETS = {
    "k-subset": (lambda theta: KSubset(theta, 2), [1e4, -1e4, 0.0, 3.0, 1.0]),
    "k-subset on marginals": (lambda theta: KSubset.from_probs(theta, 2), [1.0, 0.0, 0.5, 0.5]),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def path(draw, make, values, dtype, **more) -> tuple[Tensor, Tensor]:
    """A draw, and the gradient of a weighted sum of it."""
    theta = torch.tensor(values, dtype=dtype).expand(200, -1).clone().requires_grad_()
    z = draw(make(theta), generator=generator(), **more)
    weights = torch.arange(1.0, z.shape[-1] + 1).to(dtype)
    return z.detach(), torch.autograd.grad((z * weights).sum(-1), theta, torch.ones_like(z[:, 0]))[
        0
    ]


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.03, 1e-3])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXTREME)
def test_gumbel_softmax_in_each_precision_is_the_float64_one_rounded(
    name, dtype, hard, temperature
):
    """Values and derivatives of a float64 distribution at the same θ and noise."""
    make, values = EXTREME[name]
    exact = torch.tensor(values, dtype=dtype).double().tolist()
    options = {"temperature": temperature, "hard": hard}
    if dtype == torch.float16 and name == "bernoulli" and temperature < 0.01:
        with pytest.raises(ValueError, match=r"derivative of a draw by θ may reach .*float16 ends"):
            path(gumbel_softmax, make, values, dtype, **options)
        return
    z, grad = path(gumbel_softmax, make, values, dtype, **options)
    true_z, true_grad = path(gumbel_softmax, make, exact, F64, **options)
    assert z.dtype == grad.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(z.double(), true_z, rtol=0, atol=eps)
    scale = float(true_grad.abs().max())
    assert bool(grad.isfinite().all())
    # A cotangent of up to 5, and numbers below the smallest of float16.
    torch.testing.assert_close(grad.double(), true_grad, rtol=4 * eps, atol=4 * eps * scale + 1e-7)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("hard", [False, True])
def test_large_logits_do_not_round_the_noise_away(dtype, hard):
    """Of two equal logits of 10,000, each wins half of the draws."""
    logits = torch.full((4000, 2), 1e4, dtype=dtype)
    z = gumbel_softmax(
        Categorical.from_logits(logits), temperature=0.5, hard=hard, generator=generator()
    )
    assert float((z[:, 0] > 0.5).double().mean()) == pytest.approx(0.5, abs=4 * 0.5 / 4000**0.5)


@pytest.mark.parametrize("temperature", [0.5, 1e-3, 1e-8, 1e-30, 1e-100, 1e6, 1e100])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXTREME)
def test_any_temperature_gives_finite_numbers_or_an_error(name, dtype, temperature):
    make, values = EXTREME[name]
    level = torch.tensor(temperature, dtype=F64, requires_grad=True)
    theta = torch.tensor(values, dtype=dtype, requires_grad=True)
    smallest = {"bernoulli": 1e-3 * (1 - 1e-3), "categorical": 0.0625}.get(name, 1.0)
    if 0.25 / temperature / smallest > torch.finfo(dtype).max:
        with pytest.raises(ValueError, match="use a higher temperature"):
            gumbel_softmax(make(theta), temperature=level, generator=generator())
        return
    z = gumbel_softmax(make(theta), temperature=level, generator=generator())
    for found in (z, *torch.autograd.grad(z.sum() + z[0], (theta, level))):
        assert bool(found.isfinite().all())


@pytest.mark.parametrize("bad", [1e-101, 1e101, 0, -0.1, math.inf, -math.inf, "warm", None, [1, 2]])
def test_temperatures_out_of_range(bad):
    with pytest.raises(ValueError, match=r"temperature must be a positive number .* 1e-100 to"):
        gumbel_softmax(Bernoulli(torch.tensor([0.5])), temperature=bad)


def test_a_half_precision_temperature_that_rounds_to_zero():
    with pytest.raises(ValueError, match="temperature must be a positive number"):
        gumbel_softmax(
            Bernoulli(torch.tensor([0.5])), temperature=torch.tensor(1e-8, dtype=torch.float16)
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXTREME | SUBSETS)
def test_draws_log_probabilities_and_entropies_are_finite(name, dtype):
    make, values = (EXTREME | SUBSETS)[name]
    draws = [straight_through] if name in SUBSETS else [straight_through, reinmax]
    for draw in draws:
        for found in path(draw, make, values, dtype):
            assert found.dtype == dtype
            assert bool(found.isfinite().all())
    for measure in (
        lambda made: made.log_prob(made.draw(50, generator=generator())),
        lambda made: made.log_prob(made.mode),
        lambda made: made.entropy(),
        lambda made: made.mean,
    ):
        theta = torch.tensor(values, dtype=dtype, requires_grad=True)
        value = measure(make(theta))
        (grad,) = torch.autograd.grad(value.sum(), theta)
        assert value.dtype == grad.dtype == dtype
        assert bool(value.isfinite().all())
        assert bool(grad.isfinite().all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_entropy_of_large_logits_keeps_its_digits(dtype):
    """-p log p - (1-p) log(1-p) at 8: both of its terms are small, not a difference of large."""
    p = 1 / (1 + math.exp(8))
    expected = -p * math.log(p) - (1 - p) * math.log1p(-p)
    found = Bernoulli.from_logits(torch.tensor([8.0, -8.0], dtype=dtype)).entropy()
    expected = torch.full((2,), expected, dtype=F64)
    torch.testing.assert_close(found.double(), expected, rtol=8 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("estimator", [score_function, disarm])
@pytest.mark.parametrize("make", [Bernoulli, Bernoulli.from_logits])
def test_values_beyond_half_precision_give_the_float32_gradient(make, estimator, dtype):
    """float16 cannot hold the differences between losses of a million."""
    theta = torch.tensor([0.25, 0.5, 0.75], dtype=dtype)

    def h(z: Tensor) -> Tensor:
        return 1e6 + z.float() @ torch.tensor([3.0, -2.0, 1.0])

    found = estimator(make(theta), h, 64, generator=generator())
    expected = estimator(make(theta.float()), h, 64, generator=generator())
    assert found.dtype == dtype
    rtol = 4 * torch.finfo(dtype).eps  # and of the probabilities of logits, in half precision
    torch.testing.assert_close(found.float(), expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("estimator", [score_function, disarm])
def test_values_of_float64_keep_their_digits_beside_float32_probabilities(estimator):
    probs = torch.tensor([0.25, 0.5, 0.75])

    def h(z: Tensor, base: float = 0.0) -> Tensor:
        return base + z.double().sum(1)

    found = estimator(Bernoulli(probs), lambda z: h(z, 1e9), 64, generator=generator())
    expected = estimator(Bernoulli(probs), h, 64, generator=generator())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_gradients_that_half_precision_cannot_hold():
    likely = torch.tensor([6e-8, 0.5], dtype=torch.float16)
    drawn = torch.tensor([1.0, 0.0], dtype=torch.float16)

    class Drawn(Bernoulli):
        def draw(self, n_draws=None, *, generator=None):
            return drawn if n_draws is None else torch.stack([drawn, 1 - drawn])

    with pytest.raises(ArithmeticError, match=r"score_function: an entry .*float16 ends at"):
        score_function(Drawn(likely), lambda z: z[:, 0], 2)
    with pytest.raises(ArithmeticError, match=r"reinmax: an entry of the gradient is .*float16"):
        reinmax(Drawn(likely))


@pytest.mark.parametrize("estimator", [score_function, disarm])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite(estimator, bad):
    def h(z: Tensor) -> Tensor:
        values = z.sum(1)
        values[2] = bad
        return values

    with pytest.raises(ValueError, match=f"h must return finite values, got {bad} at index 2"):
        estimator(Bernoulli(torch.tensor([0.4, 0.6])), h, 4)


# Rounding.


@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_outside_by_rounding_are_clamped_and_get_their_gradient(dtype):
    above = 1 + max(torch.finfo(dtype).eps, 1.2e-7)
    probs = torch.tensor([above, -1e-7, 0.25], dtype=dtype, requires_grad=True)
    assert probs[0].item() > 1
    made = Bernoulli(probs)
    assert made.probs.tolist() == [1.0, 0.0, 0.25]
    assert made.mode.tolist() == [1.0, 0.0, 0.0]
    assert made.logits[0].item() == math.inf
    z = made.draw(500, generator=generator())
    assert bool(z[:, 0].all())
    assert not z[:, 1].any()
    assert bool(made.log_prob(z).isfinite().all())
    assert bool(made.entropy().isfinite().all())
    weights = torch.tensor([3.0, 5.0, 7.0], dtype=dtype)
    drawn = straight_through(made, generator=generator())
    assert torch.autograd.grad((weights * drawn).sum(), probs)[0].tolist() == [3.0, 5.0, 7.0]
    assert not made.interior
    symmetric = Bernoulli(torch.full((2, 2), above, dtype=dtype), symmetric=True)
    assert symmetric.probs.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_1_0000001_of_float64_is_one():
    """What float32 rounds to 1 + eps, stored in float64."""
    assert Bernoulli(torch.tensor([1.0000001], dtype=F64)).probs.tolist() == [1.0]
    with pytest.raises(ValueError, match=r"got 1\.000001 at index 0; probs\.clamp"):
        Bernoulli(torch.tensor([1.000001], dtype=F64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [10, 1000])
def test_a_softmax_rounded_to_another_dtype_is_a_categorical(k, dtype):
    exact = torch.randn(20, k, dtype=F64, generator=generator()).softmax(-1)
    probs = exact.to(dtype).requires_grad_()
    made = Categorical(probs)
    sums = made.probs.double().sum(-1)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(sums, torch.ones(20, dtype=F64), rtol=0, atol=4 * eps)
    drawn = straight_through(made, generator=generator())
    assert bool((drawn.sum(-1) == 1).all())
    assert bool(torch.autograd.grad(drawn.square().sum(), probs)[0].isfinite().all())


def test_choices_below_zero_by_rounding_are_never_drawn():
    probs = torch.tensor([-2e-7, 0.4, 0.6], requires_grad=True)
    made = Categorical(probs)
    assert made.probs[0].item() == 0
    z = made.draw(2000, generator=generator())
    assert not z[:, 0].any()
    assert bool(made.log_prob(z).isfinite().all())
    assert bool(made.entropy().isfinite())
    weights = torch.tensor([1.0, 2.0, 4.0])
    (grad,) = torch.autograd.grad((made.probs * weights).sum(), probs)
    torch.testing.assert_close(grad, weights - 3.2)  # those of θ / Σθ at (0, 0.4, 0.6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_marginals_of_a_k_subset_up_to_rounding(dtype):
    above = 1 + max(torch.finfo(dtype).eps, 1.2e-7)
    probs = torch.tensor([above, -1e-7, 0.3, 0.7], dtype=dtype, requires_grad=True)
    made = KSubset.from_probs(probs, 2)
    assert made.probs.tolist()[:2] == [1.0, 0.0]
    z = made.draw(500, generator=generator())
    assert bool(z[:, 0].all())
    assert not z[:, 1].any()
    assert bool((z.sum(-1) == 2).all())
    drawn = straight_through(made, generator=generator())
    assert bool(torch.autograd.grad(drawn.square().sum(), probs)[0].isfinite().all())


@pytest.mark.parametrize(
    ("probs", "got"),
    [
        (torch.tensor([0.5, 1.25]), r"1\.25 at index 1; probs\.clamp"),
        (torch.tensor(-0.125), r"-0\.125; probs\.clamp"),
        (torch.tensor([[0.5, 0.5], [2.0, -1.0]]), r"2\.0 at index \(1, 0\) and 1 more like it;"),
        (torch.tensor([0.5, math.nan]), r"nan at index 1; find the computation that gives NaN"),
        (torch.tensor([1.0001]), r"1\.000100016593933 at index 0;"),
        (torch.tensor([1.25], dtype=torch.float16), r"1\.25 at index 0;"),
    ],
)
def test_the_offending_probability_is_named_in_full(probs, got):
    with pytest.raises(ValueError, match=rf"^probs must lie in \[0, 1\], got {got}"):
        Bernoulli(probs)


def test_the_offending_choice_or_sum_is_named():
    with pytest.raises(ValueError, match=r"sum to 1 .*, got -0\.5 at index 1; lds\.bilevel\.proj"):
        Categorical(torch.tensor([1.5, -0.5]).roll(0).clamp(max=1.0))
    with pytest.raises(ValueError, match=r"sum to 1 .*, got the sum 1\.25 at index 1; lds"):
        Categorical(torch.tensor([[0.5, 0.5], [0.75, 0.5]]))
    with pytest.raises(ValueError, match=r"sum to k = 2 .*, got the sum 1\.75; a projection"):
        KSubset.from_probs(torch.tensor([0.5, 0.75, 0.5]), 2)
    with pytest.raises(ValueError, match=r"logits must be finite, got inf at index 1; fix an"):
        Bernoulli.from_logits(torch.tensor([0.0, math.inf]))


# Thinning.


@pytest.mark.ci
@pytest.mark.parametrize("dtype", HALVES)
def test_thinning_in_half_precision_draws_by_the_probabilities(dtype):
    """The last entry of a block whose sum rounds down by more than that entry."""
    probs = torch.tensor([0.5] * 31 + [1e-3], dtype=dtype)
    n_draws = 25_000  # an entry never drawn is 5 standard deviations off
    drawn = ThinningTable(probs).draw(n_draws, generator=generator())
    counts = torch.bincount(drawn % 32, minlength=32).double()
    p = probs.double()
    assert bool(((counts - n_draws * p).abs() <= 4 * (n_draws * p * (1 - p)).sqrt()).all())


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1.5, -0.5])
def test_thinning_refuses_values_that_are_not_probabilities(bad):
    probs = torch.full((64,), 0.1)
    table = ThinningTable(probs)
    probs[40] = bad
    with pytest.raises(ValueError, match=rf"probs must lie in \[0, 1\], got {bad} at index 40"):
        ThinningTable(probs)
    with pytest.raises(ValueError, match=rf"got {bad} at index 40"):
        table.refresh()
