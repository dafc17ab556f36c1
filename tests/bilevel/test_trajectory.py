"""What Reverse keeps of a run: as many states as it says, in one buffer, met again exactly."""

import math

import pytest
import torch
from torch import Tensor, nn

from lds import bilevel
from lds.bilevel.step import Step
from lds.bilevel.trajectory import Buffer, Trajectory
from tests.problems import scalar


def noisy(w: Tensor, lam: Tensor) -> Tensor:
    return (nn.functional.dropout(lam * w, 0.5).sin()).sum()


DYNAMICS = bilevel.Momentum(noisy, 0.1, 0.5)
W = torch.linspace(-1, 1, 30, dtype=torch.float64)


def steps(n: int) -> list[Step]:
    state, found = DYNAMICS.start(W, scalar(1.3)), []
    for t in range(n):
        found.append(Step(DYNAMICS, state, scalar(1.3), t, 100 + t))
        state, _ = found[-1].run()
    return found


def same(a: Step, b: Step) -> bool:
    return (a.t, a.seed) == (b.t, b.seed) and all(
        torch.equal(a.state[name], b.state[name]) for name in b.state
    )


@pytest.mark.parametrize("n", [1, 2, 7, 16])
@pytest.mark.parametrize("window", [None, 1, 5, 16, 40])
@pytest.mark.parametrize("stride", [1, 2, 4, 100])
def test_the_last_steps_come_back_last_first(n, window, stride):
    """States between kept ones are computed again with the randomness they had: bit for bit."""
    trajectory, taken = Trajectory(window, n, stride), steps(n)
    for step in taken:
        trajectory.observe(step)
    expected = taken[max(0, n - (window or n)) :]
    assert len(trajectory) == len(expected)
    list(trajectory.backwards())  # it can be swept again
    # A segment's buffer is used again: each step is looked at while it is current.
    for step, old in zip(trajectory.backwards(), reversed(expected), strict=True):
        assert same(step, old)


def test_a_window_of_a_run_without_an_end():
    trajectory, taken = Trajectory(3, None), steps(8)
    for k, step in enumerate(taken):
        trajectory.observe(step)
        assert len(trajectory) == min(3, k + 1)
    assert [s.t for s in trajectory.backwards()] == [7, 6, 5]


def kept_rows(method: bilevel.Reverse, n: int) -> int:
    """States the trajectory holds, by the storage behind them."""
    memory = method.start(None, n)
    for step in steps(n):
        method.observe(memory, step)
    inner = memory.trajectory
    stored = {
        leaf.data_ptr()
        for step in inner._steps
        if step.state is not None
        for leaf in [step.state["params"]]
    }
    storages = {
        leaf.untyped_storage().data_ptr(): leaf.untyped_storage().nbytes()
        for step in inner._steps
        if step.state is not None
        for leaf in step.state.values()
    }
    assert len(storages) == 1, "one buffer"
    assert sum(storages.values()) == len(stored) * 2 * 30 * 8
    return len(stored)


@pytest.mark.parametrize("n", [1, 4, 10, 50])
def test_as_many_states_are_kept_as_is_said(n):
    assert kept_rows(bilevel.Reverse(tape=False), n) == n
    assert kept_rows(bilevel.Reverse(truncation=3, tape=False), n) == min(3, n)
    assert kept_rows(bilevel.Reverse(checkpoint="sqrt"), n) <= math.isqrt(n)
    assert kept_rows(bilevel.Reverse(checkpoint=4), n) <= 4
    assert kept_rows(bilevel.Reverse(truncation=9, checkpoint="sqrt"), n) <= 3


@pytest.mark.parametrize("checkpoint", ["sqrt", 1, 3, 100])
@pytest.mark.parametrize("truncation", [None, 5])
def test_recomputed_steps_meet_the_masks_they_met(checkpoint, truncation):
    """Dropout inside Φ: with and without checkpoints, bit for bit the same hypergradient."""
    args = (DYNAMICS, lambda w, lam: w.square().sum(), W, scalar(1.3), 11)
    plain = bilevel.hypergradient(*args, method=bilevel.Reverse(truncation))
    kept = bilevel.hypergradient(*args, method=bilevel.Reverse(truncation, checkpoint))
    assert torch.equal(plain.grad, kept.grad)
    assert float(plain.grad) != 0


@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_forward_mode_draws_once_for_all_tangents(chunk):
    """The same masks as reverse mode, for every column: the same hypergradient."""
    hyper = torch.linspace(0.5, 1.5, 30, dtype=torch.float64)
    args = (DYNAMICS, lambda w, lam: w.square().sum(), W, hyper, 4)
    reverse = bilevel.hypergradient(*args, method=bilevel.Reverse())
    forward = bilevel.hypergradient(*args, method=bilevel.Forward(chunk))
    assert torch.equal(forward.value, reverse.value)
    torch.testing.assert_close(forward.grad, reverse.grad, rtol=1e-10, atol=1e-13)


def test_a_buffer_holds_copies_and_passes_the_buffers_of_a_module_on():
    state = {"a": torch.ones(2, 3), "b": [torch.zeros(()), torch.zeros(0)]}
    buffer = Buffer(state, 2)
    kept = buffer.keep(1, state)
    state["a"].zero_()
    assert torch.equal(kept["a"], torch.ones(2, 3))
    assert kept["b"][0].shape == ()
    assert kept["b"][1].shape == (0,)
    mask = torch.ones(5)
    mixed = {"a": torch.ones(2), "n": torch.tensor(3), "buffers": [{"mask": mask}]}
    kept = Buffer(mixed, 2).keep(0, mixed)
    mixed["a"].zero_()
    mixed["n"].zero_()
    assert torch.equal(kept["a"], torch.ones(2))
    assert torch.equal(kept["n"], torch.tensor(3))
    assert kept["buffers"][0]["mask"] is mask


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"checkpoint": 0}, ValueError, r"Reverse\(checkpoint\) must be at least 1 state, got 0"),
        ({"checkpoint": "log"}, TypeError, "must be None, 'sqrt' or a number of states, got 'log'"),
        ({"checkpoint": 2.0}, TypeError, r"got 2\.0"),
        ({"checkpoint": True}, TypeError, "got True"),
    ],
)
def test_checkpoints_out_of_range(options, error, message):
    with pytest.raises(error, match=message):
        bilevel.Reverse(**options)


def test_checkpoints_of_a_run_without_an_end():
    with pytest.raises(ValueError, match=r"Reverse\(checkpoint\) must know n_steps in advance"):
        bilevel.Reverse(checkpoint="sqrt").start(None)
