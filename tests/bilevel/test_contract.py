"""Every method on every problem with a known answer, and what every run promises."""

import pytest
import torch
from torch.utils import _pytree as pytree

from lds import bilevel
from tests.problems import METHODS, PROBLEMS, Problem, scalar

CASES = [
    pytest.param(name, method, id=f"{name}-{method}")
    for name, make in PROBLEMS.items()
    for method, case in METHODS.items()
    if case.unrolled or make().limit
]


def run(problem: Problem, method: str = "reverse", **options):
    return bilevel.hypergradient(
        problem.dynamics,
        problem.outer,
        problem.params,
        problem.hyper,
        problem.n_steps,
        method=METHODS[method].method,
        **options,
    )


@pytest.mark.parametrize(("name", "method"), CASES)
def test_value_and_hypergradient_are_the_known_ones(name, method):
    problem = PROBLEMS[name]()
    result = run(problem, method)
    # atol: where the answer itself is 0
    torch.testing.assert_close(result.value, problem.value, rtol=problem.rtol, atol=1e-14)
    assert pytree.tree_structure(result.grad) == pytree.tree_structure(problem.hyper)
    for got, expected in zip(
        pytree.tree_leaves(result.grad), pytree.tree_leaves(problem.grad), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=problem.rtol, atol=1e-14)


@pytest.mark.parametrize("name", PROBLEMS)
def test_results_carry_no_history_and_the_inputs_are_left_alone(name):
    problem = PROBLEMS[name]()
    before = pytree.tree_map(torch.clone, (problem.params, problem.hyper))
    result = run(problem)
    for leaf in pytree.tree_leaves((result.value, result.grad, result.state)):
        assert not leaf.requires_grad
    for leaf, old in zip(
        pytree.tree_leaves((problem.params, problem.hyper)), pytree.tree_leaves(before), strict=True
    ):
        assert torch.equal(leaf, old)
        assert not leaf.requires_grad


def test_inputs_that_require_grad_already_are_taken_as_values():
    problem = PROBLEMS["target"]()
    params, hyper = (x.clone().requires_grad_() for x in (problem.params, problem.hyper))
    result = bilevel.hypergradient(problem.dynamics, problem.outer, params, hyper, problem.n_steps)
    torch.testing.assert_close(result.grad, problem.grad, rtol=1e-12, atol=0)
    assert hyper.grad is None
    at_once = bilevel.hypergradient(problem.dynamics, problem.outer, params, hyper, n_steps=1)
    assert not at_once.state["params"].requires_grad


def test_state_is_the_last_one_and_the_value_is_taken_there():
    problem = PROBLEMS["heavy-ball"]()
    result = run(problem)
    assert set(result.state) == {"params", "velocity"}
    value = problem.outer(result.state["params"], problem.hyper)
    torch.testing.assert_close(result.value, value, rtol=0, atol=0)


def test_no_steps_evaluate_the_outer_objective_at_the_start():
    dynamics = bilevel.GradientDescent(
        lambda w, hyper: w**2, lr=0.1, start=lambda params, hyper: params + 2 * hyper
    )
    result = bilevel.hypergradient(
        dynamics, lambda w, hyper: w * hyper, scalar(1.0), scalar(3.0), n_steps=0
    )
    # E = (1 + 2λ) λ
    torch.testing.assert_close(result.value, scalar(21.0), rtol=1e-15, atol=0)
    torch.testing.assert_close(result.grad, scalar(13.0), rtol=1e-15, atol=0)


def test_objectives_may_ask_for_the_step():
    seen = {"inner": set(), "outer": set()}

    def inner(w, hyper, step):
        seen["inner"].add(step)
        return hyper * w**2

    def outer(w, hyper, step):
        seen["outer"].add(step)
        return w

    bilevel.hypergradient(bilevel.GradientDescent(inner), outer, scalar(1.0), scalar(1.0), 3)
    assert seen == {"inner": {0, 1, 2}, "outer": {3}}


def test_the_users_own_dynamics():
    """Averaged descent on (w-λ)²/2 with η = 1/2: a state of two tensors that are not leaves."""

    def step(state, hyper, t):
        w = state["w"] - 0.5 * (state["w"] - hyper)
        return {"w": w, "mean": (state["mean"] * t + w) / (t + 1)}

    dynamics = bilevel.Dynamics(
        lambda params, hyper: {"w": params, "mean": torch.zeros_like(params)},
        step,
        lambda state: state["mean"],
    )
    result = bilevel.hypergradient(
        dynamics, lambda w, hyper: w, scalar(0.0), scalar(2.0), n_steps=3
    )
    # w_t = λ(1 - 2^-t), whose mean over t = 1, 2, 3 is λ(3 - 7/8)/3
    torch.testing.assert_close(result.value, scalar(2 * 2.125 / 3), rtol=1e-14, atol=0)
    torch.testing.assert_close(result.grad, scalar(2.125 / 3), rtol=1e-14, atol=0)


def test_precision_follows_the_inputs():
    result = bilevel.hypergradient(
        bilevel.Adam(lambda w, lam: (lam * w**2).sum(), lr=0.1),
        lambda w, lam: w.sum(),
        torch.ones(3),
        torch.tensor(2.0),
        n_steps=3,
    )
    leaves = pytree.tree_leaves((result.value, result.grad, result.state))
    assert {leaf.dtype for leaf in leaves} == {torch.float32}


def test_an_integer_leaf_of_hyper_gets_a_zero_gradient():
    result = bilevel.hypergradient(
        bilevel.GradientDescent(lambda w, lam: lam["n"] * lam["x"] * w, lr=1.0),
        lambda w, lam: w,
        scalar(0.0),
        {"x": scalar(2.0), "n": torch.tensor(3)},
        n_steps=2,
    )
    assert result.grad == {"x": scalar(-6.0), "n": torch.tensor(0)}


@pytest.mark.parametrize(
    ("loss", "got"),
    [
        (lambda w, lam: w, r"\(2,\)"),
        (lambda w, lam: w.sum(0, keepdim=True), r"\(1,\)"),
        (lambda w, lam: 1.0, "float"),
        (lambda w, lam: None, "NoneType"),
    ],
)
def test_objectives_that_are_not_scalar(loss, got):
    def good(w, lam):
        return w.sum()

    w, lam = torch.ones(2, dtype=torch.float64), scalar(1.0)
    message = r"_objective must return a scalar tensor of shape \(\), got " + got
    with pytest.raises(ValueError, match="outer" + message):
        bilevel.hypergradient(bilevel.GradientDescent(good), loss, w, lam, n_steps=1)
    with pytest.raises(ValueError, match="inner" + message):
        bilevel.hypergradient(bilevel.GradientDescent(loss), good, w, lam, n_steps=1)


def test_a_negative_number_of_steps():
    problem = PROBLEMS["target"]()
    with pytest.raises(ValueError, match="n_steps must be at least 0, got -1"):
        bilevel.hypergradient(problem.dynamics, problem.outer, problem.params, problem.hyper, -1)


def test_a_leaf_that_is_no_tensor():
    problem = PROBLEMS["target"]()
    with pytest.raises(TypeError, match="hyper must be a tensor, got float"):
        bilevel.hypergradient(problem.dynamics, problem.outer, problem.params, 0.7, 1)
