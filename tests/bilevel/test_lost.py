"""Buffers that a module writes in ways torch keeps no account of, against plain training.

The hypergradients are compared with central differences of plain training with torch.optim.
"""

import functools
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lds import bilevel

GENERATOR = torch.Generator().manual_seed(0)
X, Y = (torch.randn(24, n, dtype=torch.float64, generator=GENERATOR) for n in (6, 1))
BATCHES = [(X[k : k + 6], Y[k : k + 6]) for k in range(0, 18, 6)]
HELD_OUT = X[18:], Y[18:]
HYPER = {"lr": torch.tensor(0.05).double(), "decay": torch.tensor(0.02).double()}
LOST = "treats the new value as a constant"


class Averaging(nn.Module):
    """Subtracts a running mean of its hidden units, and divides by the number of its calls."""

    def __init__(self, update) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(6, 4), nn.Linear(4, 1)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.update = update

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.hidden(x))
        if self.training:
            self.update(self, h, x)
        return self.out((h - self.mean) / (1 + self.calls))


def made(module) -> nn.Module:
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the older weight norm
        return module().double()


def plain(module, hyper) -> float:
    """E after five steps of plain training."""
    net = made(module)
    optimizer = torch.optim.SGD(
        [p for p in net.parameters() if p.requires_grad],
        lr=float(hyper["lr"]),
        weight_decay=float(hyper["decay"]),
    )
    for t in range(5):
        x, y = BATCHES[t % 3]
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        optimizer.step()
        for buffer in net.buffers():
            buffer.detach_()
    return float(F.mse_loss(net.eval()(HELD_OUT[0]), HELD_OUT[1]).detach())


def off(module, method=None) -> tuple[float, float]:
    """The errors of E and of the hypergradient, relative to those of plain training."""
    training = bilevel.Training(
        made(module),
        F.mse_loss,
        BATCHES,
        functools.partial(
            bilevel.GradientDescent, lr=lambda h: h["lr"], weight_decay=lambda h: h["decay"]
        ),
    )
    found = bilevel.hypergradient(
        training.dynamics, training.judged_by([HELD_OUT]), training.params, HYPER, 5, method
    )
    value = plain(module, HYPER)
    slopes = []
    for name, number in HYPER.items():
        e = 1e-5 * number
        ahead, behind = (plain(module, HYPER | {name: number + d}) for d in (e, -e))
        slopes.append(abs((ahead - behind) / (2 * e) / found.grad[name] - 1))
    return abs(float(found.value) / value - 1), float(max(slopes))


def no_grad_outside(net, h, x):
    with torch.no_grad():
        mean = h.mean(0)
    net.mean = 0.9 * net.mean + 0.1 * mean


def assigned(net, h, x):
    net.mean.data = (0.9 * net.mean + 0.1 * h.mean(0)).data


def counted(net, h, x):
    net.calls.data += 1


def set_to(net, h, x):
    net.mean = 0.9 * net.mean + 0.1 * h.mean(0).detach()


CONSTANT = {
    "lerp of detached": lambda net, h, x: net.mean.lerp_(h.mean(0).detach(), 0.1),
    "mean of detached": lambda net, h, x: net.mean.lerp_(h.detach().mean(0), 0.1),
    "another tensor": set_to,
    "a part": lambda net, h, x: net.mean.__setitem__(0, h.mean().detach()),
    "a view": lambda net, h, x: net.mean[:2].copy_(h.mean(0).detach()[:2]),
    "no_grad outside": no_grad_outside,
    "data": lambda net, h, x: net.mean.data.mul_(0.9).add_(0.1 * h.mean(0).detach()),
    "data assigned": assigned,
}

RIGHT = {
    "counted by data": counted,
    "counted by data.add_": lambda net, h, x: net.calls.data.add_(1),
    "counted by numpy": lambda net, h, x: net.calls.numpy().__iadd__(1),
    "means of data": lambda net, h, x: net.mean.lerp_(x[:, :4].mean(0).detach(), 0.1),
    "detached elsewhere": lambda net, h, x: (h.detach(), net.mean.lerp_(x[:, :4].mean(0), 0.1)),
    "data that is read": lambda net, h, x: (
        net.mean.data.sum(),
        net.mean.lerp_(x[:, :4].mean(0), 0.1),
        net.calls.add_(1),
    ),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_an_average_without_history_has_its_value_and_a_warning(name):
    with pytest.warns(UserWarning, match=f"buffer 'mean' is changed .*{LOST}"):
        value, slope = off(functools.partial(Averaging, CONSTANT[name]))
    assert value < 1e-12
    assert slope > 1e-4  # else there was nothing to warn of


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("method", [None, bilevel.Reverse(tape=False), bilevel.Forward()])
def test_what_has_no_derivative_to_lose_is_right_and_silent(name, method):
    value, slope = off(functools.partial(Averaging, RIGHT[name]), method)
    assert value < 1e-12
    assert slope < 1e-6  # of differences


def test_a_change_by_data_of_the_modules_own_buffers_is_refused():
    apply, params = bilevel.functional(made(functools.partial(Averaging, counted)))
    with pytest.raises(RuntimeError, match=r"params holds no buffers, .* buffer 'calls'"):
        apply.train(dict(params), X)
    assert int(apply._module.calls) == 0


NORMED = {
    "newer": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)),
    "other axis": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 4), dim=1),
    "one norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 4), dim=None),
    "older": lambda: nn.utils.weight_norm(nn.Linear(6, 4)),
}


@pytest.mark.parametrize("name", NORMED)
@pytest.mark.parametrize("norm", [nn.Identity, functools.partial(nn.BatchNorm1d, 4)])
def test_a_weight_norm_has_right_second_derivatives(name, norm):
    def module():
        return nn.Sequential(NORMED[name](), norm(), nn.Tanh(), nn.Linear(4, 1))

    for method in (None, bilevel.Forward()):
        value, slope = off(module, method)
        assert value < 1e-12
        assert slope < 1e-6  # of differences


def test_an_embedding_whose_second_derivative_is_wrong_is_warned_of():
    net = nn.Sequential(nn.Embedding(4, 2, scale_grad_by_freq=True), nn.Linear(2, 1))
    with pytest.warns(UserWarning, match=r"embedding with scale_grad_by_freq=True \(0\), .* wrong"):
        bilevel.functional(net)


WRONG_NAMES = [
    (lambda w: {"wieght": w["weight"], "bias": w["bias"]}, "params holds 'wieght', .* it has bias"),
    (lambda w: {"bias": w["bias"]}, "every trained parameter of the module, got none for 'weight'"),
]


@pytest.mark.parametrize(("change", "message"), WRONG_NAMES)
def test_wrong_names_are_refused(change, message):
    net = nn.Linear(2, 3)
    apply, params = bilevel.functional(net)
    with pytest.raises(ValueError, match=message):
        apply(change(params), torch.ones(1, 2))
    with pytest.raises(ValueError, match=message):
        bilevel.load(net, change(params))
    with pytest.raises(TypeError, match=r"params must be a dict of tensors .* got Tensor"):
        apply(params["weight"], torch.ones(1, 2))


def test_a_tensor_of_another_shape_is_not_loaded():
    net = nn.Linear(4, 3)
    before = net.weight.detach().clone()
    with pytest.raises(ValueError, match=r"params\['weight'\] must have the shape \(3, 4\) .*1, 4"):
        bilevel.load(net, {"bias": torch.zeros(3), "weight": torch.zeros(1, 4)})
    assert torch.equal(net.weight, before)


def test_frozen_parameters_may_be_given_or_left_out():
    net = nn.Linear(2, 3)
    net.bias.requires_grad_(False)
    apply, params = bilevel.functional(net)
    x = torch.ones(1, 2)
    assert torch.equal(apply(params, x), net(x))
    torch.testing.assert_close(apply(params | {"bias": net.bias + 1}, x), net(x) + 1)
    bilevel.load(net, {"weight": torch.zeros(3, 2)})
    assert not net.weight.any()
