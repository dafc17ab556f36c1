"""Gradients through draws, against exact gradients by enumeration of all outcomes."""

import itertools

import pytest
import torch
from torch import Tensor

from lds.discrete import Bernoulli, straight_through

EXACT = {"rtol": 1e-12, "atol": 1e-14}  # sums of at most 2^8 float64 terms


class Drawn(Bernoulli):
    """A Bernoulli whose draw is chosen by the test."""

    def __init__(self, probs: Tensor, z: Tensor) -> None:
        super().__init__(probs)
        self.z = z

    def draw(self, n_draws=None, *, generator=None) -> Tensor:
        return self.z


def outcomes(n: int) -> list[Tensor]:
    values = itertools.product([0.0, 1.0], repeat=n)
    return [torch.tensor(z, dtype=torch.float64) for z in values]


def probability(theta: Tensor, z: Tensor) -> Tensor:
    return (theta * z + (1 - theta) * (1 - z)).prod()


def true_gradient(h, theta: Tensor) -> Tensor:
    """∇_θ Σ_z P_θ(z) h(z)."""
    theta = theta.clone().requires_grad_()
    mean = sum(probability(theta, z) * h(z) for z in outcomes(len(theta)))
    return torch.autograd.grad(mean, theta)[0]


def mean_estimate(h, theta: Tensor) -> Tensor:
    """Σ_z P_θ(z) ĝ(z): what the straight-through estimator gives on average."""
    total = torch.zeros_like(theta)
    for z in outcomes(len(theta)):
        traced = theta.clone().requires_grad_()
        value = h(straight_through(Drawn(traced, z)))
        total += probability(theta, z) * torch.autograd.grad(value, traced)[0]
    return total


def theta(n: int) -> Tensor:
    return torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))


def linear(z: Tensor) -> Tensor:
    return (torch.arange(1.0, len(z) + 1, dtype=torch.float64) * z).sum()


def products(z: Tensor) -> Tensor:
    """A sum over all subsets of two and three distinct variables, as paths in a graph are."""
    total = torch.zeros((), dtype=torch.float64)
    for k, size in ((1.0, 2), (-0.7, 3)):
        for count, subset in enumerate(itertools.combinations(range(len(z)), size)):
            total = total + k * (1 + count) * z[list(subset)].prod()
    return total


def path_products(z: Tensor) -> Tensor:
    """Entry (0, 3) of (AB)C for matrices of distinct variables: two-hop paths, then a third hop."""
    a, b, c = z[:2].view(1, 2), z[2:6].view(2, 2), z[6:8].view(2, 1)
    return (a @ b @ c).squeeze()


@pytest.mark.parametrize(
    ("h", "n"), [(linear, 1), (linear, 6), (products, 3), (products, 6), (path_products, 8)]
)
def test_straight_through_is_exact_where_each_variable_enters_linearly(h, n):
    torch.testing.assert_close(mean_estimate(h, theta(n)), true_gradient(h, theta(n)), **EXACT)


@pytest.mark.parametrize("at", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_straight_through_is_biased_where_one_is_squared(at):
    """(az-b)²/2: θa²-ab on average, where a²/2-ab is true (Appendix D); equal at θ = 1/2 alone."""
    a, b = 1.5, 0.4
    probs = torch.tensor([at], dtype=torch.float64)

    def h(z):
        return 0.5 * (a * z - b).square().sum()

    estimate, true = mean_estimate(h, probs), true_gradient(h, probs)
    expected = torch.tensor([at * a**2 - a * b], dtype=torch.float64)
    torch.testing.assert_close(estimate, expected, **EXACT)
    torch.testing.assert_close(true, torch.tensor([a**2 / 2 - a * b], dtype=torch.float64), **EXACT)
    bias = float((estimate - true).abs())
    assert bias == pytest.approx(abs(at - 0.5) * a**2, abs=1e-12)


def test_the_gradient_reaches_the_probabilities_unchanged():
    probs = torch.tensor([[0.2, 0.9], [0.5, 1.0]], dtype=torch.float64, requires_grad=True)
    z = straight_through(Bernoulli(probs), generator=torch.Generator().manual_seed(0))
    assert set(z.flatten().tolist()) <= {0.0, 1.0}
    cotangent = torch.tensor([[1.0, -2.0], [3.0, 0.5]], dtype=torch.float64)
    assert torch.equal(torch.autograd.grad(z, probs, cotangent)[0], cotangent)


def test_second_derivatives_pass_through():
    """Of Σ z³ + z_0 z_1 at a draw z: the Hessian of h there."""
    probs = torch.full((3,), 0.5, dtype=torch.float64, requires_grad=True)
    z = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    drawn = straight_through(Drawn(probs, z))
    value = (drawn**3).sum() + drawn[0] * drawn[1]
    (grad,) = torch.autograd.grad(value, probs, create_graph=True)
    hessian = torch.stack([torch.autograd.grad(g, probs, retain_graph=True)[0] for g in grad])
    expected = torch.diag(6 * z)
    expected[0, 1] = expected[1, 0] = 1
    torch.testing.assert_close(hessian, expected, **EXACT)


def test_the_draw_is_the_distributions_and_follows_the_generator():
    probs = torch.full((50,), 0.4, dtype=torch.float64)
    drawn = straight_through(Bernoulli(probs), generator=torch.Generator().manual_seed(9))
    expected = Bernoulli(probs).draw(generator=torch.Generator().manual_seed(9))
    assert torch.equal(drawn, expected)
    torch.manual_seed(9)
    assert torch.equal(straight_through(Bernoulli(probs)), expected)


def test_what_is_drawn_may_be_changed_without_changing_the_distribution():
    """A draw is a fresh tensor, not a view of what the distribution keeps."""
    z = torch.tensor([1.0, 0.0], dtype=torch.float64)
    out = straight_through(Drawn(torch.tensor([0.5, 0.5], dtype=torch.float64), z))
    out += 1
    assert z.tolist() == [1.0, 0.0]
