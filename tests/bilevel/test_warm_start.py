"""Outer iterations that go on from the last one's state, against loops written out in torch."""

import functools

import pytest
import torch
from torch import Tensor

from lds import bilevel
from tests.problems import scalar

DESCENT = functools.partial(torch.optim.SGD, lr=0.05)


def vector(seed: int, n: int = 4) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed)).double()


GOALS = torch.stack([vector(k) for k in range(7)])


def inner(w: Tensor, lam: Tensor, step: int) -> Tensor:
    """Another goal at every step, as mini-batches by step number are."""
    return 0.5 * ((w - GOALS[step % 7]) ** 2).sum() + 0.5 * (lam.exp() * w**2).sum()


def outer(w: Tensor, lam: Tensor) -> Tensor:
    return ((w - 0.3) ** 2).sum() + 0.01 * lam.square().sum()


OPTIMIZERS = {
    "momentum": (
        lambda L: bilevel.Momentum(L, 0.1, 0.9),
        functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    ),
    "adam": (
        lambda L: bilevel.Adam(L, 0.05),
        functools.partial(torch.optim.Adam, lr=0.05),
    ),
    "rmsprop": (
        lambda L: bilevel.RMSprop(L, 0.01, momentum=0.5),
        functools.partial(torch.optim.RMSprop, lr=0.01, momentum=0.5),
    ),
}


def run(name: str, n_steps: int, n_outer: int, optimizer=DESCENT, **options) -> bilevel.Solution:
    start = torch.full((4,), -1.0, dtype=torch.float64)
    return bilevel.solve(
        OPTIMIZERS[name][0](inner),
        outer,
        torch.zeros(4, dtype=torch.float64),
        start,
        n_steps,
        n_outer=n_outer,
        optimizer=optimizer,
        **options,
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("n_steps", "n_outer"), [(1, 12), (3, 4)])
def test_with_its_state_it_is_one_training_that_goes_on(name, n_steps, n_outer):
    """λ held fixed: twelve steps of torch's optimiser, in one go."""
    still = functools.partial(torch.optim.SGD, lr=0.0)
    solution = run(name, n_steps, n_outer, still, warm_start="state")
    w = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    lam = torch.full((4,), -1.0, dtype=torch.float64)
    optimizer = OPTIMIZERS[name][1]([w])
    for t in range(12):
        optimizer.zero_grad()
        inner(w, lam, t).backward()
        optimizer.step()
    torch.testing.assert_close(solution.last.params, w.detach(), rtol=1e-12, atol=1e-14)
    # Weights alone: the momentum begins at 0 and the batches at the first, every time.
    short = run(name, n_steps, n_outer, still, warm_start="params")
    assert float((short.last.params - w.detach()).abs().max()) > 1e-2


def test_hyperparameters_that_move_move_as_in_a_loop_written_out():
    """Heavy ball, a step an iteration, ∂w_t/∂λ = -η e^λ w_{t-1} with the velocity held fixed."""
    solution = run("momentum", 1, 25, warm_start="state")
    w, v = torch.zeros(4).double(), torch.zeros(4).double()
    lam = torch.full((4,), -1.0).double()
    for t, record in enumerate(solution.history):
        torch.testing.assert_close(record.hyper, lam, rtol=1e-10, atol=1e-14)
        decay = lam.exp() * w
        v = 0.9 * v + w - GOALS[t % 7] + decay
        w = w - 0.1 * v
        assert record.value == pytest.approx(float(outer(w, lam)), rel=1e-10)
        lam = lam - 0.05 * (2 * (w - 0.3) * (-0.1 * decay) + 0.02 * lam)
    torch.testing.assert_close(solution.last.params, w, rtol=1e-10, atol=1e-14)


def test_the_outer_objective_counts_the_steps_on_too():
    seen = []

    def judged(w, lam, step):
        seen.append(step)
        return outer(w, lam)

    bilevel.solve(
        bilevel.Adam(inner),
        judged,
        torch.zeros(4).double(),
        torch.zeros(4).double(),
        3,
        n_outer=3,
        warm_start="state",
        keep="last",
    )
    assert seen == [3, 6, 9]


@pytest.mark.parametrize("method", [bilevel.Forward(), bilevel.Reverse(checkpoint="sqrt"), "auto"])
def test_every_unrolled_method_sees_the_same_steps(method):
    expected = run("adam", 4, 5, warm_start="state")
    found = run("adam", 4, 5, warm_start="state", method=method)
    torch.testing.assert_close(found.last.hyper, expected.last.hyper, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("method", [None, bilevel.ConjugateGradient(3)])
@pytest.mark.filterwarnings("ignore:.*changes from call to call")
def test_resumed_is_bitwise_the_uninterrupted(name, method, tmp_path):
    def options():
        return {
            "warm_start": "state",
            "method": method,
            "optimizer": torch.optim.Adam,
            "keep": "averaged",
        }

    whole = run(name, 2, 9, **options())
    run(name, 2, 4, checkpoint=tmp_path, **options())
    resumed = run(name, 2, 9, checkpoint=tmp_path, resume=True, **options())
    for got, expected in [
        (resumed.last.hyper, whole.last.hyper),
        (resumed.last.params, whole.last.params),
        (resumed.hyper, whole.hyper),
        (resumed.params, whole.params),
    ]:
        assert torch.equal(got, expected)
    assert resumed.value == whole.value
    assert [r.value for r in resumed.history] == [r.value for r in whole.history]


@pytest.mark.parametrize("bad", [True, "weights", 1, None])
def test_what_it_may_be(bad):
    with pytest.raises(ValueError, match=r"warm_start must be False, 'params' .* or 'state' .*got"):
        run("adam", 1, 1, warm_start=bad)


def test_weights_alone_begin_with_empty_buffers():
    """One step of heavy ball from weights alone is gradient descent."""
    lam = scalar(1.0)
    loss = lambda w, lam: 0.5 * (w - lam) ** 2  # noqa: E731
    still = functools.partial(torch.optim.SGD, lr=0.0)
    found = bilevel.solve(
        bilevel.Momentum(loss, 0.1, 0.9),
        loss,
        scalar(0.0),
        lam,
        1,
        n_outer=20,
        optimizer=still,
        warm_start="params",
    )
    assert float(found.last.params) == pytest.approx(1 - 0.9**20, rel=1e-12)
