"""REBAR is unbiased for every control variate, by integration over its noise."""

import math

import pytest
import torch
from torch import Tensor

from lds.discrete import Bernoulli, Categorical, disarm, rebar
from lds.discrete.rebar import each_draw

F64 = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def h(z: Tensor) -> Tensor:
    return (1.5 * z[:, 0] - 0.4).square() / 2


class OnAGrid(Bernoulli):
    """One variable, whose two uniforms run over a grid of midpoints, split at θ."""

    def __init__(self, probs: Tensor, n: int) -> None:
        super().__init__(probs)
        theta, middles = float(probs), (torch.arange(n, dtype=F64) + 0.5) / n
        first = torch.cat([middles * theta, theta + middles * (1 - theta)])
        self.weights = torch.tensor([theta, 1 - theta], dtype=F64).repeat_interleave(n) / n
        self.weights = self.weights.repeat_interleave(n) / n
        self.grids = [first.repeat_interleave(n), middles.repeat(2 * n)]

    def uniform(self, n_draws=None, *, generator=None) -> Tensor:
        return self.grids.pop(0).unsqueeze(1)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
@pytest.mark.parametrize(
    "control", [None, lambda u: 3 * u[:, 0].sin(), lambda u: 0.2 * h(u)], ids=["h", "sin", "scaled"]
)
@pytest.mark.parametrize("theta", [0.2, 0.7])
def test_the_mean_over_all_noise_is_the_true_gradient(theta, control, temperature):
    """h(1) - h(0), by quadrature over both uniforms."""
    coins = OnAGrid(torch.tensor([theta], dtype=F64), 300)
    n_draws = len(coins.weights)
    found = each_draw(coins, h, n_draws, control=control, temperature=temperature)
    assert float(coins.weights @ found[:, 0]) == pytest.approx(1.5**2 / 2 - 1.5 * 0.4, abs=2e-3)
    biased = Bernoulli(torch.tensor([theta], dtype=F64))
    assert float(each_draw(biased, h, 20_000, generator=generator()).std()) > 0.1


def test_a_control_that_is_not_conditioned_gives_a_bias():
    """With c(x) in the place of c(x'), the quadrature above is off by more than a tenth."""
    theta, n = 0.2, 300
    coins = OnAGrid(torch.tensor([theta], dtype=F64), n)
    uniform = coins.grids[0]
    z = (uniform < theta).double()
    p = torch.full_like(z, theta, requires_grad=True)
    relaxed = ((p.logit() - uniform.logit()) / 0.5).sigmoid()
    score = torch.where(z > 0.5, 1 / theta, -1 / (1 - theta))
    wrong = (h(z.unsqueeze(1)) - h(relaxed.detach().unsqueeze(1))) * score
    assert abs(float(coins.weights @ wrong) - (1.5**2 / 2 - 1.5 * 0.4)) > 0.1


@pytest.mark.ci
def test_a_control_near_h_reduces_the_variance():
    """The multilinear h of outcomes as its own control at a low temperature, beside disarm."""
    probs = torch.tensor([0.3, 0.6, 0.5, 0.8], dtype=F64)

    def product(z: Tensor) -> Tensor:
        return 4 * z[:, 0] * z[:, 1] + z[:, 2] * z[:, 3] + 2 * z.sum(1)

    found = each_draw(Bernoulli(probs), product, 5000, generator=generator()).var(0).sum()
    pairs = [disarm(Bernoulli(probs), product, 1, generator=generator(k)) for k in range(2000)]
    assert float(found) < 0.8 * float(torch.stack(pairs).var(0).sum())


def test_a_black_box_with_a_separate_control():
    """RELAX: h refuses what is not 0 or 1 and has no derivative."""

    def black_box(z: Tensor) -> Tensor:
        assert set(z.unique().tolist()) <= {0.0, 1.0}
        return h(z.round()).detach()

    coins = Bernoulli.from_logits(torch.tensor([0.3], dtype=F64))
    p = coins.mean
    found = each_draw(coins, black_box, 200_000, control=lambda u: u[:, 0], generator=generator())
    true = float(p * (1 - p)) * (1.5**2 / 2 - 1.5 * 0.4)
    assert float(found.mean()) == pytest.approx(true, abs=4 * float(found.std()) / 200_000**0.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("temperature", [0.5, 1e-3, 1e-8])
def test_finite_in_every_precision_at_every_temperature(dtype, temperature):
    coins = Bernoulli.from_logits(torch.tensor([1e4, -1e4, 0.0], dtype=dtype))
    found = rebar(coins, h, 32, temperature=temperature, generator=generator())
    assert found.dtype == dtype
    assert bool(found.isfinite().all())


def test_invalid_arguments_are_refused():
    coins = Bernoulli(torch.tensor([0.4, 0.6]))
    with pytest.raises(TypeError, match="rebar needs a Bernoulli, got Categorical"):
        rebar(Categorical(torch.tensor([0.4, 0.6])), h)
    with pytest.raises(ValueError, match="needs every outcome to have a positive probability"):
        rebar(Bernoulli(torch.tensor([1.0])), h)
    with pytest.raises(ValueError, match="h must be differentiable inside the hypercube"):
        rebar(coins, lambda z: h(z).detach())
    with pytest.raises(ValueError, match=r"control must map draws \(4, 2\) to one value each"):
        rebar(coins, h, 4, control=lambda z: z)
    with pytest.raises(ValueError, match=r"control must return finite values, got nan at index 0"):
        rebar(coins, h, 4, control=lambda z: z.sum(1) * math.nan)
    with pytest.raises(ValueError, match="temperature must be a positive number"):
        rebar(coins, h, temperature=0.0)
    with pytest.raises(ValueError, match="n_draws must be at least 1"):
        rebar(coins, h, 0)
