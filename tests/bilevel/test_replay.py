"""A step that meets other data on the way back is an error, not a wrong gradient."""

import contextlib
import itertools
import multiprocessing
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lds import _random, bilevel
from tests.problems import scalar

X = torch.linspace(-1, 2, 120).view(40, 3).double().cos()
REPEATING = {
    "reverse": bilevel.Reverse(),
    "no tape": bilevel.Reverse(tape=False),
    "sqrt": bilevel.Reverse(checkpoint="sqrt"),
    "truncated": bilevel.Reverse(2),
}


def rows_of(draw):
    """An inner objective on the rows that `draw(step)` names."""

    def inner(w, hyper, step):
        return ((X[draw(step)] @ w - 1) ** 2).mean() + hyper * (w**2).sum()

    return inner


def loader():
    batches = itertools.cycle(torch.arange(40).split(7))
    return lambda step: next(batches)


def counter():
    calls = itertools.count()
    return lambda step: torch.arange(7) + next(calls) % 30


def own_generator():
    generator = torch.Generator().manual_seed(0)
    return lambda step: torch.randint(40, (7,), generator=generator)


FAULTS = {
    "next(loader)": loader,
    "numpy": lambda: lambda step: torch.as_tensor(np.random.randint(40, size=7)),  # noqa: NPY002
    "random": lambda: lambda step: torch.tensor([random.randrange(40) for _ in range(7)]),
    "generator": own_generator,
    "a counter": counter,
}


def run(inner, method=None, dynamics=bilevel.GradientDescent, n_steps=6, **options):
    return bilevel.hypergradient(
        dynamics(inner, 0.1, **options),
        lambda w, hyper: (w**2).sum(),
        torch.ones(3, dtype=torch.float64),
        scalar(0.3),
        n_steps,
        method=method,
    )


@pytest.mark.parametrize("method", REPEATING)
@pytest.mark.parametrize("fault", FAULTS)
def test_other_data_on_the_way_back(fault, method):
    with pytest.raises(
        bilevel.ReplayError, match=r"step \d of the dynamics does not repeat: .*bilevel.Batches"
    ):
        run(rows_of(FAULTS[fault]()), REPEATING[method])


def faulty_in_the_middle():
    seen = set()

    def draw(step):
        other = step == 2 and step in seen
        seen.add(step)
        return torch.arange(7) + (20 if other else 0)

    return rows_of(draw)


def test_a_fault_of_one_step_in_the_middle_is_met_through_its_loss():
    with pytest.raises(bilevel.ReplayError, match=r"step 2 .* its inner loss was"):
        run(faulty_in_the_middle(), bilevel.Reverse(tape=False))


def test_a_fault_of_one_step_in_the_middle_does_not_matter_to_a_tape():
    """Each step is applied once, to the rows it met: the gradient of a loop written out."""
    w, decay = torch.ones(3, dtype=torch.float64), scalar(0.3).requires_grad_()
    for _ in range(6):
        w = w - 0.1 * (2 * X[:7].T @ (X[:7] @ w - 1) / 7 + 2 * decay * w)
    (expected,) = torch.autograd.grad((w**2).sum(), decay)
    for method in (None, bilevel.Reverse(), bilevel.Reverse(tape=True)):
        found = run(faulty_in_the_middle(), method).grad
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_a_step_of_ones_own_is_compared_by_its_state():
    """Without a loss, the last step always, and every step on demand."""
    for faulty, method in [(3, bilevel.Reverse()), (1, bilevel.Reverse(check=True))]:
        for checkpoint in (None, "sqrt", 1):
            # With few states kept, a fault shows where the next kept state is reached.
            named = faulty if checkpoint is None else r"\d"
            seen = set()

            def step(state, hyper, t, faulty=faulty, seen=seen):
                off = 1e-3 if t == faulty and t in seen else 0.0
                seen.add(t)
                return {"w": state["w"] * (1 - 0.1 * hyper) + off}

            dynamics = bilevel.Dynamics(
                lambda params, hyper: {"w": params}, step, lambda state: state["w"]
            )
            method = bilevel.Reverse(check=method.check, checkpoint=checkpoint)
            with pytest.raises(
                bilevel.ReplayError, match=rf"step {named} .*state\['w'\] is off by 0.0"
            ):
                bilevel.hypergradient(
                    dynamics, lambda w, hyper: w, scalar(1.0), scalar(0.3), 4, method=method
                )


def test_generators_handed_over_are_rewound():
    """The same draws as from torch's own generator under one fixed table; left undisturbed."""
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    inner = rows_of(lambda step: torch.randint(40, (7,), generator=generator))
    results = [run(inner, method, generators=[generator]) for method in (None, None)]
    results.append(run(inner, bilevel.Forward(), generators=[generator]))
    results.append(run(inner, dynamics=bilevel.Adam, generators=[generator]))
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(results[0].grad, results[1].grad)
    torch.testing.assert_close(results[2].grad, results[0].grad, rtol=1e-12, atol=0)

    drawn = []  # the rows that were met, in a run of the same seeds

    def noted(step):
        drawn.append(torch.randint(40, (7,), generator=generator))
        return drawn[-1]

    run(rows_of(noted), bilevel.Forward(), generators=[generator])
    w, decay = torch.ones(3, dtype=torch.float64), scalar(0.3).requires_grad_()
    for rows in drawn[:6]:
        value = ((X[rows] @ w - 1) ** 2).mean() + decay * (w**2).sum()
        w = w - 0.1 * (2 * X[rows].T @ (X[rows] @ w - 1) / 7 + 2 * decay * w)
        del value
    (expected,) = torch.autograd.grad((w**2).sum(), decay)
    torch.testing.assert_close(results[0].grad, expected, rtol=1e-10, atol=0)


def test_generators_of_another_kind():
    with pytest.raises(TypeError, match=r"generators must be torch\.Generators, got .*numpy's"):
        run(rows_of(lambda step: [0]), generators=[np.random.default_rng(0)])


def test_rounding_that_differs_is_no_fault():
    """Float32 sums in another order, as kernels may take from one call to the next."""
    X32 = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    calls = itertools.count()

    def inner(w, hyper):
        order = slice(None) if next(calls) % 2 else torch.arange(999, -1, -1)
        return ((X32[order] @ w - 1) ** 2).mean() + hyper * (w**2).sum()

    bilevel.hypergradient(
        bilevel.GradientDescent(inner, 0.01),
        lambda w, h: (w**2).sum(),
        torch.ones(3),
        torch.tensor(0.1),
        50,
        method=bilevel.Reverse(check=True),
    )


def test_runs_in_threads_do_not_share_their_draws():
    def inner(w, lam):
        time.sleep(1e-3)  # another thread's turn
        return ((w - lam) ** 2 * torch.rand(50, dtype=w.dtype)).mean()

    def found(seed):
        start, lam = torch.zeros(50).double(), torch.tensor(1.0).double()
        dynamics = bilevel.GradientDescent(inner, lr=0.1)
        outer = lambda w, lam: (w * torch.rand(50, dtype=w.dtype)).sum()  # noqa: E731
        return bilevel.hypergradient(dynamics, outer, start, lam, 5, seed=seed).grad

    expected = [found(seed) for seed in range(4)]
    before = torch.get_rng_state()
    with ThreadPoolExecutor(4) as threads:
        assert all(map(torch.equal, threads.map(found, range(4)), expected))
    assert torch.equal(torch.get_rng_state(), before)


@contextlib.contextmanager
def another_thread_inside():
    """Have a thread within `replayed`; yields the event that lets it out."""
    inside, out = threading.Event(), threading.Event()

    def stay():
        with _random.replayed(0):
            inside.set()
            out.wait(30)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(stay)
        assert inside.wait(10)
        try:
            yield out
        finally:
            out.set()


def draw():
    with _random.replayed(1):
        torch.rand(1)


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_of_its_parent():
    with another_thread_inside():
        child = multiprocessing.get_context("fork").Process(target=draw)
        child.start()
        child.join(10)
        child.kill()
    assert child.exitcode == 0


def test_a_long_wait_for_another_thread_is_said(monkeypatch):
    monkeypatch.setattr(_random, "LONG", 0.01)
    said = pytest.warns(RuntimeWarning, match="has waited .* do its work without threads")
    with another_thread_inside() as out:
        threading.Timer(0.2, out.set).start()
        with said:
            draw()
