"""Implicit methods on mini-batch losses, against the closed form of the full batch."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from lds import bilevel
from lds.bilevel.replay import ReplayError
from tests.problems import ridge_data

CHANGES = r"the inner loss changes from call to call .*FixedPoint\(n_iter, stochastic=True\)"
X, Y, X_VAL, Y_VAL = (torch.tensor(a) for a in ridge_data())
N, DECAY = len(Y), torch.tensor([0.1, 0.5, 0.2, 1.0], dtype=torch.float64)
H = X.T @ X / N + torch.diag(DECAY)
SOLUTION = torch.linalg.solve(H, X.T @ Y / N)
B = X_VAL.T @ (X_VAL @ SOLUTION - Y_VAL) / len(Y_VAL)
EXACT = -torch.linalg.solve(H, B) * SOLUTION  # dw*/dλ_i = -H⁻¹ e_i w*_i


def loss(w: Tensor, decay: Tensor, rows: Tensor) -> Tensor:
    fit = 0.5 * (X[rows] @ w - Y[rows]).square().mean()
    return fit + 0.5 * (decay * w**2).sum()


def outer(w: Tensor, decay: Tensor) -> Tensor:
    return 0.5 * (X_VAL @ w - Y_VAL).square().mean()


def drawn(w, decay):
    return loss(w, decay, torch.randint(N, (8,)))


def by_step(w, decay, step):
    order = torch.randperm(N, generator=torch.Generator().manual_seed(step // 5))
    return loss(w, decay, order.view(5, 8)[step % 5])


class Loader:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __call__(self, w, decay):
        return loss(w, decay, torch.tensor(self.rng.integers(N, size=8)))


def whole(w, decay):
    return loss(w, decay, torch.arange(N))


def grad(inner, method, seed=0, n_steps=0, lr=0.2, make=bilevel.GradientDescent):
    return bilevel.hypergradient(
        make(inner, lr), outer, SOLUTION, DECAY, n_steps, method=method, seed=seed
    ).grad


def off(found: Tensor) -> float:
    return float((found - EXACT).norm() / EXACT.norm())


@pytest.mark.ci
@pytest.mark.parametrize("inner", [drawn, by_step, Loader()], ids=["drawn", "by step", "loader"])
def test_the_mean_over_seeds_is_that_of_the_full_batch(inner):
    """A series of 30 terms is short of its limit by 0.82^30 < 0.3 %; the rest is chance."""
    method = bilevel.FixedPoint(30, stochastic=True)
    found = torch.stack([grad(later(inner, 40 * seed), method, seed) for seed in range(80)])
    error = found.std(0) / len(found) ** 0.5
    assert float(error.norm() / EXACT.norm()) < 0.06, "enough seeds to tell"
    assert bool(((found.mean(0) - EXACT).abs() < 4 * error + 0.003 * EXACT.abs()).all())


def later(inner, first):
    """Batches by step number begin at another one for every seed."""
    if inner is not by_step:
        return inner
    return lambda w, decay, step: by_step(w, decay, first + step)


def test_the_hessian_of_one_batch_is_biased():
    """What a deterministic solve comes to in the mean."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = torch.stack([grad(drawn, bilevel.ConjugateGradient(4), seed) for seed in range(80)])
    assert off(found.mean(0)) > 0.15


def test_without_draws_it_is_the_plain_series():
    for previous in (False, True):
        options = {"n_iter": 7, "warm_start": previous}
        a = grad(whole, bilevel.FixedPoint(**options, stochastic=True))
        b = grad(whole, bilevel.FixedPoint(**options))
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)


def test_it_is_repeatable_and_leaves_the_random_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    method = bilevel.FixedPoint(5, stochastic=True)
    assert torch.equal(grad(drawn, method, 7), grad(drawn, method, 7))
    assert not torch.equal(grad(drawn, method, 7), grad(drawn, method, 8))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", [bilevel.FixedPoint(3), bilevel.ConjugateGradient(3)], ids=repr)
@pytest.mark.parametrize("inner", [drawn, by_step], ids=["drawn", "by step"])
@pytest.mark.parametrize("n_steps", [0, 2])
def test_a_loss_that_changes_is_noticed(inner, method, n_steps):
    with pytest.warns(UserWarning, match=CHANGES):
        grad(inner, method, n_steps=n_steps)


@pytest.mark.filterwarnings("ignore:the inner loss changes from call to call:UserWarning")
@pytest.mark.parametrize("n_steps", [0, 2])
def test_a_loader_that_goes_on_by_itself_is_refused_by_a_fixed_point(n_steps):
    """The step of the solution is applied twice, and meets another batch."""
    with pytest.raises(ReplayError, match="take the batch by the step"):
        grad(Loader(), bilevel.FixedPoint(3), n_steps=n_steps)


@pytest.mark.parametrize("n_steps", [0, 2])
def test_a_loader_that_goes_on_by_itself_is_noticed_by_conjugate_gradient(n_steps):
    with pytest.warns(UserWarning, match=CHANGES):
        grad(Loader(), bilevel.ConjugateGradient(3), n_steps=n_steps)


def test_dropout_and_an_own_dynamics_are_noticed_too():
    with pytest.warns(UserWarning, match=CHANGES):
        grad(
            lambda w, decay: whole(torch.nn.functional.dropout(w, 0.5), decay),
            bilevel.ConjugateGradient(4),
        )
    own = bilevel.Dynamics(
        lambda params, decay: params,
        lambda w, decay, t: w - 0.2 * torch.func.grad(loss)(w, decay, torch.randint(N, (8,))),
        lambda w: w,
    )
    with pytest.warns(UserWarning, match=CHANGES):
        bilevel.hypergradient(own, outer, SOLUTION, DECAY, 0, method=bilevel.FixedPoint(3))


@pytest.mark.parametrize("method", [bilevel.FixedPoint(3), bilevel.ConjugateGradient(3)], ids=repr)
def test_a_schedule_is_not_noise(method):
    """Step sizes by the step number change Φ, not the loss; a list of them may end."""
    rates = [0.2, 0.1, 0.05]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grad(whole, method, n_steps=2, lr=lambda decay, t: rates[t])


def test_in_a_loop_it_is_said_once():
    with pytest.warns(UserWarning, match=CHANGES) as seen:
        bilevel.solve(
            bilevel.GradientDescent(drawn, 0.2),
            outer,
            SOLUTION,
            DECAY,
            1,
            n_outer=4,
            method=bilevel.ConjugateGradient(3),
            warm_start="state",
        )
    assert len([w for w in seen if issubclass(w.category, UserWarning)]) == 1


def test_a_tolerance_does_not_fit():
    with pytest.raises(ValueError, match=r"FixedPoint\(tol\) must be 0 with stochastic=True"):
        bilevel.FixedPoint(5, tol=0.1, stochastic=True)


# Damping and preconditioning.


def damped(ridge: float) -> Tensor:
    return -torch.linalg.solve(H + ridge * torch.eye(4).double(), B) * SOLUTION


@pytest.mark.parametrize("ridge", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("rank", [0, 2, 9])
def test_a_ridge_is_added_to_the_hessian(ridge, rank):
    found = grad(whole, bilevel.ConjugateGradient(12, ridge=ridge, rank=rank))
    torch.testing.assert_close(found, damped(ridge), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_ridge_of_the_fixed_point_is_in_units_of_its_system(stochastic):
    """I - ∂Φ/∂w is ηH, so ρ there is ρ/η beside H."""
    method = bilevel.FixedPoint(300, ridge=0.1, stochastic=stochastic)
    torch.testing.assert_close(grad(whole, method), damped(0.1 / 0.2), rtol=1e-9, atol=1e-12)


def test_the_residual_is_that_of_the_damped_system():
    result = bilevel.hypergradient(
        bilevel.GradientDescent(whole, 0.2),
        outer,
        SOLUTION,
        DECAY,
        0,
        method=bilevel.FixedPoint(6, ridge=0.1),
    )
    identity = torch.eye(4).double()
    A, q = identity - 0.2 * H, torch.zeros(4).double()
    for _ in range(5):
        q = (q @ A + B) / 1.1
    expected = float((B - q @ (1.1 * identity - A)).norm() / B.norm())
    assert result.info["residual"] == pytest.approx(expected, rel=1e-9)


def test_a_ridge_makes_a_system_that_is_not_definite_solvable():
    """Curvatures 1 and -0.5; with ρ = 1 they are 2 and 0.5."""
    curvature = torch.tensor([1.0, -0.5], dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bilevel.hypergradient(
            bilevel.GradientDescent(lambda w, lam: (0.5 * curvature * w**2 - lam * w).sum()),
            lambda w, lam: w.sum(),
            torch.zeros(2).double(),
            torch.zeros(2).double(),
            0,
            method=bilevel.ConjugateGradient(2, ridge=1.0),
        )
    torch.testing.assert_close(found.grad, torch.tensor([0.5, 2.0]).double())


def test_a_preconditioner_takes_the_large_eigenvalues_out():
    """Ten eigenvalues up to 1e4 over forty near 1."""
    rng = np.random.default_rng(0)
    Q = torch.tensor(np.linalg.qr(rng.standard_normal((50, 50)))[0])
    values = torch.cat([torch.linspace(1e3, 1e4, 10), torch.linspace(1, 2, 40)]).double()
    M, c = Q @ torch.diag(values) @ Q.T, torch.tensor(rng.standard_normal(50))
    counts = {}
    for rank in (0, 15):
        result = bilevel.hypergradient(
            bilevel.GradientDescent(lambda w, lam: 0.5 * w @ M @ w - lam @ w),
            lambda w, lam: c @ w,
            {"w": torch.zeros(50)}["w"].double(),
            torch.zeros(50).double(),
            0,
            method=bilevel.ConjugateGradient(200, tol=1e-8, rank=rank),
        )
        torch.testing.assert_close(result.grad, torch.linalg.solve(M, c), rtol=1e-5, atol=1e-8)
        counts[rank] = result.info["n_iter"]
    assert counts[15] + 15 < counts[0]
    assert counts[15] < 15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bilevel.FixedPoint(ridge=-1.0), r"FixedPoint\(ridge\) must be 0 or more, got -1"),
        (lambda: bilevel.ConjugateGradient(ridge=float("nan")), r"\(ridge\) must be 0 or more"),
        (lambda: bilevel.ConjugateGradient(rank=-1), r"\(rank\) must be 0 .* or more, got -1"),
    ],
)
def test_options_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Products without second derivatives.


class FirstOrder(torch.autograd.Function):
    """0.5 |x|², whose backward cannot be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 0.5 * x.square().sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


def first_order(w, decay):
    return FirstOrder.apply((X @ w - Y) / N**0.5) + FirstOrder.apply(decay.sqrt() * w)


@pytest.mark.parametrize("options", [{}, {"rank": 3}, {"ridge": 0.3}])
def test_differences_reach_the_closed_form(options):
    method = bilevel.ConjugateGradient(8, differences=True, **options)
    expected = damped(options.get("ridge", 0.0))
    torch.testing.assert_close(grad(first_order, method), expected, rtol=1e-6, atol=1e-9)
    with pytest.raises(
        bilevel.OnceDifferentiableError, match="once only"
    ):  # there is no second one
        grad(first_order, bilevel.ConjugateGradient(8))


def test_differences_of_a_loss_that_is_not_quadratic():
    """Against exact second derivatives, away from a minimum."""

    def inner(w, decay):
        return whole(w, decay) + (0.3 * w.sin() * decay.exp()).sum()

    exact = grad(inner, bilevel.ConjugateGradient(8))
    found = grad(inner, bilevel.ConjugateGradient(8, differences=True))
    torch.testing.assert_close(found, exact, rtol=1e-7, atol=1e-10)


def test_differences_need_an_inner_objective():
    own = bilevel.Dynamics(lambda p, h: p, lambda s, h, t: 0.5 * s + h, lambda s: s)
    with pytest.raises(TypeError, match=r"differences=True. needs a dynamics made of an inner obj"):
        bilevel.hypergradient(
            own, outer, SOLUTION, DECAY, 0, method=bilevel.ConjugateGradient(3, differences=True)
        )
