"""Captured windows on a stand-in for a CUDA graph against windows run operation by operation.

The stand-in records the operations of a window once and repeats them on the same memory, so what
would be wrong with a CUDA graph is wrong with it: numbers that Python computed anew, tensors that
moved, operations that a graph cannot hold. See `tests.recorded`.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import lds.structure.side_by_side.batch
import lds.structure.side_by_side.captured
from lds.graphs.product import FactoredGradient
from lds.structure.context import RunContext
from lds.structure.inner_run import SequentialInnerRun
from lds.structure.learn_many import learn_many
from lds.structure.methods import thesis_run
from lds.structure.side_by_side.batch import BatchInnerRun
from lds.structure.side_by_side.captured import ROOM, CapturedWindow, capture_on
from lds.structure.side_by_side.edges import BatchedAllPairs
from tests import recorded
from tests.elsewhere import elsewhere
from tests.structure.varied_runs import (
    N,
    alone,
    assert_same_run,
    changed,
    features,
    varied,
    varied_alone,
)

pytestmark = pytest.mark.ci


class Count(TorchDispatchMode):
    """Counts operations, without what only looks at memory in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.counting = 0, True

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations += self.counting and not func.is_view
        return func(*args, **(kwargs or {}))


@pytest.fixture
def captures(monkeypatch) -> list[object]:
    """Windows are captured from here on; a list of what was."""
    seen: list[object] = []

    def capture(function):
        seen.append(function)
        return recorded.capture(function)

    monkeypatch.setattr(lds.structure.side_by_side.batch, "capture_on", lambda device: capture)
    return seen


@pytest.mark.parametrize("sparse_features", [False, True])
@pytest.mark.parametrize("support", ["all", "sparse"])
def test_captured_windows_learn_what_windows_as_such_do(support, sparse_features, captures):
    """Runs that leave the batch, take the places of others, grow their lists of pairs."""
    x = features(sparse_features)
    runs = varied(x, support=support)
    results = learn_many(runs, batch=3, dtype=torch.float64)
    n_windows = sum(record.inner_steps for result in results for record in result.history) // 5
    assert 2 <= len(captures) < n_windows / 3
    for index, result in enumerate(results):
        assert_same_run(result, varied_alone(index, sparse_features, support))


@pytest.mark.parametrize(
    "options", [{"truncation": 0}, {"truncation": 1}, {"update_edges": False}, {"dropout": 0.0}]
)
def test_so_they_do_with_other_options(options, captures):
    x = features()
    runs = [changed(run, **options) for run in varied(x)[1:3]]
    results = learn_many(runs, dtype=torch.float64)
    assert captures
    for run, result in zip(runs, results, strict=True):
        assert_same_run(result, alone(run, dtype=torch.float64))


def test_a_run_alone_may_go_through_a_batch(captures, monkeypatch):
    x = features()
    run = varied(x)[0]
    expected = varied_alone(0)

    def of_batch(task, variables, method, seed, denoiser):
        return BatchInnerRun(task, variables, method, seed)

    monkeypatch.setattr(thesis_run, "SequentialInnerRun", of_batch)
    assert_same_run(alone(run, dtype=torch.float64), expected)
    assert 1 <= len(captures) <= 3


def test_a_gpu_gets_the_batch_and_a_cpu_the_steps():
    run = varied(features())[0]
    cpu, other = torch.device("cpu"), torch.device("meta")

    def inner_run(device, **options):
        method, problem = changed(run, **options).method, run.problem
        arguments = (method, problem, problem.graph, RunContext(device=device))
        return thesis_run.restarts_of(*arguments)._inner_run

    assert isinstance(inner_run(cpu), SequentialInnerRun)
    with elsewhere():
        assert isinstance(inner_run(other), BatchInnerRun)
        assert isinstance(inner_run(other, redraw=True), SequentialInnerRun)
    assert capture_on(cpu) is None
    assert capture_on(torch.device("cuda")) is not None


def test_graphs_beyond_the_room_are_captured_anew(captures, monkeypatch):
    """A jump of θ to more edges than there is room for."""
    descend, jumped = BatchedAllPairs.descend, []

    def more(self, gradient: FactoredGradient, lr):
        descend(self, gradient, lr)
        if not jumped:
            jumped.append(self._probs.sum())
            self._probs[self._probs > 0] = 1
            row, col = torch.triu_indices(N, N, 1)
            where = torch.from_numpy(self._pairs.index(row[:900].numpy(), col[:900].numpy()))
            self._probs[:, where] = 1
            self._table.refresh()

    monkeypatch.setattr(BatchedAllPairs, "descend", more)
    x = features()
    (run,) = varied(x)[:1]
    room = []
    begin = CapturedWindow.__init__

    def noted(self, window, given, graphs, capture):
        begin(self, window, given, graphs, capture)
        room.append(self._padded.room)

    monkeypatch.setattr(CapturedWindow, "__init__", noted)
    (captured,) = learn_many([run], dtype=torch.float64)
    assert len(captures) == 2
    assert room[1] > ROOM * 900 > room[0]
    jumped.clear()
    monkeypatch.setattr(lds.structure.side_by_side.batch, "capture_on", lambda device: None)
    (expected,) = learn_many([run], dtype=torch.float64)
    assert_same_run(captured, expected)


def test_what_cannot_be_captured_is_warned_of_and_done_step_by_step(monkeypatch):
    def broken(function):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(lds.structure.side_by_side.batch, "capture_on", lambda device: broken)
    x = features()
    run = varied(x)[0]
    with pytest.warns(RuntimeWarning, match=r"CUDA graph \(operation not permitted\)") as warned:
        (result,) = learn_many([run], dtype=torch.float64)
    assert len(warned) == 1
    assert_same_run(result, alone(run, dtype=torch.float64))


def test_a_run_that_is_not_finite_ends_alone_in_a_captured_window_too(captures):
    x = features()
    runs = varied(x)[:3]
    runs[1] = changed(runs[1], inner_lr=1e300)
    results = learn_many(runs, dtype=torch.float64)
    assert isinstance(results[1], ArithmeticError)
    for k in (0, 2):
        assert_same_run(results[k], alone(runs[k], dtype=torch.float64))


@pytest.mark.parametrize("support", ["all", "sparse"])
def test_what_a_program_starts_for_a_step_is_a_fraction(support, monkeypatch):
    """Operations that a captured window leaves to be started, beside all of them."""
    count = Count()

    def capture(function):
        replay, results = recorded.capture(function)

        def uncounted() -> None:
            count.counting = False
            replay()
            count.counting = True

        return uncounted, results

    def started(n_windows: int) -> int:
        one = changed(run, max_inner=5 * n_windows, inner_patience=99, max_iter=1, grow_every=0)
        count.operations = 0
        with count:
            learn_many([one])
        return count.operations

    x = features(sparse=True)
    run = varied(x, support=support)[0]
    n_steps = 5 * 4
    single = (started(6) - started(2)) / n_steps
    monkeypatch.setattr(lds.structure.side_by_side.batch, "capture_on", lambda device: capture)
    # Room for all that is drawn, so that no window is captured anew.
    monkeypatch.setattr(lds.structure.side_by_side.captured, "ROOM", 10.0)
    captured = (started(6) - started(2)) / n_steps
    print(f"\noperations started for an inner step, {support} pairs: {single:.0f}, {captured:.0f}")
    assert captured < single / 4


@pytest.mark.parametrize("what", ["item", "draw"])
def test_the_stand_in_refuses_what_a_graph_would(what):
    x = torch.ones(3)
    function = {"item": lambda: x * float(x.sum()), "draw": lambda: x * torch.rand(3)}[what]
    with pytest.raises(RuntimeError, match="cannot be captured"):
        recorded.capture(function)


def test_the_stand_in_computes_from_the_memory_it_saw():
    x = torch.ones(3)
    factor = 2.0
    replay, y = recorded.capture(lambda: x * factor)
    assert y.isnan().all()  # a capture computes nothing
    x.fill_(5)
    factor = 3.0  # Python runs no more
    replay()
    assert y.tolist() == [10.0] * 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("support", ["all", "sparse"])
def test_a_cuda_graph_learns_what_kernel_by_kernel_does(support, monkeypatch, recwarn):
    x = features(sparse=True)
    runs = varied(x, support=support)
    captured = learn_many(runs, batch=3, device="cuda", dtype=torch.float64)
    single = alone(runs[0], device="cuda", dtype=torch.float64)
    assert not [w for w in recwarn if "captured" in str(w.message)]
    monkeypatch.setattr(lds.structure.side_by_side.batch, "capture_on", lambda device: None)
    eager = learn_many(runs, batch=3, device="cuda", dtype=torch.float64)
    monkeypatch.setattr(thesis_run, "BatchInnerRun", SequentialInnerRun)
    steps = [alone(run, device="cuda", dtype=torch.float64) for run in runs]
    for mine, other, expected in zip(captured, eager, steps, strict=True):
        for result in (mine, other):
            assert [r.inner_steps for r in result.history] == [
                r.inner_steps for r in expected.history
            ]
            difference = abs(result.probabilities - expected.probabilities).max()
            assert difference < 1e-9
    assert abs(single.probabilities - steps[0].probabilities).max() < 1e-9
