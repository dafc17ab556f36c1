"""A module inside a bilevel program, against autograd through the module itself."""

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
