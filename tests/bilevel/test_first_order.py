"""First-order MAML against autograd on a loop with detached inner gradients."""

import functools

import pytest
import torch

from lds import bilevel
from tests.problems import scalar

GENERATOR = torch.Generator().manual_seed(3)
N_TASKS, T = 3, 4
X, Y, V, U = (
    torch.randn(N_TASKS, 6, k, dtype=torch.float64, generator=GENERATOR) for k in (2, 1, 2, 1)
)
START = {
    "a": torch.randn(2, 3, dtype=torch.float64, generator=GENERATOR),
    "b": torch.randn(3, 1, dtype=torch.float64, generator=GENERATOR),
}


def mse(w, x, y):
    return ((torch.tanh(x @ w["a"]) @ w["b"] - y) ** 2).mean()


INNER, OUTER = bilevel.over_tasks(
    lambda w, hyper, task: mse(w, task["x"], task["y"]),
    lambda w, hyper, task: mse(w, task["v"], task["u"]) + 0.1 * hyper["lr"] ** 2,
    {"x": X, "y": Y, "v": V, "u": U},
)


def lr(hyper):
    return hyper["lr"]


def start(params, hyper):
    return bilevel.stacked(hyper["start"], N_TASKS)


def descent(w, g, m, v, lr, t):
    return w - lr * g, m, v


def heavy_ball(w, g, m, v, lr, t):
    m = 0.9 * m + g
    return w - lr * m, m, v


def adam(w, g, m, v, lr, t):
    m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
    m_hat, v_hat = m / (1 - 0.9 ** (t + 1)), v / (1 - 0.99 ** (t + 1))
    return w - lr * m_hat / (v_hat.sqrt() + 1e-8), m, v


CASES = {
    "descent": (bilevel.GradientDescent(INNER, lr, start=start), descent),
    "heavy ball": (bilevel.Momentum(INNER, lr, 0.9, start=start), heavy_ball),
    "adam": (bilevel.Adam(INNER, lr, (0.9, 0.99), start=start), adam),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_autograd_with_detached_inner_gradients(name):
    dynamics, update = CASES[name]
    hyper = {"start": START, "lr": scalar(0.1)}
    result = bilevel.hypergradient(
        dynamics, OUTER, bilevel.stacked(START, N_TASKS), hyper, T, bilevel.FirstOrder()
    )
    leaves = {k: v.clone().requires_grad_() for k, v in START.items()}
    rate = scalar(0.1).requires_grad_()
    total = scalar(0.0)
    for k in range(N_TASKS):
        w = dict(leaves)
        buffers = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in w.items()}
        for t in range(T):
            now = {name: p.detach().requires_grad_() for name, p in w.items()}
            grads = torch.autograd.grad(mse(now, X[k], Y[k]), list(now.values()))
            for (name, p), g in zip(list(w.items()), grads, strict=True):
                w[name], *buffers[name] = update(p, g, *buffers[name], rate, t)
        total = total + (mse(w, V[k], U[k]) + 0.1 * rate**2) / N_TASKS
    *by_start, by_rate = torch.autograd.grad(total, [*leaves.values(), rate])
    torch.testing.assert_close(result.value, total.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(result.grad["start"], dict(zip(leaves, by_start, strict=True)))
    torch.testing.assert_close(result.grad["lr"], by_rate, rtol=1e-10, atol=1e-13)
    exact = bilevel.hypergradient(dynamics, OUTER, bilevel.stacked(START, N_TASKS), hyper, T)
    assert exact.value == result.value
    assert not torch.allclose(exact.grad["start"]["a"], result.grad["start"]["a"], rtol=1e-2)


def test_for_a_start_alone_it_is_the_outer_gradient_at_the_last_weights():
    """w_T = w* + (1-η)^T (λ - w*), E = (w-c)²/2: first order w_T - c, exact (1-η)^T (w_T - c)."""
    dynamics = bilevel.GradientDescent(
        lambda w, h: 0.5 * (w - 2.0) ** 2, 0.3, start=lambda params, hyper: hyper
    )

    def grad(method):
        return bilevel.hypergradient(
            dynamics, lambda w, h: 0.5 * (w + 1.0) ** 2, scalar(0.0), scalar(-1.5), 5, method
        ).grad

    last = 2.0 + 0.7**5 * -3.5
    assert float(grad(bilevel.FirstOrder())) == pytest.approx(last + 1.0, rel=1e-13)
    assert float(grad(bilevel.Reverse())) == pytest.approx(0.7**5 * (last + 1.0), rel=1e-13)


def test_a_run_that_continues_counts_the_updates_of_this_iteration_alone():
    dynamics = bilevel.Momentum(lambda w, h: 0.5 * (w - 1.0) ** 2, lambda hyper: hyper, 0.5)
    solution = bilevel.solve(
        dynamics,
        lambda w, h: 0.5 * w**2,
        scalar(3.0),
        scalar(0.1),
        2,
        method=bilevel.FirstOrder(),
        n_outer=4,
        warm_start="state",
        keep="last",
        optimizer=functools.partial(torch.optim.SGD, lr=1e-3),
    )
    w, v, rate = 3.0, 0.0, 0.1
    for record in solution.history:
        assert float(record.hyper) == pytest.approx(rate, rel=1e-12)
        slope = 0.0  # dw/drate with constant gradients: minus the velocities of this iteration
        for _ in range(2):
            v = 0.5 * v + (w - 1.0)
            w, slope = w - rate * v, slope - v
        assert record.grad_norm == pytest.approx(abs(w * slope), rel=1e-12)
        rate -= 1e-3 * w * slope


class Once(torch.autograd.Function):
    """x²/2, without a second derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 0.5 * x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


def test_it_needs_no_second_derivative():
    dynamics = bilevel.GradientDescent(
        lambda w, h: Once.apply(w), 0.5, start=lambda params, hyper: hyper
    )
    args = dynamics, lambda w, h: 3 * w, scalar(0.0), scalar(1.0), 2
    assert bilevel.hypergradient(*args, bilevel.FirstOrder()).grad == 3


def test_states_with_buffers_are_those_of_reverse_mode():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).double()
    data = [(torch.randn(8, 3).double(), torch.randn(8, 2).double()) for _ in range(3)]
    training = bilevel.Training(
        net, torch.nn.functional.mse_loss, data, functools.partial(bilevel.Momentum, lr=lr)
    )
    first, exact = (
        bilevel.hypergradient(
            training.dynamics,
            training.judged_by(data),
            training.params,
            {"lr": scalar(0.1)},
            5,
            method,
        )
        for method in (bilevel.FirstOrder(), bilevel.Reverse())
    )
    torch.testing.assert_close(first.state, exact.state, rtol=1e-13, atol=1e-13)
    assert first.value == pytest.approx(float(exact.value), rel=1e-13)


def test_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"\['decay'\] has no influence.*FirstOrder\(\)"):
        bilevel.hypergradient(
            bilevel.GradientDescent(lambda w, h: h["decay"] * w**2, lr),
            lambda w, h: w,
            scalar(1.0),
            {"lr": scalar(0.1), "decay": scalar(1.0)},
            2,
            bilevel.FirstOrder(),
        )
    own = bilevel.Dynamics(lambda p, h: h, lambda s, h, t: 0.5 * (s + h), lambda s: s)
    with pytest.raises(TypeError, match="FirstOrder needs a dynamics made of an inner objective"):
        bilevel.hypergradient(
            own, lambda w, h: w, scalar(1.0), scalar(1.0), 1, bilevel.FirstOrder()
        )
