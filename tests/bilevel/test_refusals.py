"""What a part cannot take is refused in a sentence that names the reason, before any work."""

import functools

import pytest
import torch
from torch import nn

from lds import bilevel

ZERO, ONE = torch.tensor(0.0), torch.tensor(1.0)


def inner(w, hyper):
    return 0.5 * ((w - hyper) ** 2).sum()


def outer(w, hyper):
    return ((w - 3) ** 2).sum()


PHI = bilevel.GradientDescent(inner, 0.5)
SOLVE = functools.partial(bilevel.solve, PHI, outer, ZERO, ONE, 2, n_outer=1)


def with_buffers(method):
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    data = [(torch.eye(2), torch.ones(2, 1))]
    training = bilevel.Training(
        module,
        lambda found, wanted, hyper: ((found - wanted) ** 2).mean() * hyper,
        data,
        bilevel.GradientDescent,
    )
    judged = training.judged_by(data)
    return bilevel.hypergradient(training.dynamics, judged, training.params, ONE, 1, method)


def differences(dynamics):
    method = bilevel.ConjugateGradient(2, differences=True)
    return bilevel.hypergradient(dynamics, outer, ZERO, ONE, 2, method)


OWN = bilevel.Dynamics(lambda w, hyper: w, lambda w, hyper, t: w - 0.1 * (w - hyper), lambda w: w)
MANY = functools.partial(bilevel.run, PHI, ZERO)
PARTIAL = functools.partial
REFUSED = {
    "flag-nesterov": (
        lambda: bilevel.Momentum(inner, nesterov="no"),
        "nesterov must be True or False, got 'no'",
    ),
    "flag-verbose": (lambda: SOLVE(verbose="no"), "verbose must be True or False, got 'no'"),
    "flag-f2sa": (
        lambda: bilevel.F2SA(warm_start="no"),
        r"F2SA\(warm_start\) must be True or False, got 'no'",
    ),
    "maximize": (
        lambda: SOLVE(optimizer=PARTIAL(torch.optim.SGD, lr=0.1, maximize=True)),
        "optimizer must minimise, .* got SGD with maximize=True",
    ),
    "maximize-group": (
        lambda: SOLVE(
            optimizer=lambda p: torch.optim.SGD([{"params": p, "maximize": True}], lr=0.1)
        ),
        "optimizer must minimise, .* got SGD with maximize=True",
    ),
    "capturable": (
        lambda: SOLVE(optimizer=PARTIAL(torch.optim.Adam, capturable=True)),
        "optimizer must have capturable=False for tensors of hyper on the CPU, got Adam",
    ),
    "sparse-adam": (
        lambda: SOLVE(optimizer=torch.optim.SparseAdam),
        "optimizer must take dense gradients, .* got SparseAdam; use Adam",
    ),
    "soba-buffers": (
        lambda: with_buffers(bilevel.SOBA()),
        "SOBA needs weights alone, and the module has buffers",
    ),
    "saba-buffers": (
        lambda: with_buffers(bilevel.SABA(n_batches=1)),
        "SABA needs weights alone, and the module has buffers",
    ),
    "differences-buffers": (
        lambda: with_buffers(bilevel.ConjugateGradient(2, differences=True)),
        r"at a point with ∇L = 0, got a module with buffers .*; use differences=False",
    ),
    "differences-decay": (
        lambda: differences(bilevel.GradientDescent(inner, 0.5, weight_decay=0.1)),
        "got weight_decay=; put the decay into the objective",
    ),
    "differences-own": (lambda: differences(OWN), "at a point with ∇L = 0, got Dynamics"),
    "number-hypergradient": (
        lambda: bilevel.hypergradient(PHI, outer, ZERO, {"a": 0.5, "b": ONE}, 2),
        r"hyper\['a'\] must be a tensor, got float; torch.tensor\(0.5\) is one",
    ),
    "number-run": (
        lambda: MANY({"a": 2}, 2),
        r"hyper\['a'\] must be a tensor, got int; torch.tensor\(2\) is one",
    ),
    "number-check": (
        lambda: bilevel.check(PHI, outer, ZERO, {"a": 0.5}),
        r"hyper\['a'\] must be a tensor, got float; torch.tensor\(0.5\) is one",
    ),
    "torch-optimizer": (
        lambda: bilevel.hypergradient(torch.optim.Adam, outer, ZERO, ONE, 2),
        r"got the class Adam; an optimiser of torch.optim changes weights in place",
    ),
    "torch-optimizer-partial": (
        lambda: MANY(ONE, 2) and bilevel.run(PARTIAL(torch.optim.SGD, lr=0.1), ZERO, ONE, 2),
        "an optimiser of torch.optim changes weights in place",
    ),
    "option-adam": (
        lambda: bilevel.Adam(inner, amsgrad=True),
        "Adam has no option 'amsgrad'; it has inner_objective, lr, betas, eps, .*weight_decay",
    ),
    "option-momentum": (
        lambda: bilevel.Momentum(inner, maximize=True),
        "Momentum has no option 'maximize'; it has .*nesterov, .*max_grad_norm",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_the_reason_is_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
