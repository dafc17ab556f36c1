"""Batches of tasks and folds by vmap, against loops over them and closed forms."""

import functools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lds import bilevel
from lds._random import mix
from tests.problems import scalar

# The same float64 sums, batched in another order.
CLOSE = {"rtol": 1e-10, "atol": 1e-13}
N, D = 12, 3


def data(seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, D))
    return torch.tensor(X), torch.tensor(X @ [1.0, -2.0, 0.5] + rng.standard_normal(N))


def ridge_losses(X: Tensor, y: Tensor):
    def inner(w: Tensor, lam: Tensor, fold: dict[str, Tensor]) -> Tensor:
        fit = bilevel.weighted_mean((X @ w - y).square(), fold["train"])
        return fit + lam * w.square().sum()

    def outer(w: Tensor, lam: Tensor, fold: dict[str, Tensor]) -> Tensor:
        return bilevel.weighted_mean((X @ w - y).square(), fold["validation"])

    return inner, outer


@pytest.mark.parametrize("method", [bilevel.Reverse(), bilevel.Forward()], ids=["rev", "fwd"])
def test_all_folds_at_once_equal_a_loop_over_folds(method):
    """The loop trains each fold alone on the rows it keeps, and knows no weights or vmap."""
    X, y = data()
    folds = bilevel.k_folds(N, 4, seed=1, dtype=torch.float64)
    inner, outer = bilevel.over_tasks(*ridge_losses(X, y), folds)
    w, lam = bilevel.stacked(torch.zeros(D, dtype=torch.float64), 4), scalar(0.1)
    result = bilevel.hypergradient(
        bilevel.Momentum(inner, 0.1, 0.5), outer, w, lam, 7, method=method
    )
    values, grads = [], []
    for k in range(4):
        held = folds["validation"][k].bool()
        train, held_out = (X[~held], y[~held]), (X[held], y[held])

        def alone(w, lam, data=train):
            return (data[0] @ w - data[1]).square().mean() + lam * w.square().sum()

        one = bilevel.hypergradient(
            bilevel.Momentum(alone, 0.1, 0.5),
            lambda w, lam, data=held_out: (data[0] @ w - data[1]).square().mean(),
            torch.zeros(D, dtype=torch.float64),
            lam,
            7,
        )
        values.append(one.value)
        grads.append(one.grad)
        torch.testing.assert_close(result.state["params"][k], one.state["params"], **CLOSE)
    torch.testing.assert_close(result.value, torch.stack(values).mean(), **CLOSE)
    torch.testing.assert_close(result.grad, torch.stack(grads).mean(), **CLOSE)


def test_leave_one_out_of_ridge_has_its_closed_form():
    """Residuals without row i are r_i / (1 - h_i), h the hat matrix's diagonal (PRESS)."""
    X, y = data()
    lam = 0.2
    folds = bilevel.k_folds(N, N, dtype=torch.float64)

    # Sums, so that the penalty weighs the same with a row less.
    def inner(w, lam, fold):
        return (fold["train"] * (X @ w - y).square()).sum() / N + lam * w.square().sum()

    inner, outer = bilevel.over_tasks(inner, ridge_losses(X, y)[1], folds)
    w = bilevel.stacked(torch.zeros(D, dtype=torch.float64), N)

    def press(lam: Tensor) -> Tensor:
        hat = X @ torch.linalg.solve(X.T @ X + N * lam * torch.eye(D, dtype=X.dtype), X.T)
        return ((y - hat @ y) / (1 - hat.diagonal())).square().mean()

    at = scalar(lam).requires_grad_()
    value = press(at)
    (grad,) = torch.autograd.grad(value, at)
    for method in (bilevel.Reverse(), bilevel.ConjugateGradient(N * D)):
        result = bilevel.hypergradient(
            bilevel.GradientDescent(inner, 0.3), outer, w, scalar(lam), 120, method=method
        )
        torch.testing.assert_close(result.value, value.detach(), rtol=1e-8, atol=0)
        torch.testing.assert_close(result.grad, grad, rtol=1e-7, atol=0)


def test_one_fold_at_random_an_outer_iteration():
    """Each iteration is that fold alone; over many, the mean over folds."""
    X, y = data()
    folds = bilevel.k_folds(N, 4, dtype=torch.float64)
    order = torch.randint(4, (12,), generator=torch.Generator().manual_seed(0)).tolist()
    assert set(order) == {0, 1, 2, 3}
    losses = ridge_losses(X, y)

    def episode(k):
        inner, outer = bilevel.over_tasks(*losses, bilevel.task_at(folds, order[k]))
        return bilevel.GradientDescent(inner, 0.1), outer

    w = bilevel.stacked(torch.zeros(D, dtype=torch.float64), 1)
    still = functools.partial(torch.optim.SGD, lr=0.0)
    solution = bilevel.solve(
        episode, None, w, scalar(0.1), 5, n_outer=12, optimizer=still, keep="last"
    )
    inner, outer = bilevel.over_tasks(*losses, folds)
    whole = bilevel.hypergradient(
        bilevel.GradientDescent(inner, 0.1),
        outer,
        bilevel.stacked(torch.zeros(D, dtype=torch.float64), 4),
        scalar(0.1),
        5,
    )
    by_fold = {k: r.value for k, r in zip(order, solution.history, strict=True)}
    for k, record in zip(order, solution.history, strict=True):
        assert record.value == by_fold[k]
    assert np.mean([by_fold[k] for k in range(4)]) == pytest.approx(float(whole.value), rel=1e-10)


@pytest.mark.parametrize(("n_rows", "n_folds"), [(12, 4), (10, 3), (5, 5), (2, 2)])
def test_folds_share_the_rows_out(n_rows, n_folds):
    folds = bilevel.k_folds(n_rows, n_folds, seed=3)
    train, held = folds["train"], folds["validation"]
    assert train.shape == held.shape == (n_folds, n_rows)
    assert torch.equal(train + held, torch.ones(n_folds, n_rows))
    assert torch.equal(held.sum(0), torch.ones(n_rows))
    sizes = held.sum(1)
    assert float(sizes.max() - sizes.min()) <= 1
    again = bilevel.k_folds(n_rows, n_folds, seed=3)["validation"]
    assert torch.equal(again, held)
    seeds = {tuple(bilevel.k_folds(12, 4, seed=s)["validation"].flatten().tolist()) for s in (1, 2)}
    assert len(seeds) == 2


def test_a_batch_of_tasks_that_learn_a_representation_equals_a_loop():
    """Algorithm 5: shared first layer as hyperparameters, a head a task; MAML's start beside."""
    rng = np.random.default_rng(1)
    tasks = {
        "x": torch.tensor(rng.standard_normal((5, 8, 4))),
        "y": torch.tensor(rng.standard_normal((5, 8))),
    }
    hyper = {
        "shared": torch.tensor(rng.standard_normal((4, 3))),
        "head": torch.tensor(rng.standard_normal(3)),
    }

    def loss(w, hyper, task, rows):
        return (torch.tanh(task["x"][rows] @ hyper["shared"]) @ w - task["y"][rows]).square().mean()

    def inner(w, hyper, task):
        return loss(w, hyper, task, slice(0, 5))

    def outer(w, hyper, task):
        return loss(w, hyper, task, slice(5, 8))

    batch = bilevel.over_tasks(inner, outer, tasks)
    zeros = torch.zeros(3, dtype=torch.float64)
    result = bilevel.hypergradient(
        bilevel.GradientDescent(
            batch[0], 0.2, start=lambda params, hyper: bilevel.stacked(hyper["head"], 5)
        ),
        batch[1],
        bilevel.stacked(zeros, 5),
        hyper,
        4,
    )
    singles = []
    for k in range(5):
        task = {name: value[k] for name, value in tasks.items()}
        singles.append(
            bilevel.hypergradient(
                bilevel.GradientDescent(
                    lambda w, hyper, task=task: inner(w, hyper, task),
                    0.2,
                    start=lambda params, hyper: hyper["head"],
                ),
                lambda w, hyper, task=task: outer(w, hyper, task),
                zeros,
                hyper,
                4,
            )
        )
    value = torch.stack([s.value for s in singles]).mean()
    torch.testing.assert_close(result.value, value, **CLOSE)
    for name in hyper:
        mean = torch.stack([s.grad[name] for s in singles]).mean(0)
        torch.testing.assert_close(result.grad[name], mean, **CLOSE)


def test_tasks_draw_for_themselves_and_may_ask_for_the_step():
    seen = []

    def inner(w, lam, task, step):
        seen.append(step)
        return lam * (w * nn.functional.dropout(torch.ones(50, dtype=torch.float64)) * task).sum()

    batch = bilevel.over_tasks(inner, lambda w, lam, task: w.sum(), torch.ones(3).double())
    result = bilevel.hypergradient(
        bilevel.GradientDescent(batch[0], 1.0),
        batch[1],
        torch.zeros(3, 50, dtype=torch.float64),
        scalar(1.0),
        2,
    )
    moved = result.state["params"]
    assert len({tuple(row.tolist()) for row in moved}) == 3
    assert set(seen) == {0, 1}
    # E = -λ Σ masks, so its slope is E/λ: backwards, the masks of forwards were met
    torch.testing.assert_close(result.grad, result.value, **CLOSE)


GOALS = torch.tensor([[1.0, 2.0], [30.0, -9.0], [0.1, 0.2]], dtype=torch.float64)


def distance(w: dict[str, Tensor], lam: Tensor, goal: Tensor) -> Tensor:
    return (w["a"] - goal).square().sum() + lam * (w["b"] - goal[0]).square()


def far(w: dict[str, Tensor], lam: Tensor, goal: Tensor) -> Tensor:
    return w["a"].square().sum() + w["b"] * lam


def clipped(goal: Tensor, lam: float) -> tuple[float, Tensor]:
    """E of one task after plain training with torch.optim, and its weights."""
    a, b = torch.zeros(2, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    w = {"a": a.requires_grad_(), "b": b.requires_grad_()}
    optimizer = torch.optim.SGD(w.values(), lr=0.1)
    for _ in range(6):
        optimizer.zero_grad()
        distance(w, lam, goal).backward()
        torch.nn.utils.clip_grad_norm_(w.values(), 2.0)
        optimizer.step()
    return float(far(w, lam, goal).detach()), w["a"].detach()


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("method", [bilevel.Reverse(), bilevel.Forward()], ids=["rev", "fwd"])
def test_the_gradient_of_each_task_is_limited_alone(method, wrapped):
    inner, outer = bilevel.over_tasks(distance, far, GOALS)
    one = {"a": torch.zeros(2, dtype=torch.float64), "b": scalar(0.5)}
    result = bilevel.hypergradient(
        bilevel.GradientDescent(
            (lambda w, h, step: inner(w, h, step)) if wrapped else inner, 0.1, max_grad_norm=2.0
        ),
        outer,
        bilevel.stacked(one, 3),
        scalar(0.7),
        6,
        method,
    )
    alone = [clipped(goal, 0.7) for goal in GOALS]
    torch.testing.assert_close(result.state["params"]["a"], torch.stack([a for _, a in alone]))
    e = 1e-6
    slope = sum(clipped(g, 0.7 + e)[0] - clipped(g, 0.7 - e)[0] for g in GOALS) / (2 * e * 3)
    assert float(result.grad) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("method", [bilevel.Reverse(), bilevel.Forward()], ids=["rev", "fwd"])
def test_a_limited_gradient_keeps_the_dtype_of_each_leaf(method):
    def loss(w, lam, goal):
        return lam * (w["a"].double() + w["b"] - goal[0]).square().sum()

    inner, outer = bilevel.over_tasks(loss, loss, GOALS)
    params = {"a": torch.zeros(3, 2), "b": torch.zeros(3, 2, dtype=torch.float64)}
    dynamics = bilevel.GradientDescent(inner, 0.1, max_grad_norm=0.5)
    state = bilevel.hypergradient(dynamics, outer, params, scalar(0.7), 2, method).state
    assert [leaf.dtype for leaf in state["params"].values()] == [torch.float32, torch.float64]
    torch.testing.assert_close(state["params"]["a"].double(), state["params"]["b"])


def test_a_run_rests_when_every_task_rests():
    """The first task moves little beside the weights of the second."""
    inner, outer = bilevel.over_tasks(
        lambda w, lam, task: 0.5 * (w - task["goal"]).square() * task["speed"] * lam,
        lambda w, lam, task: w.square(),
        {
            "goal": torch.tensor([1.0, 1e6], dtype=torch.float64),
            "speed": torch.tensor([0.1, 1.0], dtype=torch.float64),
        },
    )
    result = bilevel.hypergradient(
        bilevel.GradientDescent(inner, 1.0),
        outer,
        torch.tensor([0.5, 1e6], dtype=torch.float64),
        scalar(1.0),
        500,
        inner_tol=1e-3,
    )
    w, n, still = 0.5, 0, False  # the first task alone
    while not still:
        move = 0.1 * (1 - w)
        w, n, still = w + move, n + 1, abs(move) <= 1e-3 * abs(w)
    assert result.step == n


@pytest.mark.parametrize("keep", ["best", "last", "averaged"])
def test_the_number_of_tasks_may_change_from_iteration_to_iteration(keep):
    """Two steps from w_0 = λ give w = g + (λ - g)/4 for the goal g of a task."""

    def goals(k):
        return torch.arange(3 - k % 2, dtype=torch.float64)

    def episode(k):
        inner, outer = bilevel.over_tasks(
            lambda w, lam, goal: 0.5 * (w - goal) ** 2,
            lambda w, lam, goal: (w - goal) ** 2,
            goals(k),
        )
        start = lambda params, lam: bilevel.stacked(lam, len(goals(k)))  # noqa: E731
        return bilevel.GradientDescent(inner, 0.5, start=start), outer

    sgd = functools.partial(torch.optim.SGD, lr=1.0)
    solution = bilevel.solve(episode, None, {}, scalar(3.0), 2, n_outer=4, keep=keep, optimizer=sgd)
    lam = scalar(3.0)
    for k, record in enumerate(solution.history):
        assert record.value == pytest.approx(float((lam - goals(k)).square().mean() / 16))
        lam = lam - 2 / 16 * (lam - goals(k).mean())
    torch.testing.assert_close(solution.last.hyper, lam)


@pytest.mark.parametrize("which", ["inner_objective", "outer_objective"])
def test_a_loss_of_a_task_that_is_no_scalar_is_refused(which):
    right, wrong = lambda w, h, t: ((w - h * t) ** 2).sum(), lambda w, h, t: (w - h * t) ** 2
    both = (wrong, right) if which.startswith("inner") else (right, wrong)
    inner, outer = bilevel.over_tasks(*both, torch.ones(3))
    with pytest.raises(ValueError, match=rf"{which} must return a scalar .* each task, got \(2,\)"):
        bilevel.hypergradient(
            bilevel.GradientDescent(inner, 0.1), outer, torch.zeros(3, 2), torch.tensor(1.0), 2
        )


def test_a_limit_of_the_gradient_with_weights_that_tasks_share_is_refused():
    inner, outer = bilevel.over_tasks(lambda w, h, t: (w - h * t) ** 2, lambda w, h, t: w, GOALS[0])
    dynamics = bilevel.GradientDescent(
        lambda w, h, step: inner(w["own"], h * w["shared"], step), 0.1, max_grad_norm=1.0
    )
    weights = {"own": torch.zeros(2), "shared": torch.tensor(1.0)}
    with pytest.raises(ValueError, match=r"params\['shared'\] must have 2 slices, one a task"):
        bilevel.hypergradient(
            dynamics, lambda w, h, step: outer(w["own"], h, step), weights, torch.tensor(1.0), 2
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bilevel.k_folds(5, 1), r"n_folds must be in \[2, n_rows = 5\], got 1"),
        (lambda: bilevel.k_folds(5, 6), r"n_folds must be in \[2, n_rows = 5\], got 6"),
        (lambda: bilevel.task_at(torch.zeros(3, 1), 3), r"k must be in \[0, 3\), .* got 3"),
        (lambda: bilevel.task_at(torch.zeros(3, 1), -1), r"k must be in \[0, 3\), .* got -1"),
        (
            lambda: bilevel.over_tasks(
                lambda w, h, t: w, lambda w, h, t: w, {"x": torch.zeros(3), "y": torch.zeros(4)}
            ),
            r"all of one length, got .*\['x'\].*3.*\['y'\].*4",
        ),
        (
            lambda: bilevel.over_tasks(lambda w, h, t: w, lambda w, h, t: w, torch.tensor(1.0)),
            "one slice a task",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def drawn_task(k: int, place: int):
    """A task with its own number of rows, drawn noise in the loss, and its own start."""
    g = torch.Generator().manual_seed(10 * k + place)
    X = torch.randn(5 + place, D, generator=g)
    y = X @ torch.tensor([1.0, -2.0, 0.5]) + torch.randn(5 + place, generator=g)

    def inner(w, lam):
        noisy = X + 0.1 * torch.randn(X.shape)
        return (noisy @ w - y).square().mean() + lam["decay"].exp() * w.square().sum()

    def outer(w, lam):
        return (X @ w - y + lam["shift"]).square().mean()

    return bilevel.Momentum(inner, lr=0.05), outer, torch.randn(D, generator=g)


def episode(k: int):
    return [drawn_task(k, place) for place in range(3)]


@pytest.mark.ci
def test_tasks_in_processes_are_those_in_this_one_bit_for_bit():
    hyper = {"decay": torch.tensor(-2.0), "shift": torch.tensor([0.3])}

    def solved(n_jobs):
        mean = bilevel.separate_tasks(episode, 4, seed=3, n_jobs=n_jobs)
        return bilevel.solve_black_box(mean, hyper, n_outer=3, keep="last")

    one, two = solved(None), solved(2)
    assert [r.value for r in one.history] == [r.value for r in two.history]
    for name in hyper:
        assert torch.equal(one.last.hyper[name], two.last.hyper[name])


def test_the_mean_over_separate_tasks_is_that_of_their_hypergradients():
    hyper = {"decay": torch.tensor(-2.0), "shift": torch.tensor([0.3])}
    value, grad = bilevel.separate_tasks(episode, 4, seed=3)(hyper, 1)
    found = [
        bilevel.hypergradient(*drawn_task(1, place), hyper, 4, seed=mix(3, 1, place))
        for place in range(3)
    ]
    assert value == torch.stack([one.value for one in found]).mean()
    for name in hyper:
        torch.testing.assert_close(grad[name], sum(one.grad[name] for one in found) / 3)


def test_an_episode_without_tasks_is_refused():
    with pytest.raises(ValueError, match="at least one task, got none at iteration 2"):
        bilevel.separate_tasks(lambda k: [], 1)(torch.tensor(0.0), 2)
