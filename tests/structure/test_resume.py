"""LDS killed and resumed comes to the same bits as LDS left alone."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch

from lds._checkpoint import LATEST, PREVIOUS
from lds.datasets.registry import load
from lds.structure.learn import learn
from lds.structure.methods.thesis import Thesis
from lds.structure.problem import Problem
from tests.structure.same import assert_same

QUICK = {"max_iter": 5, "max_inner": 6}
ITERATIONS = 8


def problem(**options):
    data = load("iris", seed=0)
    return Problem(data.features, data.labels, data.split), Thesis(**{**QUICK, **options})


class CrashError(RuntimeError):
    pass


def crash_after(n):
    def on_iteration(record):
        if record.iteration == n:
            raise CrashError

    return on_iteration


@pytest.mark.ci
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"learn_inner_lr": 0.1, "outer_lr_decay": 0.5},
        {"support": "sparse", "pairs_per_node": 8, "grow_every": 3},
        {"connected": True, "n_neighbors": 2},
        {"estimator": "reinmax", "outer_lr": 5.0},
        {"estimator": "disarm", "n_draws": 4},
        {"truncation": 0},
    ],
    ids=lambda options: " ".join(f"{k}={v}" for k, v in options.items()) or "default",
)
def test_a_crashed_run_goes_on_to_the_same_bits(tmp_path, options):
    whole = learn(*problem(**options))
    assert len({record.expected_edges for record in whole.history}) > 1, "θ moves"
    with pytest.raises(CrashError):
        learn(*problem(**options), checkpoint=tmp_path, on_iteration=crash_after(3))
    seen = []
    resumed = learn(*problem(**options), checkpoint=tmp_path, resume=True, on_iteration=seen.append)
    assert [record.iteration for record in seen] == [3, 4], "only what was not kept runs again"
    assert_same(resumed, whole)


def test_an_ended_run_goes_on_with_more_iterations_or_not_at_all(tmp_path):
    whole = learn(*problem(max_iter=5))
    learn(*problem(max_iter=2), checkpoint=tmp_path)
    assert_same(learn(*problem(max_iter=5), checkpoint=tmp_path, resume=True), whole)
    again = learn(
        *problem(max_iter=5), checkpoint=tmp_path, resume=True, on_iteration=crash_after(0)
    )
    assert_same(again, whole)
    stopped = learn(*problem(max_iter=5, patience=1), checkpoint=tmp_path, resume=True)
    assert stopped.reason in ("patience", "max_iter")
    assert stopped.history == whole.history


def test_without_resume_nothing_is_written_over(tmp_path):
    learn(*problem(max_iter=2), checkpoint=tmp_path)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    seen = []
    with pytest.raises(ValueError, match=r"holds the checkpoint of an earlier run.*resume=True"):
        learn(*problem(max_iter=1), checkpoint=tmp_path, on_iteration=seen.append)
    assert not seen
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_a_damaged_checkpoint_costs_one_iteration(tmp_path):
    whole = learn(*problem())
    learn(*problem(max_iter=4), checkpoint=tmp_path)
    raw = bytearray((tmp_path / LATEST).read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / LATEST).write_bytes(raw)
    seen = []
    with pytest.warns(UserWarning, match=rf"is damaged .*going on from .*{PREVIOUS}"):
        resumed = learn(*problem(), checkpoint=tmp_path, resume=True, on_iteration=seen.append)
    assert [record.iteration for record in seen] == [3, 4]
    assert_same(resumed, whole)


@pytest.mark.parametrize(
    ("options", "change", "wrong"),
    [
        ({"outer_lr": 2.0}, None, r"outer_lr: 1\.0 there, 2\.0 here"),
        ({"support": "sparse"}, None, r"support: 'all' there, 'sparse' here"),
        ({}, "seed", r"seed: 0 there, 1 here"),
        ({}, "features", r"features: 'float32 of shape \(150, 4\), sha256 \w+' there"),
        ({}, "labels", r"labels: 'int64 of shape \(150,\), sha256 \w+' there"),
        ({"metric": "euclidean"}, None, r"starting graph: .* there, .* here; metric: 'cosine'"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, options, change, wrong):
    learn(*problem(max_iter=1), checkpoint=tmp_path)
    kept = (tmp_path / LATEST).read_bytes()
    same, method = problem(**options)
    features, labels = same.features.copy(), same.labels.copy()
    if change == "features":
        features[0, 0] += 0.5
    elif change == "labels":
        labels[0] = (labels[0] + 1) % 3
    seed = 1 if change == "seed" else 0
    other = Problem(features, labels, same.split)
    with pytest.raises(ValueError, match=rf"is of another run \(.*{wrong}"):
        learn(other, method, seed=seed, checkpoint=tmp_path, resume=True)
    assert (tmp_path / LATEST).read_bytes() == kept


def run_in_a_process(folder, started):
    torch.set_num_threads(1)
    started.set()
    learn(*problem(max_iter=ITERATIONS), checkpoint=folder, resume=True)


def kill_and_resume(tmp_path, n_kills, seed):
    """SIGKILL at random moments of a run, each resumed and compared with a whole one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lds.structure.methods.thesis_run", "lds.datasets.tabular"])
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    began = time.perf_counter()
    whole = learn(*problem(max_iter=ITERATIONS), checkpoint=tmp_path / "whole")
    seconds = time.perf_counter() - began
    moments, inside = np.random.default_rng(seed), 0
    for attempt in range(5 * n_kills):
        folder = tmp_path / f"run-{attempt}"
        started = context.Event()
        process = context.Process(target=run_in_a_process, args=(folder, started))
        process.start()
        assert started.wait(60)
        time.sleep(moments.uniform(0, seconds))
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:  # it was faster, and ended by itself
            continue
        inside += 1
        resumed = learn(*problem(max_iter=ITERATIONS), checkpoint=folder, resume=True)
        assert_same(resumed, whole)
        assert not list(folder.glob(".*")), "nothing half-written is left"
        if inside == n_kills:
            break
    assert inside == n_kills
    torch.set_num_threads(n_threads)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.ci
def test_killed_at_3_random_moments_and_resumed_to_the_same_bits(tmp_path):
    kill_and_resume(tmp_path, 3, seed=0)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_at_20_random_moments_and_resumed_to_the_same_bits(tmp_path):
    kill_and_resume(tmp_path, 20, seed=1)
