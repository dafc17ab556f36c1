"""Gradients through draws, against exact gradients by enumeration of all outcomes.

What an estimator gives on average is enumerated too, over all draws it may meet, so that a claim of
exactness is held to rounding and a bias to its formula. By counting, 100,000 estimates must come
within four standard errors of their expectation.
"""

import itertools
import math

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from lds import bilevel
from lds._random import mix, replayed
from lds.discrete import (
    Bernoulli,
    Categorical,
    KSubset,
    disarm,
    gumbel_softmax,
    rebar,
    reinmax,
    score_function,
    straight_through,
)

F64 = torch.float64
EXACT = {"rtol": 1e-10, "atol": 1e-12}  # sums of at most 2^8 float64 terms
N_ESTIMATES = 100_000


def planted(distribution, **methods):
    """The distribution with draws chosen by the test."""
    made = type(distribution).__name__ + "Planted"
    namespace = {name: (lambda self, *a, _v=v, **k: _v) for name, v in methods.items()}
    distribution.__class__ = type(made, (type(distribution),), namespace)
    return distribution


def outcomes(n: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=F64)


# Distributions, and P(z) written plainly.


def theta(n: int) -> Tensor:
    return torch.rand(n, dtype=F64, generator=torch.Generator().manual_seed(n))


def bernoulli_probability(p: Tensor, z: Tensor) -> Tensor:
    return (p * z + (1 - p) * (1 - z)).prod(-1)


def categorical_probability(p: Tensor, z: Tensor) -> Tensor:
    return ((p / p.sum(-1, keepdim=True)) * z).sum(-1).prod(-1)


def k_subset_probability(logits: Tensor, z: Tensor) -> Tensor:
    weights = (z * logits).sum(-1).exp()
    return weights / weights.sum()


def one_hots(k: int, size: int) -> Tensor:
    index = torch.tensor(list(itertools.product(range(k), repeat=size)))
    return torch.eye(k, dtype=F64)[index]


def subsets(n: int, k: int) -> Tensor:
    z = outcomes(n)
    return z[z.sum(1) == k]


CHOICES = torch.tensor([[0.1, 0.3, 0.6], [0.35, 0.25, 0.4]], dtype=F64)
LOGITS = torch.tensor([0.3, -1.2, 1.0, 0.1], dtype=F64)

# name: make(parameter), parameter, P(z) by the parameter, outcomes
CASES = {
    "bernoulli": (Bernoulli, theta(3), bernoulli_probability, outcomes(3)),
    "bernoulli on logits": (
        Bernoulli.from_logits,
        LOGITS[:3],
        lambda t, z: bernoulli_probability(t.sigmoid(), z),
        outcomes(3),
    ),
    "categorical": (Categorical, CHOICES, categorical_probability, one_hots(3, 2)),
    "categorical on logits": (
        Categorical.from_logits,
        CHOICES * 3,
        lambda t, z: categorical_probability(t.softmax(-1), z),
        one_hots(3, 2),
    ),
    "k-subset": (lambda t: KSubset(t, 2), LOGITS, k_subset_probability, subsets(4, 2)),
}


def true_gradient(h, parameter: Tensor, probability, z: Tensor) -> Tensor:
    """∇_θ Σ_z P_θ(z) h(z)."""
    traced = parameter.clone().requires_grad_()
    return torch.autograd.grad((probability(traced, z) * h(z)).sum(), traced)[0]


def mean_estimate(estimator, h, make, parameter: Tensor, probability, z: Tensor) -> Tensor:
    """Σ_z P_θ(z) ĝ(z): what a pathwise estimator gives on average."""
    total = torch.zeros_like(parameter)
    for outcome, chance in zip(z, probability(parameter, z), strict=True):
        traced = parameter.clone().requires_grad_()
        drawn = estimator(planted(make(traced), draw=outcome))
        assert torch.equal(drawn, outcome)
        value = h(drawn.unsqueeze(0)).squeeze()
        total += chance * torch.autograd.grad(value, traced)[0]
    return total


# Functions h of `(n_draws, ...)`.


def linear(z: Tensor) -> Tensor:
    flat = z.flatten(1)
    return flat @ torch.arange(1.0, flat.shape[1] + 1, dtype=F64).sqrt()


def products(z: Tensor) -> Tensor:
    """A sum over all subsets of two and three distinct variables, as paths in a graph are."""
    flat = z.flatten(1)
    total = torch.zeros(len(z), dtype=F64)
    for k, size in ((1.0, 2), (-0.7, 3)):
        for count, subset in enumerate(itertools.combinations(range(flat.shape[1]), size)):
            total = total + k * (1 + count) * flat[:, list(subset)].prod(1)
    return total


def path_products(z: Tensor) -> Tensor:
    """Entry (0, 3) of (AB)C for matrices of distinct variables: two-hop paths, then a third hop."""
    a, b, c = z[:, :2].view(-1, 1, 2), z[:, 2:6].view(-1, 2, 2), z[:, 6:8].view(-1, 2, 1)
    return (a @ b @ c).flatten()


def quadratic(z: Tensor) -> Tensor:
    """Second order in every variable, with products between them."""
    flat = z.flatten(1)
    n = flat.shape[1]
    form = torch.randn(n, n, dtype=F64, generator=torch.Generator().manual_seed(n))
    return ((flat @ form) * flat).sum(1) + linear(z)


def wild(z: Tensor) -> Tensor:
    return (quadratic(z) / 2).sin() + quadratic(z).tanh()


def undifferentiable(z: Tensor) -> Tensor:
    """Refuses anything but outcomes, and has no derivative."""
    if not bool(((z == 0) | (z == 1)).all()):
        raise ValueError("h is defined at 0 and 1 only")
    return wild(z.detach()).round(decimals=1)


# Straight-through.


@pytest.mark.parametrize(
    ("h", "n"), [(linear, 1), (linear, 6), (products, 3), (products, 6), (path_products, 8)]
)
def test_straight_through_is_exact_where_each_variable_enters_linearly(h, n):
    case = (theta(n), bernoulli_probability, outcomes(n))
    mean = mean_estimate(straight_through, h, Bernoulli, *case)
    torch.testing.assert_close(mean, true_gradient(h, *case), **EXACT)


@pytest.mark.parametrize("name", CASES)
def test_straight_through_is_exact_where_h_is_linear(name):
    make, *case = CASES[name]
    mean = mean_estimate(straight_through, linear, make, *case)
    torch.testing.assert_close(mean, true_gradient(linear, *case), **EXACT)


def test_straight_through_is_exact_for_products_of_independent_choices():
    def h(z):
        return z[:, 0] @ torch.tensor([1.0, -2.0, 0.5], dtype=F64) * z[:, 1, 2]

    for name in ("categorical", "categorical on logits"):
        make, *case = CASES[name]
        mean = mean_estimate(straight_through, h, make, *case)
        torch.testing.assert_close(mean, true_gradient(h, *case), **EXACT)


def test_straight_through_is_biased_for_products_within_a_k_subset():
    make, *case = CASES["k-subset"]
    mean = mean_estimate(straight_through, products, make, *case)
    assert float((mean - true_gradient(products, *case)).abs().max()) > 0.05


@pytest.mark.parametrize("at", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_straight_through_is_biased_where_one_is_squared(at):
    """(az-b)²/2: θa²-ab on average, where a²/2-ab is true (Appendix D); equal at θ = 1/2 alone."""
    a, b = 1.5, 0.4
    case = (torch.tensor([at], dtype=F64), bernoulli_probability, outcomes(1))

    def h(z):
        return 0.5 * (a * z - b).square().sum(1)

    estimate = mean_estimate(straight_through, h, Bernoulli, *case)
    true = true_gradient(h, *case)
    torch.testing.assert_close(estimate, torch.tensor([at * a**2 - a * b], dtype=F64), **EXACT)
    torch.testing.assert_close(true, torch.tensor([a**2 / 2 - a * b], dtype=F64), **EXACT)
    bias = float((estimate - true).abs())
    assert bias == pytest.approx(abs(at - 0.5) * a**2, abs=1e-12)


def test_the_gradient_reaches_the_probabilities_unchanged():
    probs = torch.tensor([[0.2, 0.9], [0.5, 1.0]], dtype=F64, requires_grad=True)
    z = straight_through(Bernoulli(probs), generator=torch.Generator().manual_seed(0))
    assert set(z.flatten().tolist()) <= {0.0, 1.0}
    cotangent = torch.tensor([[1.0, -2.0], [3.0, 0.5]], dtype=F64)
    assert torch.equal(torch.autograd.grad(z, probs, cotangent)[0], cotangent)


def test_second_derivatives_pass_through():
    """Of Σ z³ + z_0 z_1 at a draw z: the Hessian of h there."""
    probs = torch.full((3,), 0.5, dtype=F64, requires_grad=True)
    z = torch.tensor([1.0, 0.0, 1.0], dtype=F64)
    drawn = straight_through(planted(Bernoulli(probs), draw=z))
    value = (drawn**3).sum() + drawn[0] * drawn[1]
    (grad,) = torch.autograd.grad(value, probs, create_graph=True)
    hessian = torch.stack([torch.autograd.grad(g, probs, retain_graph=True)[0] for g in grad])
    expected = torch.diag(6 * z)
    expected[0, 1] = expected[1, 0] = 1
    torch.testing.assert_close(hessian, expected, **EXACT)


def test_the_draw_is_the_distributions_and_follows_the_generator():
    probs = torch.full((50,), 0.4, dtype=F64)
    expected = Bernoulli(probs).draw(generator=torch.Generator().manual_seed(9))
    for draw in (
        straight_through,
        reinmax,
        lambda d, **k: gumbel_softmax(d, temperature=0.5, hard=True, **k),
    ):
        drawn = draw(Bernoulli(probs), generator=torch.Generator().manual_seed(9))
        assert torch.equal(drawn, expected)
        torch.manual_seed(9)
        assert torch.equal(draw(Bernoulli(probs)), expected)


def test_changing_a_draw_in_place_does_not_change_the_distribution():
    """A draw is a fresh tensor, not a view of what the distribution keeps."""
    z = torch.tensor([1.0, 0.0], dtype=F64)
    out = straight_through(planted(Bernoulli(torch.tensor([0.5, 0.5], dtype=F64)), draw=z))
    out += 1
    assert z.tolist() == [1.0, 0.0]


# ReinMax.


@pytest.mark.parametrize("h", [linear, products, quadratic])
@pytest.mark.parametrize("name", ["bernoulli", "bernoulli on logits"])
def test_reinmax_is_exact_where_each_variable_enters_at_most_squared(name, h):
    make, *case = CASES[name]
    mean = mean_estimate(reinmax, h, make, *case)
    torch.testing.assert_close(mean, true_gradient(h, *case), **EXACT)


@pytest.mark.parametrize("name", ["categorical", "categorical on logits"])
def test_reinmax_is_exact_for_quadratic_functions_of_choices(name):
    make, *case = CASES[name]
    mean = mean_estimate(reinmax, quadratic, make, *case)
    torch.testing.assert_close(mean, true_gradient(quadratic, *case), **EXACT)
    through = mean_estimate(straight_through, quadratic, make, *case)
    assert float((through - mean).abs().max()) > 0.1, "where straight-through is not"


def test_reinmax_is_biased_by_the_third_order():
    """z³ at p: straight-through gives 3p, Heun's rule 3/2, and 1 is true."""
    case = (torch.tensor([0.3], dtype=F64), bernoulli_probability, outcomes(1))
    mean = mean_estimate(reinmax, lambda z: (z**3).sum(1), Bernoulli, *case)
    torch.testing.assert_close(mean, torch.tensor([1.5], dtype=F64), **EXACT)


def test_reinmax_is_the_published_surrogate():
    """Algorithm 2 of Liu et al., written plainly on logits."""
    logits = torch.tensor([0.5, -0.3, 1.1], dtype=F64, requires_grad=True)
    z = torch.tensor([0.0, 1.0, 0.0], dtype=F64)
    cotangent = torch.tensor([0.7, -1.0, 0.2], dtype=F64)
    pi0 = logits.softmax(-1)
    pi1 = (z + pi0) / 2
    pi1 = (pi1.log().detach() - logits.detach() + logits).softmax(-1)
    pi2 = 2 * pi1 - pi0 / 2
    (published,) = torch.autograd.grad(pi2, logits, cotangent)
    drawn = reinmax(planted(Categorical.from_logits(logits), draw=z))
    (ours,) = torch.autograd.grad(drawn, logits, cotangent)
    torch.testing.assert_close(ours, published, **EXACT)


def test_reinmax_is_finite_at_impossible_outcomes():
    probs = torch.tensor([0.0, 0.4, 0.6], dtype=F64, requires_grad=True)
    grad = torch.autograd.grad(reinmax(Categorical(probs)).square().sum(), probs)[0]
    assert grad.isfinite().all()
    probs = torch.tensor([0.0, 1.0], dtype=F64, requires_grad=True)
    grad = torch.autograd.grad(reinmax(Bernoulli(probs)).square().sum(), probs)[0]
    assert grad.tolist() == [0.0, 1.0]


# Gumbel-softmax.


@pytest.mark.parametrize("hard", [False, True])
def test_gumbel_softmax_of_a_bernoulli_has_the_gradient_predicted_by_quadrature(hard):
    """(az-b)²/2 at p: the estimate's mean is an integral over the uniform; its bias shows."""
    a, b, p, tau = 1.5, 0.4, 0.3, 0.7

    def relaxed(u: float) -> float:
        return 1 / (1 + math.exp(-(math.log(p / (1 - p)) - math.log(u / (1 - u))) / tau))

    def slope(u: float) -> float:  # h'(z) ∂s/∂p, h' at the rounded value if hard
        s = relaxed(u)
        z = float(u < p) if hard else s
        return a * (a * z - b) * s * (1 - s) / tau / (p * (1 - p))

    predicted = sum(quad(slope, *ends, limit=200)[0] for ends in ((0, p), (p, 1)))
    probs = torch.full((N_ESTIMATES, 1), p, dtype=F64, requires_grad=True)
    z = gumbel_softmax(
        Bernoulli(probs), temperature=tau, hard=hard, generator=torch.Generator().manual_seed(0)
    )
    grads = torch.autograd.grad(0.5 * (a * z - b).square().sum(), probs)[0].squeeze(1)
    error = float(grads.std()) / math.sqrt(N_ESTIMATES)
    assert float(grads.mean()) == pytest.approx(predicted, abs=4 * error)
    assert abs(predicted - (a**2 / 2 - a * b)) > 8 * error


def test_gumbel_softmax_is_torchs_for_categoricals():
    """With the noise that it drew, found again from the same generator."""
    logits = torch.tensor([0.5, -0.3, 1.1], dtype=F64)
    uniform = torch.rand(3, dtype=F64, generator=torch.Generator().manual_seed(3))
    expected = ((logits - (-uniform.log()).log()) / 0.8).softmax(-1)
    for distribution in (Categorical.from_logits(logits), Categorical(logits.softmax(-1))):
        soft = gumbel_softmax(
            distribution, temperature=0.8, generator=torch.Generator().manual_seed(3)
        )
        torch.testing.assert_close(soft, expected, **EXACT)


@pytest.mark.parametrize("name", ["bernoulli", "bernoulli on logits", "categorical"])
def test_hard_gumbel_softmax_draws_from_the_distribution(name):
    make, parameter, *_ = CASES[name]
    big = parameter.expand(20_000, *parameter.shape)
    z = gumbel_softmax(
        make(big), temperature=2.0, hard=True, generator=torch.Generator().manual_seed(1)
    )
    assert set(z.unique().tolist()) == {0.0, 1.0}
    mean = make(parameter).mean
    assert bool(((z.mean(0) - mean).abs() <= 4 * (mean * (1 - mean) / 20_000).sqrt()).all())


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
def test_the_temperature_is_a_hyperparameter(name, hard):
    """The surrogate's derivatives by θ and temperature are the soft values' finite differences."""
    make, parameter, *_ = CASES[name]

    def soft(parameter: Tensor, tau: Tensor, hard: bool = False) -> Tensor:
        generator = torch.Generator().manual_seed(4)
        return gumbel_softmax(make(parameter), temperature=tau, hard=hard, generator=generator)

    tau = torch.tensor(0.6, dtype=F64, requires_grad=True)
    traced = parameter.clone().requires_grad_()
    weights = torch.arange(1.0, parameter.numel() + 1, dtype=F64).view(parameter.shape)
    value = (weights * soft(traced, tau, hard)).sum()
    to_theta, to_tau = torch.autograd.grad(value, (traced, tau))
    direction = torch.linspace(-1, 1, parameter.numel(), dtype=F64).view(parameter.shape)
    if name == "categorical":
        direction = direction - direction.mean(-1, keepdim=True)
    step = 1e-6
    tau = tau.detach()
    by_tau = (weights * (soft(parameter, tau + step) - soft(parameter, tau - step))).sum()
    moved = [soft(parameter + sign * step * direction, tau) for sign in (1, -1)]
    torch.testing.assert_close(to_tau, by_tau / (2 * step), rtol=1e-6, atol=1e-8)
    by_theta = (weights * (moved[0] - moved[1])).sum() / (2 * step)
    torch.testing.assert_close((to_theta * direction).sum(), by_theta, rtol=1e-6, atol=1e-8)


# Score function and DisARM.


@pytest.mark.parametrize("name", CASES)
def test_the_score_function_is_unbiased_by_enumeration_of_all_pairs_of_draws(name):
    make, parameter, probability, z = CASES[name]
    chances = probability(parameter, z)
    total = torch.zeros_like(parameter)
    for (first, p), (second, q) in itertools.product(zip(z, chances, strict=True), repeat=2):
        pair = planted(make(parameter), draw=torch.stack([first, second]))
        total += p * q * score_function(pair, wild, n_draws=2)
    torch.testing.assert_close(total, true_gradient(wild, parameter, probability, z), **EXACT)


@pytest.mark.parametrize("name", ["bernoulli", "bernoulli on logits"])
def test_disarm_is_unbiased_by_enumeration_of_all_pairs(name):
    """Each variable's uniform falls below, between or above p and 1-p."""
    make, parameter, probability, z = CASES[name]
    p = make(parameter).mean
    low, high = torch.minimum(p, 1 - p), torch.maximum(p, 1 - p)
    places = torch.stack([low / 2, (low + high) / 2, (1 + high) / 2])
    sizes = torch.stack([low, high - low, low])
    total = torch.zeros_like(parameter)
    columns = torch.arange(3)
    for choice in itertools.product(range(3), repeat=3):
        rows = torch.tensor(choice)
        made = planted(make(parameter), uniform=places[rows, columns].unsqueeze(0))
        total += sizes[rows, columns].prod() * disarm(made, wild, n_draws=1)
    torch.testing.assert_close(total, true_gradient(wild, parameter, probability, z), **EXACT)


def batches(estimate, n: int) -> tuple[Tensor, Tensor]:
    """Mean and standard error of `n` estimates that are means over N_ESTIMATES / n draws each."""
    found = torch.stack([estimate(seed) for seed in range(n)])
    return found.mean(0), found.std(0) / math.sqrt(n)


@pytest.mark.parametrize(
    ("name", "estimator"),
    [(name, score_function) for name in CASES]
    + list(itertools.product(["bernoulli", "bernoulli on logits"], [disarm, rebar])),
)
def test_unbiased_estimators_within_four_standard_errors(name, estimator):
    make, *case = CASES[name]

    def estimate(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return estimator(make(case[0]), wild, N_ESTIMATES // 100, generator=generator)

    mean, error = batches(estimate, 100)
    assert bool(((mean - true_gradient(wild, *case)).abs() <= 4 * error).all())


@pytest.mark.parametrize("estimator", [straight_through, reinmax])
@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
def test_biased_estimators_show_the_predicted_bias(name, estimator):
    make, *case = CASES[name]
    parameter = case[0].expand(N_ESTIMATES, *case[0].shape).clone().requires_grad_()
    z = estimator(make(parameter), generator=torch.Generator().manual_seed(2))
    (grads,) = torch.autograd.grad(wild(z).sum(), parameter)
    mean, error = grads.mean(0), grads.std(0) / math.sqrt(N_ESTIMATES)
    predicted = mean_estimate(estimator, wild, make, *case)
    assert bool(((mean - predicted).abs() <= 4 * error).all())
    assert bool(((mean - true_gradient(wild, *case)).abs() > 4 * error).any())


@pytest.mark.ci
def test_disarm_has_less_variance_than_the_score_function_at_as_many_evaluations():
    distribution = Bernoulli(theta(6))

    def variance(estimate) -> float:
        draws = [estimate(torch.Generator().manual_seed(seed)) for seed in range(2000)]
        return float(torch.stack(draws).var(0).sum())

    pair = variance(lambda g: disarm(distribution, wild, n_draws=1, generator=g))
    score = variance(lambda g: score_function(distribution, wild, n_draws=2, generator=g))
    assert pair < 0.8 * score


def test_a_symmetric_matrix_gets_half_of_each_pairs_derivative_on_either_side():
    """By enumeration of the three pairs, loops being certain to be 0 in h."""
    probs = torch.tensor([[0.5, 0.3, 0.6], [0.3, 0.5, 0.8], [0.6, 0.8, 0.5]], dtype=F64)
    rows, cols = torch.triu_indices(3, 3, 1)

    def h(z):
        return wild(z[:, rows, cols])

    pairs = true_gradient(wild, probs[rows, cols], bernoulli_probability, outcomes(3))
    for estimator in (score_function, disarm, rebar):

        def estimate(seed: int, estimator=estimator) -> Tensor:
            generator = torch.Generator().manual_seed(seed)
            return estimator(Bernoulli(probs, symmetric=True), h, 500, generator=generator)

        mean, error = batches(estimate, 40)
        assert torch.equal(mean, mean.mT)
        found, error = mean[rows, cols], error[rows, cols]
        assert bool(((found - pairs / 2).abs() <= 4 * error).all())


def test_estimators_that_need_only_values_of_h():
    """h may refuse everything inside the hypercube; estimators that need it then raise."""
    distribution = Bernoulli(theta(3))
    for estimator in (score_function, disarm):
        assert estimator(distribution, undifferentiable, 8).isfinite().all()
    for estimator in (straight_through, reinmax):
        undifferentiable(estimator(distribution).unsqueeze(0))
    undifferentiable(gumbel_softmax(distribution, temperature=1.0, hard=True).unsqueeze(0))
    with pytest.raises(ValueError, match="h is defined at 0 and 1 only"):
        undifferentiable(gumbel_softmax(distribution, temperature=1.0).unsqueeze(0))


@pytest.mark.parametrize(
    "method", [bilevel.Reverse(), bilevel.Reverse(checkpoint="sqrt"), bilevel.Forward()], ids=repr
)
@pytest.mark.parametrize(
    "draw",
    [
        straight_through,
        reinmax,
        lambda d: gumbel_softmax(d, temperature=0.5),
        lambda d: gumbel_softmax(d, temperature=0.5, hard=True),
    ],
    ids=["straight-through", "reinmax", "soft", "hard"],
)
def test_draws_inside_a_dynamics_go_with_every_exact_method(draw, method):
    """Against differentiating the unrolled loop, drawing what the core drew."""

    def inner(w, hyper):
        return 0.5 * (draw(Bernoulli(hyper)) * w - 1).square().sum()

    def outer(w, hyper):
        return (w - 2).square().sum() + (draw(Bernoulli(hyper)) * w).sum()

    w, hyper = torch.ones(3, dtype=F64), theta(3)
    dynamics = bilevel.GradientDescent(inner, lr=0.3)
    result = bilevel.hypergradient(dynamics, outer, w, hyper, n_steps=4, method=method, seed=5)
    traced = hyper.clone().requires_grad_()
    state = dynamics.start(w, traced)
    for t in range(4):
        with replayed(mix(5, 0, t)):
            state = dynamics.step(state, traced, t)
    with replayed(mix(5, 0, 4)):
        value = outer(dynamics.params(state), traced)
    (expected,) = torch.autograd.grad(value, traced)
    torch.testing.assert_close(result.grad, expected, **EXACT)


# Errors.


@pytest.mark.parametrize("estimator", [score_function, disarm])
@pytest.mark.parametrize(
    ("h", "got"),
    [
        (lambda z: z, r"\(4, 3\)"),
        (lambda z: z.sum(), r"\(\)"),
        (lambda z: [0.0] * len(z), "list"),
    ],
)
def test_h_must_give_one_value_for_each_draw(estimator, h, got):
    message = rf"h must map draws \(4, 3\) to one value each, a tensor of shape \(4,\), got {got}"
    with pytest.raises(ValueError, match=message):
        estimator(Bernoulli(theta(3)), h, 4)


@pytest.mark.parametrize("estimator", [score_function, disarm, rebar])
def test_h_may_change_its_draws_in_place(estimator):
    coins, weights = Bernoulli(theta(3)), torch.arange(1.0, 4.0, dtype=F64)
    found = [
        estimator(coins, h, 16, generator=torch.Generator().manual_seed(0))
        for h in (lambda z: (2 * z - 1) @ weights, lambda z: z.mul_(2).sub_(1) @ weights)
    ]
    assert torch.equal(*found)


def test_unbiased_estimators_need_the_interior():
    edge = Bernoulli(torch.tensor([0.5, 1.0]))
    corner = Categorical(torch.tensor([0.0, 1.0]))
    for call in (
        lambda: score_function(edge, linear, 2),
        lambda: score_function(corner, linear, 2),
        lambda: score_function(KSubset.from_probs(torch.tensor([1.0, 0.4, 0.6]), 2), linear, 2),
        lambda: disarm(edge, linear, 2),
        lambda: gumbel_softmax(edge, temperature=1.0),
        lambda: gumbel_softmax(corner, temperature=1.0),
    ):
        with pytest.raises(ValueError, match="needs every outcome to have a positive probability"):
            call()


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, torch.ones(2)])
def test_temperatures(bad):
    with pytest.raises(ValueError, match="temperature must be a positive number or tensor"):
        gumbel_softmax(Bernoulli(theta(3)), temperature=bad)


def test_numbers_of_draws():
    with pytest.raises(ValueError, match=r"n_draws must be at least 2, .* got 1"):
        score_function(Bernoulli(theta(3)), linear, 1)
    with pytest.raises(ValueError, match=r"n_draws must be at least 1, .* got 0"):
        disarm(Bernoulli(theta(3)), linear, 0)


def test_unsupported_distributions_are_refused():
    subset = KSubset(torch.zeros(3), 2)
    for call in (
        lambda: reinmax(subset),
        lambda: gumbel_softmax(subset, temperature=1.0),
        lambda: disarm(subset, linear),
        lambda: disarm(Categorical(torch.tensor([0.5, 0.5])), linear),
    ):
        with pytest.raises(TypeError, match="straight_through and score_function take every"):
            call()
