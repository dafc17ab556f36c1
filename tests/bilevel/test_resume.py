"""Checkpoints: to bitwise the same result after any interruption, and safe to read."""

import functools
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch.utils import _pytree as pytree

from lds import bilevel
from lds.bilevel import projections, stopping
from tests.problems import scalar


def noisy(w, hyper):
    """A loss that draws: a resumed run must draw as an uninterrupted one."""
    goal = hyper["a"] + hyper["b"].sum() + 0.1 * torch.randn((), dtype=torch.float64)
    return 0.5 * (w - goal) ** 2


def outer(w, hyper):
    return (w - 3) ** 2 + 0.1 * hyper["b"].square().sum()


def start():
    return {"a": scalar(0.3), "b": torch.tensor([1.0, -1.0], dtype=torch.float64)}


INNER = bilevel.Momentum(noisy, 0.3, 0.4)


def batch(folder=None, n_outer=6, **more):
    options = {"optimizer": functools.partial(torch.optim.Adam, lr=0.1), "seed": 3} | more
    return bilevel.solve(
        INNER, outer, scalar(0.0), start(), 3, n_outer=n_outer, checkpoint=folder, **options
    )


def online(folder=None, n_outer=6, **more):
    options = {"optimizer": functools.partial(torch.optim.Adam, lr=0.1), "seed": 3} | more
    return bilevel.solve_online(
        INNER,
        outer,
        scalar(0.0),
        start(),
        2 * n_outer,
        interval=2,
        discount=0.9,
        checkpoint=folder,
        save_every=1,
        **options,
    )


LOOPS = {"solve": batch, "solve_online": online}


def assert_same(one: bilevel.Solution, other: bilevel.Solution) -> None:
    def parts(s):
        records = [[r.iteration, r.value, r.grad_norm, r.hyper, r.info] for r in s.history]
        return [s.hyper, s.params, s.value, records, s.reason, s.last.hyper, s.last.params]

    a, b = pytree.tree_leaves(parts(one)), pytree.tree_leaves(parts(other))
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("done", [1, 3, 5])
def test_resumed_is_bitwise_the_uninterrupted(loop, done, tmp_path):
    run = LOOPS[loop]
    whole = run()
    run(tmp_path, n_outer=done)
    assert_same(run(tmp_path, resume=True), whole)
    assert_same(run(tmp_path, resume=True), whole)  # nothing is left to do


@pytest.mark.parametrize(
    "kind", [torch.optim.SGD, torch.optim.NAdam, torch.optim.ASGD, torch.optim.RAdam]
)
def test_whatever_an_optimiser_keeps_is_kept_in_its_dtype(kind, tmp_path):
    options = {"optimizer": functools.partial(kind, lr=0.05)}
    batch(tmp_path, n_outer=3, **options)
    assert_same(batch(tmp_path, resume=True, **options), batch(**options))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("where", ["callback", "objective"])
def test_after_an_interruption(loop, where, tmp_path):
    run, calls = LOOPS[loop], []

    def interrupts(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt

    if where == "callback":
        stopped = run(tmp_path, callback=interrupts)
    else:
        stopped = run(tmp_path, stopping=lambda history: interrupts(history))
    assert stopped.reason == "interrupted"
    assert len(stopped.history) == 3
    assert_same(run(tmp_path, resume=True), run())


@pytest.mark.filterwarnings("ignore:the inner loss changes from call to call:UserWarning")
def test_warm_starts_of_weights_and_of_linear_systems_go_on(tmp_path):
    options = {
        "warm_start": "params",
        "method": bilevel.FixedPoint(5),
        "stopping": stopping.patience(9),
    }
    batch(tmp_path, n_outer=2, **options)
    assert_same(batch(tmp_path, resume=True, **options), batch(**options))


def test_a_stopping_rule_ends_a_resumed_run_where_it_ended(tmp_path):
    rule = stopping.patience(1, 100.0)
    first = batch(tmp_path, stopping=rule)
    assert first.reason == "patience"
    assert_same(batch(tmp_path, stopping=rule, resume=True), first)


def test_without_a_checkpoint_there_yet_it_begins(tmp_path):
    assert_same(batch(tmp_path / "new" / "folder", resume=True), batch())


def files(folder: Path) -> tuple[Path, Path]:
    return folder / "checkpoint.pt", folder / "checkpoint.before.pt"


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "not ours"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage, tmp_path):
    batch(tmp_path, n_outer=4)
    latest, _ = files(tmp_path)
    content = latest.read_bytes()
    if damage == "not ours":
        torch.save([1, 2], latest)
    else:
        latest.write_bytes({"cut": content[:-200], "empty": b"", "noise": os.urandom(500)}[damage])
    with pytest.warns(UserWarning, match=r"checkpoint.pt is damaged .*going on from .*before"):
        resumed = batch(tmp_path, resume=True)
    assert_same(resumed, batch())


def test_where_both_are_damaged_that_is_said(tmp_path):
    batch(tmp_path, n_outer=4)
    for path in files(tmp_path):
        path.write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"checkpoint.pt is damaged .*before.pt is damaged"):
        batch(tmp_path, resume=True)


def test_a_crash_between_the_two_files_loses_one_iteration_at_most(tmp_path):
    batch(tmp_path, n_outer=4)
    files(tmp_path)[0].unlink()
    assert_same(batch(tmp_path, resume=True), batch())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"seed": 4}, "seed: 3 there, 4 here"),
        ({"method": bilevel.Forward()}, r"method: 'None' there, 'Forward\(chunk=None\)' here"),
        ({"warm_start": "state"}, "warm_start: False there, 'state' here"),
        (
            {"optimizer": functools.partial(torch.optim.SGD, lr=0.1)},
            "optimizer: .Adam .* there, .SGD .* here",
        ),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(more, message, tmp_path):
    batch(tmp_path, n_outer=2)
    with pytest.raises(ValueError, match=f"is of another run .*{message}"):
        batch(tmp_path, resume=True, **more)


def test_of_another_loop_or_other_hyperparameters_too(tmp_path):
    batch(tmp_path, n_outer=2)
    with pytest.raises(ValueError, match="loop: 'solve' there, 'solve_online' here"):
        online(tmp_path, resume=True)
    with pytest.raises(ValueError, match=r"hyper\['b'\]: '\(2,\) torch.float64' there, None here"):
        bilevel.solve(
            bilevel.GradientDescent(lambda w, lam: 0.5 * (w - lam["a"]) ** 2),
            lambda w, lam: w**2,
            scalar(0.0),
            {"a": scalar(1.0)},
            3,
            checkpoint=tmp_path,
            resume=True,
            seed=3,
            optimizer=functools.partial(torch.optim.Adam, lr=0.1),
        )


def black_box(folder=None, n_outer=6, **more):
    return bilevel.solve_black_box(
        lambda lam, k: (lam**2, 2 * lam), scalar(1.0), n_outer=n_outer, checkpoint=folder, **more
    )


@pytest.mark.parametrize("run", [batch, online, black_box])
@pytest.mark.parametrize("left", ["both", "the one before", "a damaged one"])
def test_a_checkpoint_is_never_written_over(run, left, tmp_path):
    run(tmp_path, n_outer=3)
    latest, before = files(tmp_path)
    if left == "the one before":
        latest.unlink()
    elif left == "a damaged one":
        latest.write_bytes(b"junk")
        before.unlink()
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    message = r"checkpoint='.*' holds the checkpoint of an earlier run.*resume=True.*another folder"
    with pytest.raises(ValueError, match=message):
        run(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    if left != "a damaged one":
        assert run(tmp_path, resume=True).reason == run().reason


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("wrapped", [False, True])
def test_no_pickled_code_is_run(wrapped, tmp_path):
    target, latest = tmp_path / "owned", tmp_path / "checkpoint.pt"
    if wrapped:
        torch.save({"format": 1, "fingerprint": {}, "state": Malicious(target)}, latest)
    else:
        latest.write_bytes(pickle.dumps(Malicious(target)))
    with pytest.raises(ValueError, match=r"checkpoint.pt is damaged"):
        batch(tmp_path, resume=True)
    assert not target.exists()


def test_projected_hyperparameters_too(tmp_path):
    options = {"projection": projections.box(-1, 0.5)}
    batch(tmp_path, n_outer=3, **options)
    assert_same(batch(tmp_path, resume=True, **options), batch(**options))


def test_weights_that_the_start_makes_are_resumed(tmp_path):
    """Φ_0 may return another tree than params: here MAML's, where params hold nothing."""
    dynamics = bilevel.GradientDescent(
        lambda w, hyper: (w["w"] - 1).square().sum(),
        lr=0.1,
        start=lambda params, hyper: {"w": hyper["start"]},
    )

    def run(n_outer, **options):
        return bilevel.solve(
            dynamics,
            lambda w, hyper: w["w"].square().sum(),
            {},
            {"start": torch.tensor([2.0, -1.0], dtype=torch.float64)},
            n_steps=3,
            n_outer=n_outer,
            **options,
        )

    run(2, checkpoint=tmp_path)
    resumed = run(5, checkpoint=tmp_path, resume=True)
    whole = run(5)
    assert torch.equal(resumed.last.hyper["start"], whole.last.hyper["start"])
    assert torch.equal(resumed.params["w"], whole.params["w"])
