"""The `lds` command, in processes of its own as a user runs it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lds._verdict import QUALITIES
from lds.run_folder import load_run

pytestmark = pytest.mark.ci

SHORT = ["--max-inner", "10", "--refit-steps", "4", "--refits", "2"]
QUICK = [*SHORT, "--max-iter", "2", "--quiet"]

AS_A_USER = [sys.executable, "-m", "lds"]
INTERRUPTED = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("lds", run_name="__main__")
"""
HEEDS_INTERRUPTS = [sys.executable, "-c", INTERRUPTED]
"""As from a terminal; a process that a shell starts in the background ignores them."""


def launched(*arguments, cwd=None):
    command = [*AS_A_USER, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def until_stopping(process):
    """Read lines until one reports an outer iteration."""
    while b"stopping" not in (line := process.stderr.readline()):
        assert line, "the command ended before"


@pytest.mark.parametrize("method", ["default", "thesis"])
def test_fit_by_name_writes_a_run_folder_with_the_controls(tmp_path, method):
    options = ["--max-iter", "2", "--max-inner", "10", "--quiet", "--seed", 1, "--method", method]
    short = ["--refit-steps", "4", "--refits", "1"] if method == "default" else []
    result = launched("fit", "iris", *options, *short, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    ours = {"default": "LDS, the default", "thesis": "LDS of the thesis"}[method]
    for text in (ours, "(a) GCN", "(b) GCN", "(c) the run's", "expected edges"):
        assert text in result.stdout
    run = load_run(tmp_path / "runs" / "iris-1")
    measured = set(run.summary["test_accuracy"])
    assert measured == {"lds", "gcn_train", "gcn_train_validation", "frozen"}
    assert set(run.summary["test_quality"]) == set(run.summary["test_accuracy"])
    assert set(run.summary["test_quality"]["lds"]) == set(QUALITIES)
    assert "NLL" in result.stdout
    assert "ECE" in result.stdout
    assert run.predictions["mutual_information"].shape == run.predictions["entropy"].shape == (150,)
    assert len(run.metrics) == 2 + (method == "default")
    assert run.settings["seed"] == 1
    test = run.predictions["test_rows"]
    right = run.predictions["probabilities"][test].argmax(1) == run.predictions["labels"][test]
    assert run.summary["test_accuracy"]["lds"] == pytest.approx(right.mean())


def test_the_same_seed_in_two_processes_is_bitwise_the_same(lds, tmp_path):
    command = ["fit", "wine", *QUICK, "--no-controls", "--out"]
    assert lds(*command, tmp_path / "one")[0] == 0
    result = launched(*command, tmp_path / "two")
    assert result.returncode == 0, result.stderr
    assert_same_run(load_run(tmp_path / "one"), load_run(tmp_path / "two"))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT")
def test_interrupt_saves_the_best_model_so_far(tmp_path):
    options = "--max-inner 5 --max-iter 100000 --patience 100000 --refits 1 --refit-steps 4"
    command = [*HEEDS_INTERRUPTS, "fit", "wine", *options.split()]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "run")], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    until_stopping(process)  # a line after the first outer iteration
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)  # it trains the committee on what it has
    assert process.returncode == 130
    assert b"interrupted" in output
    run = load_run(tmp_path / "run")
    assert run.summary["reason"] == "interrupted"
    assert np.isfinite(run.predictions["probabilities"]).all()


def assert_same_run(one, two):
    assert one.metrics == two.metrics
    for name in ("start", "edge_probs"):
        ours, theirs = getattr(one, name), getattr(two, name)
        assert np.array_equal(ours.data, theirs.data)
        assert np.array_equal(ours.indices, theirs.indices)
        assert np.array_equal(ours.indptr, theirs.indptr)
    assert one.weights.keys() == two.weights.keys()
    assert all(torch.equal(one.weights[k], two.weights[k]) for k in one.weights)
    assert one.predictions.keys() == two.predictions.keys()
    assert all(np.array_equal(one.predictions[k], two.predictions[k]) for k in one.predictions)
    assert {k: v for k, v in one.summary.items() if k != "seconds"} == {
        k: v for k, v in two.summary.items() if k != "seconds"
    }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_and_resumed_is_the_run_left_alone(lds, tmp_path):
    """Killed after its second outer iteration, then gone on with in another process."""
    options = [*SHORT, "--max-iter", "5", "--seed", "2", "--no-controls"]
    assert lds("fit", "wine", *options, "--quiet", "--out", tmp_path / "whole")[0] == 0
    command = [*AS_A_USER, "fit", "wine", *options, "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    until_stopping(process)
    until_stopping(process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(
        FileNotFoundError, match=r"no metrics.jsonl; if .* `lds fit --resume .* goes"
    ):
        load_run(tmp_path / "run")
    resumed = launched("fit", "--resume", tmp_path / "run")
    assert resumed.returncode == 0, resumed.stderr
    first = next(line for line in resumed.stderr.splitlines() if "stopping" in line)
    assert first.startswith(("2: ", "3: ")), "what was kept is not run again"
    assert_same_run(load_run(tmp_path / "run"), load_run(tmp_path / "whole"))


def test_a_users_error_has_no_traceback(tmp_path):
    result = launched("fit", "iris", "--dropout", "1.5", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "error: --dropout must be in [0, 1), got 1.5\n"


@pytest.mark.parametrize("verb", ["fit", "search"])
def test_the_first_line_comes_before_anything_heavy_is_imported(verb, tmp_path):
    """Within 2 s of CPU; the command is then ended."""
    command = [*AS_A_USER, verb, "wine", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr.readline() == b"reading wine\n"
    used = Path(f"/proc/{process.pid}/stat")
    if used.exists():
        user, system = (int(ticks) for ticks in used.read_text().rpartition(")")[2].split()[11:13])
        assert (user + system) / os.sysconf("SC_CLK_TCK") < 2
    process.kill()
    process.communicate()


def test_help_takes_half_a_second():
    code = (
        "import time\n"
        "from lds.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert time.process_time() < 0.8, time.process_time()\n"  # 0.34 s on an idle machine
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def cpu_seconds(*arguments):
    """Seconds of CPU that a command takes, with those of its import."""
    before = os.times()
    result = launched(*arguments)
    assert result.returncode == 0, result.stderr
    after = os.times()
    of_child = "children_user", "children_system"
    return sum(getattr(after, name) - getattr(before, name) for name in of_child)


@pytest.mark.slow
def test_the_report_of_digits_takes_six_seconds_and_a_megabyte_and_a_half(lds, tmp_path):
    options = ["--max-iter", "1", *SHORT, "--no-controls", "--quiet"]
    assert lds("fit", "digits", *options, "--out", tmp_path / "run")[0] == 0
    page = tmp_path / "page.html"
    # 4.9 s on an idle machine, most of it imports.
    assert cpu_seconds("report", tmp_path / "run", "--quiet", "--out", page) < 9
    assert page.stat().st_size < 1.5e6


def test_a_report_does_not_import_torch(tmp_path):
    code = "import sys, lds.report.page; assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
