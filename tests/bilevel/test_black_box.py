"""The outer loop with a gradient from the caller: exact, or from values of black-box runs."""

import functools
import math

import pytest
import torch

from lds import bilevel, discrete

SGD = functools.partial(torch.optim.SGD, lr=0.1)


def inner(w, lam):
    return 0.5 * ((w - lam["a"]) ** 2).sum() + 0.5 * (lam["b"] * w).square().sum()


def outer(w, lam):
    return ((w - 2) ** 2).sum()


def start():
    return {"a": torch.tensor([0.5, -0.3]).double(), "b": torch.tensor(0.7).double()}


def exact(lam, k):
    dynamics = bilevel.GradientDescent(inner, lr=0.2)
    result = bilevel.hypergradient(dynamics, outer, torch.zeros(2).double(), lam, n_steps=6)
    return result.value, result.grad


def test_with_the_exact_gradient_it_is_solve():
    projection = {"a": None, "b": bilevel.projections.non_negative()}
    options = {"n_outer": 7, "optimizer": SGD, "projection": projection}
    ours = bilevel.solve_black_box(exact, start(), **options)
    theirs = bilevel.solve(
        bilevel.GradientDescent(inner, lr=0.2),
        outer,
        torch.zeros(2).double(),
        start(),
        6,
        **options,
    )
    for key in ("a", "b"):
        assert torch.equal(ours.hyper[key], theirs.hyper[key])
        assert torch.equal(ours.last.hyper[key], theirs.last.hyper[key])
    assert [r.value for r in ours.history] == [r.value for r in theirs.history]
    assert [r.grad_norm for r in ours.history] == [r.grad_norm for r in theirs.history]
    assert ours.reason == theirs.reason == "n_outer"


def test_a_resumed_run_is_the_whole_one(tmp_path):
    adam = functools.partial(torch.optim.Adam, lr=0.1)
    whole = bilevel.solve_black_box(exact, start(), n_outer=6, optimizer=adam)
    for n in (2, 6):
        parts = bilevel.solve_black_box(
            exact, start(), n_outer=n, optimizer=adam, checkpoint=tmp_path, resume=True
        )
    assert torch.equal(parts.last.hyper["a"], whole.last.hyper["a"])
    assert [r.value for r in parts.history] == [r.value for r in whole.history]


@pytest.mark.parametrize("estimator", [discrete.score_function, discrete.disarm])
def test_a_training_without_derivatives_is_tuned(estimator):
    """Three coins decide on columns of a least-squares fit; only its rounded score comes back."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 40, 4, generator=generator).double()
    y = x[..., 0] - 2 * x[..., 2] + 0.1 * torch.randn(2, 40, generator=generator).double()

    def score(mask):
        kept = x[0] * mask
        w = torch.linalg.pinv(kept) @ y[0]
        return round(float((x[1] @ (w * mask) - y[1]).square().mean() + 0.3 * mask.sum()), 3)

    def estimate(probs, k):
        seen = []

        def h(z):
            values = torch.tensor([score(mask) for mask in z]).double()
            seen.append(values)
            return values

        coins, draws = discrete.Bernoulli(probs), torch.Generator().manual_seed(k)
        grad = estimator(coins, h, n_draws=8, generator=draws)
        return torch.cat(seen).mean(), grad

    solution = bilevel.solve_black_box(
        estimate,
        torch.full((4,), 0.5).double(),
        n_outer=60,
        optimizer=functools.partial(torch.optim.SGD, lr=0.02),
        projection=bilevel.projections.box(0.1, 0.9),
        keep="last",
    )
    assert (solution.last.hyper > 0.5).tolist() == [True, False, True, False]


def test_rules_and_callbacks_end_it():
    rule = bilevel.stopping.patience(2, min_delta=1e9)
    assert len(bilevel.solve_black_box(exact, start(), stopping=rule).history) == 3
    ended = bilevel.solve_black_box(exact, start(), callback=lambda record: record.iteration == 1)
    assert (ended.reason, len(ended.history)) == ("callback", 2)


def test_an_estimate_and_what_judges_it_may_take_derivatives():
    def value(lam):
        return ((lam - 2) ** 2).sum()

    def estimate(lam, k):
        lam.requires_grad_()
        found = value(lam)
        return found, torch.autograd.grad(found, lam, create_graph=True)[0]

    def evaluate(lam):
        lam = lam.clone().requires_grad_()
        found = value(lam)
        found.backward()
        return value(lam - 0.1 * lam.grad)

    run = functools.partial(bilevel.solve_black_box, hyper=torch.zeros(2), n_outer=4, optimizer=SGD)
    plain = run(lambda lam, k: (value(lam), 2 * (lam - 2)))
    for keep in ("best", "last", "averaged"):
        found = run(estimate, keep=keep)
        torch.testing.assert_close(found.last.hyper, plain.last.hyper)
        assert not found.hyper.requires_grad
        judged = run(estimate, keep=keep, evaluate=evaluate)
        assert judged.value == pytest.approx(0.64 * float(value(judged.hyper)))


@pytest.mark.parametrize("at", range(2))
def test_an_estimate_that_changes_its_argument_is_refused(at):
    def estimate(lam, k):
        if k == at:
            lam["b"].mul_(1.5)
        return exact(lam, k)

    with pytest.raises(
        RuntimeError, match=r"estimate changed hyper\['b'\] in place; it must leave"
    ):
        bilevel.solve_black_box(estimate, start())


def test_errors():
    for value, grad, message in [
        (1.0, {"a": torch.zeros(2)}, "must return a gradient like hyper, .* got"),
        (1.0, {"a": torch.zeros(3), "b": torch.zeros(())}, r"of shape \(2,\) for hyper.*a.*\(3,\)"),
        (1.0, {"a": [0.0, 0.0], "b": torch.zeros(())}, "must return a gradient like hyper"),
    ]:
        with pytest.raises(ValueError, match=message):
            bilevel.solve_black_box(lambda lam, k, v=value, g=grad: (v, g), start(), n_outer=1)
    with pytest.raises(bilevel.NonFiniteError, match="the outer value holds nan"):
        bilevel.solve_black_box(lambda lam, k: (math.nan, start()), start())
    with pytest.raises(ValueError, match="n_outer must be at least 1, got 0"):
        bilevel.solve_black_box(exact, start(), n_outer=0)


def test_a_later_value_that_is_not_finite_ends_the_loop_with_what_it_has():
    def estimate(lam, k):
        value, grad = exact(lam, k)
        return (value if k < 3 else math.inf), grad

    solution = bilevel.solve_black_box(estimate, start(), optimizer=SGD)
    assert len(solution.history) == 3
    assert solution.reason.startswith("non-finite: the outer value holds inf at outer iteration 3")
