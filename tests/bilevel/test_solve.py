"""The outer loop: optimisers, stopping, what it remembers and returns."""

import functools
import inspect
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lds import bilevel
from lds.bilevel import projections, stopping
from tests.problems import scalar

DESCENT = functools.partial(torch.optim.SGD, lr=0.25)


def pull(w: Tensor, lam: Tensor) -> Tensor:
    return 0.5 * ((w - lam) ** 2).sum()


def goal(w: Tensor, lam: Tensor) -> Tensor:
    return ((w - 3) ** 2).sum()


INNER = bilevel.GradientDescent(pull, lr=0.5)


def solve(hyper=None, n_steps=4, n_outer=5, optimizer=DESCENT, dynamics=INNER, outer=goal, **more):
    hyper = scalar(0.0) if hyper is None else hyper
    return bilevel.solve(
        dynamics, outer, scalar(0.0), hyper, n_steps, n_outer=n_outer, optimizer=optimizer, **more
    )


def by_hand(n_outer: int, n_steps: int = 4, lr: float = 0.25) -> list[float]:
    """λ_0, λ_1, ...: w_T = rλ with r = 1 - 2^-T, so λ ← λ - lr · 2r(rλ - 3)."""
    r, values = 1 - 0.5**n_steps, [0.0]
    for _ in range(n_outer):
        values.append(values[-1] - lr * 2 * r * (r * values[-1] - 3))
    return values


def test_every_step_is_the_one_by_hand_and_is_on_record():
    solution = solve(n_outer=5)
    expected = by_hand(5)
    r = 1 - 0.5**4
    assert [record.iteration for record in solution.history] == list(range(5))
    for record, lam in zip(solution.history, expected, strict=False):
        assert float(record.hyper) == pytest.approx(lam, rel=1e-12, abs=1e-15)
        assert record.value == pytest.approx((r * lam - 3) ** 2, rel=1e-12)
        assert record.grad_norm == pytest.approx(abs(2 * r * (r * lam - 3)), rel=1e-12)
    assert float(solution.last.hyper) == pytest.approx(expected[5], rel=1e-12)
    assert float(solution.hyper) == pytest.approx(expected[4], rel=1e-12)
    assert solution.value == solution.history[4].value
    assert float(solution.params) == pytest.approx(r * expected[4], rel=1e-12)
    assert solution.reason == "n_outer"


OPTIMIZERS = [
    kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind)
    and issubclass(kind, torch.optim.Optimizer)
    and name not in ("Optimizer", "LBFGS", "SparseAdam")
]


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=lambda kind: kind.__name__)
def test_any_optimiser_of_torch_takes_the_steps_it_takes_by_itself(kind):
    shape = (2, 2)  # Muon wants matrices
    lam = torch.tensor([[0.5, -1.0], [2.0, 4.0]], dtype=torch.float64)
    solution = bilevel.solve(
        INNER,
        goal,
        torch.zeros(shape, dtype=torch.float64),
        lam,
        3,
        n_outer=4,
        optimizer=lambda tensors: kind(tensors, lr=0.05),
    )
    alone = lam.clone().requires_grad_()
    optimizer = kind([alone], lr=0.05)
    for _ in range(4):
        optimizer.zero_grad()
        ((1 - 0.5**3) * alone - 3).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(solution.last.hyper, alone.detach(), rtol=1e-6, atol=1e-8)
    assert not torch.equal(solution.last.hyper, lam)


def test_groups_of_hyperparameters_move_at_their_own_rates():
    hyper = {"a": scalar(0.0), "b": scalar(0.0)}
    inner = bilevel.GradientDescent(lambda w, h: 0.5 * (w - h["a"] - h["b"]) ** 2, lr=0.5)
    solution = bilevel.solve(
        inner,
        goal,
        scalar(0.0),
        hyper,
        1,
        n_outer=1,
        optimizer=lambda p: torch.optim.SGD(
            [{"params": p[:1], "lr": 0.1}, {"params": p[1:], "lr": 0.3}]
        ),
    )
    assert float(solution.last.hyper["a"]) == pytest.approx(0.3)
    assert float(solution.last.hyper["b"]) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda tensors: 3, "got int"),
        (torch.optim.SGD([torch.zeros(1)], lr=0.1), "from a list of tensors, .* got SGD"),
        (0.1, "got float"),
        (torch.optim.LBFGS, "LBFGS evaluates its function again and again: use Adam or SGD"),
    ],
)
def test_an_optimiser_that_is_none(bad, message):
    with pytest.raises(TypeError, match=f"optimizer must .*{message}"):
        solve(optimizer=bad)


def test_the_best_and_the_last():
    """A step too long: E goes 9, less, more; the best is kept apart from the last."""
    solution = solve(n_outer=3, n_steps=30, optimizer=functools.partial(torch.optim.SGD, lr=0.85))
    lams = by_hand(3, 30, 0.85)
    values = [record.value for record in solution.history]
    assert solution.value == min(values) == values[2]
    assert float(solution.hyper) == pytest.approx(lams[2])
    diverging = solve(n_outer=3, n_steps=30, optimizer=functools.partial(torch.optim.SGD, lr=1.2))
    assert float(diverging.hyper) == 0.0
    assert diverging.value == 9.0
    assert float(diverging.last.hyper) == pytest.approx(by_hand(3, 30, 1.2)[3])
    assert float(diverging.last.params) == pytest.approx(by_hand(3, 30, 1.2)[2])


def test_it_leaves_its_inputs_alone_and_keeps_integer_leaves():
    hyper = {"x": scalar(0.0), "n": torch.tensor([3, -1])}
    inner = bilevel.GradientDescent(lambda w, h: 0.5 * (w - h["x"] * h["n"][0]) ** 2, lr=0.5)
    solution = solve(hyper, dynamics=inner, projection=projections.non_negative())
    assert hyper["x"] == 0
    assert hyper["n"].tolist() == [3, -1]
    assert solution.last.hyper["n"].tolist() == [3, -1]
    assert float(solution.last.hyper["x"]) > 0


def test_warm_starts_begin_where_the_last_run_ended():
    cold, warm = solve(n_steps=1, n_outer=3), solve(n_steps=1, n_outer=3, warm_start="params")
    w = lam = 0.0
    for record in warm.history:
        w = 0.5 * (w + lam)
        assert record.value == pytest.approx((w - 3) ** 2)
        lam -= 0.25 * 0.5 * 2 * (w - 3)
    assert cold.history[2].value != warm.history[2].value


def test_projections_by_function_and_by_leaf():
    hyper = {"a": scalar(0.0), "b": scalar(0.0)}
    inner = bilevel.GradientDescent(lambda w, h: 0.5 * (w - h["a"] - h["b"]) ** 2, lr=0.5)
    capped = solve(hyper, dynamics=inner, n_outer=50, projection=projections.box(0, 0.5))
    assert capped.last.hyper == {"a": scalar(0.5), "b": scalar(0.5)}
    by_leaf = solve(
        hyper,
        dynamics=inner,
        n_outer=40,
        n_steps=30,
        projection={"a": projections.box(0, 0.5), "b": None},
    )
    assert by_leaf.last.hyper["a"] == 0.5
    assert float(by_leaf.last.hyper["b"]) == pytest.approx(2.5, rel=1e-6)


@pytest.mark.parametrize(
    ("projection", "message"),
    [
        ([None], r"projection must be a function or a tree like hyper, .*'a'"),
        (lambda hyper: hyper["a"], "projection must return a tree like hyper"),
        (lambda hyper: {"a": hyper["a"].reshape(1)}, r"keep the shape of hyper\['a'\], \(\), got"),
    ],
)
def test_a_projection_that_does_not_fit(projection, message):
    inner = bilevel.GradientDescent(lambda w, h: 0.5 * (w - h["a"]) ** 2, lr=0.5)
    with pytest.raises(ValueError, match=message):
        solve({"a": scalar(0.0)}, dynamics=inner, projection=projection)


# Stopping.


def record(k: int, value: float, grad_norm: float = 1.0, hyper=None) -> bilevel.Record:
    return bilevel.Record(k, value, grad_norm, hyper)


def first_stop(rule, values) -> int | None:
    history = []
    for k, value in enumerate(values):
        history.append(record(k, value))
        if rule(history) is not None:
            return k
    return None


@pytest.mark.parametrize(
    ("n", "min_delta", "values", "k"),
    [
        (2, 0.0, [5, 4, 4, 4], 3),
        (2, 0.0, [5, 4, 6, 3, 3, 3], 5),
        (1, 0.0, [5, 4, 3, 2], None),
        (1, 0.0, [5, 5], 1),
        (2, 0.5, [5, 4.8, 4.6, 4.0], 2),
        (3, 0.0, [math.inf, math.inf, 2], None),
    ],
)
def test_patience(n, min_delta, values, k):
    assert first_stop(stopping.patience(n, min_delta), values) == k


def test_patience_is_a_function_of_the_history_alone():
    """Asked about another run, or again, it does not remember the first."""
    rule = stopping.patience(2)
    one = [record(k, v) for k, v in enumerate([3.0, 1.0, 2.0])]
    assert rule(one) is None
    other = [record(k, v) for k, v in enumerate([9.0, 8.0, 7.0, 6.0])]
    assert rule(other) is None
    assert rule([*one, record(3, 1.5)]) == "patience"
    assert rule(one) is None


def test_tolerance_and_at_zero():
    assert stopping.tolerance(0.1)([record(0, 1.0, 0.1)]) == "tolerance"
    assert stopping.tolerance(0.1)([record(0, 1.0, 0.11)]) is None
    assert stopping.at_zero()([record(0, 1.0, 1.0, {"a": scalar(0.0)})]) == "at zero"
    assert stopping.at_zero()([record(0, 1.0, 1.0, {"a": torch.tensor([0.0, 1e-30])})]) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stopping.patience(0), "n must be at least 1, got 0"),
        (lambda: stopping.patience(1, -1.0), "min_delta must be 0 or more, got -1"),
        (lambda: stopping.tolerance(math.nan), "gradient must be 0 or more, got nan"),
    ],
)
def test_rules_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_rules_and_callbacks_end_the_loop():
    by_rule = solve(n_outer=500, n_steps=40, stopping=stopping.tolerance(1e-3))
    assert by_rule.reason == "tolerance"
    assert by_rule.history[-1].grad_norm <= 1e-3 < by_rule.history[-2].grad_norm
    several = solve(
        n_outer=500,
        n_steps=30,
        optimizer=functools.partial(torch.optim.SGD, lr=1.2),
        stopping=[stopping.tolerance(0.0), stopping.patience(3)],
    )
    assert len(several.history) == 4
    assert several.reason == "patience"
    seen = []

    def callback(record):
        seen.append(record)
        return record.iteration == 2

    by_callback = solve(n_outer=10, callback=callback)
    assert by_callback.reason == "callback"
    assert seen == by_callback.history
    assert len(seen) == 3
    own = solve(n_outer=10, stopping=lambda history: "enough" if len(history) == 2 else None)
    assert own.reason == "enough"


def test_many_hyperparameters_are_not_kept_in_the_history():
    seen = []
    for m, kept in ((1000, True), (1001, False)):
        solution = bilevel.solve(
            INNER, goal, torch.zeros(m), torch.zeros(m), 1, n_outer=2, callback=seen.append
        )
        assert all((r.hyper is not None) == kept for r in solution.history)
    assert all(r.hyper is not None for r in seen)


# What goes wrong on the way.


def fails_at(iteration: int, value: float = math.nan):
    def episode(k):
        return INNER, lambda w, lam: goal(w, lam) * (value if k == iteration else 1.0)

    return episode


def test_not_finite_in_the_first_iteration_is_an_error():
    with pytest.raises(bilevel.NonFiniteError, match="outer value holds nan"):
        bilevel.solve(fails_at(0), None, scalar(0.0), scalar(0.0), 2)


def test_not_finite_later_ends_the_loop_with_what_it_has():
    solution = bilevel.solve(
        fails_at(3), None, scalar(0.0), scalar(0.0), 4, n_outer=9, optimizer=DESCENT
    )
    assert solution.reason.startswith("non-finite: the outer value holds nan")
    assert len(solution.history) == 3
    assert float(solution.last.hyper) == pytest.approx(by_hand(3)[3])
    assert float(solution.hyper) == pytest.approx(by_hand(3)[2])


def test_an_outer_step_that_is_not_finite_leaves_the_last_good_hyperparameters():
    solution = solve(optimizer=functools.partial(torch.optim.SGD, lr=1e308), n_outer=4)
    assert solution.reason.startswith("non-finite: hyper holds inf after an outer step")
    assert float(solution.last.hyper) == 0.0


@pytest.mark.parametrize("where", ["objective", "callback"])
def test_an_interruption_returns_what_there_is(where):
    def interrupts(k):
        if k == 2:
            raise KeyboardInterrupt

    def episode(k):
        if where == "objective":
            interrupts(k)
        return INNER, goal

    solution = bilevel.solve(
        episode,
        None,
        scalar(0.0),
        scalar(0.0),
        4,
        n_outer=9,
        optimizer=DESCENT,
        callback=(lambda r: interrupts(r.iteration)) if where == "callback" else None,
    )
    assert solution.reason == "interrupted"
    done = 2 if where == "objective" else 3
    assert len(solution.history) == done
    assert float(solution.last.hyper) == pytest.approx(by_hand(done)[done])


def test_an_interruption_before_there_is_anything():
    def episode(k):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bilevel.solve(episode, None, scalar(0.0), scalar(0.0), 4)


def test_episodes_bring_their_own_dynamics_and_objective():
    """Goals 1 and 3 in turn: λ moves towards w = goal(k)."""
    goals = [1.0, 3.0, 1.0, 3.0]

    def episode(k):
        return INNER, lambda w, lam: (w - goals[k]) ** 2

    solution = bilevel.solve(
        episode, None, scalar(0.0), scalar(0.0), 4, n_outer=4, optimizer=DESCENT, keep="last"
    )
    lam, r = 0.0, 1 - 0.5**4
    for record, c in zip(solution.history, goals, strict=True):
        assert record.value == pytest.approx((r * lam - c) ** 2)
        lam -= 0.25 * 2 * r * (r * lam - c)


@pytest.mark.parametrize(
    ("dynamics", "outer", "message"),
    [
        (INNER, None, "outer_objective must be a function of .* got None"),
        (
            lambda k: (INNER, goal),
            goal,
            "^dynamics must be a Dynamics, .* outer_objective must be None, got the function",
        ),
        (3, goal, "dynamics must be a Dynamics, or a function of the outer iteration .* got int"),
    ],
)
def test_a_dynamics_that_does_not_fit(dynamics, outer, message):
    with pytest.raises(TypeError, match=message):
        solve(dynamics=dynamics, outer=outer)


def test_counts_out_of_range_and_leaves_that_cannot_be_tuned():
    with pytest.raises(ValueError, match="n_outer must be at least 1, got 0"):
        solve(n_outer=0)
    with pytest.raises(TypeError, match=r"n_steps must be an integer, got 2\.0"):
        solve(n_steps=2.0)
    with pytest.raises(ValueError, match="hyper must hold a floating point tensor"):
        solve(torch.tensor(3))
    with pytest.raises(TypeError, match=r"must have tensors in hyper, got float at hyper\['a'\]"):
        solve({"a": 0.1})
    with pytest.raises(ValueError, match="resume=True needs checkpoint="):
        solve(resume=True)


# Against bilevel solutions that are known.


def test_ridge_reaches_the_best_penalty_of_a_grid():
    """f(λ) in closed form on a fine grid of λ."""
    rng = np.random.default_rng(4)
    X, X_val = rng.standard_normal((10, 4)), rng.standard_normal((20, 4))
    w = np.array([1.0, -2.0, 0.5, 0.0])
    y, y_val = (Z @ w + 1.5 * rng.standard_normal(len(Z)) for Z in (X, X_val))

    def f(lam: float) -> float:
        w = np.linalg.solve(X.T @ X / len(y) + lam * np.eye(4), X.T @ y / len(y))
        return 0.5 * float(((X_val @ w - y_val) ** 2).mean())

    grid = np.linspace(0, 1, 5001)
    best = grid[int(np.argmin([f(lam) for lam in grid]))]
    assert 0.1 < best < 0.9, "an end of the grid"
    tensors = [torch.tensor(a) for a in (X, y, X_val, y_val)]

    def inner(w: Tensor, lam: Tensor) -> Tensor:
        return 0.5 * (tensors[0] @ w - tensors[1]).square().mean() + 0.5 * lam * (w**2).sum()

    for method in (bilevel.Reverse(), bilevel.FixedPoint(40, tol=1e-10)):
        solution = bilevel.solve(
            bilevel.GradientDescent(inner, 0.5),
            lambda w, lam: 0.5 * (tensors[2] @ w - tensors[3]).square().mean(),
            torch.zeros(4, dtype=torch.float64),
            scalar(0.1),
            60,
            method=method,
            n_outer=60,
            optimizer=functools.partial(torch.optim.SGD, lr=0.5),
            projection=projections.non_negative(),
            stopping=stopping.tolerance(1e-5),
        )
        assert solution.reason == "tolerance"
        assert float(solution.hyper) == pytest.approx(best, abs=2e-4)


def feature_map_problem():
    """Eq. 6.2: L_H(w) = |Y - XHw|² + µ|w|², with a solution in closed form."""
    rng = np.random.default_rng(3)
    X, X_val = rng.standard_normal((12, 3)), rng.standard_normal((9, 3))
    W = rng.standard_normal((3, 2))
    Y, Y_val = X @ W + 0.1 * rng.standard_normal((12, 2)), X_val @ W
    return [torch.tensor(a) for a in (X, Y, X_val, Y_val)], 2.0


@pytest.mark.ci
def test_a_feature_map_follows_the_analytic_bilevel_solution():
    (X, Y, X_val, Y_val), mu = feature_map_problem()

    def inner(w: Tensor, H: Tensor) -> Tensor:
        return (Y - X @ H @ w).square().sum() + mu * w.square().sum()

    def outer(w: Tensor, H: Tensor) -> Tensor:
        return (Y_val - X_val @ H @ w).square().sum()

    def exact(H: Tensor) -> Tensor:
        A = X @ H
        return torch.linalg.solve(A.T @ A + mu * torch.eye(3, dtype=H.dtype), A.T @ Y)

    H = torch.eye(3, dtype=torch.float64)
    solution = bilevel.solve(
        bilevel.GradientDescent(inner, 0.015),
        outer,
        torch.zeros(3, 2, dtype=torch.float64),
        H,
        350,
        n_outer=15,
        method=bilevel.ConjugateGradient(6),
        optimizer=functools.partial(torch.optim.SGD, lr=8e-3, momentum=0.5),
    )
    analytic = H.clone().requires_grad_()
    optimizer = torch.optim.SGD([analytic], lr=8e-3, momentum=0.5)
    for k in range(15):
        optimizer.zero_grad()
        value = outer(exact(analytic), analytic)
        value.backward()
        assert solution.history[k].value == pytest.approx(float(value.detach()), rel=1e-6)
        optimizer.step()
    torch.testing.assert_close(solution.last.hyper, analytic.detach(), rtol=1e-6, atol=1e-8)
    assert solution.value < 0.5 * solution.history[0].value


def test_the_value_of_the_feature_map_approaches_the_exact_one_with_t():
    """Figure 6.3, left: as T grows, f_T approaches f along the optimisation."""
    (X, Y, X_val, Y_val), mu = feature_map_problem()
    H = torch.eye(3, dtype=torch.float64)
    A = X @ H
    w = torch.linalg.solve(A.T @ A + mu * torch.eye(3, dtype=H.dtype), A.T @ Y)
    exact = float((Y_val - X_val @ H @ w).square().sum())
    gaps = [
        abs(
            float(
                bilevel.hypergradient(
                    bilevel.GradientDescent(
                        lambda w, H: (Y - X @ H @ w).square().sum() + mu * w.square().sum(), 0.01
                    ),
                    lambda w, H: (Y_val - X_val @ H @ w).square().sum(),
                    torch.zeros(3, 2, dtype=torch.float64),
                    H,
                    T,
                ).value
            )
            - exact
        )
        for T in (1, 4, 16, 64, 256)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-3 * gaps[0]


# Problem (6.4)-(6.5): tuning η against E can undo the inner problem.


HORIZONS = np.array([10, 20, 30, 40, 50])


def figure_6_4(n_outer: int) -> bilevel.Solution:
    """All horizons at once: w̄ = -2, λ_0 = ½, η_0 = 0.1, outer steps of 0.03 by plain SGD."""
    last = torch.tensor(HORIZONS)

    def inner(w: Tensor, hyper: dict[str, Tensor]) -> Tensor:
        return 0.5 * ((w - hyper["lam"]) ** 2).sum()

    def outer(w: Tensor, hyper: dict[str, Tensor]) -> Tensor:
        return (hyper["lam"] ** 2 - (w - 0.5 * hyper["lam"]) ** 2).sum()

    def full(x: float) -> Tensor:
        return torch.full((len(HORIZONS),), x, dtype=torch.float64)

    return bilevel.solve(
        bilevel.GradientDescent(inner, lambda hyper, t: hyper["lr"] * (t < last)),
        outer,
        full(-2.0),
        {"lam": full(0.5), "lr": full(0.1)},
        max(HORIZONS).item(),
        n_outer=n_outer,
        optimizer=functools.partial(torch.optim.SGD, lr=0.03),
        projection={"lam": projections.box(-10, 10), "lr": projections.non_negative()},
    )


def figure_6_4_by_hand(n_outer: int) -> tuple[np.ndarray, np.ndarray]:
    """The same by w_T = λ + (1-η)^T (w̄ - λ)."""
    T, bar = HORIZONS, -2.0
    lam, eta = np.full(5, 0.5), np.full(5, 0.1)
    for _ in range(n_outer):
        r = (1 - eta) ** T
        e = -2 * (lam + r * (bar - lam) - 0.5 * lam)  # ∂E/∂w
        by_lam = 2 * lam - 0.5 * e + e * (1 - r)
        by_eta = -e * T * (1 - eta) ** (T - 1) * (bar - lam)
        lam, eta = lam - 0.03 * by_lam, np.maximum(eta - 0.03 * by_eta, 0)
    return lam, eta


def test_tuning_the_step_size_as_well_follows_the_closed_form():
    solution = figure_6_4(40)
    lam, eta = figure_6_4_by_hand(40)
    torch.testing.assert_close(
        solution.last.hyper,
        {"lam": torch.tensor(lam), "lr": torch.tensor(eta)},
        rtol=1e-9,
        atol=1e-12,
    )
    assert eta[:2].tolist() == [0, 0], "short horizons have found their way out"


@pytest.mark.slow
def test_figure_6_4():
    found = figure_6_4(3000).last.hyper
    assert found["lr"][:4].tolist() == [0, 0, 0, 0]
    assert float(found["lr"][4]) == pytest.approx(0.13, abs=0.005)
    assert bool((found["lam"][:4] > 1).all())  # λ no longer goes to 0, the minimiser of f
    assert abs(float(found["lam"][4])) < 0.01
