"""Calls in processes: the same results, a killed process, refused numbers."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from lds._jobs import one_thread_each
from lds.structure.options import check_jobs


def total(x, k):
    return float(x.sum()) + k


def threads():
    _ = np.ones((9, 9)) @ np.ones((9, 9))
    return max(library["num_threads"] for library in threadpool_info())


def killed_until(folder, n_times, k):
    """Die by SIGKILL in the first calls, as a process does for which memory ran out."""
    if k == 1:
        calls = Path(folder) / "calls"
        with calls.open("a") as file:
            file.write(".")
        if len(calls.read_text()) <= n_times:
            os.kill(os.getpid(), signal.SIGKILL)
    return k


def test_one_process_calls_with_one_thread():
    assert one_thread_each(threads, [()], 1) == [1]


@pytest.mark.ci
def test_processes_come_to_the_same_and_may_write_to_what_they_got():
    x = np.random.default_rng(0).standard_normal(300_000)  # 2.4 MB, mapped
    calls = [(x, k) for k in range(4)]
    assert one_thread_each(total, calls, 2) == one_thread_each(total, calls, 1)


@pytest.mark.ci
def test_work_of_a_killed_process_starts_again(tmp_path):
    with pytest.warns(RuntimeWarning, match="a process was killed"):
        found = one_thread_each(killed_until, [(str(tmp_path), 1, k) for k in range(4)], 2)
    assert found == [0, 1, 2, 3]


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore:a process was killed")
def test_processes_killed_twice_are_told_of(tmp_path):
    with pytest.raises(RuntimeError, match="killed twice with n_jobs=2"):
        one_thread_each(killed_until, [(str(tmp_path), 2, k) for k in range(4)], 2)


@pytest.mark.parametrize(
    ("n_jobs", "error", "message"),
    [
        (0, ValueError, "n_jobs must be at least 1, or -1 for one a core"),
        (1.5, TypeError, "n_jobs must be an integer or None, got 1.5"),
        (True, TypeError, "n_jobs must be an integer or None, got True"),
    ],
)
def test_a_number_that_cannot_be_is_refused(n_jobs, error, message):
    with pytest.raises(error, match=message):
        check_jobs(n_jobs)
