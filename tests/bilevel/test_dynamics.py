"""Values against torch.optim, derivatives against finite differences, and what is refused."""

import functools
import math

import pytest
import torch
from torch import Tensor, nn

from lds import bilevel
from lds.bilevel.signatures import with_step
from lds.bilevel.tensors import leaves, tree_map
from tests.problems import scalar

# The same float64 formula with its operations in another order: a rounding or two.
SAME = {"rtol": 1e-12, "atol": 1e-15}
EPS = torch.finfo(torch.float64).eps


def data():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(20, 5, dtype=torch.float64, generator=generator)
    return X, torch.randn(20, 3, dtype=torch.float64, generator=generator)


def weights():
    generator = torch.Generator().manual_seed(1)
    return {
        "W": 0.5 * torch.randn(5, 4, dtype=torch.float64, generator=generator),
        "rest": [
            torch.zeros(4, dtype=torch.float64),
            torch.randn(4, 3, dtype=torch.float64, generator=generator),
        ],
    }


def loss(w, hyper=None, rounding=None):
    """A two-layer network's squared error; the last hidden unit is cut off: its gradient is 0."""
    X, y = data()
    if rounding is not None:
        X, y = rounding(X), rounding(y)
    hidden = torch.tanh(X @ w["W"] + w["rest"][0]) * torch.tensor([1, 1, 1, 0])
    return (hidden @ w["rest"][1] - y).square().mean()


def run(dynamics: bilevel.Dynamics, n_steps: int):
    state = dynamics.start(weights(), None)
    for t in range(n_steps):
        with torch.no_grad():
            state = dynamics.step(state, None, t)
    return dynamics.params(state)


def run_torch(optimizer, n_steps: int, rounding=None):
    w = tree_map(lambda leaf: leaf.requires_grad_(), weights())
    stepper = optimizer([w["W"], *w["rest"]])
    for _ in range(n_steps):
        stepper.zero_grad()
        loss(w, rounding=rounding).backward()
        stepper.step()
    return tree_map(torch.Tensor.detach, w)


@pytest.mark.parametrize(
    ("dynamics", "optimizer"),
    [
        (bilevel.GradientDescent(loss, 0.2), functools.partial(torch.optim.SGD, lr=0.2)),
        (
            bilevel.Momentum(loss, 0.1, 0.8),
            functools.partial(torch.optim.SGD, lr=0.1, momentum=0.8),
        ),
        (
            bilevel.Momentum(loss, 0.1, 0.8, nesterov=True),
            functools.partial(torch.optim.SGD, lr=0.1, momentum=0.8, nesterov=True),
        ),
        (bilevel.Adam(loss), functools.partial(torch.optim.Adam, lr=1e-3)),
        (
            bilevel.Adam(loss, 0.05, (0.6, 0.9), 1e-4),
            functools.partial(torch.optim.Adam, lr=0.05, betas=(0.6, 0.9), eps=1e-4),
        ),
        (
            bilevel.Adam(loss, 0.05, (0, 0)),
            functools.partial(torch.optim.Adam, lr=0.05, betas=(0.0, 0.0)),
        ),
        (bilevel.AdamW(loss), functools.partial(torch.optim.AdamW, lr=1e-3)),
        (
            bilevel.AdamW(loss, 0.05, (0.6, 0.9), 1e-4, 0.3),
            functools.partial(
                torch.optim.AdamW, lr=0.05, betas=(0.6, 0.9), eps=1e-4, weight_decay=0.3
            ),
        ),
        (bilevel.RMSprop(loss), functools.partial(torch.optim.RMSprop, lr=1e-2)),
        (
            bilevel.RMSprop(loss, 0.002, 0.7, 0.01, 0.5),
            functools.partial(torch.optim.RMSprop, lr=0.002, alpha=0.7, eps=0.01, momentum=0.5),
        ),
    ],
    ids=[
        "descent",
        "heavy-ball",
        "nesterov",
        "adam",
        "adam-options",
        "adam-no-memory",
        "adamw",
        "adamw-options",
        "rmsprop",
        "rmsprop-options",
    ],
)
def test_fifty_steps_equal_those_of_torch(dynamics, optimizer):
    """To a rounding of each step's data, and what the later steps make of it.

    Sums round otherwise on another processor. That is no more than a rounding of what they add up,
    and moves the weights by as much more as a larger, random one does. An Adam that has forgotten
    the first gradients divides a vanishing one by ε: with ε = 1e-4, a hundred times a rounding.
    """
    expected, noise = run_torch(optimizer, 50), 1e-9
    generator = torch.Generator().manual_seed(2)
    moved = run_torch(
        optimizer,
        50,
        lambda x: x * (1 + noise * torch.randn(x.shape, dtype=x.dtype, generator=generator)),
    )
    growth = max(
        float((mine - other).abs().max()) / noise
        for mine, other in zip(leaves(moved), leaves(expected), strict=True)
    )
    tolerance = 50 * EPS * max(1.0, growth)
    assert tolerance < 1e-10, "a wrong formula would pass"
    torch.testing.assert_close(run(dynamics, 50), expected, rtol=0, atol=tolerance)


def test_a_step_reports_the_loss_it_was_taken_on():
    dynamics = bilevel.Adam(loss)
    state = dynamics.start(weights(), None)
    _, value = dynamics.advance(state, None, 0)
    torch.testing.assert_close(value, loss(weights()), rtol=0, atol=0)
    assert not value.requires_grad


DYNAMICS = {
    "descent": bilevel.GradientDescent(lambda w, lam: (lam * w).sin().sum(), 0.3),
    "heavy-ball": bilevel.Momentum(lambda w, lam: (lam * w).sin().sum(), 0.3, 0.7),
    "nesterov": bilevel.Momentum(lambda w, lam: (lam * w).sin().sum(), 0.3, 0.7, nesterov=True),
    "adam": bilevel.Adam(lambda w, lam: (lam * w).sin().sum(), 0.3, (0.5, 0.7), 0.1),
    "adamw": bilevel.AdamW(
        lambda w, lam: (lam * w).sin().sum(),
        lambda lam: 0.2 * lam,
        (0.5, 0.7),
        0.1,
        lambda lam: lam**2,
    ),
    "rmsprop": bilevel.RMSprop(
        lambda w, lam: (lam * w).sin().sum(), 0.3, lambda lam: 0.5 * lam, 0.1, 0.4
    ),
}


@pytest.mark.parametrize("name", DYNAMICS)
def test_derivatives_of_a_step_equal_finite_differences(name):
    """Every part of the new state by every part of the old one and by the hyperparameter."""
    dynamics = DYNAMICS[name]
    w, lam = torch.tensor([0.4, -1.2], dtype=torch.float64), scalar(1.3)
    state = dynamics.step(dynamics.start(w, lam), lam, 0)
    keys = list(state)

    def step(lam: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
        return tuple(dynamics.step(dict(zip(keys, parts, strict=True)), lam, 1).values())

    inputs = [lam, *state.values()]
    assert torch.autograd.gradcheck(step, [x.clone().requires_grad_() for x in inputs])


def test_adam_is_differentiable_where_a_weight_has_met_no_gradient():
    """At v = 0 the step is -ηg/(|g|+ε), whose slope at g = 0 is -η/ε; finite differences agree."""
    eta, eps = 0.1, 0.25
    dynamics = bilevel.Adam(lambda w, g: (g * w).sum(), eta, eps=eps)
    w = torch.zeros(2, dtype=torch.float64)

    def moved(g: Tensor) -> Tensor:
        return dynamics.step(dynamics.start(w, g), g, 0)["params"]

    g = torch.tensor([0.0, 3.0], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(moved, g)
    assert bool(jacobian.isfinite().all())
    slopes = torch.tensor([-eta / eps, -eta * eps / (3 + eps) ** 2], dtype=torch.float64)
    torch.testing.assert_close(jacobian, torch.diag(slopes), **SAME)
    h = 1e-6  # the one-sided error at the kink of |g| is h/ε² of the slope, 2e-5
    zero, step = g, torch.tensor([h, 0.0], dtype=torch.float64)
    slope = (moved(zero + step) - moved(zero))[0] / h
    torch.testing.assert_close(slope, jacobian[0, 0], rtol=1e-4, atol=0)


def test_a_weight_that_never_meets_a_gradient_stays_and_leaves_the_hypergradient_finite():
    def inner(w, lam):
        return 0.5 * (w[0] - lam) ** 2

    result = bilevel.hypergradient(
        bilevel.Adam(inner, 0.1),
        lambda w, lam: w.square().sum(),
        torch.tensor([1.0, 5.0], dtype=torch.float64),
        scalar(0.2),
        n_steps=4,
    )
    assert float(result.state["params"][1]) == 5.0
    assert bool(result.grad.isfinite())

    alone = bilevel.hypergradient(
        bilevel.Adam(lambda w, lam: inner(w, lam), 0.1),
        lambda w, lam: w.square().sum(),
        torch.tensor([1.0], dtype=torch.float64),
        scalar(0.2),
        n_steps=4,
    )
    torch.testing.assert_close(result.grad, alone.grad, rtol=1e-12, atol=0)


# What a step may be called with: plain tensors, or any of them traced.


@pytest.mark.parametrize("name", DYNAMICS)
def test_a_step_on_plain_tensors_has_no_history_whatever_the_grad_mode(name):
    dynamics = DYNAMICS[name]
    w, lam = torch.tensor([0.4, -1.2], dtype=torch.float64), scalar(1.3)
    start = dynamics.start(w, lam)
    with_grad = dynamics.step(start, lam, 0)
    with torch.no_grad():
        without = dynamics.step(start, lam, 0)
    for key, leaf in with_grad.items():
        assert not leaf.requires_grad
        assert torch.equal(leaf, without[key])
    assert not w.requires_grad


def test_a_step_traces_through_hyperparameters_or_weights_alone():
    """On λw²/2: w' = w(1-ηλ)."""
    dynamics = bilevel.GradientDescent(lambda w, lam: 0.5 * lam * w**2, lr=0.5)
    w, lam = scalar(3.0), scalar(0.4).requires_grad_()
    new = dynamics.step({"params": w}, lam, 0)["params"]
    torch.testing.assert_close(torch.autograd.grad(new, lam)[0], scalar(-1.5))

    w, lam = scalar(3.0).requires_grad_(), scalar(0.4)
    new = dynamics.step({"params": w}, lam, 0)["params"]
    torch.testing.assert_close(torch.autograd.grad(new, w)[0], scalar(0.8))


def test_weights_of_which_only_some_are_traced():
    """On w_0 w_1: w_0' = w_0 - η w_1, and w_1 is a constant."""
    dynamics = bilevel.GradientDescent(lambda w, lam: w[0] * w[1], lr=0.5)
    traced, plain = scalar(3.0).requires_grad_(), scalar(2.0)
    new = dynamics.step({"params": [traced, plain]}, None, 0)["params"]
    assert torch.autograd.grad(new[0], traced, retain_graph=True)[0] == 1.0
    assert torch.autograd.grad(new[1], traced)[0] == -0.5


def test_a_module_enters_through_functional_call():
    module = nn.Linear(5, 3, dtype=torch.float64)
    X, y = data()

    def inner(w, lam):
        return (torch.func.functional_call(module, w, (X,)) - y).square().mean()

    w = tree_map(torch.Tensor.detach, dict(module.named_parameters()))
    new = bilevel.GradientDescent(inner, lr=0.1).step({"params": w}, None, 0)["params"]
    assert inner(new, None) < inner(w, None)
    assert all(parameter.grad is None for parameter in module.parameters())


# What a step is: schedules, mini-batches, starts.


@pytest.mark.parametrize("name", DYNAMICS)
def test_products_from_the_right_equal_finite_differences(name):
    """Forward's tangents, by the loss's symmetry, against a difference of two runs."""
    dynamics = DYNAMICS[name]
    w, lam, h = torch.tensor([0.4, -1.2], dtype=torch.float64), scalar(0.9), 1e-6

    def value(lam: Tensor, method=None):
        return bilevel.hypergradient(
            dynamics, lambda w, lam: (w**3).sum() + lam**2, w, lam, 3, method=method
        )

    grad = value(lam, bilevel.Forward()).grad
    slope = (value(lam + h).value - value(lam - h).value) / (2 * h)
    torch.testing.assert_close(grad, slope, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", [bilevel.Reverse(), bilevel.Forward()], ids=["rev", "fwd"])
def test_mini_batches_come_by_the_step(method):
    """Step t sees row t: w_T = (1-ηa_{T-1})…(1-ηa_0) w_0, and λ scales every row."""
    rows = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    eta, lam, w0 = 0.2, 0.7, 3.0
    result = bilevel.hypergradient(
        bilevel.GradientDescent(lambda w, lam, step: 0.5 * lam * rows[step] * w**2, eta),
        lambda w, lam: w,
        scalar(w0),
        scalar(lam),
        3,
        method=method,
    )
    factors = 1 - eta * lam * rows
    torch.testing.assert_close(result.value, w0 * factors.prod(), **SAME)
    slope = result.value * (-eta * rows / factors).sum()
    torch.testing.assert_close(result.grad, slope, **SAME)


@pytest.mark.parametrize("method", [bilevel.Reverse(), bilevel.Forward()], ids=["rev", "fwd"])
def test_a_random_start_by_reparameterisation(method):
    """Φ_0 = σε (§5.4.1): the estimator is α_0 ε, with α_0 = ∂E/∂w_T Π(I - ηH) and ε replayed."""
    a = torch.tensor([0.5, 1.5, 3.0], dtype=torch.float64)
    eta, sigma, T = 0.1, 0.8, 4
    drawn = []

    def start(params, hyper):
        drawn.append(torch.randn(3, dtype=torch.float64))
        return hyper["sigma"] * drawn[-1]

    def run(seed):
        drawn.clear()
        return bilevel.hypergradient(
            bilevel.GradientDescent(lambda w, h: 0.5 * (a * w**2).sum(), eta, start=start),
            lambda w, h: 0.5 * (w**2).sum(),
            torch.zeros(3, dtype=torch.float64),
            {"sigma": scalar(sigma)},
            T,
            method=method,
            seed=seed,
        )

    result = run(0)
    epsilon = drawn[0]
    assert all(torch.equal(epsilon, again) for again in drawn)
    shrink = (1 - eta * a) ** T
    alpha_0 = shrink * (sigma * shrink * epsilon)
    torch.testing.assert_close(result.grad["sigma"], alpha_0 @ epsilon, **SAME)
    assert not torch.equal(run(1).grad["sigma"], result.grad["sigma"])


def test_model_agnostic_meta_learning_by_one_step():
    """MAML: Φ_0(λ) = λ and one step: ∇f = (I - ηH) ∇E(λ - η∇L(λ)), H of a loss not quadratic."""
    eta = 0.3

    def inner(w, lam=None):
        return (w.sin() * torch.tensor([1.0, 2.0], dtype=torch.float64)).sum() + (w[0] * w[1]) ** 2

    def outer(w, lam):
        return (w - 1).square().sum()

    lam = torch.tensor([0.4, -0.6], dtype=torch.float64)
    result = bilevel.hypergradient(
        bilevel.GradientDescent(inner, eta, start=lambda params, lam: lam),
        outer,
        torch.zeros(2, dtype=torch.float64),
        lam,
        1,
    )
    H = torch.autograd.functional.hessian(inner, lam)
    g = torch.autograd.functional.jacobian(inner, lam)
    expected = (torch.eye(2, dtype=torch.float64) - eta * H) @ (2 * (lam - eta * g - 1))
    torch.testing.assert_close(result.grad, expected, **SAME)


# Settings.


@pytest.mark.parametrize("bad", [0, 0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("dynamics", [bilevel.GradientDescent, bilevel.Momentum, bilevel.Adam])
def test_a_learning_rate_that_is_not_positive(dynamics, bad):
    with pytest.raises(ValueError, match=f"lr must be positive and finite, got {bad:g}"):
        dynamics(loss, lr=bad)


@pytest.mark.parametrize("bad", [-0.1, 1, 1.5, math.nan])
def test_settings_outside_the_unit_interval(bad):
    with pytest.raises(ValueError, match=rf"momentum must be in \[0, 1\), got {bad:g}"):
        bilevel.Momentum(loss, momentum=bad)
    with pytest.raises(ValueError, match=rf"betas\[0\] must be in \[0, 1\), got {bad:g}"):
        bilevel.Adam(loss, betas=(bad, 0.9))
    with pytest.raises(ValueError, match=rf"betas\[1\] must be in \[0, 1\), got {bad:g}"):
        bilevel.Adam(loss, betas=(0.9, bad))


@pytest.mark.parametrize("bad", [0, -1e-8, math.nan])
def test_an_eps_that_is_not_positive(bad):
    with pytest.raises(ValueError, match=f"eps must be positive and finite, got {bad:g}"):
        bilevel.Adam(loss, eps=bad)


def test_a_tensor_as_a_setting_would_be_a_silent_constant():
    with pytest.raises(TypeError, match=r"lr must be a number .* got Tensor; .* into hyper"):
        bilevel.GradientDescent(loss, lr=torch.tensor(0.1, requires_grad=True))


# The optional step argument.


def takes_more(w, hyper, *rest):
    return (w, hyper, *rest)


def takes_data(w, hyper, X, step=0):
    return w, hyper, X, step


class WithoutSignature:
    """As some builtins."""

    __signature__ = "none"

    def __call__(self, w, hyper):
        return w, hyper


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda w, hyper: (w, hyper), (1, 2)),
        (lambda w, hyper, step: (w, hyper, step), (1, 2, 3)),
        (lambda w, hyper, anything: (w, hyper, anything), (1, 2, 3)),
        (lambda w, hyper, t=0: (w, hyper, t), (1, 2, 3)),
        (lambda w, hyper, step=0: (w, hyper, step), (1, 2, 3)),
        (lambda w, hyper, X="data": (w, hyper, X), (1, 2, "data")),
        (lambda w, hyper, *, X="data": (w, hyper, X), (1, 2, "data")),
        (lambda w, hyper, X="data", step=0: (w, hyper, X, step), (1, 2, "data", 3)),
        (lambda w, hyper, *, step=0: (w, hyper, step), (1, 2, 3)),
        (functools.partial(takes_data, X="data"), (1, 2, "data", 3)),
        (functools.partial(takes_data, step=7), (1, 2, 3, 7)),
        (functools.partial(takes_data, X="data", step=7), (1, 2, "data", 7)),
        (lambda step, hyper, X="data": (step, hyper, X), (1, 2, "data")),
        (lambda w, hyper, *step: (w, hyper, *step), (1, 2, 3)),
        (lambda w, hyper, **step: (w, hyper, step), (1, 2, {})),
        (takes_more, (1, 2, 3)),
        (functools.partial(takes_more, 0), (0, 1, 2, 3)),
        (functools.partial(lambda X, w, hyper: (X, w, hyper), "data"), ("data", 1, 2)),
        (WithoutSignature(), (1, 2)),
    ],
)
def test_the_step_is_handed_to_whoever_asks(function, expected):
    assert with_step(function, 2)(1, 2, 3) == expected
