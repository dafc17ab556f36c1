"""Reverse-HG (Algorithm 2) against one call of autograd through the unrolled loop.

The references are written out here: plain loops over torch operations that share with the library
nothing but the seed of each step.
"""

import contextlib
import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lds import bilevel
from lds._random import mix
from lds.bilevel.tensors import tree_map
from tests.problems import PROBLEMS, ridge_data, scalar

T = 8
# Two sums of the same float64 terms in another order.
EXACT = {"rtol": 1e-10, "atol": 1e-13}


def data():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(24, 4, dtype=torch.float64, generator=generator)
    return X, torch.sin(X.sum(1, keepdim=True))


def first_weights():
    generator = torch.Generator().manual_seed(1)
    shapes = {"W": (4, 6), "v": (6, 1)}
    return {
        name: torch.randn(shape, dtype=torch.float64, generator=generator)
        for name, shape in shapes.items()
    }


def hyperparameters():
    """All that can be one: weights of examples, of a penalty, settings, a start, a schedule."""
    generator = torch.Generator().manual_seed(2)
    return {
        "examples": torch.rand(12, dtype=torch.float64, generator=generator),
        "decay": [scalar(0.02), scalar(0.05)],
        "settings": (scalar(0.05), scalar(0.7), scalar(0.95)),
        "start": 0.1 * torch.randn(4, 6, dtype=torch.float64, generator=generator),
        "schedule": 1 + 0.3 * torch.randn(T, dtype=torch.float64, generator=generator),
    }


def inner(w, hyper):
    X, y = data()
    error = (torch.tanh(X[:12] @ w["W"]) @ w["v"] - y[:12]).square().squeeze(1)
    penalty = hyper["decay"][0] * w["W"].square().sum() + hyper["decay"][1] * w["v"].square().sum()
    return (hyper["examples"] * error).mean() + penalty


def outer(w, hyper):
    X, y = data()
    error = (torch.tanh(X[12:] @ w["W"]) @ w["v"] - y[12:]).square().mean()
    # The settings enter here, without effect: not every dynamics has use for all three.
    return error + 0.1 * hyper["examples"].square().mean() + 0 * sum(hyper["settings"])


def start(params, hyper):
    return {"W": params["W"] + hyper["start"], "v": params["v"]}


def lr(hyper, step):
    return hyper["settings"][0] * hyper["schedule"][step]


def first(hyper):
    return hyper["settings"][1]


def second(hyper):
    return hyper["settings"][2]


def descent_loop(w, hyper):
    for t in range(T):
        g = torch.autograd.grad(inner(w, hyper), [w["W"], w["v"]], create_graph=True)
        w = {k: p - lr(hyper, t) * gi for (k, p), gi in zip(w.items(), g, strict=True)}
    return w


def momentum_loop(w, hyper, nesterov=False):
    velocity = {k: torch.zeros_like(p) for k, p in w.items()}
    for t in range(T):
        g = torch.autograd.grad(inner(w, hyper), [w["W"], w["v"]], create_graph=True)
        g = dict(zip(w, g, strict=True))
        velocity = {k: first(hyper) * velocity[k] + g[k] for k in w}
        move = {k: g[k] + first(hyper) * velocity[k] for k in w} if nesterov else velocity
        w = {k: w[k] - lr(hyper, t) * move[k] for k in w}
    return w


def adam_loop(w, hyper, decay=lambda hyper: 0.0):
    b1, b2, eps = first(hyper), second(hyper), 1e-8
    m = {k: torch.zeros_like(p) for k, p in w.items()}
    v = {k: torch.zeros_like(p) for k, p in w.items()}
    for t in range(T):
        g = torch.autograd.grad(inner(w, hyper), [w["W"], w["v"]], create_graph=True)
        g = dict(zip(w, g, strict=True))
        m = {k: b1 * m[k] + (1 - b1) * g[k] for k in w}
        v = {k: b2 * v[k] + (1 - b2) * g[k] ** 2 for k in w}
        mean = {k: m[k] / (1 - b1 ** (t + 1)) for k in w}
        root = {k: (v[k] / (1 - b2 ** (t + 1))).sqrt() for k in w}
        w = {k: w[k] * (1 - lr(hyper, t) * decay(hyper)) for k in w}
        w = {k: w[k] - lr(hyper, t) * mean[k] / (root[k] + eps) for k in w}
    return w


def rmsprop_loop(w, hyper):
    alpha, mu = second(hyper), 0.3
    v = {k: torch.zeros_like(p) for k, p in w.items()}
    b = {k: torch.zeros_like(p) for k, p in w.items()}
    for t in range(T):
        g = torch.autograd.grad(inner(w, hyper), [w["W"], w["v"]], create_graph=True)
        g = dict(zip(w, g, strict=True))
        v = {k: alpha * v[k] + (1 - alpha) * g[k] ** 2 for k in w}
        b = {k: mu * b[k] + g[k] / (v[k].sqrt() + 1e-8) for k in w}
        w = {k: w[k] - lr(hyper, t) * b[k] for k in w}
    return w


DYNAMICS = {
    "descent": (bilevel.GradientDescent(inner, lr, start=start), descent_loop),
    "heavy-ball": (bilevel.Momentum(inner, lr, first, start=start), momentum_loop),
    "nesterov": (
        bilevel.Momentum(inner, lr, first, nesterov=True, start=start),
        lambda w, hyper: momentum_loop(w, hyper, nesterov=True),
    ),
    "adam": (bilevel.Adam(inner, lr, (first, second), start=start), adam_loop),
    "adamw": (
        bilevel.AdamW(inner, lr, (first, 0.95), weight_decay=second, start=start),
        lambda w, hyper: adam_loop(
            w, {**hyper, "settings": (*hyper["settings"][:2], 0.95)}, lambda _: second(hyper)
        ),
    ),
    "rmsprop": (
        bilevel.RMSprop(inner, lr, alpha=second, momentum=0.3, start=start),
        rmsprop_loop,
    ),
}

METHODS = {
    "reverse": bilevel.Reverse(),
    "sqrt": bilevel.Reverse(checkpoint="sqrt"),
    "forward": bilevel.Forward(),
    "forward-one-by-one": bilevel.Forward(chunk=1),
}


def reference(loop):
    """E and its gradient by all hyperparameters, by autograd through the whole of `loop`."""
    hyper = tree_map(lambda leaf: leaf.requires_grad_(), hyperparameters())
    params = tree_map(lambda leaf: leaf.requires_grad_(), first_weights())
    value = outer(loop(start(params, hyper), hyper), hyper)
    grads = torch.autograd.grad(value, pytree.tree_leaves(hyper), materialize_grads=True)
    return value.detach(), list(grads)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", DYNAMICS)
def test_exact_methods_equal_autograd_of_the_unrolled_loop(name, method):
    dynamics, loop = DYNAMICS[name]
    result = bilevel.hypergradient(
        dynamics, outer, first_weights(), hyperparameters(), T, method=METHODS[method]
    )
    value, grads = reference(loop)
    torch.testing.assert_close(result.value, value, **EXACT)
    for got, expected in zip(pytree.tree_leaves(result.grad), grads, strict=True):
        torch.testing.assert_close(got, expected, **EXACT)
    settings = result.grad["settings"]
    used = {
        "descent": [0],
        "heavy-ball": [0, 1],
        "nesterov": [0, 1],
        "rmsprop": [0, 2],
    }.get(name, [0, 1, 2])
    assert [k for k, s in enumerate(settings) if float(s) != 0] == used
    assert bool((result.grad["schedule"] != 0).all()), "a step of the schedule got no gradient"


@pytest.mark.parametrize("name", ["descent", "heavy-ball", "adam"])
def test_reverse_equals_finite_differences(name):
    """A second route that shares no derivative: E of the plain run, moved along one direction."""
    dynamics, _ = DYNAMICS[name]
    hyper = hyperparameters()
    leaves, spec = pytree.tree_flatten(hyper)
    generator = torch.Generator().manual_seed(3)
    direction = [torch.randn(x.shape, dtype=x.dtype, generator=generator) for x in leaves]

    def value(h: float) -> Tensor:
        moved = [x + h * d for x, d in zip(leaves, direction, strict=True)]
        tree = pytree.tree_unflatten(moved, spec)
        return bilevel.hypergradient(dynamics, outer, first_weights(), tree, T).value

    h = 1e-6
    slope = (value(h) - value(-h)) / (2 * h)
    grad = bilevel.hypergradient(dynamics, outer, first_weights(), hyper, T).grad
    expected = sum((g * d).sum() for g, d in zip(pytree.tree_leaves(grad), direction, strict=True))
    # Central differences: h² of a third derivative and 1e-16/h of rounding.
    torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-9)


# Truncation.


@pytest.mark.parametrize("name", DYNAMICS)
@pytest.mark.parametrize("truncation", [T, T + 5])
def test_a_truncation_that_cuts_nothing_off_is_the_whole(name, truncation):
    dynamics, _ = DYNAMICS[name]
    args = (dynamics, outer, first_weights(), hyperparameters(), T)
    whole = bilevel.hypergradient(*args, method=bilevel.Reverse())
    cut = bilevel.hypergradient(*args, method=bilevel.Reverse(truncation=truncation))
    for got, expected in zip(
        pytree.tree_leaves(cut.grad), pytree.tree_leaves(whole.grad), strict=True
    ):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("truncation", [1, 3, 7])
def test_a_truncated_sweep_equals_autograd_with_earlier_steps_held_fixed(truncation):
    dynamics, _ = DYNAMICS["heavy-ball"]
    hyper = hyperparameters()
    result = bilevel.hypergradient(
        dynamics, outer, first_weights(), hyper, T, method=bilevel.Reverse(truncation)
    )
    traced = tree_map(lambda leaf: leaf.clone().requires_grad_(), hyper)
    state = dynamics.start(first_weights(), hyper)
    for t in range(T):
        known = t < T - truncation
        with torch.no_grad() if known else contextlib.nullcontext():
            state = dynamics.step(state, hyper if known else traced, t)
    value = outer(dynamics.params(state), traced)
    grads = torch.autograd.grad(value, pytree.tree_leaves(traced), materialize_grads=True)
    for got, expected in zip(pytree.tree_leaves(result.grad), grads, strict=True):
        torch.testing.assert_close(got, expected, **EXACT)
    assert not result.grad["start"].any(), "Φ_0 lies before the window"
    assert not result.grad["schedule"][: T - truncation].any()


def test_truncation_on_a_quadratic_has_its_closed_form():
    """On a(w-λ)²/2 the last K steps give dw_T/dλ = 1 - (1-ηa)^K instead of 1 - (1-ηa)^T."""
    a, eta, n_steps = 1.5, 0.2, 12
    dynamics = bilevel.GradientDescent(lambda w, lam: 0.5 * a * (w - lam) ** 2, lr=eta)
    for K in range(1, n_steps + 1):
        grad = bilevel.hypergradient(
            dynamics,
            lambda w, lam: w,
            scalar(3.0),
            scalar(0.7),
            n_steps,
            method=bilevel.Reverse(truncation=K),
        ).grad
        torch.testing.assert_close(grad, scalar(1 - (1 - eta * a) ** K), rtol=1e-13, atol=0)


def test_the_truncation_error_shrinks_geometrically_on_a_contraction():
    """On ridge regression near its optimum, by the contraction constant ρ of Φ or faster."""
    problem = PROBLEMS["ridge"]()
    X, *_ = ridge_data()
    curvature = torch.linalg.eigvalsh(torch.tensor(X.T @ X / len(X))) + problem.hyper["decay"]
    rho = float((1 - 0.4 * curvature).abs().max())
    errors = []
    for K in range(2, 40, 4):
        result = bilevel.hypergradient(
            problem.dynamics,
            problem.outer,
            problem.params,
            problem.hyper,
            problem.n_steps,
            method=bilevel.Reverse(truncation=K),
        )
        errors.append(float((result.grad["decay"] - problem.grad["decay"]).abs()))
    ratios = [later / earlier for earlier, later in pairwise(errors)]
    assert max(ratios) <= rho**4 * 1.01, (rho, ratios)
    assert errors[0] > 1e-3, "nothing to shrink"


@pytest.mark.parametrize("bad", [0, -3])
def test_a_truncation_below_one(bad):
    message = rf"Reverse\(truncation\) must be None or at least 1, got {bad}; None keeps every step"
    with pytest.raises(ValueError, match=message):
        bilevel.Reverse(truncation=bad)


# Randomness inside Φ and E.


def dropout_problem():
    module = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 1)).double()
    module.train()
    generator = torch.Generator().manual_seed(5)
    w = {
        name: 0.5 * torch.randn(p.shape, dtype=p.dtype, generator=generator)
        for name, p in module.named_parameters()
    }
    X, y = data()

    def inner(w, hyper):
        out = torch.func.functional_call(module, w, (X[:12],))
        penalty = sum(p.square().sum() for p in w.values())
        return (out - y[:12]).square().mean() + hyper["decay"] * penalty

    def outer(w, hyper):  # with dropout too: E may be random as well
        return (torch.func.functional_call(module, w, (X[12:],)) - y[12:]).square().mean()

    hyper = {"decay": scalar(0.03), "lr": scalar(0.1)}
    return bilevel.GradientDescent(inner, lambda hyper: hyper["lr"]), inner, outer, w, hyper


@pytest.mark.parametrize("truncation", [None, 3])
def test_dropout_masks_are_replayed(truncation):
    dynamics, inner, outer, w, hyper = dropout_problem()
    seed = 11
    result = bilevel.hypergradient(
        dynamics, outer, w, hyper, T, method=bilevel.Reverse(truncation), seed=seed
    )
    fixed = hyper
    traced = {k: x.clone().requires_grad_() for k, x in hyper.items()}
    with torch.random.fork_rng():
        for t in range(T):
            if t == T - (truncation or T):
                w, fixed = {k: p.detach() for k, p in w.items()}, traced
            w = {k: p if p.requires_grad else p.requires_grad_() for k, p in w.items()}
            torch.manual_seed(mix(seed, 0, t))
            loss = inner(w, fixed)
            g = torch.autograd.grad(loss, list(w.values()), create_graph=True)
            w = {k: p - fixed["lr"] * gi for (k, p), gi in zip(w.items(), g, strict=True)}
        torch.manual_seed(mix(seed, 0, T))
        value = outer(w, traced)
    grads = torch.autograd.grad(value, list(traced.values()))
    torch.testing.assert_close(result.value, value.detach(), **EXACT)
    for got, expected in zip(result.grad.values(), grads, strict=True):
        torch.testing.assert_close(got, expected, **EXACT)


def test_each_step_meets_another_mask_and_both_passes_the_same():
    seen = []

    def inner(w, hyper):
        mask = nn.functional.dropout(torch.ones(50, dtype=torch.float64), 0.5)
        seen.append(mask)
        return hyper * (mask * w).square().sum()

    bilevel.hypergradient(
        bilevel.GradientDescent(inner, 0.01),
        lambda w, hyper: w.sum(),
        torch.ones(50, dtype=torch.float64),
        scalar(1.0),
        4,
        method=bilevel.Reverse(tape=False),
    )
    forward, backward = seen[:4], seen[4:]
    assert all(torch.equal(a, b) for a, b in zip(forward, reversed(backward), strict=True))
    assert len({tuple(mask.tolist()) for mask in forward}) == 4


def test_the_same_seed_gives_bitwise_the_same_and_another_seed_does_not():
    dynamics, _, outer, w, hyper = dropout_problem()
    torch.manual_seed(0)
    first = bilevel.hypergradient(dynamics, outer, w, hyper, T, seed=1)
    torch.manual_seed(99)
    again = bilevel.hypergradient(dynamics, outer, w, hyper, T, seed=1)
    for a, b in zip(
        pytree.tree_leaves((first.value, first.grad, first.state)),
        pytree.tree_leaves((again.value, again.grad, again.state)),
        strict=True,
    ):
        assert torch.equal(a, b)
    other = bilevel.hypergradient(dynamics, outer, w, hyper, T, seed=2)
    assert not torch.equal(first.value, other.value)
    assert not torch.equal(first.grad["decay"], other.grad["decay"])


def test_the_global_random_state_is_left_alone_even_by_an_error():
    dynamics, _, outer, w, hyper = dropout_problem()
    torch.manual_seed(4)
    before = torch.get_rng_state()
    bilevel.hypergradient(dynamics, outer, w, hyper, T)
    assert torch.equal(torch.get_rng_state(), before)

    def fails(w, hyper):
        torch.rand(3)
        raise ArithmeticError("inside")

    with pytest.raises(ArithmeticError, match="inside"):
        bilevel.hypergradient(bilevel.GradientDescent(fails), outer, w, hyper, T)
    assert torch.equal(torch.get_rng_state(), before)


# A leaf that owns its gradient.


class Table:
    """Embeddings of which a step touches few rows; the gradient is a list of (rows, values)."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def rows(self, index: Tensor) -> Tensor:
        return self.weight[index]

    def record(self) -> "TableRecorder":
        return TableRecorder(self.weight)


class TableRecorder:
    def __init__(self, weight: Tensor) -> None:
        self.weight, self.index, self.taken = weight, [], []

    def rows(self, index: Tensor) -> Tensor:
        taken = self.weight[index].requires_grad_()
        self.index.append(index)
        self.taken.append(taken)
        return taken

    def inputs(self):
        return self.taken

    def gradient(self, grads):
        pairs = zip(self.index, grads, strict=True)
        return [(index, grad) for index, grad in pairs if grad is not None]


def table_problem():
    generator = torch.Generator().manual_seed(6)
    weight = torch.randn(30, 3, dtype=torch.float64, generator=generator)

    def inner(w, hyper):
        X = hyper["table"].rows(torch.randint(30, (5,)))
        return hyper["decay"] * w.square().sum() + (X @ w - 1).square().mean()

    def outer(w, hyper):
        return (hyper["table"].rows(torch.tensor([0, 7, 7])) @ w).square().sum()

    return inner, outer, weight, torch.ones(3, dtype=torch.float64)


@pytest.mark.parametrize("truncation", [None, 2])
def test_an_owner_keeps_its_gradient_in_its_own_container(truncation):
    inner, outer, weight, w = table_problem()
    method, seed = bilevel.Reverse(truncation), 3
    dynamics = bilevel.GradientDescent(inner, 0.1)
    hyper = {"table": Table(weight), "decay": scalar(0.1)}
    result = bilevel.hypergradient(dynamics, outer, w, hyper, 5, method=method, seed=seed)

    def dense(loss):  # the same with the table as an ordinary leaf, its gradient dense
        return lambda w, hyper: loss(w, {**hyper, "table": Table(hyper["table"])})

    plain = bilevel.hypergradient(
        bilevel.GradientDescent(dense(inner), 0.1),
        dense(outer),
        w,
        {"table": weight, "decay": scalar(0.1)},
        5,
        method=method,
        seed=seed,
    )
    assert isinstance(result.grad["table"], list)
    assert len(result.grad["table"]) == 1 + (truncation or 5)  # one gather of E, one a step
    total = torch.zeros_like(weight)
    for index, values in result.grad["table"]:
        total.index_add_(0, index, values)
    torch.testing.assert_close(total, plain.grad["table"], **EXACT)
    torch.testing.assert_close(result.grad["decay"], plain.grad["decay"], **EXACT)
    assert torch.equal(result.value, plain.value)


def test_an_owner_that_is_never_met_stays_without_a_gradient():
    dynamics = bilevel.GradientDescent(lambda w, hyper: w**2, 0.1)
    hyper = {"table": Table(torch.ones(3, 3)), "x": scalar(1.0)}
    result = bilevel.hypergradient(dynamics, lambda w, hyper: w * hyper["x"], scalar(1.0), hyper, 2)
    assert not result.grad["table"]
    assert math.isclose(float(result.grad["x"]), 0.8**2)
