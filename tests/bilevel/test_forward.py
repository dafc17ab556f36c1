"""Columns at once in forward mode, where torch's rules for them are wrong or missing."""

import functools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lds import bilevel
from lds.bilevel import forward

number = functools.partial(torch.tensor, dtype=torch.float64)
EYE = torch.eye(3, dtype=torch.float64).to_sparse()


def group_norm(x: Tensor, w: Tensor, groups: int) -> Tensor:
    scaled = x * w[0].view(-1, *[1] * (x.dim() - 2))
    return F.group_norm(scaled, groups, w[1], w[2])


def plain(loss, w: Tensor, hyper: Tensor) -> float:
    """E after three steps of plain gradient descent."""
    for _ in range(3):
        w = w.detach().requires_grad_()
        w = w - 0.01 * torch.autograd.grad(loss(w, hyper), w)[0]
    return float(outer(w, hyper).detach())


def outer(w: Tensor, hyper: Tensor) -> Tensor:
    return (w**3).sum() + w.sin().sum()


CASES = {
    f"group_norm {shape} {groups}": (shape, functools.partial(group_norm, groups=groups))
    for shape, groups in [
        ((1, 2, 2), 1),  # wrong numbers of torch, without an error
        ((3, 2), 2),  # an error of torch
        ((3, 4, 2, 1), 2),
    ]
} | {"a sparse product": ((3, 3), lambda x, w: torch.sparse.mm(EYE, (x * w[0]) ** 2))}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("m", [2, 5])
@pytest.mark.parametrize("by_start", [False, True])
def test_columns_at_once_are_right_or_computed_one_by_one(name, m, by_start):
    shape, function = CASES[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    w = 0.5 + torch.rand(3, shape[1], dtype=torch.float64, generator=generator)
    hyper = 0.3 * torch.randn(m, dtype=torch.float64, generator=generator)

    def loss(w, h):
        return (function(x, w).sin().sum() - h.sum()) ** 2 + h.exp().sum() * (w**2).sum()

    def begun(w, h):
        return w + h.prod() * function(x, w).mean() if by_start else w

    inner = bilevel.GradientDescent(loss, lr=0.01, start=begun)
    found = bilevel.hypergradient(inner, outer, w, hyper, 3, bilevel.Forward()).grad
    step = 1e-5 * torch.eye(m, dtype=torch.float64)
    expected = [
        (plain(loss, begun(w, hyper + e), hyper + e) - plain(loss, begun(w, hyper - e), hyper - e))
        / 2e-5
        for e in step
    ]
    torch.testing.assert_close(found, number(expected), rtol=1e-4, atol=1e-8)  # of differences


def test_a_loop_with_columns_one_by_one_takes_the_path_of_single_columns():

    inner = bilevel.GradientDescent(
        lambda w, h: (F.group_norm(w.view(1, 4), 2) * h[0]).sum() + (h.sum() * w**2).sum(), lr=0.1
    )
    start, hyper = number([1.0, 2.0, 4.0, 3.0]), number([0.1, 0.2, 0.3])
    alone = bilevel.solve(inner, outer, start, hyper, 2, n_outer=3, method=bilevel.Forward(chunk=1))
    found = bilevel.solve(inner, outer, start, hyper, 2, n_outer=3, method=bilevel.Forward())
    torch.testing.assert_close(found.last.hyper, alone.last.hyper, rtol=1e-10, atol=0)


def test_an_online_run_with_columns_one_by_one_is_resumed(tmp_path):
    inner = bilevel.GradientDescent(
        lambda w, h: (F.group_norm(w.view(1, 4), 2) * h[0]).sum() + (h.sum() * w**2).sum(), lr=0.1
    )
    start, hyper = number([1.0, 2.0, 4.0, 3.0]), number([0.1, 0.2, 0.3])
    whole = bilevel.solve_online(inner, outer, start, hyper, 6)

    def interrupt(record):
        if record.iteration == 3:
            raise KeyboardInterrupt

    run = functools.partial(
        bilevel.solve_online, inner, outer, start, hyper, 6, checkpoint=tmp_path, save_every=1
    )
    run(callback=interrupt)
    resumed = run(resume=True)
    assert torch.equal(resumed.last.hyper, whole.last.hyper)
    assert [r.value for r in resumed.history] == [r.value for r in whole.history]


@pytest.mark.parametrize(("before", "after"), [(4, 10), (10, 4), (6, 8), (3, 1)])
def test_an_online_run_is_resumed_with_its_groups_of_columns(before, after, tmp_path, monkeypatch):
    """Where another number of columns would be taken at once, as on another device."""
    run = functools.partial(
        bilevel.solve_online,
        bilevel.GradientDescent(lambda w, h: 0.5 * ((w - h) ** 2).sum(), 0.1),
        lambda w, h: ((w - 2) ** 2).sum(),
        torch.zeros(10, dtype=torch.float64),
        torch.linspace(0, 1, 10, dtype=torch.float64),
        6,
    )
    monkeypatch.setattr(forward, "_chunk", lambda state: before)
    whole = run()
    run(checkpoint=tmp_path, save_every=1, callback=lambda record: record.iteration == 3)
    monkeypatch.setattr(forward, "_chunk", lambda state: after)
    resumed = run(checkpoint=tmp_path, save_every=1, resume=True)
    assert torch.equal(resumed.last.hyper, whole.last.hyper)
