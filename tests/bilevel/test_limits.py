"""What ends an inner run and an outer loop early, and schedules of the outer learning rate."""

import functools

import numpy as np
import pytest
import torch

from lds import bilevel
from lds.bilevel import loop
from tests.problems import scalar

DESCENT = bilevel.GradientDescent(lambda w, h: 0.5 * (w - h) ** 2, 0.5)  # w - λ halves every step
SCHEDULERS = torch.optim.lr_scheduler


def judged(w, h):
    return 0.5 * (w - 3) ** 2


def solved(n_outer=5, n_steps=3, **options):
    options = {"keep": "last"} | options
    return bilevel.solve(
        DESCENT, judged, scalar(0.0), scalar(1.0), n_steps, n_outer=n_outer, **options
    )


# Time limit


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(loop, "monotonic", lambda: now[0])
    return now


def test_no_iteration_begins_after_the_time_limit(clock):
    def callback(record):
        clock[0] += 2.0

    solution = solved(n_outer=50, time_limit=5.0, callback=callback)
    assert solution.reason == "time_limit"
    assert len(solution.history) == 3  # they end at 2, 4 and 6 seconds
    whole = solved(n_outer=3)
    assert torch.equal(solution.last.hyper, whole.last.hyper)


def test_a_loop_that_is_complete_or_stopped_says_so_whatever_the_time(clock):
    def callback(record):
        clock[0] += 10.0

    assert solved(n_outer=1, time_limit=5.0, callback=callback).reason == "n_outer"
    rule = bilevel.stopping.tolerance(1e9)
    assert solved(time_limit=5.0, callback=callback, stopping=rule).reason == "tolerance"


def test_each_call_has_its_own_time_limit_so_a_resumed_run_goes_on(clock, tmp_path):
    def callback(record):
        clock[0] += 2.0

    options = {"time_limit": 3.0, "callback": callback, "checkpoint": tmp_path}
    assert len(solved(n_outer=5, **options).history) == 2
    assert len(solved(n_outer=5, resume=True, **options).history) == 4
    last = solved(n_outer=5, resume=True, **options)
    assert last.reason == "n_outer"
    assert torch.equal(last.last.hyper, solved(n_outer=5).last.hyper)


def test_online_and_black_box_too(clock):
    def callback(record):
        clock[0] += 2.0

    options = {"time_limit": 3.0, "callback": callback}
    online = bilevel.solve_online(DESCENT, judged, scalar(0.0), scalar(1.0), 50, **options)
    assert (online.reason, len(online.history)) == ("time_limit", 2)
    box = bilevel.solve_black_box(lambda h, k: (h**2, 2 * h), scalar(1.0), **options)
    assert (box.reason, len(box.history)) == ("time_limit", 2)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_a_time_limit_out_of_range(bad):
    with pytest.raises(ValueError, match="time_limit must be a positive number of seconds"):
        solved(time_limit=bad)


# Inner tolerance


def steps_by_hand(tol, w, lam, most):
    """Steps of w ← (w + λ)/2 until the move is at most tol |w|."""
    for t in range(most):
        new = 0.5 * (w + lam)
        if abs(new - w) <= tol * abs(w):
            return t + 1
        w = new
    return most


@pytest.mark.parametrize("method", [bilevel.Reverse(), bilevel.Forward(), bilevel.Reverse(3)])
@pytest.mark.parametrize("tol", [0.3, 1e-2, 1e-5])
def test_the_gradient_is_that_of_the_steps_taken(tol, method):
    """dw_T/dλ = 1 - 2^-T over T steps; a truncation to the last K of them has 1 - 2^-K."""
    result = bilevel.hypergradient(
        DESCENT, judged, scalar(4.0), scalar(1.0), 60, method, inner_tol=tol
    )
    taken = steps_by_hand(tol, 4.0, 1.0, 60)
    assert 1 <= taken < 60
    assert result.step == taken
    w = 1.0 + 3.0 * 0.5**taken
    swept = min(taken, getattr(method, "truncation", None) or taken)
    assert float(result.value) == pytest.approx(0.5 * (w - 3) ** 2, rel=1e-12)
    assert float(result.grad) == pytest.approx((w - 3) * (1 - 0.5**swept), rel=1e-12)


def test_too_few_steps_end_the_run_as_ever():
    result = bilevel.hypergradient(DESCENT, judged, scalar(4.0), scalar(1.0), 2, inner_tol=1e-9)
    assert result.step == 2
    assert bilevel.run(DESCENT, scalar(4.0), scalar(1.0), 60, inner_tol=1e-2).losses == [
        pytest.approx(0.5 * (3.0 * 0.5**t) ** 2) for t in range(steps_by_hand(1e-2, 4.0, 1.0, 60))
    ]


def test_an_implicit_method_is_exact_to_the_tolerance():
    result = bilevel.hypergradient(
        DESCENT, judged, scalar(4.0), scalar(1.0), 200, bilevel.FixedPoint(60), inner_tol=1e-12
    )
    assert result.step < 60
    assert float(result.grad) == pytest.approx(1.0 - 3, rel=1e-10)


def test_in_solve_each_run_ends_by_itself():
    """A warm start is nearer to the solution, so later runs take fewer steps."""
    seen = []
    descent = bilevel.GradientDescent(
        lambda w, h, step: seen.append(step) or 0.5 * (w - h) ** 2, 0.5
    )
    solution = bilevel.solve(
        descent,
        judged,
        scalar(4.0),
        scalar(1.0),
        60,
        method=bilevel.FixedPoint(30),
        n_outer=4,
        inner_tol=1e-3,
        warm_start="params",
        keep="last",
        optimizer=functools.partial(torch.optim.SGD, lr=1e-3),
    )
    w = 4.0
    for record in solution.history:
        lam = float(record.hyper)
        taken = steps_by_hand(1e-3, w, lam, 60)
        w = lam + (w - lam) * 0.5**taken
        assert record.value == pytest.approx(0.5 * (w - 3) ** 2, rel=1e-12)
    assert max(seen) < 20


def test_averages_are_evaluated_after_the_steps_of_their_own_run():
    steps = []

    def outer(w, h, step):
        steps.append(step)
        return 0.5 * (w - 3) ** 2

    solution = bilevel.solve(
        DESCENT, outer, scalar(4.0), scalar(1.0), 60, n_outer=3, inner_tol=1e-2, keep="averaged"
    )
    taken = steps_by_hand(1e-2, 4.0, float(solution.hyper), 60)
    lam = float(solution.hyper)
    assert steps[-1] == taken
    assert float(solution.params) == pytest.approx(lam + (4.0 - lam) * 0.5**taken, rel=1e-12)


def test_a_resumed_run_with_a_tolerance_is_the_uninterrupted(tmp_path):
    options = {"inner_tol": 1e-2, "warm_start": "state", "n_steps": 30}
    solved(2, checkpoint=tmp_path, **options)
    again = solved(5, checkpoint=tmp_path, resume=True, **options)
    assert torch.equal(again.last.hyper, solved(5, **options).last.hyper)


def test_checkpoints_of_states_must_know_the_number_of_steps():
    with pytest.raises(ValueError, match="must know n_steps in advance"):
        bilevel.hypergradient(
            DESCENT,
            judged,
            scalar(4.0),
            scalar(1.0),
            9,
            bilevel.Reverse(checkpoint=2),
            inner_tol=1e-2,
        )


@pytest.mark.parametrize("bad", [-1e-3, 1.0, float("nan")])
def test_a_tolerance_out_of_range(bad):
    for call in (
        lambda: solved(inner_tol=bad),
        lambda: bilevel.run(DESCENT, scalar(1.0), scalar(1.0), 2, inner_tol=bad),
        lambda: bilevel.hypergradient(DESCENT, judged, scalar(1.0), scalar(1.0), 2, inner_tol=bad),
    ):
        with pytest.raises(ValueError, match=r"inner_tol must be in \[0, 1\)"):
            call()


# Schedules of the outer learning rate


def sgd(lr):
    return functools.partial(torch.optim.SGD, lr=lr)


def test_every_step_has_the_rate_of_the_schedule():
    """One inner step from 0: w = λ/2, f' = (λ/2 - 3)/2; the rate is 0.8 · 0.5^⌊k/2⌋."""
    solution = solved(
        n_outer=7,
        n_steps=1,
        optimizer=sgd(0.8),
        scheduler=functools.partial(SCHEDULERS.StepLR, step_size=2, gamma=0.5),
    )
    lam = 1.0
    for k, record in enumerate(solution.history):
        assert float(record.hyper) == pytest.approx(lam, rel=1e-13)
        lam -= 0.8 * 0.5 ** (k // 2) * 0.5 * (lam / 2 - 3)
    assert float(solution.last.hyper) == pytest.approx(lam, rel=1e-13)


def test_a_plateau_of_the_outer_value_lowers_the_rate():
    """E is constant: each second iteration without improvement halves the rate."""
    solution = bilevel.solve(
        DESCENT,
        lambda w, h: 0 * w + (h - h.detach()) + 1,
        scalar(0.0),
        scalar(0.0),
        1,
        n_outer=6,
        keep="last",
        optimizer=sgd(1.0),
        scheduler=functools.partial(SCHEDULERS.ReduceLROnPlateau, factor=0.5, patience=1),
    )
    moves = [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]
    places = [0.0, *(-sum(moves[: k + 1]) for k in range(5))]
    assert [float(r.hyper) for r in solution.history] == pytest.approx(places)


FACTORIES = {
    "step": functools.partial(SCHEDULERS.StepLR, step_size=2, gamma=0.5),
    "milestones": functools.partial(SCHEDULERS.MultiStepLR, milestones=[2, 5]),
    "cosine": functools.partial(SCHEDULERS.CosineAnnealingLR, T_max=9),
    "restarts": functools.partial(SCHEDULERS.CosineAnnealingWarmRestarts, T_0=3),
    "one cycle": functools.partial(SCHEDULERS.OneCycleLR, max_lr=0.5, total_steps=12),
    "plateau": functools.partial(SCHEDULERS.ReduceLROnPlateau, factor=0.5, patience=0),
    "function": functools.partial(SCHEDULERS.LambdaLR, lr_lambda=lambda k: 1 / (k + 1)),
    "sequence": lambda optimizer: SCHEDULERS.SequentialLR(
        optimizer,
        [
            SCHEDULERS.LinearLR(optimizer, 0.1, total_iters=3),
            SCHEDULERS.ExponentialLR(optimizer, 0.9),
        ],
        milestones=[3],
    ),
}


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("loop", ["solve", "online", "black box"])
def test_a_resumed_schedule_is_the_uninterrupted(loop, name, tmp_path):
    common = {
        "optimizer": functools.partial(torch.optim.SGD, lr=0.3, momentum=0.5),
        "scheduler": FACTORIES[name],
    }

    def run(n, **options):
        options = common | options
        if loop == "solve":
            return solved(n, **options)
        if loop == "online":
            return bilevel.solve_online(
                DESCENT,
                judged,
                scalar(0.0),
                scalar(1.0),
                8,
                save_every=1,
                callback=lambda record: record.iteration == n,
                **options,
            )
        return bilevel.solve_black_box(
            lambda h, k: ((h - 3) ** 2, 2 * (h - 3)), scalar(1.0), n_outer=n, **options
        )

    run(4, checkpoint=tmp_path)
    again, whole = run(8, checkpoint=tmp_path, resume=True), run(8)
    assert [r.value for r in again.history] == [r.value for r in whole.history]
    assert torch.equal(again.last.hyper, whole.last.hyper)
    plain = run(8, scheduler=None)
    assert not torch.equal(plain.last.hyper, whole.last.hyper)


def test_another_schedule_is_another_run(tmp_path):
    solved(2, scheduler=FACTORIES["step"], checkpoint=tmp_path)
    other = functools.partial(SCHEDULERS.StepLR, step_size=3, gamma=0.5)
    for scheduler in (other, None, FACTORIES["cosine"]):
        with pytest.raises(ValueError, match="is of another run"):
            solved(3, scheduler=scheduler, checkpoint=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (SCHEDULERS.StepLR(torch.optim.SGD([scalar(0.0)], lr=1.0), 2), "scheduler must make"),
        (lambda optimizer: optimizer, "scheduler must make .* got Adam"),
        (
            lambda optimizer: SCHEDULERS.StepLR(torch.optim.SGD([scalar(0.0)], lr=1.0), 2),
            "must schedule the optimiser it is called with",
        ),
    ],
)
def test_a_scheduler_that_is_none(bad, message):
    with pytest.raises(TypeError, match=message):
        solved(scheduler=bad)


@pytest.mark.parametrize("true", [True, np.bool_(True), torch.tensor(True)])
def test_a_callback_that_returns_true_ends_the_loop(true):
    solution = solved(callback=lambda record: true if record.iteration == 1 else None)
    assert (solution.reason, len(solution.history)) == ("callback", 2)


@pytest.mark.parametrize("other", [1, 0.5, "yes", torch.tensor(1.0), np.bool_(False), [True]])
def test_a_callback_that_returns_something_else_does_not(other):
    assert solved(n_outer=2, callback=lambda record: other).reason == "n_outer"


def test_an_interval_beyond_the_training_is_refused():
    with pytest.raises(ValueError, match="interval must be at most n_steps=5, got 9"):
        bilevel.solve_online(DESCENT, judged, scalar(0.0), scalar(1.0), 5, interval=9)
    assert len(
        bilevel.solve_online(DESCENT, judged, scalar(0.0), scalar(1.0), 5, interval=5).history
    )
