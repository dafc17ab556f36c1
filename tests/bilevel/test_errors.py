"""What goes wrong is said in one sentence that names the argument, the step and the leaf."""

import math

import pytest
import torch
from torch import Tensor

from lds import bilevel
from tests.problems import scalar

EXACT = {"reverse": bilevel.Reverse(), "forward": bilevel.Forward()}
IMPLICIT = {"fixed-point": bilevel.FixedPoint(5), "cg": bilevel.ConjugateGradient(5)}
ALL = EXACT | IMPLICIT


def quadratic(w, hyper):
    return 0.5 * (w - hyper["goal"]) ** 2


def first(w, hyper):
    return w


def hypergradient(inner=quadratic, outer=first, hyper=None, n_steps=3, method=None, **options):
    dynamics = (
        inner if isinstance(inner, bilevel.Dynamics) else bilevel.GradientDescent(inner, **options)
    )
    hyper = {"goal": scalar(1.0)} if hyper is None else hyper
    return bilevel.hypergradient(dynamics, outer, scalar(0.0), hyper, n_steps, method=method)


# A hyperparameter without influence.


@pytest.mark.parametrize("method", ALL)
def test_an_unused_hyperparameter_is_named_by_its_path(method):
    hyper = {"goal": scalar(1.0), "more": [scalar(2.0), {"unused": scalar(3.0)}]}

    def inner(w, hyper):
        return quadratic(w, hyper) + hyper["more"][0] * w

    with pytest.raises(ValueError, match=r"hyper\['more'\]\[1\]\['unused'\] has no influence"):
        hypergradient(inner, hyper=hyper, method=ALL[method])


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize(
    "lr",
    [lambda hyper: hyper["lr"].detach(), lambda hyper: float(hyper["lr"])],
    ids=["detach", "float"],
)
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
def test_a_detached_hyperparameter_is_not_a_silent_zero(method, lr):
    hyper = {"goal": scalar(1.0), "lr": scalar(0.1)}
    with pytest.raises(ValueError, match=r"hyper\['lr'\] has no influence: .*\.detach\(\)"):
        hypergradient(hyper=hyper, lr=lr, method=EXACT[method])


def test_detached_in_the_outer_objective():
    with pytest.raises(ValueError, match="hyper has no influence"):
        bilevel.hypergradient(
            bilevel.GradientDescent(lambda w, lam: w**2),
            lambda w, lam: w * lam.detach(),
            scalar(1.0),
            scalar(2.0),
            2,
        )


EVERY = ALL | {
    "truncated": bilevel.Reverse(1),
    "first-order": bilevel.FirstOrder(),
    "soba": bilevel.SOBA(),
    "saba": bilevel.SABA(n_batches=1),
    "f2sa": bilevel.F2SA(),
    "auto": "auto",
}
CUT_OFF = {
    "detach": lambda w, hyper: (w.detach() - 1) ** 2,
    "constant": lambda w, hyper: torch.ones((), dtype=torch.float64),
    "other-weights": lambda w, hyper: (scalar(2.0).requires_grad_() - 1) ** 2,
    "float": lambda w, hyper: scalar(float(w.detach())),
    "direct-of-another": lambda w, hyper: w.detach() + hyper["seen"] ** 2,
}


@pytest.mark.parametrize("cut", CUT_OFF)
@pytest.mark.parametrize("method", EVERY)
def test_an_outer_objective_cut_off_from_the_weights(method, cut):
    hyper = {"seen": scalar(2.0), "goal": scalar(1.0)}
    if cut != "direct-of-another":
        del hyper["seen"]
    message = r"hyper\['goal'\] has no influence: the outer objective .*weights .*\.detach\(\)"
    with pytest.raises(ValueError, match=message):
        hypergradient(outer=CUT_OFF[cut], hyper=hyper, n_steps=1, method=EVERY[method])
    with pytest.raises(ValueError, match=message):
        bilevel.solve(
            bilevel.GradientDescent(quadratic),
            CUT_OFF[cut],
            scalar(0.0),
            hyper,
            1,
            method=EVERY[method],
            warm_start="state",
        )


@pytest.mark.parametrize("cut", CUT_OFF)
def test_an_online_outer_objective_cut_off_from_the_weights(cut):
    hyper = {"seen": scalar(2.0), "goal": scalar(1.0)}
    with pytest.raises(ValueError, match="has no influence"):
        bilevel.solve_online(
            bilevel.GradientDescent(quadratic), CUT_OFF[cut], scalar(0.0), hyper, 3
        )


@pytest.mark.parametrize("method", ["reverse", "forward", "cg", "first-order"])
def test_a_direct_derivative_alone_is_a_hypergradient(method):
    outer = lambda w, hyper: (hyper["goal"] - 3) ** 2 + w.detach()  # noqa: E731
    found = hypergradient(outer=outer, method=EVERY[method])
    assert float(found.grad["goal"]) == -4.0


def test_online_too():
    hyper = {"goal": scalar(1.0), "lr": scalar(0.1)}
    dynamics = bilevel.GradientDescent(quadratic, lr=lambda hyper: hyper["lr"].detach())
    with pytest.raises(ValueError, match=r"hyper\['lr'\] has no influence"):
        bilevel.solve_online(dynamics, first, scalar(0.0), hyper, 3)


def test_used_in_the_start_alone():
    """Reverse and forward mode differentiate Φ_0; a window cuts it off; implicit methods refuse."""
    dynamics = bilevel.GradientDescent(
        lambda w, hyper: quadratic(w, hyper),
        0.5,
        start=lambda params, hyper: params + hyper["start"],
    )
    hyper = {"goal": scalar(1.0), "start": scalar(0.0)}
    for method, expected in [
        (bilevel.Reverse(), 0.125),
        (bilevel.Forward(), 0.125),
        (bilevel.Reverse(2), 0.0),
    ]:
        assert float(hypergradient(dynamics, hyper=hyper, method=method).grad["start"]) == expected
    for method in IMPLICIT.values():
        for n_steps in (0, 3):
            with pytest.raises(
                ValueError, match=r"hyper\['start'\] acts through start= alone: .*use"
            ):
                hypergradient(dynamics, hyper=hyper, method=method, n_steps=n_steps)


@pytest.mark.parametrize("method", IMPLICIT)
def test_an_own_start_of_an_own_dynamics_is_refused_too(method):
    dynamics = bilevel.Dynamics(
        lambda params, hyper: [params * hyper["scale"], params],
        lambda state, hyper, t: [0.5 * (state[0] + hyper["goal"]), state[1]],
        lambda state: state[0],
    )
    hyper = {"goal": scalar(1.0), "scale": scalar(2.0)}
    with pytest.raises(ValueError, match=r"hyper\['scale'\] acts through start= alone"):
        hypergradient(dynamics, hyper=hyper, method=IMPLICIT[method])


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("direct", [0.0, 0.1])
def test_no_steps_and_a_hyperparameter_of_the_steps(method, direct):
    """Weights found elsewhere, detached: ∂E/∂λ is 0, or its direct part alone."""
    solved = scalar(1.0)
    with pytest.raises(ValueError, match=r"hyper\['goal'\] acts through the steps .*n_steps=0 "):
        bilevel.hypergradient(
            bilevel.GradientDescent(quadratic),
            lambda w, hyper: (w - 3) ** 2 + direct * hyper["goal"],
            solved,
            {"goal": solved},
            0,
            method=EXACT[method],
        )
    for implicit in IMPLICIT.values():  # dw*/dλ = 1
        found = bilevel.hypergradient(
            bilevel.GradientDescent(quadratic, 1.0),
            lambda w, hyper: (w - 3) ** 2 + direct * hyper["goal"],
            solved,
            {"goal": solved},
            0,
            method=implicit,
        )
        assert float(found.grad["goal"]) == pytest.approx(-4.0 + direct)


def test_a_start_that_is_applied_once_cannot_be_tuned():
    dynamics = bilevel.GradientDescent(
        quadratic, 0.5, start=lambda params, hyper: params + hyper["start"]
    )
    hyper = {"goal": scalar(1.0), "start": scalar(0.5)}
    run = (dynamics, first, scalar(0.0), hyper, 2)
    with pytest.raises(
        ValueError, match=r"hyper\['start'\] acts through start= alone, and warm_sta"
    ):
        bilevel.solve(*run, n_outer=2, warm_start="state")
    for warm in (False, "params"):
        moved = bilevel.solve(*run, n_outer=2, warm_start=warm).last.hyper["start"]
        assert float(moved) != 0.5


@pytest.mark.parametrize("method", [bilevel.Reverse(2), bilevel.Reverse(2, checkpoint="sqrt")])
def test_used_before_the_truncation_window_alone(method):
    def inner(w, hyper, step):
        return quadratic(w, hyper) + (hyper["early"] * w if step == 1 else 0)

    hyper = {"goal": scalar(1.0), "early": scalar(0.3)}
    result = hypergradient(inner, hyper=hyper, method=method, n_steps=5)
    assert float(result.grad["early"]) == 0
    with pytest.raises(ValueError, match=r"hyper\['early'\] has no influence"):
        hypergradient(inner, hyper=hyper, method=method, n_steps=1)


@pytest.mark.parametrize("method", EXACT)
def test_steps_of_a_schedule_that_are_not_reached(method):
    """A schedule is one leaf: steps beyond the horizon have a derivative of 0."""
    hyper = {"goal": scalar(1.0), "lr": torch.full((6,), 0.1, dtype=torch.float64)}
    result = hypergradient(
        hyper=hyper, lr=lambda hyper, t: hyper["lr"][t], method=EXACT[method], n_steps=4
    )
    assert (result.grad["lr"] != 0).tolist() == [True] * 4 + [False] * 2


def test_a_leaf_for_every_step_online_is_used_later():
    """At the first update two of three rates have met no step; they will."""
    dynamics = bilevel.GradientDescent(quadratic, lr=lambda hyper, t: hyper["lr"][t])
    hyper = {"goal": scalar(1.0), "lr": [scalar(0.1), scalar(0.1), scalar(0.1)]}
    assert len(bilevel.solve_online(dynamics, first, scalar(0.0), hyper, 3).history) == 3


def test_a_derivative_that_happens_to_be_zero():
    """At the goal, E is flat; and at w = 0 the penalty is."""
    result = bilevel.hypergradient(
        bilevel.GradientDescent(lambda w, lam: lam * w**2),
        lambda w, lam: w**2,
        scalar(0.0),
        scalar(2.0),
        2,
    )
    assert float(result.grad) == 0


# An optimiser's setting asked of an implicit method.


@pytest.mark.parametrize("method", IMPLICIT)
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("lr", lambda s: bilevel.GradientDescent(quadratic, lr=s)),
        ("lr", lambda s: bilevel.Momentum(quadratic, lr=s)),
        ("momentum", lambda s: bilevel.Momentum(quadratic, momentum=s)),
        ("lr", lambda s: bilevel.Adam(quadratic, lr=s)),
        ("beta", lambda s: bilevel.Adam(quadratic, betas=(0.9, s))),
        ("alpha", lambda s: bilevel.RMSprop(quadratic, alpha=s)),
    ],
)
def test_an_implicit_method_has_no_gradient_for_a_setting(method, name, make):
    hyper = {"goal": scalar(1.0), name: scalar(0.5)}
    message = rf"hyper\['{name}'\] is a setting of the optimiser: .* use Reverse or Forward"
    for n_steps in (0, 3):
        with pytest.raises(ValueError, match=message):
            hypergradient(
                make(lambda hyper: hyper[name]),
                hyper=hyper,
                method=IMPLICIT[method],
                n_steps=n_steps,
            )


# Values that are not finite.


@pytest.mark.parametrize("method", EXACT)
def test_an_inner_loss_that_is_not_finite(method):
    def inner(w, hyper, step):
        return quadratic(w, hyper) * (math.nan if step == 2 else 1.0)

    with pytest.raises(bilevel.NonFiniteError, match="inner loss is nan at step 2, at a finite st"):
        hypergradient(inner, n_steps=5, method=EXACT[method])


@pytest.mark.parametrize("method", EXACT)
def test_a_state_that_is_not_finite_names_step_and_leaf(method):
    def inner(w, hyper):
        return hyper["goal"] * w["a"] + w["b"][1].sqrt() + w["b"][0]

    w = {"a": scalar(1.0), "b": [scalar(1.0), scalar(0.0)]}  # the root's slope at 0 is infinite
    with pytest.raises(
        bilevel.NonFiniteError, match=r"state\['params'\]\['b'\]\[1\] holds -inf before step 1"
    ):
        bilevel.hypergradient(
            bilevel.GradientDescent(inner),
            lambda w, h: w["a"],
            w,
            {"goal": scalar(1.0)},
            3,
            method=EXACT[method],
        )


@pytest.mark.parametrize("method", EXACT)
def test_the_users_own_dynamics_that_diverges(method):
    dynamics = bilevel.Dynamics(
        lambda params, hyper: {"w": params + 1},
        lambda state, hyper, t: {"w": state["w"] * hyper["goal"] * (1e200 if t > 2 else 1)},
        lambda state: state["w"],
    )
    with pytest.raises(bilevel.NonFiniteError, match=r"state\['w'\] holds inf after step 4"):
        hypergradient(dynamics, n_steps=9, method=EXACT[method])


def test_an_adjoint_that_is_not_finite_names_step_and_leaf():
    """|w|^½ is flat-ended: finite, with an infinite slope where step 2 meets w = 0."""
    dynamics = bilevel.Dynamics(
        lambda params, hyper: {"w": params},
        lambda state, hyper, t: {"w": state["w"].abs().sqrt() + 0 * hyper["goal"]},
        lambda state: state["w"],
    )
    with pytest.raises(
        bilevel.NonFiniteError, match=r"outer value by state\['w'\] holds .* at step 2"
    ):
        hypergradient(dynamics, outer=lambda w, hyper: 3 * w, n_steps=3)


def test_a_hypergradient_that_is_not_finite_names_its_leaf():
    for method in EXACT.values():
        with pytest.raises(
            bilevel.NonFiniteError, match=r"the gradient by hyper\['r'\] holds inf after 2 steps"
        ):
            hypergradient(
                hyper={"goal": scalar(1.0), "r": scalar(0.0)},
                outer=lambda w, hyper: w + hyper["r"].sqrt(),
                n_steps=2,
                method=method,
            )


def test_an_outer_value_that_is_not_finite():
    with pytest.raises(bilevel.NonFiniteError, match="outer value holds -inf after 3 steps"):
        hypergradient(outer=lambda w, hyper: (0 * w).log())


# Changes in place.


def in_place_without_history(state, hyper, t):
    with torch.no_grad():
        state["w"].sub_(0.1)
    return {"w": state["w"] * hyper["goal"]}


def in_place_with_history(state, hyper, t):
    state["w"] *= hyper["goal"]
    return {"w": state["w"] + 0}


def hyper_in_place(state, hyper, t):
    hyper["goal"].mul_(2)
    return {"w": state["w"] * hyper["goal"]}


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(
    ("step", "name"),
    [
        (in_place_without_history, r"state\['w'\]"),
        (in_place_with_history, r"(state\['w'\]|one of its arguments)"),
        (hyper_in_place, r"(hyper\['goal'\]|one of its arguments)"),
    ],
)
def test_a_step_that_changes_its_arguments(method, step, name):
    dynamics = bilevel.Dynamics(
        lambda params, hyper: {"w": params + 1}, step, lambda state: state["w"]
    )
    with pytest.raises(RuntimeError, match=rf"step 0 of the dynamics changed {name} in place"):
        hypergradient(dynamics, method=ALL[method])


@pytest.mark.parametrize("method", ALL)
def test_an_inner_objective_that_changes_its_arguments(method):
    def weights(w, hyper):
        w.mul_(2)
        return quadratic(w, hyper)

    def weights_unseen(w, hyper):
        with torch.no_grad():
            w.mul_(2)
        return quadratic(w, hyper)

    def hyperparameters(w, hyper):
        with torch.no_grad():
            hyper["goal"].mul_(2)
        return quadratic(w, hyper)

    for inner, name in [
        (weights, "one of its arguments"),  # torch refuses, and does not say which
        (weights_unseen, r"state\['params'\]"),
        (hyperparameters, r"hyper\['goal'\]"),
    ]:
        with pytest.raises(RuntimeError, match=rf"step 0 of the dynamics changed {name} in place"):
            hypergradient(inner, method=ALL[method])


def test_a_start_or_an_outer_objective_that_changes_its_arguments():
    params, hyper = scalar(1.0), {"goal": scalar(1.0)}
    dynamics = bilevel.GradientDescent(quadratic, start=lambda params, hyper: params.add_(1))
    with pytest.raises(RuntimeError, match="start of the dynamics changed params in place"):
        bilevel.hypergradient(dynamics, first, params, hyper, 1)

    def outer(w, hyper):
        with torch.no_grad():
            hyper["goal"].add_(1)
        return w * hyper["goal"]

    with pytest.raises(RuntimeError, match=r"outer objective changed hyper\['goal'\] in place"):
        hypergradient(outer=outer)


# Trees that do not match.


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize(
    ("new", "error", "message"),
    [
        (lambda w: {"v": w}, ValueError, r"structure it was given, got \[\"\['v'\]\"\] instead of"),
        (lambda w: [w], ValueError, r"got \['\[0\]'\] instead of \[\"\['w'\]\"\] at step 0"),
        (lambda w: {"w": w.expand(2)}, ValueError, r"\['w'\], \(\) .*, got \(2,\) .* after step 0"),
        (lambda w: {"w": w.float()}, ValueError, r"got \(\) torch.float32 after step 0"),
        (lambda w: {"w": 1.0}, TypeError, r"got float at state\['w'\] after step 0"),
    ],
)
def test_a_step_that_returns_another_kind_of_state(method, new, error, message):
    dynamics = bilevel.Dynamics(
        lambda params, hyper: {"w": params},
        lambda state, hyper, t: new(state["w"] + hyper["goal"]),
        lambda state: state["w"],
    )
    with pytest.raises(error, match=message):
        hypergradient(dynamics, method=EXACT[method])


@pytest.mark.parametrize("method", EXACT)
def test_a_start_that_returns_no_tensors(method):
    with pytest.raises(TypeError, match=r"must be a tensor, got float"):
        hypergradient(
            bilevel.GradientDescent(quadratic, start=lambda params, hyper: 3.0),
            method=EXACT[method],
        )


@pytest.mark.parametrize("dynamics", [bilevel.GradientDescent, bilevel.Momentum, bilevel.Adam])
def test_weights_of_integers(dynamics):
    with pytest.raises(TypeError, match=r"params\['n'\] must be floating point, got torch.int64"):
        bilevel.hypergradient(
            dynamics(lambda w, lam: lam * w["n"]),
            lambda w, lam: w["n"],
            {"n": torch.tensor(3)},
            scalar(1.0),
            2,
        )


@pytest.mark.parametrize("method", ALL)
def test_an_outer_objective_that_is_no_scalar(method):
    with pytest.raises(ValueError, match=r"outer_objective must return a scalar .* got \(2,\)"):
        hypergradient(outer=lambda w, hyper: w.expand(2), method=ALL[method])


def test_a_method_that_is_none():
    for bad, hint in [(bilevel.Reverse, "did you mean to call it"), ("reverse", "got 'reverse'")]:
        with pytest.raises(TypeError, match=f"method must be a hypergradient method .*{hint}"):
            hypergradient(method=bad)


@pytest.mark.parametrize("bad", [2.0, "3", None, True])
def test_steps_that_are_no_whole_number(bad):
    with pytest.raises(TypeError, match=f"n_steps must be an integer, got {bad!r}"):
        hypergradient(n_steps=bad)


def test_a_previous_solution_of_another_problem():
    method = bilevel.ConjugateGradient(3)
    other = bilevel.hypergradient(
        bilevel.GradientDescent(lambda w, lam: (lam * w**2).sum()),
        lambda w, lam: w.sum(),
        torch.ones(3, dtype=torch.float64),
        scalar(1.0),
        2,
        method=method,
    )
    with pytest.raises(ValueError, match="previous must be a result for weights of the same shape"):
        bilevel.hypergradient(
            bilevel.GradientDescent(quadratic),
            first,
            scalar(0.0),
            {"goal": scalar(1.0)},
            2,
            method=method,
            previous=other,
        )


@pytest.mark.parametrize("method", EXACT)
def test_leaves_of_two_precisions(method):
    """float32 and float64 side by side: nothing here may need one dtype."""

    def inner(w, hyper):
        return 0.5 * (w["a"] - hyper["x"]).square() + 0.5 * (w["b"].double() - hyper["y"]).square()

    w = {"a": scalar(0.0), "b": torch.tensor(0.0)}
    hyper = {"x": scalar(1.0), "y": torch.tensor(2.0)}
    result = bilevel.hypergradient(
        bilevel.Momentum(inner, 0.5, 0.2),
        lambda w, h: w["a"] + w["b"],
        w,
        hyper,
        3,
        method=EXACT[method],
    )
    dtypes = {name: leaf.dtype for name, leaf in result.grad.items()}
    assert dtypes == {"x": torch.float64, "y": torch.float32}
    # (w-λ, v) moves by a constant 2x2 matrix, whatever the leaf
    M = torch.tensor([[0.5, -0.1], [1.0, 0.2]], dtype=torch.float64)
    expected: Tensor = 1 - torch.linalg.matrix_power(M, 3)[0, 0]
    torch.testing.assert_close(result.grad["x"], expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(result.grad["y"], expected.float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("lr", [torch.ones(3), torch.ones((), dtype=torch.float32)])
@pytest.mark.parametrize("method", [bilevel.Reverse(), bilevel.Forward(), bilevel.FirstOrder()])
def test_a_learning_rate_that_widens_the_weights_is_refused(method, lr):
    dynamics = bilevel.GradientDescent(
        lambda w, rate: (w - 1).square().sum(), lambda rate: rate.double() * lr
    )
    before = torch.zeros((), dtype=torch.float64 if lr.dim() else torch.float32)
    for solve in (
        lambda: bilevel.hypergradient(dynamics, square_sum, before, torch.tensor(0.1), 2, method),
        lambda: bilevel.solve_online(dynamics, square_sum, before, torch.tensor(0.1), 2),
    ):
        with pytest.raises(
            ValueError, match=r"keep the shape and dtype of state\['params'\], \(\)"
        ):
            solve()


def square_sum(w, hyper):
    return w.square().sum()
