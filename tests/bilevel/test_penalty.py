"""F2SA on quadratic problems, whose penalised minimisers have closed forms."""

import functools

import pytest
import torch

from lds import bilevel
from tests.bilevel.test_first_order import Once
from tests.problems import scalar

GENERATOR = torch.Generator().manual_seed(1)
A = torch.randn(6, 3, dtype=torch.float64, generator=GENERATOR)
H = A.T @ A / 6 + 0.5 * torch.eye(3, dtype=torch.float64)
B = torch.randn(3, 2, dtype=torch.float64, generator=GENERATOR)
C = torch.randn(3, dtype=torch.float64, generator=GENERATOR)
LAM = torch.tensor([0.7, -1.2], dtype=torch.float64)
EYE = torch.eye(3, dtype=torch.float64)


def inner(w, lam):
    return 0.5 * w @ H @ w - w @ B @ lam


def outer(w, lam, c=C):
    return 0.5 * (w - c).square().sum() + 0.05 * lam.square().sum()


def closed_form(penalty, lam=LAM, c=C):
    """∂E/∂λ(y) + σ (Bᵀz - Bᵀy), z = H⁻¹Bλ, y = (H + I/σ)⁻¹ (Bλ + c/σ)."""
    z = torch.linalg.solve(H, B @ lam)
    y = torch.linalg.solve(H + EYE / penalty, B @ lam + c / penalty)
    return 0.1 * lam + penalty * B.T @ (z - y)


def exact(lam=LAM):
    z = torch.linalg.solve(H, B @ lam)
    return 0.1 * lam + B.T @ torch.linalg.solve(H, z - C)


def found(penalty, lam=LAM):
    return bilevel.hypergradient(
        bilevel.GradientDescent(inner, 0.4),
        outer,
        torch.zeros(3, dtype=torch.float64),
        lam,
        200,
        bilevel.F2SA(penalty, lr=0.3, n_iter=200),
    )


@pytest.mark.parametrize("penalty", [1.0, 10.0, 1000.0])
def test_at_the_minimisers_it_is_the_closed_form(penalty):
    result = found(penalty)
    torch.testing.assert_close(result.grad, closed_form(penalty), rtol=1e-9, atol=1e-11)
    y = torch.linalg.solve(H + EYE / penalty, B @ LAM + C / penalty)
    torch.testing.assert_close(result.solution[0], y, rtol=1e-10, atol=1e-12)


@pytest.mark.ci
def test_the_penalty_is_that_of_each_task():
    goals = torch.stack([C, 2 * C, -C])
    both = bilevel.over_tasks(lambda w, lam, c: inner(w, lam), outer, goals)
    result = bilevel.hypergradient(
        bilevel.GradientDescent(both[0], 0.4),
        both[1],
        torch.zeros(3, 3, dtype=torch.float64),
        LAM,
        200,
        bilevel.F2SA(2.0, lr=0.3, n_iter=200),
    )
    expected = torch.stack([closed_form(2.0, c=c) for c in goals]).mean(0)
    torch.testing.assert_close(result.grad, expected, rtol=1e-9, atol=1e-11)


def test_the_bias_falls_as_one_over_the_penalty():
    errors = [float((found(s).grad - exact()).norm()) for s in (20.0, 40.0, 80.0)]
    assert errors[0] > 1e-3
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.05)


def test_it_is_the_derivative_of_the_penalised_value():
    """Against finite differences of min_y (E + σL) - σ min_w L, minimised by linear solves."""
    penalty = 3.0

    def value(lam):
        z = torch.linalg.solve(H, B @ lam)
        y = torch.linalg.solve(H + EYE / penalty, B @ lam + C / penalty)
        return float(outer(y, lam) + penalty * (inner(y, lam) - inner(z, lam)))

    grad = found(penalty).grad
    for k in range(2):
        step = 1e-5 * torch.nn.functional.one_hot(torch.tensor(k), 2).double()
        slope = (value(LAM + step) - value(LAM - step)) / 2e-5
        assert float(grad[k]) == pytest.approx(slope, rel=1e-7)


def test_every_step_is_the_one_written_out():
    solution = bilevel.solve(
        bilevel.GradientDescent(inner, 0.2),
        outer,
        torch.zeros(3, dtype=torch.float64),
        LAM,
        2,
        method=bilevel.F2SA(5.0, lr=0.1, n_iter=3),
        n_outer=10,
        warm_start="state",
        keep="last",
        optimizer=functools.partial(torch.optim.SGD, lr=0.05),
    )
    w = torch.zeros(3, dtype=torch.float64)
    y, lam = None, LAM.clone()
    for record in solution.history:
        torch.testing.assert_close(record.hyper, lam, rtol=1e-11, atol=1e-13)
        for _ in range(2):
            w = w - 0.2 * (H @ w - B @ lam)
        y = w if y is None else y
        for _ in range(3):
            y = y - 0.1 * (H @ y - B @ lam + (y - C) / 5.0)
        lam = lam - 0.05 * (0.1 * lam + 5.0 * B.T @ (w - y))


@pytest.mark.ci
def test_solve_reaches_the_optimum_of_the_penalised_problem():
    solution = bilevel.solve(
        bilevel.GradientDescent(inner, 0.4),
        outer,
        torch.zeros(3, dtype=torch.float64),
        LAM,
        5,
        method=bilevel.F2SA(10.0, lr=0.3, n_iter=5),
        n_outer=400,
        warm_start="state",
        keep="last",
        optimizer=functools.partial(torch.optim.SGD, lr=0.4),
    )
    left = closed_form(10.0, solution.last.hyper).norm()
    assert float(left) < 1e-6 * float(closed_form(10.0).norm())


def test_a_resumed_run_continues_with_y(tmp_path):
    def run(n_outer, **options):
        return bilevel.solve(
            bilevel.GradientDescent(inner, 0.2),
            outer,
            torch.zeros(3, dtype=torch.float64),
            LAM,
            1,
            method=bilevel.F2SA(),
            n_outer=n_outer,
            warm_start="state",
            **options,
        )

    run(3, checkpoint=tmp_path)
    assert torch.equal(run(8, checkpoint=tmp_path, resume=True).last.hyper, run(8).last.hyper)


def test_it_needs_no_second_derivative_and_draws_batches_anew():
    """L = (w - λ)²/2 + noise w and E = w²/2: y = (λ + 0/σ)/(1 + 1/σ) in the mean."""
    seen = []

    def noisy(w, lam):
        noise = torch.randn((), dtype=torch.float64)
        seen.append(float(noise))
        return Once.apply(w - lam).sum() + 0.1 * noise * w.sum()

    result = bilevel.hypergradient(
        bilevel.GradientDescent(noisy, 0.5),
        lambda w, lam: 0.5 * w**2,
        scalar(1.0),
        scalar(1.0),
        1,
        bilevel.F2SA(1.0, lr=0.5, n_iter=4),
    )
    step, steps_of_y, last = seen[0], seen[-6:-2], seen[-2:]
    assert len({*steps_of_y, step}) == 5  # independent draws
    assert last[0] == last[1]  # one draw for both losses, so their noise cancels
    w = 1.0 - 0.5 * 0.1 * step
    y = w
    for noise in steps_of_y:
        y -= 0.5 * (y - 1.0 + 0.1 * noise + y)
    assert float(result.grad) == pytest.approx(-(y - 1.0) + (w - 1.0), rel=1e-12)


@pytest.mark.ci
def test_modules_with_buffers():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).double()
    apply, params = bilevel.functional(net)
    x, target = torch.randn(9, 3).double(), torch.randn(9, 2).double()

    def loss(w, lam):
        decay = sum((p**2).sum() for p in w.values())
        return ((apply.train(w, x) - target) ** 2).mean() + lam.exp() * decay

    def judged(w, lam):
        return ((apply.eval(w, x) - target) ** 2).mean()

    args = bilevel.GradientDescent(loss, 0.1), judged, params, scalar(-2.0), 40
    grad = bilevel.hypergradient(*args, bilevel.F2SA(200.0, lr=0.1, n_iter=40)).grad
    assert grad.shape == ()
    assert bool(torch.isfinite(grad))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: bilevel.F2SA(0.0), ValueError, r"F2SA\(penalty\) must be positive"),
        (lambda: bilevel.F2SA(lr=float("inf")), ValueError, r"F2SA\(lr\) must be positive"),
        (lambda: bilevel.F2SA(n_iter=0), ValueError, r"F2SA\(n_iter\) must be at least 1"),
        (
            lambda: bilevel.hypergradient(
                bilevel.Dynamics(lambda p, h: p, lambda s, h, t: 0.5 * (s + h), lambda s: s),
                lambda w, h: w,
                scalar(1.0),
                scalar(1.0),
                1,
                bilevel.F2SA(),
            ),
            TypeError,
            "F2SA needs a dynamics made of an inner objective",
        ),
        (
            lambda: bilevel.hypergradient(
                bilevel.GradientDescent(lambda w, h: h["d"] * w**2, lambda h: h["lr"]),
                lambda w, h: w,
                scalar(1.0),
                {"d": scalar(1.0), "lr": scalar(0.1)},
                1,
                bilevel.F2SA(),
            ),
            ValueError,
            r"\['lr'\] is a setting of the optimiser",
        ),
        (
            lambda: bilevel.hypergradient(
                bilevel.GradientDescent(inner, 0.2),
                outer,
                torch.zeros(3).double(),
                LAM,
                1,
                bilevel.F2SA(lr=1e300, n_iter=3),
            ),
            ArithmeticError,
            r"y of F2SA.*lr=1e\+300",
        ),
    ],
)
def test_what_it_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()
