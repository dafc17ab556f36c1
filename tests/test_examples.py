"""Every example runs, on a small budget."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads its memory from /proc")
def test_hyperstep_benchmark_compares_both_sides():
    command = [
        sys.executable, str(EXAMPLES / "benchmarks" / "hyperstep.py"), "--nodes", "150",
        "--features", "40", "--classes", "3", "--degree", "6", "--repeats", "1", "--json",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(result.stdout)
    assert set(report["lds"]) == {"seconds", "peak_mb", "extra_mb"} == set(report["dense"])
    assert report["ratio_seconds"] > 0
