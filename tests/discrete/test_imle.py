"""I-MLE: draws from P_θ, the mean gradient that its docstring states, reverse mode only."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from lds import bilevel
from lds._random import mix, replayed
from lds.discrete import Bernoulli, Categorical, KSubset, imle

F64 = torch.float64
N_DRAWS = 200_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradients(make, theta: Tensor, h, step: float) -> Tensor:
    many = theta.expand(N_DRAWS, *theta.shape).clone().requires_grad_()
    z = imle(make(many), step=step, generator=generator())
    return torch.autograd.grad(h(z).sum(), many)[0]


def cubic(z: Tensor) -> Tensor:
    """Slopes of both signs that differ between 0 and 1 and depend on the other variables."""
    return 1.3 * z[:, 0] ** 3 - 0.4 * z[:, 0] + z[:, 0] * z[:, 1] - (z[:, 1] - 0.7) ** 2


@pytest.mark.parametrize("step", [0.3, 1.0, 10.0])
def test_the_mean_gradient_is_the_stated_one(step):
    """By enumeration of z, with the two crossings of each variable."""
    logits = torch.tensor([0.4, -0.8], dtype=F64)
    p = logits.sigmoid()
    expected = torch.zeros(2, dtype=F64)
    for i, other in itertools.product(range(2), (0.0, 1.0)):
        slopes = []
        for mine in (0.0, 1.0):
            z = torch.full((1, 2), other, dtype=F64)
            z[0, i] = mine
            z.requires_grad_()
            slopes.append(float(torch.autograd.grad(cubic(z).sum(), z)[0][0, i]))
        weight = float(p[1 - i] if other else 1 - p[1 - i])
        falls = float(p[i] - (logits[i] - step * slopes[1]).sigmoid())
        rises = float((logits[i] - step * slopes[0]).sigmoid() - p[i])
        expected[i] += weight * (max(falls, 0) - max(rises, 0)) / step
    found = gradients(Bernoulli.from_logits, logits, cubic, step)
    error = found.std(0) / math.sqrt(N_DRAWS)
    assert bool(((found.mean(0) - expected).abs() <= 4 * error).all())
    assert float(found.abs().max()) == pytest.approx(1 / step)
    by_probs = gradients(Bernoulli, p, cubic, step)
    torch.testing.assert_close(by_probs, found / (p * (1 - p)), rtol=1e-9, atol=1e-12)


def test_a_short_step_is_exact_where_each_variable_enters_linearly():
    logits = torch.tensor([0.4, -0.8], dtype=F64)
    p = logits.sigmoid()
    true = p * (1 - p) * torch.stack([2 - 3 * p[1], -3 * p[0] + 1])

    def h(z: Tensor) -> Tensor:
        return 2 * z[:, 0] - 3 * z[:, 0] * z[:, 1] + z[:, 1]

    found = gradients(Bernoulli.from_logits, logits, h, 0.02)
    error = found.std(0) / math.sqrt(N_DRAWS)
    assert bool(((found.mean(0) - true).abs() <= 4 * error + 0.01).all())


def test_the_mean_gradient_of_a_linear_function_of_choices():
    """(softmax(l) - softmax(l - step c)) / step, as both are draws of their own logits."""
    logits, c = torch.tensor([0.5, -0.3, 1.1], dtype=F64), torch.tensor([1.0, -2.0, 0.5], dtype=F64)
    found = gradients(Categorical.from_logits, logits, lambda z: z @ c, 0.7)
    expected = (logits.softmax(0) - (logits - 0.7 * c).softmax(0)) / 0.7
    error = found.std(0) / math.sqrt(N_DRAWS)
    assert bool(((found.mean(0) - expected).abs() <= 4 * error).all())


@pytest.mark.parametrize(
    "made",
    [
        Bernoulli(torch.tensor([0.2, 0.5, 0.9])),
        Bernoulli.from_logits(torch.tensor([-2.0, 0.0, 0.5])),
        Categorical(torch.tensor([0.2, 0.1, 0.7])),
        Categorical.from_logits(torch.tensor([1e4, 1e4, 9999.0], dtype=torch.bfloat16)),
    ],
)
def test_values_are_draws_of_the_distribution(made):
    many = made.at(made.parameter.expand(20_000, 3))
    z = imle(many, generator=generator()).double()
    mean = made.mean.double()
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert bool(((z.mean(0) - mean).abs() <= 4 * (mean * (1 - mean) / 20_000).sqrt()).all())


def test_a_symmetric_matrix_is_the_vector_of_its_pairs():
    """Half of each pair's gradient on either side, whole on the diagonal."""
    probs = torch.tensor([[0.5, 0.3, 0.6], [0.3, 0.4, 0.8], [0.6, 0.8, 0.7]], dtype=F64)
    weights = torch.arange(9.0, dtype=F64).view(3, 3) - 3
    matrix = probs.clone().requires_grad_()
    z = imle(Bernoulli(matrix, symmetric=True), generator=generator())
    assert torch.equal(z, z.mT)
    (grad,) = torch.autograd.grad((weights * z).sum(), matrix)
    assert torch.equal(grad, grad.mT)
    rows, cols = torch.triu_indices(3, 3)
    flat = probs[rows, cols].clone().requires_grad_()

    class Same(Bernoulli):
        def uniform(self, n_draws=None, *, generator=None):
            return uniform[rows, cols]

    uniform = Bernoulli(probs, symmetric=True).uniform(generator=generator())
    pairs = (weights + weights.mT)[rows, cols] / torch.where(rows == cols, 2, 1)
    alone = imle(Same(flat))
    (expected,) = torch.autograd.grad((pairs * alone).sum(), flat)
    share = torch.where(rows == cols, 1.0, 0.5)
    torch.testing.assert_close(grad[rows, cols], expected * share, rtol=1e-12, atol=0)
    assert bool(grad.any())


def test_inside_a_dynamics_by_reverse_mode_and_refused_by_forward_mode():
    def inner(w, hyper):
        return 0.5 * (imle(Bernoulli(hyper)) * w - 1).square().sum()

    def outer(w, hyper):
        return (w - 2).square().sum()

    w, hyper = torch.ones(3, dtype=F64), torch.tensor([0.3, 0.5, 0.8], dtype=F64)
    dynamics = bilevel.GradientDescent(inner, lr=0.3)
    given = {"n_steps": 4, "seed": 5}
    result = bilevel.hypergradient(dynamics, outer, w, hyper, method=bilevel.Reverse(), **given)
    traced = hyper.clone().requires_grad_()
    state = dynamics.start(w, traced)
    for t in range(4):
        with replayed(mix(5, 0, t)):
            state = dynamics.step(state, traced, t)
    (expected,) = torch.autograd.grad(outer(dynamics.params(state), traced), traced)
    torch.testing.assert_close(result.grad, expected, rtol=1e-10, atol=1e-12)
    assert bool(expected.any())
    with pytest.raises(RuntimeError, match="imle has first derivatives by reverse mode only"):
        bilevel.hypergradient(dynamics, outer, w, hyper, method=bilevel.Forward(), **given)


def test_a_gradient_of_h_that_is_nan_stays_nan():
    logits = torch.tensor([0.4, -0.8], requires_grad=True)
    z = imle(Bernoulli.from_logits(logits))
    (grad,) = torch.autograd.grad(z, logits, torch.tensor([math.nan, 1.0]))
    assert math.isnan(grad[0])
    assert not math.isnan(grad[1])


def test_invalid_arguments_are_refused():
    coins = Bernoulli(torch.tensor([0.4]))
    for step in (0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="step must be a positive number"):
            imle(coins, step=step)
    with pytest.raises(ValueError, match="needs every outcome to have a positive probability"):
        imle(Bernoulli(torch.tensor([0.0])))
    with pytest.raises(ValueError, match=r"imle: the derivative .* use a longer step"):
        imle(Bernoulli.from_logits(torch.tensor([0.0], dtype=torch.float16)), step=1e-6)
    with pytest.raises(TypeError, match="imle needs a Bernoulli or a Categorical, got KSubset"):
        imle(KSubset(torch.zeros(3), 2))
