"""The examples of discrete hyperparameters run, on a tiny budget, and print their comparison."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("feature_mask", ["mask by hypergradients", "L1 by cross-validation", "RFE"]),
        ("trusted_examples", ["coins, Gumbel-softmax", "continuous weights", "trust all"]),
        ("dependency_mask", ["mask by hypergradients", "graphical lasso"]),
    ],
)
def test_an_example_compares_with_what_one_would_use(name, methods):
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--budget", "tiny"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split("|")[1:-1] for line in result.stdout.splitlines() if line.startswith("|")]
    rows = {cells[0].strip(): cells[1:] for cells in lines}
    for method in methods:
        numbers = [float(cell.split("±")[0]) for cell in rows[method] if cell.strip()]
        assert numbers, method
        assert all(number >= 0 for number in numbers), method
