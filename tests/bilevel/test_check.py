"""`bilevel.check` finds what is wrong, and only that."""

import itertools

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lds import bilevel, discrete

X = torch.linspace(-1, 2, 36).view(12, 3).double().cos()
Y = X[:, :1].sin() + X[:, 1:2]
HYPER = {"lr": torch.tensor(0.05), "decay": torch.tensor(0.01)}


def mlp(first=lambda layer: layer, *more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(first(nn.Linear(3, 4)), *more, nn.Tanh(), nn.Linear(4, 1))


def check(net: nn.Module, penalty=None, batch=lambda: slice(None), hyper=HYPER) -> bilevel.Report:
    apply, params = bilevel.functional(net)

    def inner(w, h):
        rows = batch()
        size = sum((p**2).sum() for p in w.values())
        return ((apply(w, X[rows]) - Y[rows]) ** 2).mean() + (penalty or plain)(h["decay"]) * size

    return bilevel.check(
        bilevel.Momentum(inner, lr=lambda h: h["lr"]),
        lambda w, h: (apply.eval(w, X.flip(1)) ** 2).mean(),
        params,
        hyper,
    )


def plain(decay):
    return decay


def verdicts(report: bilevel.Report) -> dict[str, str]:
    return {row.name.split()[0]: row.verdict for row in report.rows}


@pytest.mark.ci
@pytest.mark.parametrize(
    "net",
    [
        mlp(),
        mlp(nn.utils.parametrizations.spectral_norm, nn.BatchNorm1d(4), nn.Dropout(0.3)),
        mlp(nn.utils.parametrizations.orthogonal),
        mlp(nn.utils.parametrizations.weight_norm),
    ],
    ids=["plain", "buffers-and-dropout", "orthogonal", "weight-norm"],
)
def test_what_is_right_passes(net):
    report = check(net)
    assert report.ok, report
    assert {row.verdict for row in report.rows} == {"ok"}
    assert repr(report).startswith("the hypergradient can be trusted")
    assert len(repr(report).splitlines()) <= 20


class Normed(nn.Module):
    """A layer that calls torch's weight norm itself, where `functional` does not replace it."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.v = nn.Parameter(layer.weight.detach().clone())
        self.g = nn.Parameter(self.v.detach().norm(dim=1, keepdim=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch._weight_norm(self.v, self.g, 0).T


@pytest.mark.ci
def test_a_wrong_second_derivative_is_found():
    """That of torch's weight_norm: forward mode and finite differences both say so."""
    report = check(mlp(Normed))
    assert not report.ok
    assert verdicts(report)["forward"] == verdicts(report)["finite"] == "differs"
    assert "weight_norm" in repr(report)


def test_a_part_that_is_cut_off_is_found_beside_larger_derivatives():
    report = check(mlp(), penalty=lambda decay: decay * (1 + decay.detach()))
    (row,) = [row for row in report.rows if row.verdict == "differs" and "alone" in row.name]
    assert "hyper['decay']" in row.name
    assert ".detach()" in row.advice


def test_a_run_that_does_not_repeat_is_found():
    batches = itertools.cycle([slice(0, 4), slice(4, 8), slice(8, 12)])
    report = check(mlp(), batch=lambda: next(batches))
    assert not report.ok
    assert verdicts(report) == {"replay": "failed"}
    assert "bilevel.Batches" in repr(report)


def test_a_hyperparameter_that_nothing_depends_on_is_found():
    report = check(mlp(), hyper=HYPER | {"unused": torch.tensor(1.0)})
    assert not report.ok
    assert verdicts(report) == {"influence": "failed"}
    assert "hyper['unused']" in repr(report)


def test_an_outer_objective_that_does_not_see_the_weights_is_found():
    inner = bilevel.GradientDescent(lambda w, h: (w - h) ** 2, 0.1)
    given = torch.tensor(0.5), torch.tensor(1.0)
    for outer in (lambda w, h: w.detach() ** 2, lambda w, h: torch.tensor(1.0)):
        report = bilevel.check(inner, outer, *given)
        assert verdicts(report) == {"influence": "failed"}
        assert "the outer objective depends neither on the weights" in repr(report)
    report = bilevel.check(inner, lambda w, h: w.detach() ** 2 * 0 + h**2, *given)
    assert "the outer objective does not depend on the weights" in repr(report)
    report = bilevel.check(inner, lambda w, h: w**2 + h**2, *given)
    assert "every hyperparameter has a gradient" in repr(report)


def test_a_kink_is_told_from_a_wrong_derivative():
    dynamics = bilevel.GradientDescent(lambda w, h: (w - h) ** 2, 0.5)  # w_1 = h
    report = bilevel.check(
        dynamics, lambda w, h: 9 * (w - 1.00003).relu() + w, torch.tensor(0.0), torch.tensor(1.0), 1
    )
    assert not report.ok
    assert "not smooth here (a kink" in repr(report)


def test_callers_tensors_keep_their_precision():
    params, hyper = torch.tensor(0.3), {"a": torch.tensor(0.5)}
    dynamics = bilevel.GradientDescent(lambda w, h: h["a"] * (w - 1) ** 2, 0.1)
    assert bilevel.check(dynamics, lambda w, h: w**2, params, hyper).ok
    assert params.dtype == hyper["a"].dtype == torch.float32


def test_data_of_single_precision_do_not_blur_it():
    """A net as it comes, with float32 data, buffers and frozen weights: in float64 all agree."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
    net[3].requires_grad_(False)
    apply, params = bilevel.functional(net)
    x, y = X.float(), Y.float()
    report = bilevel.check(
        bilevel.Adam(lambda w, lr: ((apply(w, x) - y) ** 2).mean(), lr=lambda lr: lr, eps=1e-3),
        lambda w, lr: (apply.eval(w, x + 1) ** 2).mean(),
        params,
        torch.tensor(0.01),
    )
    assert report.ok, report


@pytest.mark.parametrize("cut", [False, True])
def test_rounding_that_adam_enlarges_is_no_wrong_hypergradient(cut):
    """A bias before batch norm has a gradient of rounding alone; its step by Adam is not small."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
    x = torch.randn(96, 12)
    y = (x[:, 0] + x[:, 1] > 0).long()
    rows = TensorDataset(x[:64], y[:64])
    training = bilevel.Training(
        net,
        nn.functional.cross_entropy,
        DataLoader(rows, batch_size=16, shuffle=True),
        lambda inner: bilevel.AdamW(
            inner,
            weight_decay=lambda wd: wd + 0.5 * (wd.detach() if cut else wd),
        ),
    )
    report = bilevel.check(
        training.dynamics,
        training.judged_by(DataLoader(TensorDataset(x[64:], y[64:]), batch_size=32)),
        training.params,
        torch.tensor(0.01),
        n_directions=1,
    )
    assert verdicts(report)["finite"] == ("differs" if cut else "ok"), report
    assert verdicts(report)["forward"] == "ok"


@pytest.mark.ci
def test_a_slope_through_hard_draws_is_told_from_a_wrong_derivative():
    torch.manual_seed(0)

    def report(draw):
        def inner(w, h):
            z = draw(discrete.KSubset(h["scores"], 2))
            return ((X * z @ w - Y[:, 0]) ** 2).mean() + h["decay"] * (w**2).sum()

        return bilevel.check(
            bilevel.GradientDescent(inner, 0.1),
            lambda w, h: ((X.flip(1) @ w - Y[:, 0]) ** 2).mean(),
            torch.zeros(3),
            {"scores": torch.randn(3), "decay": torch.tensor(0.01)},
        )

    found = report(discrete.straight_through)
    (alone,) = (row for row in found.rows if "'scores'] alone" in row.name)
    (decay,) = (row for row in found.rows if "'decay'] alone" in row.name)
    assert alone.verdict == "differs"
    assert decay.verdict == "ok"
    assert "hard draws" in alone.advice
    assert "distribution.mean" in alone.advice
    assert "the hypergradient is wrong" not in repr(found)
    assert report(lambda distribution: distribution.mean).ok
