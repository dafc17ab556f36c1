"""What torch refuses to differentiate is said with the way out, in one sentence."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from lds import bilevel

METHODS = [None, bilevel.Forward(), bilevel.FixedPoint(2), bilevel.ConjugateGradient(2)]
QUERY = torch.linspace(-1, 1, 96).view(1, 2, 6, 8).sin()


def total(w, hyper):
    return (w**2).sum()


def run(inner, w=None, outer=lambda w, hyper: (w**2).sum() + hyper**2, method=None, **options):
    dynamics = (
        inner
        if isinstance(inner, bilevel.Dynamics)
        else bilevel.GradientDescent(inner, **{"lr": 0.1} | options)
    )
    w = torch.ones(3) if w is None else w
    return bilevel.hypergradient(dynamics, outer, w, torch.tensor(0.1), 2, method=method)


def attention(w, hyper):
    heads = QUERY * w
    return hyper * F.scaled_dot_product_attention(heads, heads, QUERY).square().mean()


@pytest.mark.parametrize("method", METHODS)
def test_attention_without_a_second_derivative(method):
    with pytest.raises(RuntimeError, match=r"^step \d of the dynamics: .*SDPBackend\.MATH"):
        run(attention, torch.ones(8), method=method)


def test_the_way_out_of_it_is_one():
    def plain(w, hyper):
        heads = QUERY * w
        scores = (heads @ heads.mT / 8**0.5).softmax(-1)
        return hyper * (scores @ QUERY).square().mean()

    def named(w, hyper):
        with sdpa_kernel(SDPBackend.MATH):
            return attention(w, hyper)

    found, expected = (run(inner, torch.ones(8)).grad for inner in (named, plain))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)  # float32


def test_inference_mode():
    with (
        torch.inference_mode(),
        pytest.raises(RuntimeError, match=r"under torch\.inference_mode\(\), .* outside of it"),
    ):
        run(total)
    with torch.inference_mode():
        made = torch.ones(3)
    with pytest.raises(ValueError, match=r"params was made under torch\.inference_mode\(\).*clone"):
        run(total, made)
    with pytest.raises(ValueError, match=r"hyper\['a'\] was made under torch\.inference_mode\(\)"):
        bilevel.hypergradient(
            bilevel.GradientDescent(lambda w, h: total(w, h["a"])),
            lambda w, h: w.sum(),
            torch.ones(3),
            {"a": made},
            1,
        )
    with pytest.raises(RuntimeError, match=r"step 0 .*inference_mode\(\).* or clone\(\) them"):
        run(lambda w, hyper: total(w * made, hyper))


@pytest.mark.parametrize("make", [bilevel.GradientDescent, bilevel.Momentum, bilevel.Adam])
@pytest.mark.parametrize("method", METHODS[:3])
def test_sparse_embeddings(make, method):
    net = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Linear(3, 1))
    apply, params = bilevel.functional(net)
    dynamics = make(lambda w, h: apply(w, torch.tensor([0, 2])).square().mean(), lr=lambda h: h)
    with pytest.raises(TypeError, match=r"params\['0.weight'\] is sparse, .*sparse=False"):
        run(dynamics, params, lambda w, h: w["1.bias"].sum(), method)


def descent_by(gradient):
    """A step of one's own with some way to take a derivative."""
    return bilevel.Dynamics(
        lambda params, hyper: {"w": params},
        lambda state, hyper, t: {"w": state["w"] - hyper * gradient(state["w"], hyper)},
        lambda state: state["w"],
    )


def by_autograd(w, hyper):
    return torch.autograd.grad(total(w, hyper), w, create_graph=True)[0]


def test_a_step_that_calls_autograd():
    with pytest.raises(RuntimeError, match=r"^step 0 .* use torch\.func\.grad, as in `g = torch"):
        run(descent_by(by_autograd))


def test_what_the_advice_shows_is_right():
    mine = run(descent_by(lambda w, hyper: torch.func.grad(total)(w, hyper))).grad
    built_in = run(bilevel.GradientDescent(total, lr=lambda hyper: hyper)).grad
    torch.testing.assert_close(mine, built_in, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the disk is full"),
        RuntimeError("could not parse line 3"),
        RuntimeError("type inference failed for column 3"),
        NotImplementedError("a loss of three classes is not implemented"),
    ],
)
def test_errors_of_the_users_own_stay_as_they_are(error):
    def inner(w, hyper):
        raise error

    with pytest.raises(type(error), match=f"^{error}$"):
        run(inner)


def test_nothing_to_train():
    for n_steps in (0, 2):
        with pytest.raises(ValueError, match=r"^params must hold a tensor to train, got {}; with"):
            bilevel.hypergradient(
                bilevel.GradientDescent(lambda w, h: h**2),
                lambda w, h: h**2,
                {},
                torch.tensor(1.0),
                n_steps,
            )


# Objectives and weights of other kinds.


class Loss(nn.Module):
    def forward(self, w, hyper):
        return total(w, hyper)


class SteppedLoss(nn.Module):
    def forward(self, w, hyper, step):
        return total(w, hyper) * (step + 1)


def test_a_loss_may_be_a_module_or_take_any_arguments():
    expected = run(total).state["params"]
    for inner in (Loss(), lambda *args: total(*args), lambda *args, **options: total(*args)):
        assert torch.equal(run(inner).state["params"], expected)
    # Rates 0.2 and 0.4 of the weights at steps 0 and 1.
    torch.testing.assert_close(run(SteppedLoss()).state["params"], torch.full((3,), 0.8 * 0.6))


def test_weights_that_are_no_tree_of_tensors():
    net = nn.Linear(3, 1)
    with pytest.raises(TypeError, match=r"got Linear; apply, params = bilevel\.functional\(module"):
        run(total, net)
    with pytest.raises(TypeError, match=r"got generator; dict\(\.\.\.\) or list\(\.\.\.\) makes"):
        run(total, net.parameters())


def test_a_run_that_diverges_is_told_from_a_loss_out_of_range():
    with pytest.raises(
        bilevel.NonFiniteError, match=r"inf at step \d, where the weights have grown to .* diverges"
    ):
        run(lambda w, hyper: (w**4).sum(), 100 * torch.ones(3), lr=1e6)
    with pytest.raises(bilevel.NonFiniteError, match=r"nan at step 0, at a finite state; the loss"):
        run(lambda w, hyper: (w - 2).log().sum())


@pytest.mark.parametrize("inside", [True, False])
def test_autocast_inside_and_around(inside):
    """bfloat16 keeps 8 bits: the hypergradient is near that of float32, through one net."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    apply, params = bilevel.functional(net)
    x = QUERY.flatten()[:60].view(20, 3)

    def loss(w, hyper):
        outside = torch.is_autocast_enabled("cpu")
        with torch.autocast("cpu", torch.bfloat16, enabled=inside or outside):
            return (apply(w, x).float() - 1).square().mean()

    def plain(w, hyper):
        return (apply(w, x) - 1).square().mean()

    expected = run(plain, params, plain, lr=lambda h: h).grad
    with torch.autocast("cpu", torch.bfloat16, enabled=not inside):
        found = run(loss, params, loss, lr=lambda h: h).grad
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0)
    assert not torch.equal(found, expected)


IN_PLACE = {
    "relu-dropout": (nn.ReLU(inplace=True), nn.Dropout(0.5, inplace=True)),
    "sigmoid-relu": (nn.Sigmoid(), nn.ReLU(inplace=True)),
    "exp": (nn.Tanh(), nn.Hardtanh(-0.5, 0.5, inplace=True)),
}


@pytest.mark.parametrize("layers", IN_PLACE)
@pytest.mark.parametrize("method", [*METHODS, bilevel.SOBA(), bilevel.F2SA(), bilevel.FirstOrder()])
def test_layers_that_change_in_place_what_the_derivative_needs(layers, method):
    X = torch.linspace(-1, 1, 20).view(4, 5)
    net = nn.Sequential(nn.Linear(5, 8), *IN_PLACE[layers], nn.Linear(8, 1))
    batches = [(X, X[:, :1])]
    training = bilevel.Training(net, nn.functional.mse_loss, batches)
    hyper = torch.tensor(0.1)
    with pytest.raises(RuntimeError, match=r"changed in place a tensor .*inplace=False"):
        bilevel.hypergradient(
            training.dynamics, training.judged_by(batches), training.params, hyper, 1, method
        )
    with pytest.raises(RuntimeError, match=r"^step 0 of the dynamics: .*inplace=False"):
        bilevel.run(training.dynamics, training.params, hyper, 2)


def test_an_outer_objective_that_changes_in_place_what_its_derivative_needs():
    def outer(w, hyper):
        out = w.sigmoid()
        return out.mul_(2).sum()

    with pytest.raises(RuntimeError, match=r"^the outer objective: .*inplace=False"):
        run(lambda w, hyper: hyper * total(w, hyper), outer=outer)
