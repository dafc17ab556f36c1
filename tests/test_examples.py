"""Every example runs, on a small budget."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "examples" / "benchmarks"


def run(script: str, support: str, *options: str) -> str:
    command = [
        sys.executable, str(BENCHMARKS / script), "--nodes", "150", "--features", "40",
        "--classes", "3", "--degree", "6", "--repeats", "1", "--support", support, *options,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads its memory from /proc")
@pytest.mark.parametrize("support", ["all", "sparse"])
def test_hyperstep_benchmark_compares_both_sides(support):
    report = json.loads(run("hyperstep.py", support, "--pairs-per-node", "8", "--json"))
    keys = {"seconds", "cpu_seconds", "peak_mb", "extra_mb"}
    assert keys <= set(report["lds"])
    assert keys == set(report["dense"])
    assert report["ratio_seconds"] > 0
    if support == "sparse":
        assert report["lds"]["pairs"] == 8 * 150


def test_parts_of_a_hyperstep_are_set_beside_their_floor():
    lines = run("parts.py", "sparse").splitlines()
    assert len(lines) == 11
    assert lines[-1].startswith("| hyperstep |")


def test_predictions_in_a_batch_are_timed_beside_a_loop():
    assert set(json.loads(run("predict.py", "all"))) == {"batch", "loop", "n_draws", "ratio"}
