"""Buffers of a module are state: against plain torch loops and finite differences in float64."""

import copy
import functools

import pytest
import torch
from torch import Tensor, nn

from lds import bilevel
from tests.problems import scalar

X, Y = torch.linspace(-1, 1, 36).view(12, 3).double().sin(), torch.arange(12.0).view(12, 1).double()
X_VAL, Y_VAL = X.flip(1)[:7] * 1.3 + 0.2, (Y / 11).flip(0)[:7]
IMAGES = torch.linspace(-2, 3, 300).view(6, 2, 5, 5).double().cos()
HYPER = {"lr": scalar(0.05), "decay": scalar(0.01)}


def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))


def images() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3, momentum=None),
        nn.Tanh(),
        nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
        nn.Flatten(),
        nn.Linear(27, 1),
    )


def spectral(norm) -> nn.Module:
    return nn.Sequential(norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 1))


MODULES = {
    "batch-norm": batch_norm,
    "images": images,
    "spectral-norm": lambda: spectral(nn.utils.parametrizations.spectral_norm),
    "spectral-norm-hook": lambda: spectral(nn.utils.spectral_norm),
}


class Case:
    """A small net trained on one batch and judged, in evaluation mode, on another."""

    def __init__(self, name: str, *, judge: str = "eval") -> None:
        torch.manual_seed(0)
        self.net = MODULES[name]().double()
        self.x, self.y = (IMAGES, Y[:6] / 11) if name == "images" else (X, Y / 11)
        x_val, y_val = (IMAGES * 0.5 + 0.1, self.y) if name == "images" else (X_VAL, Y_VAL)
        self.apply, self.params = bilevel.functional(self.net)
        self.dynamics = bilevel.Momentum(self.loss, lr=lambda hyper: hyper["lr"], momentum=0.5)
        judged = getattr(self.apply, judge)
        self.outer = lambda w, hyper: ((judged(w, x_val) - y_val) ** 2).mean()

    def loss(self, w, hyper) -> Tensor:
        penalty = sum((p**2).sum() for p in w.values())
        return ((self.apply(w, self.x) - self.y) ** 2).mean() + hyper["decay"] * penalty

    def run(self, hyper=HYPER, n_steps=4, **options) -> bilevel.Hypergradient:
        return bilevel.hypergradient(
            self.dynamics, self.outer, self.params, hyper, n_steps, **options
        )


def finite_difference(case: Case, name: str, h: float = 2e-6) -> float:
    """The five-point formula, whose error is of fourth order."""
    at = {d: float(case.run(HYPER | {name: HYPER[name] + d * h}).value) for d in (-2, -1, 1, 2)}
    return (at[-2] - 8 * at[-1] + 8 * at[1] - at[2]) / (12 * h)


@pytest.mark.parametrize("judge", ["eval", "train"])
@pytest.mark.parametrize("name", MODULES)
def test_the_hypergradient_is_that_of_finite_differences(name, judge):
    case = Case(name, judge=judge)
    expected = {leaf: finite_difference(case, leaf) for leaf in HYPER}
    for method in [
        bilevel.Reverse(),
        bilevel.Reverse(checkpoint="sqrt"),
        bilevel.Reverse(4, checkpoint=1),
        bilevel.Forward(),
        bilevel.Forward(chunk=1),
    ]:
        grad = case.run(method=method).grad
        for leaf, value in expected.items():
            # Rounding of E (1e-16) over a step of 2e-6, and what the formula leaves out.
            assert float(grad[leaf]) == pytest.approx(value, rel=2e-6)


@pytest.mark.parametrize("name", MODULES)
def test_weights_and_buffers_are_those_of_a_plain_loop_and_the_module_is_left_alone(name):
    case = Case(name)
    before = {key: value.clone() for key, value in case.net.state_dict().items()}
    attributes = [list(part.__dict__) for part in case.net.modules()]
    params = case.dynamics.params(case.run().state)
    assert [list(part.__dict__) for part in case.net.modules()] == attributes
    assert case.net.training
    for key, value in case.net.state_dict().items():
        assert torch.equal(value, before[key])
    net = copy.deepcopy(case.net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.5)
    for _ in range(4):
        optimizer.zero_grad()
        penalty = sum((p**2).sum() for p in net.parameters())
        (((net(case.x) - case.y) ** 2).mean() + 0.01 * penalty).backward()
        optimizer.step()
    loaded = bilevel.load(copy.deepcopy(case.net), params)
    for key, value in net.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=1e-12, atol=1e-14)


def test_three_calls_are_equal_whatever_the_caller_does_with_the_module_between_them():
    case = Case("batch-norm")
    results = []
    for _ in range(3):
        results.append(case.run())
        case.net(case.x)  # moves the module's own statistics
    for result in results[1:]:
        assert torch.equal(result.value, results[0].value)
        assert result.grad == results[0].grad


def test_truncation_leaves_out_what_came_before():
    """With one step kept, buffers before it are constants: a finite difference of one step."""
    case = Case("batch-norm")
    grad = case.run(method=bilevel.Reverse(1)).grad["decay"]
    start = case.run(n_steps=3).state

    def after(decay: Tensor) -> float:
        state = case.dynamics.step(start, HYPER | {"decay": decay}, 3)
        return float(case.outer(case.dynamics.params(state), HYPER))

    h = 1e-5
    expected = (after(HYPER["decay"] + h) - after(HYPER["decay"] - h)) / (2 * h)
    assert float(grad) == pytest.approx(expected, rel=1e-6)


@pytest.mark.ci
def test_implicit_methods_see_the_statistics_at_the_solution():
    """The statistics of the inputs do not depend on the weights; those of a later layer do."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, affine=False)).double()
    apply, params = bilevel.functional(net)
    goal = torch.cat([X[:, :1] * 2, X[:, 1:2]], 1)

    def inner(w, hyper):  # the bias and the scale of the weight are pinned by the penalty
        return ((apply(w, X) - goal) ** 2).mean() + hyper * (
            ((w["0.weight"] - 1) ** 2).sum() + ((w["0.bias"] - 0.5) ** 2).sum()
        )

    dynamics = bilevel.GradientDescent(inner, 0.2)
    outer = lambda w, hyper: (apply.eval(w, X_VAL) ** 2).mean()  # noqa: E731
    run = functools.partial(bilevel.hypergradient, dynamics, outer, params, scalar(0.7), 400)
    expected = run().grad
    for method in (bilevel.FixedPoint(400), bilevel.ConjugateGradient(60)):
        torch.testing.assert_close(run(method=method).grad, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["batch-norm", "spectral-norm", "spectral-norm-hook"])
def test_a_batch_of_tasks_keeps_the_buffers_of_each(name):
    torch.manual_seed(0)
    net = MODULES[name]().double()
    apply, params = bilevel.functional(net)
    tasks = {"x": torch.stack([X, X.cos() * 2]), "y": torch.stack([Y / 11, Y.sin()])}

    def inner(w, hyper, task):
        return ((apply(w, task["x"]) - task["y"]) ** 2).mean()

    def outer(w, hyper, task):
        return ((apply.eval(w, task["x"]) - task["y"]) ** 2).mean()

    def descent(objective):
        return bilevel.GradientDescent(objective, lr=lambda hyper: hyper)

    both = bilevel.over_tasks(inner, outer, tasks)
    found = bilevel.hypergradient(
        descent(both[0]), both[1], bilevel.stacked(params, 2), scalar(0.1), 3
    )
    single = [
        bilevel.hypergradient(
            descent(lambda w, hyper, k=k: inner(w, hyper, {n: v[k] for n, v in tasks.items()})),
            lambda w, hyper, k=k: outer(w, hyper, {n: v[k] for n, v in tasks.items()}),
            params,
            scalar(0.1),
            3,
        )
        for k in range(2)
    ]
    torch.testing.assert_close(found.value, sum(r.value for r in single) / 2, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.grad, sum(r.grad for r in single) / 2, rtol=1e-10, atol=0)


@pytest.mark.parametrize("warm_start", [False, "params", "state"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, warm_start):
    case = Case("batch-norm")

    def solve(n_outer, **options):
        return bilevel.solve(
            case.dynamics,
            case.outer,
            case.params,
            HYPER,
            3,
            n_outer=n_outer,
            warm_start=warm_start,
            **options,
        )

    whole = solve(4)
    solve(2, checkpoint=tmp_path)
    resumed = solve(4, checkpoint=tmp_path, resume=True)
    assert [r.value for r in resumed.history] == [r.value for r in whole.history]
    for name, buffer in whole.params.buffers.items():
        assert torch.equal(resumed.params.buffers[name], buffer)
    assert resumed.last.hyper == whole.last.hyper


def test_frozen_parameters_are_constants_that_are_used():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    net[0].requires_grad_(False)
    apply, params = bilevel.functional(net)
    assert set(params) == {"2.weight", "2.bias"}
    torch.testing.assert_close(apply(params, X), net(X).detach(), rtol=0, atol=0)
    result = bilevel.hypergradient(
        bilevel.GradientDescent(lambda w, lr: ((apply(w, X) - Y) ** 2).mean(), lr=lambda lr: lr),
        lambda w, lr: (apply(w, X_VAL) ** 2).mean(),
        params,
        scalar(0.01),
        3,
    )
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        ((net(X) - Y) ** 2).mean().backward()
        optimizer.step()
    torch.testing.assert_close(
        result.state["params"]["2.weight"], net[2].weight.detach(), rtol=1e-12, atol=0
    )


def test_a_module_without_anything_to_train():
    with pytest.raises(ValueError, match=r"got none with requires_grad=True; .*requires_grad_"):
        bilevel.functional(batch_norm().requires_grad_(False))
    with pytest.raises(ValueError, match="has no shape yet; call module once"):
        bilevel.functional(nn.Sequential(nn.LazyLinear(2)))
    with pytest.raises(TypeError, match=r"module must be a torch\.nn\.Module, got function"):
        bilevel.functional(lambda x: x)


# Buffers that would be lost.


def test_parameters_that_lost_their_buffers():
    case = Case("batch-norm")
    plain = {name: 2 * p for name, p in case.params.items()}
    mean = case.net[1].running_mean.clone()
    with pytest.raises(RuntimeError, match=r"buffer '1.running_mean'.* params.replaced"):
        case.apply(plain, X)
    assert torch.equal(case.net[1].running_mean, mean)
    case.apply(case.params.replaced(plain), X)
    case.apply.eval(plain, X)  # changes none


def test_a_step_of_ones_own_hands_buffers_on():
    case = Case("batch-norm")

    def loss(w, buffers):
        out, new = case.apply.updated(bilevel.Parameters(w, buffers), case.x)
        return ((out - case.y) ** 2).mean(), new.buffers

    def step(state, hyper, t):
        w = {n: p if p.requires_grad else p.detach().requires_grad_() for n, p in state.items()}
        with torch.enable_grad():
            value, buffers = loss(w, state.buffers)
            grads = torch.autograd.grad(value, list(w.values()), create_graph=True)
        moved = {n: p - hyper["lr"] * g for (n, p), g in zip(w.items(), grads, strict=True)}
        return bilevel.Parameters(moved, buffers)

    mine = bilevel.Dynamics(lambda params, hyper: params, step, lambda state: state)
    built_in = bilevel.GradientDescent(
        lambda w, hyper: ((case.apply(w, case.x) - case.y) ** 2).mean(), lr=lambda h: h["lr"]
    )
    hyper = {"lr": scalar(0.05)}
    results = [
        bilevel.hypergradient(dynamics, case.outer, case.params, hyper, 3)
        for dynamics in (mine, built_in)
    ]
    torch.testing.assert_close(results[0].grad, results[1].grad, rtol=1e-10, atol=0)

    losing = bilevel.Dynamics(
        lambda params, hyper: params,
        lambda state, hyper, t: (case.apply(state, case.x), state)[1],
        lambda state: state,
    )
    with pytest.raises(RuntimeError, match=r"would lose them: use outputs, params = apply.updated"):
        bilevel.hypergradient(losing, case.outer, case.params, hyper, 1)


def by_autograd(loss, w):
    """The gradient by weights that may have a history, and what else `loss` returns."""
    w = {n: p if p.requires_grad else p.detach().requires_grad_() for n, p in w.items()}
    with torch.enable_grad():
        value, new = loss(w)
        found = torch.autograd.grad(value, list(w.values()), create_graph=True)
    return dict(zip(w, found, strict=True)), new


def by_func(loss, w):
    return torch.func.grad(loss, has_aux=True)(dict(w))


@pytest.mark.parametrize("gradient", [by_autograd, by_func])
@pytest.mark.parametrize("name", ["spectral-norm", "spectral-norm-hook"])
def test_the_gradient_of_a_step_of_ones_own_takes_new_buffers_as_constants(name, gradient):
    """As plain training does: a step is that of the built-in descent, and so is its derivative."""
    case = Case(name)

    def step(state, hyper, t):
        def loss(w):
            out, new = case.apply.updated(state.replaced(w), case.x)
            return ((out - case.y) ** 2).mean(), new.buffers

        grads, buffers = gradient(loss, state)
        moved = {n: p - hyper["lr"] * grads[n] for n, p in state.items()}
        return bilevel.Parameters(moved, buffers)

    mine = bilevel.Dynamics(lambda params, hyper: params, step, lambda state: state)
    built_in = bilevel.GradientDescent(
        lambda w, hyper: ((case.apply(w, case.x) - case.y) ** 2).mean(), lr=lambda h: h["lr"]
    )
    own, expected = (
        bilevel.hypergradient(phi, case.outer, case.params, {"lr": scalar(0.05)}, 3)
        for phi in (mine, built_in)
    )
    torch.testing.assert_close(own.value, expected.value, rtol=1e-12, atol=0)
    torch.testing.assert_close(own.grad, expected.grad, rtol=1e-10, atol=0)


def test_buffers_of_another_module_are_not_dropped_in_silence():
    teacher, case = Case("batch-norm"), Case("batch-norm")

    def inner(w, hyper):
        return ((case.apply(w, X) - teacher.apply(teacher.params, X)) ** 2).mean()

    with pytest.raises(RuntimeError, match=r"whose params are not part of params: .*apply.eval"):
        bilevel.hypergradient(
            bilevel.GradientDescent(inner, lr=lambda h: h), case.outer, case.params, scalar(0.1), 1
        )


def test_buffers_are_no_hyperparameters():
    case = Case("batch-norm")
    with pytest.raises(ValueError, match=r"hyper holds the buffers of a module.*params.replaced"):
        bilevel.hypergradient(case.dynamics, case.outer, case.params, {"w": case.params}, 1)
    learned = bilevel.GradientDescent(
        lambda w, start: ((case.apply(w, X) - Y) ** 2).mean(),
        0.01,
        start=lambda params, start: params.replaced(start),
    )
    result = bilevel.hypergradient(learned, case.outer, case.params, dict(case.params), 2)
    assert list(result.grad) == list(case.params)


class Decaying(nn.Module):
    """A running mean that is written without history, and used."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.mean.mul_(0.5).add_(0.5 * (x * self.weight).mean(0))
        return x * self.weight - self.mean


def test_a_buffer_without_history_is_said_to_be_a_constant():
    apply, params = bilevel.functional(Decaying().double())
    dynamics = bilevel.GradientDescent(lambda w, h: (apply(w, X) ** 2).mean(), lr=lambda h: h)
    with pytest.warns(UserWarning, match="buffer 'mean' is changed without history"):
        result = bilevel.hypergradient(
            dynamics, lambda w, h: (w["weight"] ** 2).sum(), params, scalar(0.1), 2
        )
    assert float(result.state["buffers"][0]["mean"].abs().sum()) > 0


def test_a_batch_of_tasks_says_so_too_and_only_of_buffers_that_change():
    tasks = X[None]
    for mode, net in (("train", Decaying()), ("eval", batch_norm())):
        apply, params = bilevel.functional(net.double())
        called = getattr(apply, mode)
        inner, outer = bilevel.over_tasks(
            lambda w, h, x: (called(w, x) ** 2).mean(),  # noqa: B023
            lambda w, h, x: sum((p**2).sum() for p in w.values()),
            tasks,
        )
        run = functools.partial(
            bilevel.hypergradient,
            bilevel.GradientDescent(inner, lr=lambda h: h),
            outer,
            bilevel.stacked(params, 1),
            scalar(0.1),
            2,
        )
        if mode == "eval":
            run()
            continue
        with pytest.warns(UserWarning, match="buffer 'mean' is changed without history"):
            run()


def test_a_counter_among_buffers_does_not_keep_an_inner_run_from_its_end():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(40, n, generator=generator) for n in (3, 2))
    net = nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.Linear(3, 2))
    apply, params = bilevel.functional(net)
    inner = bilevel.GradientDescent(lambda w, lam: (apply(w, x) - y).square().mean(), lr=0.3)
    result = bilevel.hypergradient(
        inner,
        lambda w, lam: lam * (apply(w, x) - y).square().mean(),
        params,
        torch.tensor(1.0),
        2000,
        method=bilevel.FirstOrder(),
        inner_tol=1e-4,
    )
    assert result.step < 500
