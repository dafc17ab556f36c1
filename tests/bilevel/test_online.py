"""Algorithm 6 and its two ends, against recursions by hand and Forward's partial hypergradients."""

import functools
import math

import pytest
import torch
from torch import Tensor

from lds import bilevel
from lds.bilevel import projections, stopping
from tests.problems import scalar

STILL = functools.partial(torch.optim.SGD, lr=0.0)
DYNAMICS = {
    "descent": lambda L: bilevel.GradientDescent(L, lambda hyper: hyper["lr"]),
    "heavy-ball": lambda L: bilevel.Momentum(L, lambda hyper: hyper["lr"], 0.8),
    "adam": lambda L: bilevel.Adam(L, lambda hyper: hyper["lr"], (0.7, 0.9), 1e-3),
}


def inner(w: Tensor, hyper: dict[str, Tensor]) -> Tensor:
    return (hyper["decay"] * w.square()).sum() + (1 - w[0] * w[1]).square() + w[0].sin()


def outer(w: Tensor, hyper: dict[str, Tensor]) -> Tensor:
    return (w - 1).square().sum() + 0.1 * hyper["decay"].square().sum()


def start() -> tuple[Tensor, dict[str, Tensor]]:
    hyper = {"lr": scalar(0.05), "decay": torch.tensor([0.1, 0.3], dtype=torch.float64)}
    return torch.tensor([0.7, -0.4], dtype=torch.float64), hyper


def gradients(run) -> list[Tensor]:
    """What the optimiser is handed at each update, by an optimiser that only looks."""
    seen: list[Tensor] = []

    class Look(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                seen.append(torch.cat([p.grad.reshape(-1).clone() for p in group["params"]]))

    run(lambda tensors: Look(tensors, lr=1.0))
    return seen


@pytest.mark.parametrize("name", DYNAMICS)
@pytest.mark.parametrize("interval", [1, 3])
def test_held_still_at_discount_1_they_are_the_partial_hypergradients(name, interval):
    """Eq. 5.23 at every t, from a Forward run of its own for each t."""
    dynamics = DYNAMICS[name](inner)
    params, hyper = start()
    found = gradients(
        lambda optimizer: bilevel.solve_online(
            dynamics, outer, params, hyper, 9, discount=1.0, interval=interval, optimizer=optimizer
        )
    )
    times = range(interval, 10, interval)
    assert len(found) == len(times)
    for t, got in zip(times, found, strict=True):
        for method in (bilevel.Forward(), bilevel.Reverse()):
            grad = bilevel.hypergradient(dynamics, outer, params, hyper, t, method=method).grad
            expected = torch.cat([grad["lr"].reshape(1), grad["decay"]])
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", DYNAMICS)
def test_held_still_at_discount_0_they_are_those_of_one_step(name):
    """HD: truncation to the last step, at every t."""
    dynamics = DYNAMICS[name](inner)
    params, hyper = start()
    found = gradients(
        lambda optimizer: bilevel.solve_online(
            dynamics, outer, params, hyper, 6, discount=0.0, optimizer=optimizer
        )
    )
    for t, got in enumerate(found, start=1):
        method = bilevel.Reverse(truncation=1)
        grad = bilevel.hypergradient(dynamics, outer, params, hyper, t, method=method).grad
        expected = torch.cat([grad["lr"].reshape(1), grad["decay"]])
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)


def by_hand(mu: float, beta: float, n_steps: int, interval: int = 1, c: float = 0.5):
    """Algorithm 6 on L = aw²/2, E = (w-c)²/2, by η >= 0: A = 1 - ηa, B = -aw."""
    a, w, eta, Z = 0.8, 2.0, 0.1, 0.0
    trace = []
    for t in range(1, n_steps + 1):
        Z = mu * (1 - eta * a) * Z - a * w
        w -= eta * a * w
        if t % interval == 0:
            trace.append((eta, w, 0.5 * (w - c) ** 2))
            eta = max(eta - beta * (w - c) * Z, 0.0)
    return trace, eta, w


def online(mu: float, beta: float, n_steps: int, c: float = 0.5, **more) -> bilevel.Solution:
    return bilevel.solve_online(
        bilevel.GradientDescent(lambda w, eta: 0.4 * w**2, lambda eta: eta),
        lambda w, eta: 0.5 * (w - c) ** 2,
        scalar(2.0),
        scalar(0.1),
        n_steps,
        discount=mu,
        optimizer=functools.partial(torch.optim.SGD, lr=beta),
        projection=projections.non_negative(),
        **more,
    )


@pytest.mark.parametrize("mu", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("interval", [1, 2, 5])
def test_every_step_is_the_one_by_hand(mu, interval):
    solution = online(mu, 0.02, 12, interval=interval)
    trace, eta, w = by_hand(mu, 0.02, 12, interval)
    assert [r.iteration for r in solution.history] == list(range(interval, 13, interval))
    for record, (at, _, value) in zip(solution.history, trace, strict=True):
        assert float(record.hyper) == pytest.approx(at, rel=1e-12)
        assert record.value == pytest.approx(value, rel=1e-10)
    assert float(solution.last.hyper) == pytest.approx(eta, rel=1e-12)
    assert float(solution.last.params) == pytest.approx(w, rel=1e-12)
    best = min(range(len(trace)), key=lambda k: trace[k][2])
    assert float(solution.hyper) == pytest.approx(trace[best][0], rel=1e-12)
    assert float(solution.params) == pytest.approx(trace[best][1], rel=1e-10)
    assert solution.reason == "n_steps"


def test_a_learning_rate_at_its_floor_ends_training():
    """The max of Algorithm 6; 0 is early stopping (§8.2.1), here once w has passed c."""
    trace, _, w = by_hand(1.0, 0.03, 40, c=1.5)
    n = next(k for k, (eta, *_) in enumerate(trace) if eta == 0)
    assert 3 < n < 35
    solution = online(1.0, 0.03, 40, c=1.5, stopping=stopping.at_zero())
    assert solution.reason == "at zero"
    assert len(solution.history) == n + 1  # the rule sees the λ of a record: one update later
    assert float(solution.last.hyper) == 0
    on = online(1.0, 0.03, 40, c=1.5)
    assert len(on.history) == 40
    assert float(on.last.params) == pytest.approx(w, rel=1e-10)


def test_a_start_that_is_learned_has_its_tangent():
    """Φ_0(λ) = λ: Z_0 = 1 and Z_t = (1-ηa)^t."""
    found = gradients(
        lambda optimizer: bilevel.solve_online(
            bilevel.GradientDescent(lambda w, lam: 0.4 * w**2, 0.5, start=lambda params, lam: lam),
            lambda w, lam: w,
            scalar(0.0),
            scalar(3.0),
            4,
            discount=1.0,
            optimizer=optimizer,
        )
    )
    assert [float(g) for g in found] == pytest.approx([0.6, 0.36, 0.216, 0.1296], rel=1e-12)


def test_what_goes_wrong_later_ends_the_run_with_what_it_has():
    def diverging(w, eta, step):
        return 0.4 * w**2 * (math.nan if step == 4 else 1.0)

    dynamics = bilevel.GradientDescent(diverging, lambda eta: eta)
    args = (lambda w, eta: w**2, scalar(2.0), scalar(0.1))
    solution = bilevel.solve_online(dynamics, *args, 9)
    assert solution.reason.startswith("non-finite: the inner loss is nan at step 4")
    assert [r.iteration for r in solution.history] == [1, 2, 3, 4]
    with pytest.raises(bilevel.NonFiniteError, match="at step 4"):
        bilevel.solve_online(dynamics, *args, 9, interval=5)


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"discount": 1.1}, ValueError, r"discount must be in \[0, 1\], got 1.1"),
        ({"discount": math.nan}, ValueError, r"discount must be in \[0, 1\], got nan"),
        ({"interval": 0}, ValueError, "interval must be at least 1, got 0"),
        ({"n_steps": 0}, ValueError, "n_steps must be at least 1, got 0"),
        ({"save_every": 0}, ValueError, "save_every must be at least 1, got 0"),
        ({"method": bilevel.Reverse()}, TypeError, "must be None or Forward.*, got Reverse"),
    ],
)
def test_arguments_out_of_range(more, error, message):
    options = {"n_steps": 3} | more
    params, hyper = start()
    with pytest.raises(error, match=message):
        bilevel.solve_online(DYNAMICS["descent"](inner), outer, params, hyper, **options)


# Figure 8.1: 500 steps of gradient descent on E = L, η by HD and RTHO.


def tuned(L, at: tuple[float, float], lr: float, beta: float, discount: float):
    """The best value met, and the last η; infinity where training diverges."""
    solution = bilevel.solve_online(
        bilevel.GradientDescent(lambda w, eta: L(w), lambda eta: eta),
        lambda w, eta: L(w),
        torch.tensor(at, dtype=torch.float64),
        scalar(lr),
        500,
        discount=discount,
        optimizer=functools.partial(torch.optim.SGD, lr=beta),
        projection=projections.non_negative(),
    )
    assert solution.reason == "n_steps"
    return solution.value, float(solution.last.hyper)


def beale(w: Tensor) -> Tensor:
    x, y = w[0], w[1]
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def bukin(w: Tensor, eps: float = 1e-3) -> Tensor:
    return (((w[1] - 0.01 * w[0]) ** 2 + eps).sqrt() + eps).sqrt()


@pytest.mark.ci
@pytest.mark.parametrize(
    "beta",
    [1e-6, *(pytest.param(beta, marks=pytest.mark.slow) for beta in (1e-8, 1e-7))],
)
def test_on_plateaus_real_time_optimisation_is_ahead(beta):
    """Beale from (1, 1.5), η_0 = 1e-3; at β = 1e-5 both diverge."""
    rtho, _ = tuned(beale, (1.0, 1.5), 1e-3, beta, discount=1.0)
    hd, _ = tuned(beale, (1.0, 1.5), 1e-3, beta, discount=0.0)
    assert rtho < hd / 3, (rtho, hd)


@pytest.mark.ci
@pytest.mark.parametrize(
    "beta", [1e-3, *(pytest.param(beta, marks=pytest.mark.slow) for beta in (1e-2, 1e-1))]
)
def test_in_a_valley_hypergradient_descent_is_ahead(beta):
    """Smoothed Bukin N.6, ε = 1e-3, from (-1, 3), η_0 = 0.01; its minimum is 0.1806.

    RTHO does not discount what it learned before the valley: η grows, then vanishes.
    """
    rtho, eta = tuned(bukin, (-1.0, 3.0), 0.01, beta, discount=1.0)
    hd, left = tuned(bukin, (-1.0, 3.0), 0.01, beta, discount=0.0)
    assert hd == pytest.approx(0.1806, abs=2e-3)
    assert rtho > hd + 0.03, (rtho, hd)
    assert eta == 0
    assert left > 0
