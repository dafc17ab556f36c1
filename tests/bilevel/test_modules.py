"""A module inside a bilevel program, against autograd through the module itself."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from lds import bilevel


def test_a_module_trains_as_a_function_and_is_left_alone():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    x, y = torch.randn(8, 3).double(), torch.randn(8, 1).double()
    apply, params = bilevel.functional(net)

    def loss(w, log_lr):
        return ((apply(w, x) - y) ** 2).mean()

    lr = torch.tensor(0.1).double()
    dynamics = bilevel.GradientDescent(loss, lr=lambda lr: lr)
    result = bilevel.hypergradient(dynamics, loss, params, lr, n_steps=3)

    leaf = lr.clone().requires_grad_()
    w = {name: p.clone().requires_grad_() for name, p in before.items()}
    for _ in range(3):
        value = ((functional_call(net, w, (x,)) - y) ** 2).mean()
        grads = torch.autograd.grad(value, list(w.values()), create_graph=True)
        w = {name: p - leaf * g for (name, p), g in zip(w.items(), grads, strict=True)}
    value = ((functional_call(net, w, (x,)) - y) ** 2).mean()
    (expected,) = torch.autograd.grad(value, leaf)
    torch.testing.assert_close(result.grad, expected, rtol=1e-10, atol=0)
    for name, p in net.named_parameters():
        assert torch.equal(p, before[name])
        assert p.grad is None
        assert params[name].data_ptr() != p.data_ptr()


class Twice(nn.Module):
    """A part under two names, one of whose buffers is replaced and one of whose weights is tied."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        self.second = self.first
        self.tied = nn.Linear(3, 3)
        self.tied.weight = self.first[0].weight
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        """Apply the part twice, and the tied layer."""
        h = self.tied(self.second(self.first(x).tanh()).tanh())
        self.mean = 0.5 * self.mean + 0.5 * h.mean(0)
        return h + self.mean


class Holder(nn.Module):
    """A module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.one = self.two = Twice()

    def forward(self, x):
        """Apply it once."""
        return self.two(x)


def test_a_part_that_is_used_twice_is_left_alone_and_trains_as_by_torch():
    torch.manual_seed(0)
    net, x = Holder().double(), torch.randn(8, 3).double()
    plain = copy.deepcopy(net)
    own = [*net.parameters(), *net.buffers()]
    before = copy.deepcopy(net.state_dict())
    apply, params = bilevel.functional(net)
    dynamics = bilevel.GradientDescent(lambda w, lr: apply(w, x).square().mean(), lr=lambda lr: lr)
    trained = bilevel.run(dynamics, params, torch.tensor(0.1, dtype=torch.float64), 3).params

    for _ in range(3):
        grads = torch.autograd.grad(plain(x).square().mean(), list(plain.parameters()))
        plain.two.mean.detach_()
        with torch.no_grad():
            for p, g in zip(plain.parameters(), grads, strict=True):
                p -= 0.1 * g
    assert all(a is b for a, b in zip(own, [*net.parameters(), *net.buffers()], strict=True))
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])
    bilevel.load(net, trained)
    torch.testing.assert_close(net.state_dict(), plain.state_dict(), rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match=r"two tensors for 'one.first.0.weight'"):
        apply.eval(params.replaced(before), x)
