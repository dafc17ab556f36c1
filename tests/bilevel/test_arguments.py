"""An argument of a wrong kind is refused before any work, in one sentence that names it."""

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

from lds import bilevel
from lds._numbers import real
from lds.discrete import Bernoulli, gumbel_sinkhorn, imle

ONE, ZERO = torch.tensor(1.0), torch.tensor(0.0)


def inner(w, hyper):
    return 0.5 * (w - hyper) ** 2


def outer(w, hyper):
    return (w - 3) ** 2


PHI = bilevel.GradientDescent(inner, 0.5)
DATA = [(torch.randn(4, 3), torch.randint(2, (4,)))]
CALLS = {
    "hypergradient": lambda phi, e=outer, w=ZERO, h=ONE: bilevel.hypergradient(phi, e, w, h, 2),
    "solve": lambda phi, e=outer, w=ZERO, h=ONE: bilevel.solve(phi, e, w, h, 2, n_outer=1),
    "solve_online": lambda phi, e=outer, w=ZERO, h=ONE: bilevel.solve_online(phi, e, w, h, 2),
    "check": lambda phi, e=outer, w=ZERO, h=ONE: bilevel.check(phi, e, w, h, 2),
    "run": lambda phi, e=outer, w=ZERO, h=ONE: bilevel.run(phi, w, h, 2),
    "contraction": lambda phi, e=outer, w=ZERO, h=ONE: bilevel.contraction(phi, w, h, 2),
}
OF_E = [name for name in CALLS if name not in ("run", "contraction")]


@pytest.mark.parametrize(
    ("bad", "got"),
    [
        (inner, "the function inner$"),
        (bilevel.Momentum, r"the class Momentum; did you mean to call it, as in Momentum\("),
        (None, "NoneType$"),
        (3, "int$"),
        (
            bilevel.Training(nn.Linear(3, 2), nn.functional.cross_entropy, DATA),
            "Training; its attribute dynamics is one$",
        ),
    ],
)
@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_dynamics(name, bad, got):
    with pytest.raises(TypeError, match=rf"^dynamics must be a Dynamics, .*, got {got}"):
        CALLS[name](bad)


@pytest.mark.parametrize("name", OF_E)
def test_the_dynamics_and_the_outer_objective_exchanged(name):
    with pytest.raises(TypeError, match=r"^dynamics must .*outer; the dynamics comes first, the"):
        CALLS[name](outer, PHI)


@pytest.mark.parametrize("bad", ["E", 3, nn.MSELoss, PHI])
@pytest.mark.parametrize("name", OF_E)
def test_what_is_no_outer_objective(name, bad):
    with pytest.raises(TypeError, match=r"^outer_objective must be a function of \(params, hyper"):
        CALLS[name](PHI, bad)


@pytest.mark.parametrize("name", CALLS)
def test_no_weights_or_hyperparameters(name):
    with pytest.raises(TypeError, match=r"^params must be a tensor, got NoneType"):
        CALLS[name](PHI, w=None)
    with pytest.raises(TypeError, match=r"hyper.* must |must have tensors in hyper, got NoneType"):
        CALLS[name](PHI, h=None)
    assert bilevel.run(bilevel.GradientDescent(lambda w, h: w**2, 0.1), ONE, {}, 1).params < 1


@pytest.mark.parametrize(
    ("found", "got"),
    [
        (PHI, r"\(GradientDescent\)"),
        ((outer, PHI), r"\(the function outer, GradientDescent\)"),
        ((PHI, outer, 1), r"\(GradientDescent, the function outer, int\)"),
        (None, r"\(NoneType\)"),
    ],
)
def test_a_function_of_the_outer_iteration_that_returns_something_else(found, got):
    with pytest.raises(TypeError, match=rf"must return \(a Dynamics, its outer .*\), got {got}"):
        bilevel.solve(lambda k: found, None, ZERO, ONE, 2, n_outer=1)
    with pytest.raises(TypeError, match=r"^the outer objective of that function must be a func"):
        bilevel.solve(lambda k: (PHI, None), None, ZERO, ONE, 2, n_outer=1)


@pytest.mark.parametrize(
    "make", [bilevel.GradientDescent, bilevel.Momentum, bilevel.Adam, bilevel.RMSprop]
)
@pytest.mark.parametrize("bad", [3, "L", None, nn.MSELoss])
def test_what_is_no_inner_objective(make, bad):
    with pytest.raises(TypeError, match=r"^inner_objective must be a function of \(params, hyper"):
        make(bad)
    with pytest.raises(TypeError, match=r"^start must be a function of \(params, hyper\), got"):
        make(inner, start=ONE)


def test_what_is_no_function_of_an_own_dynamics():
    good = (lambda p, h: p, lambda s, h, t: s, lambda s: s)
    for k, name in enumerate(("start", "step", "params")):
        parts = [3 if j == k else function for j, function in enumerate(good)]
        with pytest.raises(TypeError, match=rf"^{name} must be a function of \(.*\), got int"):
            bilevel.Dynamics(*parts)


@pytest.mark.parametrize(
    ("cast", "got"),
    [
        (lambda x: x.to(torch.complex64), r"torch\.complex64; value\.real or value\.abs\(\) is"),
        (lambda x: x.long(), r"torch\.int64; an integer has no slope"),
    ],
)
@pytest.mark.parametrize("name", ["hypergradient", "solve", "solve_online"])
def test_objectives_of_no_real_number(name, cast, got):
    message = f"_objective must return a real floating point number, got {got}"
    with pytest.raises(TypeError, match=f"^outer{message}"):
        CALLS[name](PHI, lambda w, h: cast(outer(w, h)))
    with pytest.raises(TypeError, match=f"^inner{message}"):
        CALLS[name](bilevel.GradientDescent(lambda w, h: cast(inner(w, h)), 0.1))


# Training.


def training(**options):
    given = {"loss": nn.functional.cross_entropy, "loader": DATA} | options
    return bilevel.Training(nn.Linear(3, 2), **given)


@pytest.mark.parametrize("bad", [torch.optim.SGD, functools.partial(torch.optim.Adam, lr=0.1)])
def test_an_optimiser_of_torch_for_the_inner_training(bad):
    with pytest.raises(
        TypeError, match=r"^optimizer must make a Dynamics .* got the class (SGD|Adam)$"
    ):
        training(optimizer=bad)


def test_other_arguments_of_a_training():
    message = r"^loss must be a function of .*got the class MSELoss; did you mean to call it\?$"
    with pytest.raises(TypeError, match=message):
        training(loss=nn.MSELoss)
    with pytest.raises(TypeError, match=message):
        training().judged_by(DATA, nn.MSELoss)
    with pytest.raises(TypeError, match=r"^autocast must be a dtype .* got 'bf16'"):
        training(autocast="bf16")


def test_a_module_whose_buffers_alone_are_lazy():
    module = nn.LazyBatchNorm1d(affine=False)
    module.register_parameter("scale", nn.Parameter(torch.ones(2)))
    with pytest.raises(ValueError, match=r"^'running_mean' of module has no shape yet; call"):
        bilevel.functional(module)


# Loops.


def solve(**options):
    return bilevel.solve(PHI, outer, ZERO, ONE, 2, **({"n_outer": 2} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stopping": None}, r"stopping must be a rule .* got NoneType$"),
        ({"stopping": 3}, r"stopping must be a rule .* got int$"),
        ({"stopping": "patience"}, r"stopping must be a rule .* got str$"),
        (
            {"stopping": [bilevel.stopping.tolerance(0.1), 3]},
            r"stopping must be a rule .* got int$",
        ),
        (
            {"stopping": bilevel.stopping.patience},
            r"stopping must .* got the function patience; did you mean to call it\?$",
        ),
        ({"stopping": (bilevel.stopping.at_zero,)}, r".* at_zero; did you mean to call it\?$"),
        (
            {"stopping": lambda history: True},
            r"a rule of stopping must return .* as text, .* True$",
        ),
        ({"stopping": lambda history: False}, r"a rule of stopping must return .* got False$"),
        ({"callback": "x"}, r"callback must be a function of a Record, or None, got str$"),
        ({"time_limit": "3"}, r"time_limit must be a positive number of seconds, .* got '3'$"),
        ({"time_limit": True}, r"time_limit must be a positive number of seconds, .* got True$"),
        ({"inner_tol": "a"}, r"inner_tol must be a number in \[0, 1\), got 'a'$"),
        ({"checkpoint": 3}, r"checkpoint must be the path of a folder .* got 3$"),
        ({"resume": "no"}, r"resume must be True or False, got 'no'$"),
        (
            {"projection": bilevel.projections.box},
            r"projection must .* got the function box; did you mean to call it\?$",
        ),
        ({"projection": 3}, r"projection must be a function such as projections.box.* got int$"),
        ({"projection": lambda x: 1.0}, r"projection must return a tensor for hyper, got float$"),
        ({"projection": lambda x: bilevel.projections.box()}, r"projection must return .* apply$"),
    ],
)
def test_options_of_a_loop(options, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        solve(**options)


def test_a_projection_by_leaf_that_was_not_called():
    inside = bilevel.GradientDescent(lambda w, h: inner(w, h["goal"]), 0.5)
    with pytest.raises(TypeError, match=r"^projection\['goal'\] must be .*did you mean to call"):
        bilevel.solve(
            inside,
            outer,
            ZERO,
            {"goal": ONE},
            2,
            projection={"goal": bilevel.projections.non_negative},
        )


def test_a_projection_that_makes_no_numbers():
    """In the first call an error; later the end of the loop, at the values before the step."""
    message = r"what projection returns for hyper holds nan where hyper is finite"
    with pytest.raises(bilevel.NonFiniteError, match=message):
        solve(projection=lambda x: x * math.nan)
    calls = []

    def third(x):
        calls.append(1)
        return x * math.nan if len(calls) == 3 else x

    found = solve(projection=third, n_outer=5)
    assert message in found.reason
    assert len(found.history) == 2
    assert bool(found.last.hyper.isfinite())


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, r"estimate must return \(value, gradient\), got NoneType$"),
        (ONE, r"estimate must return \(value, gradient\), got Tensor$"),
        ((ONE, ONE, ONE), r"estimate must return \(value, gradient\), got 3 things$"),
        ((torch.ones(2), ONE), r"estimate must return one number as its value, got \(2,\)$"),
        ((None, ONE), r"the value that estimate returns must be a number, got None$"),
        (("low", ONE), r"the value that estimate returns must be a number, got 'low'$"),
        ((1.0, ONE.double()), r"estimate must return a gradient of torch.float32 .* torch.float64"),
        ((1.0, 1.0), r"estimate must return a gradient of shape \(\) for hyper, got float"),
    ],
)
def test_what_is_no_estimate(found, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        bilevel.solve_black_box(lambda hyper, k: found, ONE, n_outer=1)


def test_estimates_of_any_number():
    with pytest.raises(TypeError, match=r"^estimate must be a function of \(hyper, outer iterat"):
        bilevel.solve_black_box(3, ONE)
    for value in (1, 2.0, 1e39, np.float32(2), torch.tensor([2.0]), torch.tensor(1)):
        found = bilevel.solve_black_box(lambda hyper, k, v=value: (v, ONE), ONE, n_outer=1)
        assert found.value == float(value)


# Tasks.


def both():
    return bilevel.over_tasks(
        lambda w, h, goal: inner(w, goal).sum() + h * (w**2).sum(),
        lambda w, h, goal: outer(w, h).sum(),
        torch.tensor([1.0, 2.0]),
    )


@pytest.mark.parametrize("bad", [torch.zeros(()), torch.zeros(3), torch.zeros(3, 2)])
def test_weights_that_are_not_stacked(bad):
    one, two = both()
    with pytest.raises(
        ValueError, match=r"^params\['w'\] must have one slice .* 2 tasks .*stacked\(params, 2\)"
    ):
        bilevel.hypergradient(
            bilevel.GradientDescent(lambda p, h: one(p, h, 0), 0.1),
            lambda p, h: two(p, h, 0),
            {"w": bad},
            ONE,
            1,
        )


def test_an_objective_of_a_task_that_is_no_scalar():
    one, two = bilevel.over_tasks(lambda w, h, x: w * h * x, outer, torch.ones(2))
    with pytest.raises(ValueError, match=r"^inner_objective must .* shape \(\) for each task"):
        bilevel.hypergradient(bilevel.GradientDescent(one, 0.1), two, torch.ones(2, 3), ONE, 1)


def test_what_is_no_task():
    with pytest.raises(TypeError, match=r"^inner_objective must be a function of .* got int"):
        bilevel.over_tasks(3, outer, torch.ones(2))
    with pytest.raises(TypeError, match=r"^episode must be a function of .* got list"):
        bilevel.separate_tasks([(PHI, outer, ZERO)], 2)
    with pytest.raises(TypeError, match=r"^episode must return tasks .* got GradientDescent at"):
        bilevel.separate_tasks(lambda k: [PHI], 2)(ONE, 0)


# Numbers and flags.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bilevel.F2SA("a"), r"F2SA\(penalty\) must be a number, .* got 'a'"),
        (lambda: bilevel.SOBA("a"), r"SOBA\(lr\) must be a number, .* got 'a'"),
        (lambda: bilevel.SABA("a", n_batches=1), r"SABA\(lr\) must be a number"),
        (lambda: bilevel.FixedPoint(tol="a"), r"FixedPoint\(tol\) must be a number, in \[0, 1\)"),
        (lambda: bilevel.FixedPoint(ridge="a"), r"FixedPoint\(ridge\) must be a number, got"),
        (lambda: bilevel.FixedPoint(stochastic="no"), r"FixedPoint\(stochastic\) must be True or"),
        (lambda: bilevel.FixedPoint(warm_start=1), r"FixedPoint\(warm_start\) must be True or Fal"),
        (
            lambda: bilevel.ConjugateGradient(normal_equations="no"),
            r".*must be True, False or None",
        ),
        (lambda: bilevel.ConjugateGradient(differences="no"), r".*differences\) must be True or"),
        (lambda: bilevel.Reverse(tape="no"), r"Reverse\(tape\) must be True, False or None, got"),
        (lambda: bilevel.Reverse(check="no"), r"Reverse\(check\) must be True or False, got 'no'"),
        (lambda: bilevel.Adam(inner, betas=0.9), r"betas must be two settings, .* got 0.9"),
        (lambda: bilevel.AdamW(inner, betas=(0.9, 0.99, 0.9)), r"betas must be two settings, .*"),
        (lambda: bilevel.Adam(inner, eps="a"), r"eps must be a number, .* got 'a'"),
        (lambda: bilevel.RMSprop(inner, eps=lambda h: 1), r"eps must be a number, .* got <func"),
        (lambda: PHI.__class__(inner, 0.1, max_grad_norm="a"), r"max_grad_norm must be a number"),
        (lambda: bilevel.stopping.patience(1, "a"), r"patience: min_delta must be a number"),
        (lambda: bilevel.stopping.tolerance("a"), r"tolerance: gradient must be a number"),
        (lambda: bilevel.projections.box("a"), r"box: lower must be a number or a tensor"),
        (lambda: bilevel.projections.simplex("a"), r"simplex: total must be a number"),
        (lambda: bilevel.projections.l1_ball("a"), r"l1_ball: radius must be a number"),
        (lambda: bilevel.projections.spectral_ball("a"), r"spectral_ball: radius must be a numb"),
        (
            lambda: bilevel.solve_online(PHI, outer, ZERO, ONE, 2, discount="a"),
            r"discount must be a number in \[0, 1\]",
        ),
        (
            lambda: bilevel.hypergradient(PHI, outer, ZERO, ONE, 2, previous=ONE),
            "previous must be an earlier result of hypergradient, or None, got Tensor",
        ),
        (lambda: imle(Bernoulli(torch.tensor([0.5])), step="a"), "step must be a positive number"),
        (
            lambda: gumbel_sinkhorn(torch.zeros(2, 2), temperature=1.0, noise="a"),
            "noise must be a finite number of 0 or more, got 'a'",
        ),
    ],
)
def test_options_of_a_wrong_kind(call, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        call()


@pytest.mark.parametrize("bad", [3, "g", [torch.Generator(), 3]])
def test_what_is_no_generator(bad):
    with pytest.raises(TypeError, match=r"^generators must be torch\.Generators, got (int|str)"):
        bilevel.GradientDescent(inner, generators=bad)


def test_flags_of_numpy():
    assert bilevel.Reverse(tape=np.True_).tape


@pytest.mark.parametrize("good", [2, 2.0, np.float32(2), np.int64(2), torch.tensor(2.0)])
def test_real_numbers(good):
    assert real("x", good) == 2.0
    assert type(real("x", good)) is float


@pytest.mark.parametrize(
    "bad", [True, np.True_, "2", b"2", None, 2j, [2.0], torch.ones(1), torch.tensor(True), float]
)
def test_what_is_no_real_number(bad):
    with pytest.raises(TypeError, match=r"^x must be a number, got "):
        real("x", bad)
